"""Latency predictors of a space: sums of measured layers, learned models, tables."""
