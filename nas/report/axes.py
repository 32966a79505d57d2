"""Axes of a plot: range, scale and round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOG_FROM, LOG_TO = 20.0, 1e30  # ratios of high to low that are drawn on a logarithmic axis
ONE_VALUE = 1e-9  # values that differ by less than this fraction of themselves are drawn as one: their labels would be equal


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on pixels from `start` to `end`; values outside are drawn at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Pixel of a value."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        fraction = (self._scaled(min(max(value, self.low), self.high)) - low) / (high - low)
        return self.start + fraction * (self.end - self.start)

    def outside(self, value: float) -> bool:
        """Whether a value lies beyond the range."""
        return not self.low <= value <= self.high

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values within the range."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            rare = -(-len(powers) // count)
            for digits, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), rare)):
                found = [d * 10.0**p for p in powers[::every] for d in digits if self.low <= d * 10.0**p <= self.high]
                if 3 <= len(found) <= count + 2:
                    return found
        return _round_steps(self.low, self.high, count)

    def whole_ticks(self, count: int = 5) -> list[int]:
        """The whole numbers among the ticks, for what is counted."""
        return [round(tick) for tick in self.ticks(count) if abs(tick - round(tick)) < 1e-6]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def axis(
    values: Sequence[float], kept: Sequence[float], start: float, end: float, ceiling: float = math.inf, log: bool = True
) -> Axis:
    """An axis for points: all of `kept` and the inliers of `values`, so that a few outliers do not squeeze the rest.

    Args:
        values: Points that may lie outside.
        kept: Points that must lie inside.
        start: Pixel of the low end.
        end: Pixel of the high end.
        ceiling: A bound of the high end.
        log: Whether a logarithmic axis is allowed.

    Returns:
        The axis; it never begins below 0 for values that do not.
    """
    expected = [v for v in kept if math.isfinite(v)]
    cloud = np.array([v for v in values if math.isfinite(v)])
    if len(cloud):
        first, third = np.quantile(cloud, [0.1, 0.9])
        reach = 1.5 * (third - first)
        inside = cloud[(cloud >= first - reach) & (cloud <= third + reach)]
        expected += [float(inside.min()), float(inside.max())]
    low, high = (min(expected), max(expected)) if expected else (0.0, 1.0)
    if log and low * LOG_FROM <= high <= low * LOG_TO and low > 0:
        margin = (high / low) ** 0.05
        return Axis(low / margin, high * margin, start, end, log=True)
    several = high - low > ONE_VALUE * max(abs(low), abs(high))
    margin = 0.06 * (high - low) if several else abs(high) * 0.1 or 1.0
    return Axis(max(low - margin, 0.0) if low >= 0 else low - margin, max(high, min(high + margin, ceiling)), start, end)


def _round_steps(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
