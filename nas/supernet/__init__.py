"""Weight sharing: one network holds the weights of a whole space, and a candidate is a view of it."""
