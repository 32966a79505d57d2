"""Objectives, constraints, rewards and the Pareto front."""

from nas.objectives.objectives import DIRECTIONS, LATENCY, Objectives, absolute_reward, build_objectives, mnas_reward

__all__ = [
    "DIRECTIONS",
    "LATENCY",
    "Objectives",
    "absolute_reward",
    "build_objectives",
    "mnas_reward",
]
