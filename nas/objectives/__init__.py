"""Objectives, constraints, rewards and the Pareto front."""

from nas.objectives.metrics import DIRECTIONS, LATENCY, MEASURED, PREDICTED, QUALITY, Direction, device_of, metric_of
from nas.objectives.objectives import Objectives, absolute_reward, build_objectives, mnas_reward

__all__ = [
    "DIRECTIONS",
    "LATENCY",
    "MEASURED",
    "PREDICTED",
    "QUALITY",
    "Direction",
    "Objectives",
    "absolute_reward",
    "build_objectives",
    "device_of",
    "metric_of",
    "mnas_reward",
]
