"""Networks in JAX: one op for each primitive, the graph as pure functions and as a Flax module, weights on disk."""
