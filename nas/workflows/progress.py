"""How a workflow reports what it does: to a callback, to a bar with the time left, to the command line, or to nobody.

A workflow prints nothing. It is handed a `Progress` and calls it in the caller's thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from nas.objectives import Objectives
from nas.records import Trial, trained


class Observer(Protocol):
    """Sees the trials of a search: the display, the logs, the trackers."""

    def trial(self, trial: Trial) -> None:
        """A trial began, or ended."""
        ...

    def started(self, number: int, worker: str) -> None: ...
    def progress(self, number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None: ...
    def lost(self, number: int, error: str) -> None:
        """A worker died over this trial; it runs again unless its outcome follows."""
        ...


class Progress(Protocol):
    """What a workflow reports to."""

    def message(self, text: str) -> None:
        """One line for people."""
        ...

    def step(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """A training in this process: updates done of all, and the metrics so far."""
        ...

    def watch(self, goal: int, objectives: Objectives, past: Sequence[Trial]) -> AbstractContextManager[Observer]:
        """Begins to follow a search for `goal` trials, of which the journal has those in `past` already."""
        ...


@dataclass(frozen=True)
class Update:
    """What a callback receives.

    Args:
        kind: `message`, `step` (a training in this process), `trial` (one ended), `started`, `progress` (a trial in a
            worker) or `lost` (its worker died).
        text: One line for people.
        number: Number of the trial, -1 where there is none.
        done: Trials or steps that are done.
        total: Of how many.
        metrics: Metrics so far.
    """

    kind: Literal["message", "step", "trial", "started", "progress", "lost"]
    text: str = ""
    number: int = -1
    done: int = 0
    total: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


Reporting = bool | Callable[[Update], object] | Progress | None  # what `progress=` of the Python API takes


class Silent:
    """Messages go to the log alone."""

    def message(self, text: str) -> None:
        logging.getLogger("nas").info(text)

    def step(self, done: int, total: int, metrics: Mapping[str, float]) -> None: ...

    def watch(self, goal: int, objectives: Objectives, past: Sequence[Trial]) -> AbstractContextManager[Observer]:
        return contextlib.nullcontext(Several())


SILENT = Silent()


class Callback:
    """Hands everything to a function as an `Update`."""

    def __init__(self, function: Callable[[Update], object]):
        self._function = function

    def message(self, text: str) -> None:
        self._function(Update("message", text))

    def step(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        self._function(Update("step", "", -1, done, total, metrics))

    @contextmanager
    def watch(self, goal: int, objectives: Objectives, past: Sequence[Trial]) -> Iterator[Observer]:
        yield Watcher(self._function, goal, sum(trial.done and trained(trial) for trial in past))


class Watcher:
    """The trials of a search as updates."""

    def __init__(self, function: Callable[[Update], object], goal: int, done: int):
        self._function, self._goal, self._done = function, goal, done

    def trial(self, trial: Trial) -> None:
        if trial.done and trained(trial):
            self._done += 1
            text = trial.outcome or "" if trial.ok else f"{trial.outcome}: {trial.error}"
            self._function(Update("trial", text, trial.number, self._done, self._goal, trial.metrics))

    def started(self, number: int, worker: str) -> None:
        self._function(Update("started", worker, number, self._done, self._goal))

    def progress(self, number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self._function(Update("progress", "", number, step, steps, metrics))

    def lost(self, number: int, error: str) -> None:
        self._function(Update("lost", error, number, self._done, self._goal))


class Several:
    """Observers as one."""

    def __init__(self, *observers: Observer):
        self._observers = observers

    def trial(self, trial: Trial) -> None:
        for observer in self._observers:
            observer.trial(trial)

    def started(self, number: int, worker: str) -> None:
        for observer in self._observers:
            observer.started(number, worker)

    def progress(self, number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        for observer in self._observers:
            observer.progress(number, step, steps, metrics)

    def lost(self, number: int, error: str) -> None:
        for observer in self._observers:
            observer.lost(number, error)
