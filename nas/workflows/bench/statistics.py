"""Medians, quartiles and a test of differences over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Quartiles:
    low: float
    median: float
    high: float


def quartiles(values: Sequence[float | None]) -> Quartiles:
    """Of the values there are; nan without any. A None stands for nothing reached, which is the worst of all."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return Quartiles(np.nan, np.nan, np.nan)
    low, median, high = np.percentile(known, [25, 50, 75])
    return Quartiles(float(low), float(median), float(high))


@dataclass(frozen=True)
class Difference:
    """Of one controller against the best: `p` after Holm's correction, `wins` the fraction of pairs of seeds that it wins
    (Vargha and Delaney's A: .5 is even)."""

    p: float
    wins: float


def differences(finals: Mapping[str, Sequence[float]], more_is_better: bool = True) -> tuple[str, dict[str, Difference]]:
    """The controller with the best median, and every other one against it: two-sided Mann-Whitney U tests (Mann and Whitney
    1947), corrected for their number (Holm 1979)."""
    from scipy.stats import mannwhitneyu

    sign = 1 if more_is_better else -1
    best = max(finals, key=lambda name: sign * float(np.median(finals[name])))
    top, raw, wins = sign * np.array(finals[best]), {}, {}
    for name, values in finals.items():
        if name != best:
            ours = sign * np.array(values)
            equal = np.ptp(np.concatenate([ours, top])) == 0
            raw[name] = 1.0 if equal else float(mannwhitneyu(ours, top, alternative="two-sided").pvalue)
            wins[name] = float(np.mean((ours[:, None] > top) + 0.5 * (ours[:, None] == top)))
    corrected, highest = {}, 0.0
    for i, name in enumerate(sorted(raw, key=raw.__getitem__)):
        highest = max(highest, min(1.0, (len(raw) - i) * raw[name]))
        corrected[name] = highest
    return best, {name: Difference(corrected[name], wins[name]) for name in raw}
