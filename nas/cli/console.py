"""What a terminal shows of a workflow: messages as lines, the panel of a search, a line an epoch of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from nas.cli.epochs import Epochs
from nas.objectives import Objectives
from nas.records import Trial
from nas.report.panel import Display
from nas.workflows.progress import Observer


class Console:
    """A `Progress` that prints."""

    def __init__(self) -> None:
        self._epochs = Epochs()

    def message(self, text: str) -> None:
        print(text, flush=True)

    def step(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        self._epochs(done, total, metrics)

    @contextmanager
    def watch(self, goal: int, objectives: Objectives, past: Sequence[Trial]) -> Iterator[Observer]:
        with Display(goal, objectives) as display:
            display.replayed(past)
            yield display
