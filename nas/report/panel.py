"""What a search shows while it runs: a live panel in a terminal, a line a trial anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.objectives import Objectives, device_of
from nas.records import Trial, trained

MAX_WORKERS = 16  # lines of the panel
WORTH_TELLING_S = 600.0  # a search that takes longer says so at its beginning


@dataclass
class _Running:
    """What a worker does now."""

    worker: str
    since: float
    fraction: float = 0.0
    first: tuple[float, int] | None = None  # when it was first heard of, and at which step


class Display:
    """Counts trials as they come and keeps the front; `trials` is the goal. Use as a context manager around the loop."""

    def __init__(self, trials: int, objectives: Objectives, live: bool | None = None):
        self._goal, self._objectives = trials, objectives
        self._console = Console(file=sys.stdout, highlight=False)
        self._live = (
            Live(console=self._console, refresh_per_second=4)
            if (self._console.is_terminal if live is None else live)
            else None
        )
        self._running: dict[int, _Running] = {}
        self._front = np.empty((0, len(objectives.metrics)))
        self._best: tuple[float, Trial] | None = None
        self._longest = 0  # fidelity of the front, as a short training's accuracy is not to be set beside a long one's
        self._counted = self._failed = self._infeasible = self._fresh = 0
        self._start = time.monotonic()
        self._told = False

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.update(self._panel(), refresh=True)
            self._live.stop()

    def message(self, line: str) -> None:
        """One line above the panel."""
        self._console.print(line, markup=False, soft_wrap=True)

    def replayed(self, trials: Iterable[Trial]) -> None:
        """Trials that the journal had already."""
        for trial in trials:
            if trial.done:
                self._count(trial)

    def trial(self, trial: Trial) -> None:
        """Shows a finished trial."""
        if trial.done:
            self._running.pop(trial.number, None)
            self._count(trial)
            self._fresh += trained(trial)
            if not self._live and trained(trial):
                self.message(self._line(trial))
        self._refresh()

    def started(self, number: int, worker: str) -> None:
        """Shows that a worker has begun a trial."""
        self._running[number] = _Running(worker, time.monotonic())
        self._refresh()

    def progress(self, number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        """Shows the progress of a trial in training."""
        if running := self._running.get(number):
            running.fraction = step / steps if steps else 0.0
            self._tell_cost(running, step, steps)
            self._refresh()

    def _tell_cost(self, running: _Running, step: int, steps: int) -> None:
        """Once, before any trial has ended: what a trial takes and all of them, where that is worth a thought."""
        if self._told or self._fresh or not step:
            return
        now = time.monotonic()
        if running.first is None:
            running.first = now, step
            return
        took = trial_seconds(running.since, running.first, (now, step), steps)
        if took is None:
            return
        self._told = True
        workers, left = max(len({r.worker for r in self._running.values()}), 1), max(self._goal - self._counted, 0)
        if (total := took * left / workers) > WORTH_TELLING_S:
            self.message(
                f"about {duration(took)} a trial, {duration(total)} for {left} trials with {workers} at a time; shorter with fewer "
                "recipe.epochs, a smaller dataset.train_size or resolution, a smaller space, or more workers"
            )

    def lost(self, number: int, error: str) -> None:
        """Reports a trial whose worker died, at once."""
        self._running.pop(number, None)
        self.message(f"trial {number} was lost: {error}")

    def _count(self, trial: Trial) -> None:
        self._counted += trained(trial)
        self._infeasible += trial.outcome == "infeasible"
        self._failed += trained(trial) and not trial.ok
        if trial.ok and trial.repeat_of is None and trial.fidelity >= self._longest:
            if trial.fidelity > self._longest:
                self._longest, self._front, self._best = trial.fidelity, self._front[:0], None
            values = self._objectives.values(trial.metrics)
            if not (self._front <= values).all(1).any():
                self._front = np.vstack([self._front[~(values <= self._front).all(1)], values])
            reward = self._objectives.reward_of(trial.metrics)
            if np.isfinite(reward) and (self._best is None or reward > self._best[0]):
                self._best = (reward, trial)

    def _left(self) -> str:
        """Time left, from the pace of this process."""
        if not self._fresh:
            return "time left unknown"
        seconds = (time.monotonic() - self._start) / self._fresh * max(self._goal - self._counted, 0)
        return "about " + duration(seconds) + " left"

    def _line(self, trial: Trial) -> str:
        what = shown_metrics(trial.metrics, self._objectives.quality) if trial.ok else f"{trial.outcome}: {trial.error}"
        left = f", {self._left()}" if self._counted < self._goal else ""
        return f"[{self._counted}/{self._goal}] trial {trial.number}: {what}  (front {len(self._front)}{left})"

    def _workers(self) -> list[str]:
        """A line a worker: the trial, how far it is, how long it runs."""
        shown = sorted(self._running.items(), key=lambda item: (item[1].worker, item[0]))
        lines = [
            f"{r.worker or 'this process':<24} trial {number:<6} {100 * r.fraction:3.0f}%  {duration(time.monotonic() - r.since)}"
            for number, r in shown[:MAX_WORKERS]
        ]
        return lines + [f"... and {len(shown) - MAX_WORKERS} more workers"] * (len(shown) > MAX_WORKERS)

    def _refresh(self) -> None:
        if self._live:
            self._live.update(self._panel())

    def _panel(self) -> Group:
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=max(self._goal, 1), completed=min(self._counted, self._goal), width=30),
            f"{self._counted}/{self._goal} trials", "·", f"front {len(self._front)}", "·", f"{self._failed} failed", "·",
            f"{self._infeasible} infeasible", "·", self._left() if self._counted < self._goal else "done",
        )  # fmt: skip
        rows: list[Any] = [head]
        if self._best:
            rows.append(Text(f"best  trial {self._best[1].number}: {shown_metrics(self._best[1].metrics, self._objectives.quality)}"))
        rows += [Text(line, style="dim") for line in self._workers()]
        return Group(*rows)


def trial_seconds(since: float, first: tuple[float, int], now: tuple[float, int], steps: int) -> float | None:
    """What a trial takes, from two reports of it: the time before its first step, and so many steps at the pace since.

    Args:
        since: When it began.
        first, now: When it reported, and the step that it was at.
        steps: Of the whole training.

    Returns:
        Seconds; None while the step is the same.
    """
    if now[1] <= first[1] or now[0] <= first[0]:
        return None
    step = (now[0] - first[0]) / (now[1] - first[1])
    return max(first[0] - since - first[1] * step, 0.0) + steps * step


def shown_metrics(metrics: Mapping[str, float], quality: str) -> str:
    """Metrics in a line for people: the quality, latencies, parameters, multiply-adds."""
    parts = [f"{quality} {metrics[quality]:.4f}"] if quality in metrics else []
    parts += [f"{device} {value:.3g} ms" for name, value in metrics.items() if (device := device_of(name))]
    parts += [f"{si(metrics[k])} {k}" for k in ("params", "macs") if k in metrics]
    return ", ".join(parts)


def si(value: float) -> str:
    """`1234567` as `1.23M`."""
    for power, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * power:  # 999,999 rounds to 1M
            return f"{value / power:.3g}{suffix}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as `40 s`, `3 min` or `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
