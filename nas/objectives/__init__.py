"""Objectives, constraints, rewards and the Pareto front."""

from nas.objectives.front import claims, front, latest, timed_devices, undominated, values_of, violated, with_measured
from nas.objectives.metrics import (
    CLASSIFICATION,
    COSTS,
    FRACTIONS,
    LATENCY,
    MEASURED,
    PREDICTED,
    Direction,
    TaskMetrics,
    device_of,
    measured_of,
    metric_of,
)
from nas.objectives.objectives import Objectives
from nas.objectives.rewards import absolute_reward, mnas_reward
from nas.objectives.settings import ObjectiveSettings, build_objectives

__all__ = [
    "CLASSIFICATION",
    "COSTS",
    "FRACTIONS",
    "LATENCY",
    "MEASURED",
    "PREDICTED",
    "Direction",
    "ObjectiveSettings",
    "Objectives",
    "TaskMetrics",
    "absolute_reward",
    "build_objectives",
    "claims",
    "device_of",
    "front",
    "latest",
    "measured_of",
    "metric_of",
    "mnas_reward",
    "timed_devices",
    "undominated",
    "values_of",
    "violated",
    "with_measured",
]
