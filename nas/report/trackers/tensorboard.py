"""`track=[tensorboard]`: scalars for TensorBoard in `tensorboard/`, by tensorboardX, without TensorFlow or TensorBoard itself.

The run `search` has the metrics of every trial over its number; each trial has its own run with its training curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.core.process import environment_kept
from nas.records import Trial


class TensorBoard:
    """A writer for the search, and one for each trial that trains."""

    def __init__(self, folder: Path):
        self._folder = folder / "tensorboard"
        self._search = _writer(self._folder / "search")
        self._trials: dict[int, Any] = {}

    def started(self, number: int, worker: str) -> None: ...

    def curve(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        if not metrics:
            return
        if number not in self._trials:
            self._trials[number] = _writer(self._folder / f"trial-{number:06d}")
        for name, value in metrics.items():
            if name not in ("step", "epoch"):
                self._trials[number].add_scalar(f"training/{name}", value, step)

    def lost(self, number: int, error: str) -> None:
        self._end(number)

    def result(self, trial: Trial) -> None:
        self._end(trial.number)
        for name, value in trial.metrics.items() if trial.ok else ():
            self._search.add_scalar(name, value, trial.number)

    def close(self) -> None:
        for number in list(self._trials):
            self._end(number)
        self._search.close()

    def _end(self, number: int) -> None:
        if writer := self._trials.pop(number, None):
            writer.close()


def _writer(folder: Path) -> Any:
    with environment_kept("CRC32C_SW_MODE"):
        from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), flush_secs=10)
