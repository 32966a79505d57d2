"""How well short trainings rank what long ones do, from architectures that a run trained for both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.objectives import CLASSIFICATION, TaskMetrics
from nas.records import JSON, Trial

FEW = 5  # architectures below which a correlation means little


@dataclass(frozen=True)
class ProxyRow:
    """Of `count` architectures with results on both fidelities: Kendall's tau-b and Spearman's rho of their primary metrics (nan for
    fewer than two), and how much of the long training's best half the short one's best half has."""

    short: int
    long: int
    count: int
    tau: float
    rho: float
    kept: float


def proxy_rows(trials: Sequence[Trial], task: TaskMetrics = CLASSIFICATION) -> tuple[ProxyRow, ...]:
    """How short trainings rank the architectures that were trained longer too.

    Trials at higher fidelities were chosen by the lower ones, so that correlations are lower than over all architectures.

    Args:
        trials: Of the run.
        task: Names the primary metric.

    Returns:
        A row for each pair of fidelities, the longest last; empty for one fidelity.
    """
    metric, sign = task.primary, -1 if task.metrics[task.primary] == "min" else 1
    found: dict[int, dict[str, float]] = {}
    for trial in trials:
        if trial.ok and trial.repeat_of is None and not math.isnan(trial.metrics.get(metric, math.nan)):
            found.setdefault(trial.fidelity, {})[trial.arch_id] = sign * trial.metrics[metric]
    levels = sorted(found)
    pairs = [(short, long) for long in levels for short in levels if short < long]
    return tuple(_row(short, long, found[short], found[long]) for short, long in pairs)


def _row(short: int, long: int, before: Mapping[str, float], after: Mapping[str, float]) -> ProxyRow:
    from scipy.stats import kendalltau, spearmanr

    shared = sorted(before.keys() & after.keys())
    x, y = np.array([before[k] for k in shared]), np.array([after[k] for k in shared])
    if len(shared) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return ProxyRow(short, long, len(shared), math.nan, math.nan, math.nan)
    half = -(-len(shared) // 2)
    kept = len({*np.argsort(-x, kind="stable")[:half].tolist()} & {*np.argsort(-y, kind="stable")[:half].tolist()}) / half
    tau, rho = float(np.asarray(kendalltau(x, y))[0]), float(np.asarray(spearmanr(x, y))[0])
    return ProxyRow(short, long, len(shared), tau, rho, kept)


def proxy_text(rows: Sequence[ProxyRow], fidelities: Sequence[Mapping[str, JSON]]) -> list[str]:
    """A line a pair, for the terminal."""
    return [
        f"{fidelity_text(row.short, fidelities)} ranks {fidelity_text(row.long, fidelities)} with Kendall tau"
        f" {row.tau:.2f} ({row.count} architectures"
        + (", too few to tell)" if row.count < FEW else ")")
        for row in rows if not math.isnan(row.tau)
    ]  # fmt: skip


def fidelity_text(fidelity: int, fidelities: Sequence[Mapping[str, JSON]]) -> str:
    """`3 epochs`, `1 epoch of 25 % of the images at 16 px`."""
    if fidelity >= len(fidelities):
        return f"fidelity {fidelity}"
    spec = fidelities[fidelity]
    text = f"{spec['epochs']} epoch{'s' * (spec['epochs'] != 1)}"
    text += f" of {spec['fraction']:.0%} of the images" if spec.get("fraction", 1) < 1 else ""
    return text + (f" at {spec['resolution']} px" if spec.get("resolution") else "")
