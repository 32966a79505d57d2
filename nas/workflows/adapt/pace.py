"""How far a NetAdapt is and how long it may still take, reported now and then while trainings run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nas.report.panel import duration

EVERY_S = 15.0  # between two lines within a step


@dataclass
class Pace:
    """Counts this session's trainings. The time left is estimated from the steps taken so far and their seconds."""

    message: Callable[[str], object]
    clock: Callable[[], float] = time.monotonic
    _trained: int = 0
    _proposals: list[int] = field(default_factory=list)
    _began: float = 0.0
    _reported: float = 0.0

    def __post_init__(self) -> None:
        self._began = self._reported = self.clock()

    def trained(self, step: int, done: int, total: int, after: int) -> None:
        """`done` of `total` proposals of a step are trained, and `after` more steps are expected."""
        self._trained += 1
        if done < total and self._due():
            more = f", {after} more step{'s' * (after != 1)} expected" if after else ""
            self.message(f"step {step}: {done} of {total} proposals trained{more}, about {self._left(total - done, total, after)} left")

    def stepped(self, proposals: int, after: int) -> str:
        """The end of a step's line; nothing after the last step, and where this session trained nothing yet."""
        self._proposals.append(proposals)
        self._reported = self.clock()
        if not after:
            return ""
        text = f"{after} more expected"
        return f", {text}, about {self._left(0, proposals, after)} left" if self._trained else f", {text}"

    def final(self, step: int, steps: int) -> None:
        """Steps of the last training."""
        if step == 0 or step == steps:
            self._began = self.clock()
        elif self._due():
            left = (self.clock() - self._began) / step * (steps - step)
            self.message(f"final training: {100 * step // steps} %, about {duration(left)} left")

    def _due(self) -> bool:
        if self.clock() - self._reported < EVERY_S:
            return False
        self._reported = self.clock()
        return True

    def _left(self, now: int, total: int, after: int) -> str:
        each = sum(self._proposals) / len(self._proposals) if self._proposals else total
        return duration((now + after * each) * (self.clock() - self._began) / self._trained)


def steps_left(latencies_ms: Sequence[float], cut_ms: float, target_ms: float) -> int:
    """Steps from the last latency to the target, if they cut as much as those so far did on the average, or `cut_ms`."""
    over = latencies_ms[-1] - target_ms
    if over <= 0:
        return 0
    taken = len(latencies_ms) - 1
    mean = (latencies_ms[0] - latencies_ms[-1]) / taken if taken else cut_ms
    return math.ceil(over / max(mean, 1e-12) - 1e-9)

