"""The small interface of a tracker, and the observer of a search that feeds them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from nas.records import Trial, trained


class Sink(Protocol):
    """Where figures go."""

    def started(self, number: int, worker: str) -> None: ...
    def curve(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        """How far a training is; `step` counts updates."""
        ...

    def lost(self, number: int, error: str) -> None: ...
    def result(self, trial: Trial) -> None:
        """A trial that was to train has ended, one way or another."""
        ...

    def close(self) -> None: ...


class Tracking:
    """Forwards the events of a search. A sink that fails is left out from then on: watching a run must not end it."""

    def __init__(self, sinks: Mapping[str, Sink]):
        self._sinks = dict(sinks)

    def trial(self, trial: Trial) -> None:
        if trial.done and trained(trial):
            self._each(lambda sink: sink.result(trial))

    def started(self, number: int, worker: str) -> None:
        self._each(lambda sink: sink.started(number, worker))

    def progress(self, number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self._each(lambda sink: sink.curve(number, step, metrics))

    def lost(self, number: int, error: str) -> None:
        self._each(lambda sink: sink.lost(number, error))

    def close(self) -> None:
        self._each(lambda sink: sink.close())

    def _each(self, call: Callable[[Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            try:
                call(sink)
            except Exception as error:
                logging.getLogger("nas").warning("track: %s is left out from here on: %s", name, error, exc_info=error)
                del self._sinks[name]
