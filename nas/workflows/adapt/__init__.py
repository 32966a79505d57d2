"""NetAdapt: a trained network shrunk step by step to a latency target (arXiv:1804.03230; as in arXiv:1905.02244, 4.2)."""

from nas.workflows.adapt.proposals import KINDS, Change, absolute, changes, within
from nas.workflows.adapt.space import shrunk_space
from nas.workflows.adapt.steps import Adapter, AdaptSettings, Point

__all__ = ["KINDS", "AdaptSettings", "Adapter", "Change", "Point", "absolute", "changes", "shrunk_space", "within"]
