"""Scaling an architecture, from Arch to Arch: single multipliers, and width, depth and resolution together.

half = width_multiplier(load_arch("mobilenet_v2"), 0.5)
b4 = preset(load_arch("efficientnet_b0"), 4)
twice = compound(arch, 1)                           # about twice the multiply-adds
"""

from nas.arch.multipliers import depth_multiplier, replace_knobs, width_multiplier, with_resolution
from nas.workflows.scale.compound import EFFICIENTNET, Coefficients, compound, grid, preset, to_budget
from nas.workflows.scale.family import family_space

__all__ = [
    "EFFICIENTNET",
    "Coefficients",
    "compound",
    "depth_multiplier",
    "family_space",
    "grid",
    "preset",
    "replace_knobs",
    "to_budget",
    "width_multiplier",
    "with_resolution",
]
