"""`track=[tensorboard]`: scalars for TensorBoard in `tensorboard/`, by tensorboardX, without TensorFlow or TensorBoard itself.

The run `search` has the metrics of every trial over its number; each trial has its own run with its training curve.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from nas.core.process import environment_kept
from nas.records import Trial


class TensorBoard:
    """A writer for the search, and one for each trial that trains."""

    def __init__(self, folder: Path):
        self._folder = folder / "tensorboard"
        self._search = _EventFile(self._folder / "search")
        self._trials: dict[int, _EventFile] = {}

    def started(self, number: int, worker: str) -> None: ...

    def curve(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        if not metrics:
            return
        if number not in self._trials:
            self._trials[number] = _EventFile(self._folder / f"trial-{number:06d}")
        curves = {f"training/{name}": value for name, value in metrics.items() if name not in ("step", "epoch")}
        self._trials[number].write(curves, step)

    def lost(self, number: int, error: str) -> None:
        self._end(number)

    def result(self, trial: Trial) -> None:
        self._end(trial.number)
        if trial.ok:
            self._search.write(trial.metrics, trial.number)

    def close(self) -> None:
        for number in list(self._trials):
            self._end(number)
        self._search.close()

    def _end(self, number: int) -> None:
        if writer := self._trials.pop(number, None):
            writer.close()


class _EventFile:
    """Scalars in one event file, each on disk when `write` returns.

    tensorboardX's SummaryWriter has a thread and a queue instead, which wait for each other for ever where a Ctrl-C comes
    while an item is put into the queue.
    """

    def __init__(self, folder: Path):
        with environment_kept("CRC32C_SW_MODE"):
            from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.summary import scalar

        for name, value in scalars.items():
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        self._events.flush()

    def close(self) -> None:
        self._events.close()
