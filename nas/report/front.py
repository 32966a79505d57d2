"""The front of a run: its members with what was predicted and what was measured, and how it grew over the trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nas.objectives import (
    CLASSIFICATION,
    PREDICTED,
    Objectives,
    TaskMetrics,
    claims,
    device_of,
    front,
    latest,
    metric_of,
    timed_devices,
    values_of,
    violated,
    with_measured,
)
from nas.objectives.alike import stand_ins, steps_of
from nas.objectives.pareto import hypervolume_gains, non_dominated
from nas.records import JSON, Evaluation, Measurement, Trial, confirmed, scored
from nas.report.format import show


@dataclass(frozen=True)
class FrontRow:
    """One member. `metrics` are what the search saw, `measured` ms by device (`Measurement.latency_ms`), `p95` likewise.

    `test` is the task's primary metric on the test split; it and `reward` are nan where there is none. `violated` lists the
    constraints that measurement violates.
    `unconfirmed` says where the machine was not what it was at the fit: the measurement may be the machine's, not the network's.
    `claimed` are the metrics that front and reward go by: with measured latencies where all members have them.
    `alike` says what it is no better than, in words, where it is left off the front for that.
    `later` has metrics of trainings after the search, such as `finetuned_accuracy`, where shared weights gave those of the search.
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
    claimed: Mapping[str, float] = field(default_factory=dict)
    unconfirmed: tuple[str, ...] = ()
    alike: str = ""
    later: Mapping[str, float] = field(default_factory=dict)

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


@dataclass(frozen=True)
class Verified:
    """What a run claims.

    front: members, best quality first.
    best: the member with the highest reward, or with the best quality if there are no rewards; None for an empty front.
    demoted: members by prediction that another one dominates by measurement.
    alike: undominated, but no better than a member by what can be told.
    measured: whether front, rewards and best go by measured latencies: where all members have them.
    """

    front: tuple[FrontRow, ...]
    best: FrontRow | None
    demoted: tuple[FrontRow, ...] = ()
    measured: bool = False
    alike: tuple[FrontRow, ...] = ()


def verified(
    trials: Sequence[Trial],
    objectives: Objectives,
    measurements: Sequence[Measurement] = (),
    tests: Sequence[Evaluation] = (),
    task: TaskMetrics = CLASSIFICATION,
    images: int = 0,
) -> Verified:
    """The front and the best member, by measured latencies as soon as all members have them.

    Args:
        trials: Of the run.
        objectives: Of the run.
        measurements: In order of time; the last on a device counts.
        tests: Evaluations on the test split.
        task: Names the primary metric.
        images: Of the validation split; 0 where that is not known.

    Returns:
        The front, the best member, and members that measurement took off the front, or that are no better than another one.
    """
    tested = {e.trial: e.metrics.get(task.primary, math.nan) for e in tests if e.outcome == "ok"}
    times, claimed = latest(measurements), claims(trials, objectives)
    rows = [_row(trial, objectives, times.get(trial.arch_id, {}), tested.get(trial.number, math.nan)) for trial in claimed]
    numbers = {trial.number for trial in front(trials, objectives)}
    members, measured = by_measured([row for row in rows if row.number in numbers], objectives)
    others, comparable = by_measured([row for row in rows if row.number not in numbers], objectives)
    on_it = in_order(undominated_rows(members, objectives), objectives)
    numbers = {row.number for row in on_it}
    off = tuple(row for row in members if row.number not in numbers)
    kept, alike = told_apart(on_it, objectives, images)
    return Verified(tuple(kept), _best(kept, others if comparable == measured else [], objectives), off, measured, tuple(alike))


def _row(trial: Trial, objectives: Objectives, found: Mapping[str, Measurement], test: float) -> FrontRow:
    measured, p95 = {d: m.latency_ms for d, m in found.items()}, {d: m.p95_ms for d, m in found.items()}
    return FrontRow(
        trial.number, trial.arch_id, trial.metrics, reward_of(objectives, trial.metrics), measured, p95, test,
        violated(measured, objectives), claimed=trial.metrics, unconfirmed=tuple(unconfirmed(found)),
    )  # fmt: skip


def unconfirmed(found: Mapping[str, Measurement]) -> list[str]:
    """What is not confirmed of an architecture's measurements by device, in words."""
    drifting = [
        f"not confirmed on {device}: {m.latency_ms:.3g} ms measured, with {m.window_drift:.0%} between the earlier windows and the later"
        for device, m in found.items()
        if m.window_drift is not None
    ]
    return drifting + [
        f"not confirmed on {device}: reference networks took {m.machine_factor:.2f} times what they took at the fit; "
        f"{show(PREDICTED, m.latency_ms)} measured, {show(PREDICTED, m.corrected_ms or math.nan)} if corrected by that"
        for device, m in found.items()
        if m.machine_factor is not None and not confirmed(m.machine_factor)
    ]


def by_measured(rows: Sequence[FrontRow], objectives: Objectives) -> tuple[list[FrontRow], bool]:
    """Rows with claims and rewards by measured latencies where all of them have these, else by predictions; and which it is."""
    devices = timed_devices(objectives)
    complete = bool(rows and devices) and all(device in row.measured for row in rows for device in devices)
    claimed = [with_measured(row.metrics, row.measured) if complete else row.metrics for row in rows]
    return [replace(row, claimed=c, reward=reward_of(objectives, c)) for row, c in zip(rows, claimed, strict=True)], complete


def undominated_rows(rows: Sequence[FrontRow], objectives: Objectives) -> list[FrontRow]:
    """Rows whose claims no other row's dominate."""
    values = [objectives.values(row.claimed) for row in rows]
    found = non_dominated(np.array(values, float).reshape(len(values), len(objectives.metrics)))
    return [row for row, on in zip(rows, found, strict=True) if on]


def told_apart(rows: Sequence[FrontRow], objectives: Objectives, images: int) -> tuple[list[FrontRow], list[FrontRow]]:
    """Members of a front, and those that are left off because another one is as good by what can be told.

    Args:
        rows: Undominated, in order.
        objectives: Of the run.
        images: Of the validation split; 0 where that is not known.

    Returns:
        Those that stay, and those that do not, which say why; both in order.
    """
    measured = {
        device for device in timed_devices(objectives)
        if all(device in row.measured and row.claimed[f"{PREDICTED}/{device}"] == row.measured[device] for row in rows)
    }  # fmt: skip
    values = np.array([objectives.values(row.claimed) for row in rows], float).reshape(len(rows), len(objectives.metrics))
    found = stand_ins(values, steps_of(objectives, images, measured))
    staying = [row for i, row in enumerate(rows) if found[i] == i]
    others = [replace(row, alike=_alike(row, rows[found[i]], objectives)) for i, row in enumerate(rows) if found[i] != i]
    return staying, others


def _alike(row: FrontRow, other: FrontRow, objectives: Objectives) -> str:
    """`trial 7 (96.86 %, 0.12 ms) than trial 3 (96.52 %, 0.08 ms)`."""
    shown = [", ".join(show(name, one.claimed[name]) for name in objectives.columns) for one in (row, other)]
    return f"{row.title} ({shown[0]}) than {other.title} ({shown[1]})"


def in_order(rows: Sequence[FrontRow], objectives: Objectives) -> list[FrontRow]:
    """Best in the quality first."""
    sign = -1 if objectives.direction(objectives.quality) == "max" else 1
    return sorted(rows, key=lambda row: (sign * row.metrics[objectives.quality], row.number))


def _best(front: Sequence[FrontRow], off: Sequence[FrontRow], objectives: Objectives) -> FrontRow | None:
    """The best of a front, best quality first; members that violate a constraint count only if there are no others.

    A trial `off` the front counts where its reward is higher than every member's. Where the target is a constraint, the member
    with the best quality is the best: a lower cost is worth nothing within it.
    """
    if objectives.limited:
        return next((row for row in front if not row.violated), next(iter(front), None))
    rewarded = [row for row in front if not math.isnan(row.reward)]
    if not rewarded:
        return next((row for row in front if not row.violated), next(iter(front), None))
    kept = [row for row in rewarded if not row.violated] or rewarded
    highest = max(row.reward for row in rewarded)
    others = [row for row in off if row.reward > highest and not row.violated]
    return max([*kept, *others], key=lambda row: (row.reward, -row.number))


def missed_target(best: FrontRow | None, objectives: Objectives) -> str:
    """By how much the best member is over the target of the reward, in words; empty where it is not, or has no target."""
    target = objectives.target
    if best is None or target is None or not objectives.cost or objectives.reward == "first":
        return ""
    value, device = best.claimed.get(metric_of(objectives.cost), math.nan), device_of(metric_of(objectives.cost))
    if not value > target:
        return ""
    how = f" {'measured' if device in best.measured else 'predicted'} on {device}" if device else ""
    over = f"{100 * (value / target - 1):.1f} % over the target of {show(metric_of(objectives.cost), target)}"
    return f"{best.title}, the best, is over the target: {show(metric_of(objectives.cost), value)}{how}, {over}"


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
