"""The front of a run: its members with what was predicted and what was measured, and how it grew over the trials."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.objectives import Objectives
from nas.objectives.pareto import hypervolume_gains, non_dominated
from nas.records import Evaluation, Measurement, Trial, scored


@dataclass(frozen=True)
class FrontRow:
    """One member. `metrics` are what the search saw, `measured` ms by device (`Measurement.latency_ms`), `p95` likewise.

    `reward` and `test_accuracy` are nan where there is none; `demoted` lists the constraints that measurement breaks.
    `name` is that of a scaled member, which is no trial of the run (`number` is below 0), `note` what differs in its training.
    """

    number: int
    id: str
    metrics: Mapping[str, float]
    reward: float = math.nan
    measured: Mapping[str, float] = field(default_factory=dict)
    p95: Mapping[str, float] = field(default_factory=dict)
    test_accuracy: float = math.nan
    demoted: tuple[str, ...] = ()
    arch: Mapping[str, Any] | None = None
    name: str = ""
    note: str = ""

    @property
    def title(self) -> str:
        """`trial 7`, or the name of a scaled member."""
        return self.name or f"trial {self.number}"


@dataclass(frozen=True)
class Progress:
    """After trial `number`: the best reward so far, and the share of the box between best and worst that is dominated."""

    number: int
    best_reward: float
    hypervolume: float


def values_of(trials: Sequence[Trial], objectives: Objectives) -> NDArray[np.float64]:
    """(trials, axes) minimized values; shape (0, axes) without trials."""
    rows = [objectives.values(trial.metrics) for trial in trials]
    return np.array(rows, float).reshape(len(rows), len(objectives.metrics))


def reward_of(objectives: Objectives, metrics: Mapping[str, float]) -> float:
    """The reward, nan where it cannot be told (also while the target is not yet known)."""
    return math.nan if objectives.needs_target else objectives.reward_of(metrics)


def front_rows(
    trials: Sequence[Trial],
    objectives: Objectives,
    measurements: Sequence[Measurement] = (),
    tests: Sequence[Evaluation] = (),
) -> tuple[FrontRow, ...]:
    """Non-dominated scored trials, best on the main axis first. Of several measurements on a device the last counts."""
    candidates = scored(trials)
    mask = non_dominated(values_of(candidates, objectives)) if candidates else []
    by_trial = {e.trial: e.metrics.get("accuracy", math.nan) for e in tests if e.outcome == "ok"}
    rows = [
        FrontRow(
            trial.number, trial.arch_id, trial.metrics, reward_of(objectives, trial.metrics),
            {m.device: m.latency_ms for m in measurements if m.arch_id == trial.arch_id},
            {m.device: m.p95_ms for m in measurements if m.arch_id == trial.arch_id},
            by_trial.get(trial.number, math.nan),
        )
        for trial, on in zip(candidates, mask, strict=True) if on
    ]  # fmt: skip
    return tuple(dataclasses.replace(row, demoted=broken_by_measurement(row, objectives)) for row in in_order(rows, objectives))


def in_order(rows: Sequence[FrontRow], objectives: Objectives) -> list[FrontRow]:
    """Best on the main axis first."""
    main = main_axis(objectives)
    sign = -1 if dict(objectives.metrics).get(main) == "max" else 1
    return sorted(rows, key=lambda row: (sign * row.metrics[main], row.number))


def main_axis(objectives: Objectives) -> str:
    """The quality that costs are drawn against: the first metric to maximize, or the first one."""
    return next((name for name, way in objectives.metrics if way == "max"), objectives.columns[0])


def broken_by_measurement(row: FrontRow, objectives: Objectives) -> tuple[str, ...]:
    """Constraints on latency that the device itself does not keep."""
    return tuple(objectives.measured_violations(row.measured))


def best_row(front: Sequence[FrontRow], trials: Sequence[Trial], objectives: Objectives) -> FrontRow | None:
    """The highest reward, without rewards the best on the main axis; demoted members only if there are no others.

    A reward that peaks at its target can be highest off the front: such a trial counts where it beats every member.
    """
    rewarded = [row for row in front if not math.isnan(row.reward)]
    if not rewarded:
        return next((row for row in front if not row.demoted), next(iter(front), None))
    kept = [row for row in rewarded if not row.demoted] or rewarded
    others = [FrontRow(t.number, t.arch_id, t.metrics, reward_of(objectives, t.metrics)) for t in scored(trials)]
    highest = max(row.reward for row in rewarded)
    return max([*kept, *(row for row in others if row.reward > highest)], key=lambda row: (row.reward, -row.number))


def box_of(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(best, worst) corner, each (axes,), of the complete rows; the box in which the hypervolume is a share."""
    complete = values[np.isfinite(values).all(axis=1)]
    if not len(complete):
        return np.zeros(values.shape[1]), np.zeros(values.shape[1])
    return complete.min(axis=0), complete.max(axis=0)


def hypervolumes(
    values: NDArray[np.float64], best: NDArray[np.float64], worst: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) share of the box from `best` to `worst` dominated after each row; axes without extent count for nothing."""
    span = worst - best
    wide = span > 0
    total, shares = 0.0, np.zeros(len(values))
    if not wide.any():
        return shares
    corner = np.ones(int(wide.sum()))
    scaled = (values[:, wide] - best[wide]) / span[wide]
    front = np.empty((0, len(corner)))
    for i, point in enumerate(scaled):
        if (point < corner).all() and not (front <= point).all(axis=1).any():
            total += float(hypervolume_gains(front, corner, point[None])[0])
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
        shares[i] = total
    return shares


def progress(trials: Sequence[Trial], objectives: Objectives) -> tuple[Progress, ...]:
    """How reward and front grew, an entry for each scored trial in order of number."""
    found = scored(trials)
    values = values_of(found, objectives)
    shares = hypervolumes(values, *box_of(values))
    best, entries = math.nan, []
    for trial, share in zip(found, shares.tolist(), strict=True):
        best = float(np.fmax(best, reward_of(objectives, trial.metrics)))
        entries.append(Progress(trial.number, best, share))
    return tuple(entries)
