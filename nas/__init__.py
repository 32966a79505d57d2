"""Neural architecture search: spaces in, a Pareto front of trained and measured architectures out."""

from nas.core.version import __version__ as __version__
