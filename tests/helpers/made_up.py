"""A plugin as a user would write one: a block, a dataset, a controller and an evaluator; the tests name it in `plugins=`.

The evaluator needs no training: accuracy is a formula of the genome's costs, so that a search takes milliseconds.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nas.arch import arch_from_dict
from nas.cost import cost
from nas.data import Dataset, DatasetSettings, Split
from nas.evaluators import Capabilities, Context, EvaluatorSettings
from nas.records import Fidelity, Job, Outcome, Proposal, Report


def twin_conv(g: Any, x: int, *, stride: int = 1, width: int, kernel: int = 3, act: str = "relu") -> int:
    """Two convolutions side by side, added."""
    a = g.conv_norm_act(x, width, kernel, stride, act, "a")
    b = g.conv_norm_act(x, width, 1, stride, act, "b")
    return g.add(a, b)


@dataclass(frozen=True)
class Stripes(DatasetSettings):
    """Images of horizontal or vertical stripes with noise."""

    images: int = 200

    def load(self) -> Dataset:
        rng = np.random.default_rng(0)
        labels = np.arange(self.images, dtype=np.int32) % 2
        pattern = np.broadcast_to(np.where(np.arange(8) % 2, 255, 0), (8, 8))
        images = np.where(labels[:, None, None] == 1, pattern, pattern.T) * 0.8 + rng.integers(
            0, 50, (self.images, 8, 8)
        )
        parts = [Split(images[i::3][..., None].astype(np.uint8), labels[i::3]) for i in range(3)]
        return Dataset("stripes", ("rows", "columns"), *parts, resolution=8, channels=1, mean=(0.45,), std=(0.4,))


@dataclass(frozen=True)
class FirstNew:
    """Goes through the space in order of a shuffled deck."""

    shuffle: bool = True
    fidelities: ClassVar[tuple[Fidelity, ...]] = ()

    def init(self, problem: Any, seed: int) -> Any:
        genomes = list(problem.space.enumerate())
        order = np.random.default_rng(seed).permutation(len(genomes)) if self.shuffle else range(len(genomes))
        return tuple(genomes[i] for i in order), frozenset()

    def ask(self, state: Any, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        deck, observed = state
        busy = {p.genome for p in pending}
        return Proposal(next((g for g in deck if g not in observed and g not in busy), deck[0]))

    def tell(self, state: Any, trial: Any, rng: np.random.Generator) -> Any:
        return state[0], state[1] | {trial.genome}


@dataclass(frozen=True)
class Formula(EvaluatorSettings):
    """Accuracy from a hash and the MACs of the architecture.

    `fail`: fraction of architectures that fail by nan; `kill`: the first time that a worker gets one of this fraction of
    trials, it kills itself; `seconds`: how long a trial takes, after the first `quick` ones; `eats`: trial 0 takes all the memory it gets;
    `leaves`: GiB that a trial leaves in its worker; `full`: there is no room on the disk, until a file `room` is in the storage;
    `gate`: a file with a number: as long as so many trials are done, all others wait, each beside a file named by its process.
    """

    fail: float = 0.0
    kill: float = 0.0
    seconds: float = 0.0
    quick: int = 0
    eats: bool = False
    leaves: float = 0.0
    full: bool = False
    gate: str = ""

    capabilities: ClassVar[Capabilities] = Capabilities(fidelities=True, metrics={"margin": "max"})

    def make(self, context: Context) -> Any:
        return _Formula(self, context)


LEFT: list[np.ndarray] = []


class _Formula:
    def __init__(self, settings: Formula, context: Context):
        self._settings, self._context = settings, context

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        return [self._one(job, report) for job in jobs]

    def _one(self, job: Job, report: Report) -> Outcome:
        chance = int(hashlib.sha256(f"{job.arch_id}".encode()).hexdigest()[:8], 16) / 2**32
        mark = Path(self._context.storage, f".killed-{job.number}")
        if chance < self._settings.kill and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self._settings.full and not Path(self._context.storage, "room").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        LEFT.append(np.ones(int(self._settings.leaves * 2**27)))
        hoard = []
        while self._settings.eats and job.number == 0:
            hoard.append(np.ones(2**22))
        if self._settings.seconds and job.number >= self._settings.quick:
            time.sleep(self._settings.seconds)
        if self._settings.gate:
            _wait(Path(self._settings.gate), Path(self._context.storage, "journal.sqlite"))
        report(job.number, 1, 1, {})
        if job.kind == "train" and chance < self._settings.fail:
            return Outcome(job.number, "nan", "made up")
        macs = cost(arch_from_dict(dict(job.arch))).macs
        accuracy = 0.9 - 0.5 / np.log10(10 + macs) + 0.05 * chance + (job.seed % 1000) * 1e-6
        return Outcome(
            job.number,
            "ok",
            metrics={"accuracy": float(accuracy), "loss": float(1 - accuracy), "margin": chance},
            worker=str(os.getpid()),
        )


def finished(journal: Path) -> int:
    """Trials with an outcome, read as anybody may while the run is writing; -1 where it cannot be read."""
    if not journal.exists():
        return -1
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        try:
            return database.execute("select count(*) from trial where outcome is not null").fetchone()[0]
        except sqlite3.OperationalError:
            return -1


def _wait(gate: Path, journal: Path) -> None:
    mark = Path(f"{gate}-{os.getpid()}")
    while not 0 <= finished(journal) < int(gate.read_text()):
        mark.touch()
        time.sleep(0.05)  # nobody tells a worker that the number has changed
    mark.unlink(missing_ok=True)


BLOCKS = {"twin_conv": twin_conv}
DATASETS = {"stripes": Stripes}
CONTROLLERS = {"first_new": FirstNew}
EVALUATORS = {"formula": Formula}
