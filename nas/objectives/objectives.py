"""What a search is after: the axes of its front, its constraints, and the one number that rewards a controller.

    objectives = build_objectives({"metrics": {"accuracy": "max", "latency_ms": "min"}, "target_ms": 20}, ["host"])
    objectives.values({"accuracy": 0.7, "predicted_ms/host": 25.0})       # [-0.7, 25.0]: minimized, for nas.objectives.pareto
    objectives.reward_of({"accuracy": 0.7, "predicted_ms/host": 25.0})    # 0.7 * (25 / 20) ** -0.07

Metrics are named with unit and device: accuracy (a fraction), loss, params, macs, memory_bytes (batch 1, float32) and
latency_ms/<device>; settings may say latency_ms for that of the first device, among the axes for that of every one. An
evaluator of one's own may declare others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.core.settings import build, did_you_mean
from nas.objectives.metrics import DIRECTIONS, LATENCY, MEASURED, PREDICTED, QUALITY, Direction, metric_of

Reward = Literal["mnas_soft", "mnas_hard", "absolute", "first"]


def mnas_reward(
    accuracy: ArrayLike, latency_ms: ArrayLike, target_ms: float, alpha: float = -0.07, beta: float = -0.07
) -> NDArray[np.float64]:
    """ACC * (LAT / T)^w, w = alpha where LAT <= T and beta above: eq. 2 and 3 of Tan et al. 2019 (arXiv:1807.11626).

    Soft (the defaults): alpha = beta = -0.07, by the rule that twice the latency should buy about 5 % of accuracy,
    relatively. Hard: alpha = 0, beta = -1. Latencies must be positive; scalars or arrays that broadcast.
    """
    ratio = np.asarray(latency_ms, float) / target_ms
    return np.asarray(accuracy, float) * ratio ** np.where(ratio <= 1, alpha, beta)


def absolute_reward(
    quality: ArrayLike, cost: ArrayLike, target: float, beta: float = -0.10, over: float = 1.0
) -> NDArray[np.float64]:
    """Q + beta * |T / T0 - 1|: the absolute reward of TuNAS, Bender et al. 2020 (arXiv:2008.06120).

    Its optimum lies at the target where the slope beta (negative) is steeper than the front there, while MnasNet's drifts
    with the exponent. Above the target the slope is `over` times beta, 1 as published: a steep one there keeps the optimum
    at the target on a steep front too, and costs a search less than a steep one on both sides. Arrays broadcast.
    """
    away = np.asarray(cost, float) / target - 1
    return np.asarray(quality, float) + beta * np.where(away > 0, over * away, -away)


@dataclass(frozen=True)
class Objectives:
    """Resolved objectives; metric names are full ones.

    `metrics` are the objectives of the front; `constraints` bound metrics to maximize from below, the others from above.
    The reward weighs the first metric to maximize against `cost`, whose `target` is in the unit of `cost`; a target of
    None is to be filled in before the first reward (`dataclasses.replace`). `own` are metrics that an evaluator of one's own
    tells of a training, and which way they are better.
    """

    metrics: tuple[tuple[str, Direction], ...]
    constraints: tuple[tuple[str, float], ...] = ()
    reward: Reward = "mnas_soft"
    exponent: float = -0.07
    beta: float = -0.05
    over: float = 10.0
    cost: str = ""
    target: float | None = None
    own: tuple[tuple[str, Direction], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.metrics)

    @property
    def columns(self) -> tuple[str, ...]:
        """The metric of a trial that each objective reads."""
        return tuple(metric_of(name) for name, _ in self.metrics)

    @property
    def needs_target(self) -> bool:
        return self.reward != "first" and self.target is None

    def values(self, metrics: Mapping[str, float]) -> NDArray[np.float64]:
        """The axes as minimized values, shape (d,): maximized ones negated, missing ones and nan as inf."""
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

    def violations(self, metrics: Mapping[str, float]) -> list[str]:
        """The constraints that metrics violate, for people: "params 2.31 M > constraint 2.00 M". Only metrics present count."""
        return self._violations(metrics, metric_of)

    def measured_violations(self, measured_ms: Mapping[str, float]) -> list[str]:
        """The constraints on latency that measured milliseconds, by device, violate."""
        measured = {f"{MEASURED}/{device}": ms for device, ms in measured_ms.items()}
        return self._violations(measured, lambda name: name.replace(LATENCY, MEASURED, 1))

    def _violations(self, metrics: Mapping[str, float], read: Callable[[str], str]) -> list[str]:
        found = []
        for name, bound, at_least in self._bounds():
            metric = read(name)
            value = metrics.get(metric, bound)
            if not (value >= bound if at_least else value <= bound):
                shown, short = _both(value, bound)
                found.append(f"{metric} {shown} {'<' if at_least else '>'} constraint {short}")
        return found

    def feasible_mask(self, costs: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """Which of n candidates, given by arrays (n,) of their costs, satisfy the constraints on the metrics among these."""
        arrays = {name: np.asarray(column, float) for name, column in costs.items()}
        mask = np.ones(next(iter(arrays.values())).shape, bool)
        for name, bound, at_least in self._bounds():
            if (column := arrays.get(metric_of(name))) is not None:
                mask &= column >= bound if at_least else column <= bound
        return mask

    def _bounds(self) -> Iterator[tuple[str, float, bool]]:
        ways = {**DIRECTIONS, **QUALITY, **dict(self.own), **dict(self.metrics)}
        return ((name, bound, ways.get(name) == "max") for name, bound in self.constraints)

    @staticmethod
    def _has(metrics: Mapping[str, float], name: str) -> bool:
        return not math.isnan(metrics.get(name, math.nan))


@dataclass(frozen=True)
class Settings:
    """What conf/objective/*.yaml hold; null removes a metric or a constraint."""

    metrics: Mapping[str, Direction | None]
    constraints: Mapping[str, float | None] = field(default_factory=dict)
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
    settings: Mapping[str, object], devices: Sequence[str], own: Mapping[str, Direction] = MappingProxyType({}),
    task: Mapping[str, Direction] = MappingProxyType(QUALITY),
) -> Objectives:  # fmt: skip
    """Objectives from the settings of conf/objective/*.yaml and the names of the devices, the main one first.

    `task`: the metrics of the task, and the direction that is better; `own`: what the evaluator reports besides. Raises
    ValueError naming the key: unknown keys and metrics, directions that make no sense, constraints and targets that are not
    positive, a reward without its metric.
    """
    _check_own(own, task)
    read = build(Settings, settings, "objective")
    trained: dict[str, Direction] = {**task, **own}
    metrics = _resolved(_on_every_device(read.metrics, devices), "objective.metrics", devices, trained)
    constraints = _resolved(read.constraints, "objective.constraints", devices, trained)
    for name, way in metrics.items():
        if way != trained.get(name, way):
            raise ValueError(f"objective.metrics.{name}: expected {trained[name]}, got {way}")
    for name, bound in constraints.items():
        _check_positive(f"objective.constraints.{name}", bound)
        if name == "accuracy" and bound > 1:
            raise ValueError(f"objective.constraints.accuracy: expected a fraction of at most 1, got {bound:g}")
    if not metrics:
        raise ValueError("objective.metrics: empty; expected at least one metric, such as accuracy: max")
    axes, bounds = tuple(metrics.items()), tuple(constraints.items())
    besides: tuple[tuple[str, Direction], ...] = tuple((name, way) for name, way in trained.items() if name not in QUALITY)
    if read.reward == "first":
        return Objectives(axes, bounds, "first", own=besides)
    if "max" not in metrics.values():
        raise ValueError(f"objective.reward: {read.reward} needs a metric to maximize, such as accuracy: max")
    exponent = read.exponent if read.exponent is not None else (-1.0 if read.reward == "mnas_hard" else -0.07)
    if read.cost in trained:
        raise ValueError(f"objective.cost: expected a cost, such as params or latency_ms, got {read.cost}")
    cost = _full_name(read.cost, "objective.cost", devices)
    if metrics.get(cost) == "max":
        raise ValueError(f"objective.cost: expected a cost, such as params or latency_ms, got {cost}")
    target = read.target_ms if read.target is None else read.target
    return Objectives(axes, bounds, read.reward, exponent, read.beta, read.over, cost, target, besides)


def _check_own(own: Mapping[str, Direction], task: Mapping[str, Direction]) -> None:
    for name, way in own.items():
        if name in DIRECTIONS or name in task or name.partition("/")[0] in (LATENCY, PREDICTED, MEASURED):
            raise ValueError(f"evaluator: declares the metric {name}, which is known already")
        if way not in ("max", "min"):
            raise ValueError(f"evaluator: declares the metric {name} as {way!r}; expected max or min")


def _on_every_device(metrics: Mapping[str, object], devices: Sequence[str]) -> dict[str, object]:
    """`latency_ms` as an axis for each device, so that each has a front; what is named with its device stands as it is."""
    found: dict[str, object] = {}
    for name, way in metrics.items():
        if name == LATENCY and way is not None and len(devices) > 1:
            full = [f"{LATENCY}/{device}" for device in devices]
            found |= {each: way for each in full if each not in metrics}
        else:
            found[name] = way
    return found


def _resolved(entries: Mapping[str, object], where: str, devices: Sequence[str], own: Iterable[str]) -> dict:
    found = {}
    for given, value in entries.items():
        if value is None and (given == LATENCY or given in QUALITY):
            continue  # taken away; latency without a device has no full name, and another task has other metrics
        name = _full_name(given, f"{where}.{given}", devices, own)
        if value is None:
            continue
        if name in found:
            raise ValueError(f"{where}.{given}: {name} is there twice")
        found[name] = value
    return found


def _full_name(name: str, where: str, devices: Sequence[str], own: Iterable[str] = ()) -> str:
    known = [*DIRECTIONS, *own, *(f"{LATENCY}/{device}" for device in devices)]
    if name == LATENCY:
        if not devices:
            raise ValueError(f"{where}: {LATENCY} needs a device, and there is none")
        return f"{LATENCY}/{devices[0]}"
    if name not in known:
        raise ValueError(f"{where}: unknown metric {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    return name


def _check_positive(where: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{where}: expected a positive number, got {value:g}")


def _both(value: float, bound: float) -> tuple[str, str]:
    """Both with unit prefixes, unless these hide the difference."""
    short = _short(value), _short(bound)
    return short if short[0] != short[1] else (f"{value:.12g}", f"{bound:.12g}")


def _short(value: float) -> str:
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size and math.isfinite(value):
            return f"{value / size:.2f} {prefix}"
    return f"{value:.4g}"
