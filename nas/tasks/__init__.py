"""What a network is trained for: targets, loss and metrics."""
