"""The front of a run, what it claims, and the constraints that measurement violates. The only place where these are computed.

    members = front(journal.trials(), objectives)
    times = latest(journal.measurements())
    violated({device: m.latency_ms for device, m in times[members[0].arch_id].items()}, objectives)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.objectives.constraints import violations
from nas.objectives.metrics import MEASURED, PREDICTED, device_of, measured_of, metric_of
from nas.objectives.objectives import Objectives
from nas.objectives.pareto import non_dominated
from nas.records import Measurement, Trial, scored


class HasMetrics(Protocol):
    """Whatever has values by metric name."""

    @property
    def metrics(self) -> Mapping[str, float]: ...


Row = TypeVar("Row", bound=HasMetrics)


def values_of(rows: Sequence[HasMetrics], objectives: Objectives) -> NDArray[np.float64]:
    """Objective values of rows, all to be minimized.

    Args:
        rows: n rows with metrics.
        objectives: d objectives.

    Returns:
        (n, d) values, inf where a metric is missing.
    """
    values = [objectives.values(row.metrics) for row in rows]
    return np.array(values, float).reshape(len(values), len(objectives.metrics))


def undominated(rows: Sequence[Row], objectives: Objectives) -> list[Row]:
    """Rows that no other row dominates, in their order.

    Args:
        rows: Rows with metrics; a row that lacks an objective is never on the front.
        objectives: Of the run.

    Returns:
        The front; of equal rows the first.
    """
    return [row for row, on in zip(rows, non_dominated(values_of(rows, objectives)), strict=True) if on]


def front(trials: Iterable[Trial], objectives: Objectives) -> list[Trial]:
    """The Pareto front of a run.

    Args:
        trials: Trials in any order; of several fidelities only the longest counts.
        objectives: Of the run.

    Returns:
        Trained trials that no other dominates, in order of number.
    """
    return undominated(scored(trials), objectives)


def claims(trials: Sequence[Trial], objectives: Objectives) -> list[Trial]:
    """What a run stands for and therefore measures.

    Args:
        trials: Trials in any order.
        objectives: Of the run.

    Returns:
        The front, and behind it the trial whose reward is higher than every member's: a reward that peaks at its target can
        be highest off the front.
    """
    members = front(trials, objectives)
    if objectives.needs_target or not members:
        return members
    rewards = [(objectives.reward_of(trial.metrics), trial) for trial in scored(trials)]
    known = [(reward, trial) for reward, trial in rewards if not math.isnan(reward)]
    best = max(known, key=lambda pair: (pair[0], -pair[1].number), default=None)
    numbers = {trial.number for trial in members}
    highest = max((reward for reward, trial in known if trial.number in numbers), default=math.inf)
    return [*members, best[1]] if best and best[0] > highest else members


def timed_devices(objectives: Objectives) -> tuple[str, ...]:
    """Devices whose latency is an objective or the cost of the reward."""
    names = (*objectives.columns, *([metric_of(objectives.cost)] if objectives.cost and objectives.reward != "first" else []))
    return tuple(dict.fromkeys(device for name in names if (device := device_of(name))))


def with_measured(metrics: Mapping[str, float], measured_ms: Mapping[str, float]) -> dict[str, float]:
    """Metrics for objectives to read, with measured latencies in place of predicted ones; for claims, never for a controller."""
    return {**metrics, **{f"{PREDICTED}/{device}": ms for device, ms in measured_ms.items()}}


def latest(measurements: Iterable[Measurement]) -> dict[str, dict[str, Measurement]]:
    """The last measurement of each architecture on each device.

    Args:
        measurements: In order of time.

    Returns:
        Measurements by architecture id, then by device.
    """
    found: dict[str, dict[str, Measurement]] = {}
    for measurement in measurements:
        found.setdefault(measurement.arch_id, {})[measurement.device] = measurement
    return found


def violated(measured_ms: Mapping[str, float], objectives: Objectives) -> tuple[str, ...]:
    """Constraints on latency that measurement violates, in words: `measured_ms/host 9.5 > constraint 9`.

    Args:
        measured_ms: Milliseconds by device.
        objectives: Of the run.
    """
    measured = {f"{MEASURED}/{device}": ms for device, ms in measured_ms.items()}
    return tuple(violations(objectives.bounds, measured, measured_of))
