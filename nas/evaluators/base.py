"""What an evaluator is: jobs in, outcomes out; whatever goes wrong with a candidate becomes a typed outcome."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nas.data import Dataset, load_dataset
from nas.data.split import subset
from nas.records import DiskFullError, Fidelity, Job, Outcome, Report

if TYPE_CHECKING:
    from nas.train import Checkpoints

CHECKPOINT_PAUSE_S = 20.0  # a trial that takes less is run again from its start


@dataclass(frozen=True)
class Context:
    """What evaluators share in a worker: the resolved settings, the folder for files, the space, the dataset (read once)."""

    settings: Mapping[str, Any]
    storage: Path
    worker: str = ""
    space: Mapping[str, Any] = field(default_factory=dict)  # as `Space.to_dict` gives it
    loaded: Dataset | None = None

    @cached_property
    def dataset(self) -> Dataset:
        return self.loaded or load_dataset(self.settings["dataset"])

    def weights(self, number: int) -> Path:
        """Where the weights of a trial are kept."""
        return self.storage / "checkpoints" / f"trial-{number:06d}.npz"

    def checkpoints(self, number: int, last: bool = False, kind: str = "") -> Checkpoints:
        """Those of a trial in training, from which it goes on when its worker dies; `last`: and a longer one after it.

        `kind` tells apart trainings of a trial on other data.
        """
        from nas.train import Checkpoints

        folder = self.weights(number).with_suffix("")
        return Checkpoints(folder.with_name(folder.name + kind), keep=1, pause_s=CHECKPOINT_PAUSE_S, last=last)

    def dataset_at(self, fidelity: Fidelity) -> Dataset:
        """The dataset of a fidelity: fewer training images, the classes in proportion, or another size."""
        key = (fidelity.fraction, fidelity.resolution)
        if key not in self._fidelities:
            found = self.dataset
            if fidelity.resolution not in (None, found.resolution):
                found = load_dataset({**self.settings["dataset"], "resolution": fidelity.resolution})
            if fidelity.fraction < 1:
                rows = subset(found.train.targets, np.arange(len(found.train)), max(round(fidelity.fraction * len(found.train)), 1), (0,))
                found = dataclasses.replace(found, train=found.train.take(rows))
            self._fidelities[key] = found
        return self._fidelities[key]

    @cached_property
    def _fidelities(self) -> dict[tuple[float, int | None], Dataset]:
        return {}


class Evaluator(Protocol):
    """Turns jobs of one group into outcomes, in order. `group`: how many jobs it likes in one program."""

    @property
    def group(self) -> int: ...

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]: ...


class EvaluatorSettings(Protocol):
    """A frozen settings dataclass; `make` gives the evaluator of a worker.

    One whose outcomes have more than accuracy and loss says so in `METRICS: ClassVar = {"f1": "max"}`, the names with the
    way that is better; a search can then take them as axes and limits.
    """

    def make(self, context: Context) -> Evaluator: ...


def guarded(job: Job, worker: str, work: Callable[[], Outcome]) -> Outcome:
    """Runs a job; an exception becomes the outcome it stands for."""
    try:
        return work()
    except Exception as error:
        return failed(job, worker, error)


def failed(job: Job, worker: str, error: Exception) -> Outcome:
    """The outcome of a job that raised; the traceback goes to the worker's log. Raises DiskFullError where a disk is full."""
    if any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT)):
        raise DiskFullError(str(error)) from error
    logging.getLogger("nas").error("job %s %s of %s", job.kind, job.number, job.arch_id, exc_info=error)
    kind, text = classify(error)
    return Outcome(job.number, kind, text, worker=worker)


def classify(error: BaseException) -> tuple[str, str]:
    """(outcome, one line) of an exception that a candidate raised."""
    text = " ".join(str(error).split())[:500]
    name = type(error).__name__
    if name == "Diverged":
        return "nan", text
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return "oom", text or "out of memory"
    if name in ("XlaRuntimeError", "JaxRuntimeError"):
        return "compile_error", text
    return "error", f"{name}: {text}" if text else name
