"""Objectives from settings: names resolved, directions and bounds checked.

Metrics are named with unit and device: those of the task (accuracy is a fraction), params, macs, memory_bytes (batch 1,
float32) and latency_ms/<device>. In settings `latency_ms` is that of the first device, among the objectives that of every
device. A custom evaluator may declare further metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from nas.core.settings import build, did_you_mean
from nas.objectives.metrics import (
    CLASSIFICATION,
    COSTS,
    FRACTIONS,
    LATENCY,
    MEASURED,
    PREDICTED,
    Direction,
    TaskMetrics,
)
from nas.objectives.objectives import Objectives
from nas.objectives.rewards import Reward

Value = TypeVar("Value")
QUALITY = "accuracy"  # what conf/objective maximizes; of a task without it the primary metric
USUAL = ("accuracy", "loss", "params", "macs", "memory_bytes")  # that conf/objective names, for every task: none is a misspelling


@dataclass(frozen=True)
class ObjectiveSettings:
    """What conf/objective/*.yaml hold; null removes a metric or a constraint."""

    metrics: Mapping[str, Direction | None]
    constraints: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    reward: Reward = "mnas_soft"
    exponent: float | None = None
    beta: float = -0.05
    over: float = 10.0
    cost: str = LATENCY
    target: float | None = None
    target_ms: float | None = None

    def __post_init__(self) -> None:
        if self.target is not None and self.target_ms is not None:
            raise ValueError("target_ms: set together with target; the two are one setting")
        if self.target_ms is not None and self.cost.partition("/")[0] != LATENCY:
            raise ValueError(f"target_ms: the target of a latency, but cost is {self.cost}; use target")
        for key in ("target", "target_ms"):
            _check_positive(key, getattr(self, key))
        for key in ("exponent", "beta"):
            slope = getattr(self, key)
            if slope is not None and not -math.inf < slope <= 0:
                raise ValueError(f"{key}: expected a number of at most 0, so that cost counts against, got {slope:g}")
        _check_positive("over", self.over)


def build_objectives(
    settings: Mapping[str, object],
    devices: Sequence[str],
    task: TaskMetrics = CLASSIFICATION,
    extra: Mapping[str, Direction] = MappingProxyType({}),
) -> Objectives:
    """Objectives from the settings of conf/objective/*.yaml.

    Args:
        settings: The keys of `ObjectiveSettings`.
        devices: Names of the devices, the main one first.
        task: What trainings report, with the better direction.
        extra: What the evaluator reports besides.

    Raises:
        ValueError: Naming the key: unknown keys and metrics, directions that make no sense, constraints and targets that
            are not positive, a reward without its metric.

    Example:
        >>> build_objectives({"metrics": {"accuracy": "max", "latency_ms": "min"}, "target_ms": 20}, ["host"]).names
        ('accuracy', 'latency_ms/host')
    """
    _check_extra(extra, task)
    trained: dict[str, Direction] = {task.primary: task.metrics[task.primary], **task.metrics, **extra}
    names = _Names(tuple(devices), (*trained, *COSTS), task.primary if task.metrics[task.primary] == "max" else "")
    read = build(ObjectiveSettings, settings, "objective")
    metrics = _directions(names.resolve(_on_every_device(read.metrics, devices), "objective.metrics"), trained)
    constraints = _checked_bounds(names.resolve(read.constraints, "objective.constraints"))
    if not metrics:
        raise ValueError(f"objective.metrics: empty; expected at least one metric, such as {_example(task)}")
    found = Objectives(tuple(metrics.items()), tuple(constraints.items()), "first", trained=tuple(trained.items()))
    return found if read.reward == "first" else _rewarded(found, read, names, task)


def _rewarded(objectives: Objectives, read: ObjectiveSettings, names: _Names, task: TaskMetrics) -> Objectives:
    metrics = dict(objectives.metrics)
    if "max" not in metrics.values():
        raise ValueError(
            f"objective.reward: {read.reward} needs a metric to maximize, such as accuracy: max; reward=first follows"
            " the first metric in either direction"
        )
    exponent = read.exponent if read.exponent is not None else (-1.0 if read.reward == "mnas_hard" else -0.07)
    cost = names.full(read.cost, "objective.cost")
    if cost in dict(objectives.trained) or metrics.get(cost) == "max":
        raise ValueError(f"objective.cost: expected a cost, such as params or latency_ms, got {cost}")
    limit = dict(objectives.constraints).get(cost)  # what the whole search is steered to, unless another target is set
    target = next((value for value in (read.target, read.target_ms, limit) if value is not None), None)
    return replace(
        objectives, reward=read.reward, exponent=exponent, beta=read.beta, over=read.over, cost=cost, target=target
    )


def _example(task: TaskMetrics) -> str:
    return f"{task.primary}: {task.metrics[task.primary]}"


def _directions(metrics: Mapping[str, Direction], trained: Mapping[str, Direction]) -> Mapping[str, Direction]:
    for name, way in metrics.items():
        if way != trained.get(name, way):
            raise ValueError(f"objective.metrics.{name}: expected {trained[name]}, got {way}")
    return metrics


def _checked_bounds(constraints: Mapping[str, float]) -> Mapping[str, float]:
    for name, bound in constraints.items():
        _check_positive(f"objective.constraints.{name}", bound)
        if name in FRACTIONS and bound > 1:
            raise ValueError(f"objective.constraints.{name}: expected a fraction of at most 1, got {bound:g}")
    return constraints


def _check_extra(extra: Mapping[str, Direction], task: TaskMetrics) -> None:
    for name, way in extra.items():
        if name in task.metrics or name in COSTS or name.partition("/")[0] in (LATENCY, PREDICTED, MEASURED):
            raise ValueError(f"evaluator: declares the metric {name}, which is known already")
        if way not in ("max", "min"):
            raise ValueError(f"evaluator: declares the metric {name} as {way!r}; expected max or min")


def _on_every_device(metrics: Mapping[str, Direction | None], devices: Sequence[str]) -> dict[str, Direction | None]:
    """`latency_ms` as an objective for each device, so that each has a front; a name with its device stands as it is."""
    found: dict[str, Direction | None] = {}
    for name, way in metrics.items():
        if name == LATENCY and way is not None and len(devices) > 1:
            full = [f"{LATENCY}/{device}" for device in devices]
            found |= {each: way for each in full if each not in metrics}
        else:
            found[name] = way
    return found


@dataclass(frozen=True)
class _Names:
    """Full names of objectives; `latency_ms` alone is that of the first device, `accuracy` the primary metric of a task without one."""

    devices: tuple[str, ...]
    others: tuple[str, ...]
    primary: str = ""

    def resolve(self, entries: Mapping[str, Value | None], where: str) -> dict[str, Value]:
        """Entries under full names, without those that are null."""
        found: dict[str, Value] = {}
        for given, value in entries.items():
            if value is None and self._absent(given):
                continue
            name = self.full(given, f"{where}.{given}")
            if value is None or (name != given == QUALITY and name in entries):
                continue
            if name in found:
                raise ValueError(f"{where}.{given}: {name} is there twice")
            found[name] = value
        return found

    def full(self, name: str, where: str) -> str:
        if name == LATENCY:
            if not self.devices:
                raise ValueError(f"{where}: {LATENCY} needs a device, and there is none")
            return f"{LATENCY}/{self.devices[0]}"
        if name == QUALITY and name not in self.known and self.primary:
            return self.primary
        if name not in self.known:
            raise ValueError(f"{where}: unknown metric {name!r}{did_you_mean(name, self.known)} (known: {', '.join(self.known)})")
        return name

    @property
    def known(self) -> list[str]:
        return [*self.others, *(f"{LATENCY}/{device}" for device in self.devices)]

    def _absent(self, name: str) -> bool:
        """Whether a null removes what this task or command does not have; a misspelled name is not absent."""
        return name == LATENCY or (name not in self.known and (name in USUAL or not did_you_mean(name, self.known)))


def _check_positive(where: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{where}: expected a positive number, got {value:g}")
