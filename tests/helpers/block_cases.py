"""Knobs with which each block is tried, one case a block; a test holds that none is missing."""

from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "conv": {"width": 24, "se": 0.25, "skip": "identity"},
    "sepconv": {"width": 24, "se": 0.25},
    "mbconv": {"width": 24, "expand": 3, "se": 0.25},
    "fused_mbconv": {"width": 24, "expand": 3, "se": 0.25},
    "uib": {"width": 24, "expand": 3, "se": 0.25, "start_kernel": 5, "end_kernel": 3},
    "residual": {"width": 24, "se": 0.25},
    "bottleneck": {"width": 24, "groups": 3, "se": 0.25},
    "dense_layer": {"growth": 8},
    "transition": {},
    "inception": {"width1": 8, "reduce3": 4, "width3": 8, "reduce5": 2, "width5": 4, "width_pool": 4},
    "shuffle_v1": {"width": 48, "groups": 3},
    "shuffle_v2": {"width": 24},
    "xception": {"width": 24},
    "identity": {"width": 24},
    "max_pool": {},
    "avg_pool": {},
}
