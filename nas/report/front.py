"""The front of a run: its members with what was predicted and what was measured, and how it grew over the trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nas.objectives import CLASSIFICATION, Objectives, TaskMetrics, front, latest, values_of, violated
from nas.objectives.pareto import hypervolume_gains
from nas.records import JSON, Evaluation, Measurement, Trial, scored


@dataclass(frozen=True)
class FrontRow:
    """One member. `metrics` are what the search saw, `measured` ms by device (`Measurement.latency_ms`), `p95` likewise.

    `test` is the task's primary metric on the test split; it and `reward` are nan where there is none. `violated` lists the
    constraints that measurement violates.
    `name` is that of a scaled member, which is no trial of the run (`number` is below 0), `note` what differs in its training.
    """

    number: int
    id: str
    metrics: Mapping[str, float]
    reward: float = math.nan
    measured: Mapping[str, float] = field(default_factory=dict)
    p95: Mapping[str, float] = field(default_factory=dict)
    test: float = math.nan
    violated: tuple[str, ...] = ()
    arch: Mapping[str, JSON] | None = None
    name: str = ""
    note: str = ""

    @property
    def title(self) -> str:
        """`trial 7`, or the name of a scaled member."""
        return self.name or f"trial {self.number}"


@dataclass(frozen=True)
class Progress:
    """After trial `number`: the best reward so far, and the fraction of the box between best and worst that is dominated."""

    number: int
    best_reward: float
    hypervolume: float


def reward_of(objectives: Objectives, metrics: Mapping[str, float]) -> float:
    """The reward, nan where it is unknown (also while the target is not yet known)."""
    return math.nan if objectives.needs_target else objectives.reward_of(metrics)


def front_rows(
    trials: Sequence[Trial],
    objectives: Objectives,
    measurements: Sequence[Measurement] = (),
    tests: Sequence[Evaluation] = (),
    task: TaskMetrics = CLASSIFICATION,
) -> tuple[FrontRow, ...]:
    """Members of the front with everything known of them.

    Args:
        trials: Of the run.
        objectives: Of the run.
        measurements: In order of time; the last on a device counts.
        tests: Evaluations on the test split.
        task: Names the primary metric.

    Returns:
        Rows, best quality first.
    """
    tested = {e.trial: e.metrics.get(task.primary, math.nan) for e in tests if e.outcome == "ok"}
    times = latest(measurements)
    rows = []
    for trial in front(trials, objectives):
        found = times.get(trial.arch_id, {})
        measured, p95 = {d: m.latency_ms for d, m in found.items()}, {d: m.p95_ms for d, m in found.items()}
        rows.append(
            FrontRow(
                trial.number, trial.arch_id, trial.metrics, reward_of(objectives, trial.metrics), measured, p95,
                tested.get(trial.number, math.nan), violated(measured, objectives),
            )
        )  # fmt: skip
    return tuple(in_order(rows, objectives))


def in_order(rows: Sequence[FrontRow], objectives: Objectives) -> list[FrontRow]:
    """Best in the quality first."""
    sign = -1 if objectives.direction(objectives.quality) == "max" else 1
    return sorted(rows, key=lambda row: (sign * row.metrics[objectives.quality], row.number))


def best_row(front: Sequence[FrontRow], trials: Sequence[Trial], objectives: Objectives) -> FrontRow | None:
    """The member with the highest reward, or with the best quality if there are no rewards.

    Members that violate a constraint count only if there are no others. A reward that peaks at its target can be highest off
    the front: such a trial counts where its reward is higher than every member's.

    Args:
        front: Members, best quality first.
        trials: Of the run.
        objectives: Of the run.

    Returns:
        The best; None for an empty front.
    """
    rewarded = [row for row in front if not math.isnan(row.reward)]
    if not rewarded:
        return next((row for row in front if not row.violated), next(iter(front), None))
    kept = [row for row in rewarded if not row.violated] or rewarded
    others = [FrontRow(t.number, t.arch_id, t.metrics, reward_of(objectives, t.metrics)) for t in scored(trials)]
    highest = max(row.reward for row in rewarded)
    return max([*kept, *(row for row in others if row.reward > highest)], key=lambda row: (row.reward, -row.number))


def box_of(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box of which the hypervolume is a fraction.

    Args:
        values: Minimized values, shape (n, d).

    Returns:
        (best, worst) corner over the complete rows, each (d,).
    """
    complete = values[np.isfinite(values).all(axis=1)]
    if not len(complete):
        return np.zeros(values.shape[1]), np.zeros(values.shape[1])
    return complete.min(axis=0), complete.max(axis=0)


def hypervolumes(
    values: NDArray[np.float64], best: NDArray[np.float64], worst: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Growth of the dominated fraction of a box.

    Args:
        values: Minimized values in order of time, shape (n, d).
        best: Corner, shape (d,).
        worst: Corner, shape (d,). Objectives without extent are ignored.

    Returns:
        (n,) fraction dominated after each row.
    """
    span = worst - best
    wide = span > 0
    total, fractions = 0.0, np.zeros(len(values))
    if not wide.any():
        return fractions
    corner = np.ones(int(wide.sum()))
    scaled = (values[:, wide] - best[wide]) / span[wide]
    front = np.empty((0, len(corner)))
    for i, point in enumerate(scaled):
        if (point < corner).all() and not (front <= point).all(axis=1).any():
            total += float(hypervolume_gains(front, corner, point[None])[0])
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
        fractions[i] = total
    return fractions


def progress(trials: Sequence[Trial], objectives: Objectives) -> tuple[Progress, ...]:
    """How reward and front grew.

    Args:
        trials: Of the run.
        objectives: Of the run.

    Returns:
        An entry for each scored trial, in order of number.
    """
    found = scored(trials)
    values = values_of(found, objectives)
    fractions = hypervolumes(values, *box_of(values))
    best, entries = math.nan, []
    for trial, fraction in zip(found, fractions.tolist(), strict=True):
        best = float(np.fmax(best, reward_of(objectives, trial.metrics)))
        entries.append(Progress(trial.number, best, fraction))
    return tuple(entries)
