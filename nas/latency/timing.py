"""Times of programs that run on one machine, taken in turns, and what is made of them.

Programs are measured in rounds: every program runs a few times, then the next one, and again from the first, so that a
machine that slows down for a while slows all of them alike. A time is an outlier, and dropped, where it lies more than
`OUTLIER` scaled median absolute deviations above the median (an interruption by the system, never a fast run); the 95th
percentile counts every time, outliers too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

OUTLIER = 5.0
# A standard deviation is this many median absolute deviations of normal noise; a clock that ticks coarsely has a deviation
# of 0, so that one percent of the median is the least that counts.
MAD_SCALE, MAD_FLOOR = 1.4826, 0.01

Program = Callable[[], object]


class DeviceError(ValueError):
    """A device that cannot measure what it was given: no compilation, no such backend, times that are none."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one run. `repeatability`: (highest - lowest) / median over the medians of the rounds.

    `quiet_ms` is the lowest of these medians: a machine that others use too is slow in some rounds, never too fast.
    """

    median_ms: float
    quiet_ms: float
    p95_ms: float
    repeatability: float
    runs: int
    dropped: int


def summarise(rounds: Sequence[Sequence[float]], what: str = "program") -> Timing:
    """A `Timing` from the milliseconds of every run, round by round. Raises DeviceError for times that are none."""
    times = np.array([t for times in rounds for t in times], np.float64)
    if not len(times) or not np.isfinite(times).all() or times.min() <= 0:
        raise DeviceError(f"{what}: wanted times of more than 0 ms, got {_worst(times)}")
    middle = float(np.median(times))
    spread = max(MAD_SCALE * float(np.median(np.abs(times - middle))), MAD_FLOOR * middle)
    limit = middle + OUTLIER * spread
    kept = times[times <= limit]
    chunks = [np.median(inside) for r in rounds if len(inside := np.asarray(r)[np.asarray(r) <= limit])]
    median = float(np.median(kept))
    repeatability = float(max(chunks) - min(chunks)) / median
    p95 = float(np.percentile(times, 95))
    return Timing(median, float(min(chunks)), p95, repeatability, len(times), len(times) - len(kept))


def _worst(times: np.ndarray) -> str:
    bad = [t for t in times.tolist() if not (math.isfinite(t) and t > 0)]
    return f"{bad[0]} ms" if bad else "no times"


def time_programs(
    programs: Mapping[str, Program],
    clock: Callable[[], float],
    *,
    warmup: int,
    rounds: int,
    repeats: int,
    limits_s: Mapping[str, float] | None = None,
) -> dict[str, Timing]:
    """Runs programs in turns; each must return when its result is there. `clock` gives seconds.

    Every round runs a program `repeats` times, or fewer (at least once) where all its rounds would take over its limit.
    """
    limits = limits_s or {}
    counts = {
        name: _warm(program, clock, warmup, rounds, repeats, limits.get(name, math.inf))
        for name, program in programs.items()
    }
    times: dict[str, list[list[float]]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            times[name].append([_run(program, clock) for _ in range(counts[name])])
    return {name: summarise(taken, name) for name, taken in times.items()}


def _warm(program: Program, clock: Callable[[], float], warmup: int, rounds: int, repeats: int, limit_s: float) -> int:
    fastest = min(_run(program, clock) for _ in range(max(warmup, 1)))
    if not fastest > 0 or math.isinf(limit_s):
        return repeats
    return int(min(max(1e3 * limit_s / (fastest * rounds), 1), repeats))


def _run(program: Program, clock: Callable[[], float]) -> float:
    start = clock()
    program()
    return 1e3 * (clock() - start)
