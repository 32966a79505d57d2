"""Neural architecture search: spaces in, a Pareto front of trained and measured architectures out."""

__version__ = "0.1.0"
