"""Weight sharing: one network holds the weights of a whole space, and a candidate is a view of it.

`layers` and `store` say what is shared and where it is kept, `paths` (and `masked`) what a candidate runs, `programs` what is compiled,
`strategies`, `step` and `training` how the weights are trained, `scoring` and `fidelity` what they say of a candidate and how far to
trust it, `weights`, `child`, `start` and `file` how they come in and out.
"""
