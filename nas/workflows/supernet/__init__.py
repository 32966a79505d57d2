"""`nas supernet`: weights that all candidates of a space share, and how well they rank networks."""
