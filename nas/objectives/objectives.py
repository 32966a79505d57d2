"""What a search is after: objectives, constraints, and the one number that rewards a controller.

    objectives = Objectives((("accuracy", "max"), ("latency_ms/host", "min")), cost="latency_ms/host", target=20)
    objectives.values({"accuracy": 0.7, "predicted_ms/host": 25.0})       # [-0.7, 25.0]: minimized, for nas.objectives.pareto
    objectives.reward_of({"accuracy": 0.7, "predicted_ms/host": 25.0})    # 0.7 * (25 / 20) ** -0.07
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.objectives.constraints import Constraint, feasible, violations
from nas.objectives.metrics import Direction, metric_of
from nas.objectives.rewards import Reward, absolute_reward, mnas_reward


@dataclass(frozen=True)
class Objectives:
    """Resolved objectives under their full names.

    `metrics` are the objectives of the front; `constraints` bound metrics to maximize from below, the others from above.
    The reward weighs the first metric to maximize against `cost`, whose `target` is in the unit of `cost`; a target of
    None is to be filled in before the first reward (`dataclasses.replace`). `trained` are the metrics that a training
    reports, with the better direction: those of the task, the primary one first, then those of the evaluator.
    """

    metrics: tuple[tuple[str, Direction], ...]
    constraints: tuple[tuple[str, float], ...] = ()
    reward: Reward = "mnas_soft"
    exponent: float = -0.07
    beta: float = -0.05
    over: float = 10.0
    cost: str = ""
    target: float | None = None
    trained: tuple[tuple[str, Direction], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of the objectives."""
        return tuple(name for name, _ in self.metrics)

    @property
    def columns(self) -> tuple[str, ...]:
        """The metric of a trial that each objective reads."""
        return tuple(metric_of(name) for name, _ in self.metrics)

    @property
    def quality(self) -> str:
        """The metric that costs are drawn against: the task's primary one, else the first to maximize, else the first."""
        primary = next((name for name, _ in self.trained[:1] if name in self.names), None)
        return primary or next((metric_of(name) for name, way in self.metrics if way == "max"), self.columns[0])

    def direction(self, name: str) -> Direction:
        """Which direction of an objective or metric is better; "min" for a cost."""
        known: dict[str, Direction] = dict((*self.trained, *self.metrics))
        known |= {metric_of(objective): way for objective, way in self.metrics}
        return known.get(name, "min")

    @property
    def limited(self) -> bool:
        """Whether the reward's target is a constraint: within it nothing is gained by a lower cost."""
        return self.reward != "first" and self.target is not None and (self.cost, self.target) in self.constraints

    @property
    def needs_target(self) -> bool:
        """Whether the reward needs a target that is not set yet."""
        return self.reward != "first" and self.target is None

    def values(self, metrics: Mapping[str, float]) -> NDArray[np.float64]:
        """The objectives as minimized values, shape (d,): maximized ones negated, missing ones and nan as inf."""
        signed = [metrics.get(metric_of(name), math.nan) * (-1 if way == "max" else 1) for name, way in self.metrics]
        return np.array([math.inf if math.isnan(value) else value for value in signed])

    def reward_of(self, metrics: Mapping[str, float]) -> float:
        """The reward, larger is better; nan where a metric it needs is missing or nan, or the cost is not positive."""
        if self.reward == "first":
            return -float(self.values(metrics)[0]) if self._has(metrics, self.columns[0]) else math.nan
        assert self.target is not None, f"the target of {self.cost} was never set"
        quality = next(name for name, way in self.metrics if way == "max")
        value, cost = metrics.get(quality, math.nan), metrics.get(metric_of(self.cost), math.nan)
        if math.isnan(value) or not cost > 0:
            return math.nan
        if self.reward == "absolute":
            return float(absolute_reward(value, cost, self.target, self.beta, self.over))
        alpha = self.exponent if self.reward == "mnas_soft" else 0.0
        return float(mnas_reward(value, cost, self.target, alpha, self.exponent))

    @property
    def bounds(self) -> tuple[Constraint, ...]:
        """The constraints with their direction."""
        return tuple(Constraint(name, bound, self.direction(name) == "max") for name, bound in self.constraints)

    def violations(self, metrics: Mapping[str, float]) -> list[str]:
        """The constraints that a trial's metrics violate, in words; those whose metric is absent do not count."""
        return violations(self.bounds, metrics)

    def feasible_mask(self, costs: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """(n,) mask of candidates, given by arrays (n,) of their costs, that satisfy the constraints on these costs."""
        return feasible(self.bounds, costs)

    @staticmethod
    def _has(metrics: Mapping[str, float], name: str) -> bool:
        return not math.isnan(metrics.get(name, math.nan))
