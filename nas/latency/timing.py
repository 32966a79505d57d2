"""Programs that run on one machine are timed in turns; the latency of each is one number made of all its runs.

Programs are measured in rounds: every program runs a few times, then the next one, and again from the first, so that a
machine that slows down for a while slows all of them alike. Whatever else a machine does makes a run slower and never
faster, so that slow runs, however many there are, carry no information about the network: the latency is the 5th percentile of all
runs, and what lies above it is left out. (The fastest run alone may be luck; the median is the neighbors' as much as the
network's: in seven sessions on a busy machine of two cores the 5th percentile was within 2 % of its own median for nine
networks of ten, the median within 6 to 16 %.) Where the first half of the rounds and the second differ by more than
`DRIFT`, the program is measured again, until they do not or `AGAIN` times as many rounds were run.

The latency that a predictor is fitted to and the one that a report shows as measured are this same number. The median and
the 95th percentile are recorded beside it: they are what a user of the machine as it was would see.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

QUIET = 5.0  # percentile of the runs that is the latency
# Halves of the rounds that differ by this fraction of the latency are measured again, up to AGAIN times as many rounds in all.
DRIFT, AGAIN = 0.05, 3
# Rounds that are run however short the time is: with fewer there are no halves.
LEAST_ROUNDS = 3


T = TypeVar("T")


class DeviceError(ValueError):
    """A network cannot be measured on a device: not compiled, no such backend, or latencies that are no positive numbers."""


@dataclass(frozen=True)
class Program:
    """A compiled network. A call runs it once and returns when its result is there.

    run: does one inference.
    failure: how the error of a run that raises begins, such as `net (1f2e): fails on litert`.
    memory_bytes: by the compiler's analysis; None where it has none.
    many: runs it a few times and returns how often, for a program in another process; None: one run at a time.
    """

    run: Callable[[], object]
    failure: str = "the program fails"
    memory_bytes: int | None = None
    many: Callable[[], int] | None = None

    def __call__(self) -> None:
        """Raises DeviceError where the run raises anything."""
        self._guarded(self.run)

    def burst(self) -> int:
        """Runs it once or several times, without a pause. Returns how often. Raises as a call does."""
        if self.many is not None:
            return self._guarded(self.many)
        self._guarded(self.run)
        return 1

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except DeviceError:
            raise
        except Exception as error:
            raise DeviceError(f"{self.failure}: {first_line(error)}") from error


def first_line(error: Exception, limit: int = 200) -> str:
    """The first line of an exception's message, or its type, cut to `limit` characters."""
    first = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return first if len(first) <= limit else first[: limit - 3] + "..."


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one run of a program.

    latency_ms: the 5th percentile of all runs, the number that counts.
    median_ms, p95_ms: the median and the 95th percentile.
    repeatability: difference of the latencies of the first and the second half of the rounds, as a fraction of `latency_ms`.
    runs: how many there were.
    """

    latency_ms: float
    median_ms: float
    p95_ms: float
    repeatability: float
    runs: int

    @property
    def drifts(self) -> bool:
        """Whether the halves differ so much that the program is to be measured again."""
        return self.repeatability > DRIFT


@dataclass(frozen=True)
class Rounds:
    """How programs are run: `warmup` runs that do not count, then `rounds` of `repeats`, fewer within a limit of seconds."""

    warmup: int = 5
    rounds: int = 20
    repeats: int = 15


def pooled(windows: Sequence[Timing]) -> Timing:
    """One timing of several windows: the median of each number; repeatability between the first half of the windows and the second."""
    if len(windows) == 1:
        return windows[0]
    latency, median, p95 = (float(np.median([getattr(w, key) for w in windows])) for key in ("latency_ms", "median_ms", "p95_ms"))
    half = len(windows) // 2
    first, second = (float(np.median([w.latency_ms for w in part])) for part in (windows[:half], windows[half:]))
    return Timing(latency, median, p95, abs(first - second) / latency, sum(w.runs for w in windows))


def pause(seconds: float) -> None:
    """Waits between windows; not at all with `NAS_PAUSES=0`, for tests."""
    if os.environ.get("NAS_PAUSES", "1") != "0":
        time.sleep(seconds)


def summarize(rounds: Sequence[Sequence[float]], what: str = "program") -> Timing:
    """Makes a `Timing` of the milliseconds of every run.

    Args:
        rounds: The runs of each round, in ms.
        what: The program, for the error.

    Raises:
        DeviceError: No runs, or one of 0 ms or less, or not finite.
    """
    taken = [np.asarray(times, np.float64) for times in rounds if len(times)]
    times = np.concatenate(taken) if taken else np.zeros(0)
    if not len(times) or not np.isfinite(times).all() or times.min() <= 0:
        raise DeviceError(f"{what}: expected times of more than 0 ms, got {_worst(times)}")
    latency = float(np.percentile(times, QUIET))
    halves = [
        np.percentile(np.concatenate(part), QUIET)
        for part in (taken[: len(taken) // 2], taken[len(taken) // 2 :])
        if part
    ]
    repeatability = float(max(halves) - min(halves)) / latency
    return Timing(latency, float(np.median(times)), float(np.percentile(times, 95)), repeatability, len(times))


def _worst(times: np.ndarray) -> str:
    bad = [t for t in times.tolist() if not (math.isfinite(t) and t > 0)]
    return f"{bad[0]} ms" if bad else "no times"


def time_programs(
    programs: Mapping[str, Program],
    clock: Callable[[], float],
    how: Rounds,
    limits_s: Mapping[str, float] | None = None,
) -> dict[str, Timing]:
    """Times programs in turns.

    Args:
        programs: By name.
        clock: Returns seconds.
        how: Warm-up, rounds and repeats.
        limits_s: Seconds for each program, about.

    Returns:
        A `Timing` for each program.

    Every round runs a program `repeats` times, or fewer (at least once) where all its rounds would take over half its limit;
    the other half is for a machine that slows down and for measuring again. No round begins, after the first three, once
    all limits together are spent.
    """
    limits = limits_s or {}
    end = clock() + sum(limits[name] for name in programs) if all(name in limits for name in programs) else math.inf
    counts = {name: _warm(program, clock, how, limits.get(name, math.inf)) for name, program in programs.items()}
    times: dict[str, list[list[float]]] = {name: [] for name in programs}

    def turn(names: Iterable[str]) -> None:
        for name in names:
            times[name].append([_run(programs[name], clock) for _ in range(counts[name])])

    for done in range(how.rounds):
        if done >= min(LEAST_ROUNDS, how.rounds) and clock() > end:
            break
        turn(programs)
    for _ in range((AGAIN - 1) * how.rounds):
        drifting = [name for name, taken in times.items() if how.rounds > 1 and summarize(taken, name).drifts]
        if not drifting or clock() > end:
            break
        turn(drifting)
    return {name: summarize(taken, name) for name, taken in times.items()}


def _warm(program: Program, clock: Callable[[], float], how: Rounds, limit_s: float) -> int:
    """Runs in a round, so that all of them take half of the limit."""
    fastest = min(_run(program, clock) for _ in range(max(how.warmup, 1)))
    if not fastest > 0 or math.isinf(limit_s):
        return how.repeats
    return int(min(max(0.5e3 * limit_s / (fastest * how.rounds), 1), how.repeats))


def _run(program: Program, clock: Callable[[], float]) -> float:
    start = clock()
    program()
    return 1e3 * (clock() - start)
