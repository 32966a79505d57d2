"""`progress=True`: a bar with the time left, on standard error or under the cell of a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from nas.objectives import Objectives
from nas.records import Trial, trained
from nas.workflows.progress import Observer, Update, Watcher


class Bar:
    """One bar for the trials of a search, or for the steps of a training; messages stand above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar: RichProgress | None = None

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def step(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        if self._bar is None:
            self._bar = self._new()
            self._bar.start()
            self._bar.add_task("training", total=total)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total, description=_shown(metrics) or "training")
        if done >= total:
            self._bar.stop()
            self._bar = None

    @contextmanager
    def watch(self, goal: int, objectives: Objectives, past: Sequence[Trial]) -> Iterator[Observer]:
        done = sum(trial.done and trained(trial) for trial in past)
        with self._new() as bar:
            task = bar.add_task("trials", total=goal, completed=done)

            def seen(update: Update) -> None:
                if update.kind == "trial":
                    bar.update(task, completed=update.done, description=_shown(update.metrics) or "trials")
                elif update.kind == "lost":
                    self.message(f"trial {update.number} was lost: {update.text}")

            yield Watcher(seen, goal, done)

    def _new(self) -> RichProgress:
        """Standard output and error stay the caller's own."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        return RichProgress(*columns, console=self._console, redirect_stdout=False, redirect_stderr=False)


def _shown(metrics: Mapping[str, float]) -> str:
    """The first two metrics, for people."""
    shown = [(name, value) for name, value in metrics.items() if name not in ("epoch", "step")]
    return ", ".join(f"{name} {value:.4g}" for name, value in shown[:2])
