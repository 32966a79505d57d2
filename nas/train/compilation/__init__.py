"""A training step compiled whole, layer by layer, or once for a space."""
