"""An executor, a display and a problem for the search loop, without any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nas.cost import Costs
from nas.objectives import Objectives
from nas.problem import Problem
from nas.records import Job, Outcome
from nas.runtime.base import JobEvent
from nas.runtime.dispatch import AHEAD
from nas.space import Space, load_space

AXES = Objectives((("accuracy", "max"), ("params", "min")), reward="mnas_soft", cost="params", target=30_000.0)


class Killed(Exception):
    """What stands for kill -9 of the driver: nothing after it runs."""


class Shuffled:
    """Ends jobs in an order of its own, as `make` says; loses some of them; raises Killed after `polls`."""

    dashboard = ""
    notes = ()

    def __init__(
        self, seed: int, workers: int, lose: float = 0.0, polls: int | None = None, make: Callable[[Job], Outcome] | None = None
    ):
        self._make = make or result
        self._rng, self._workers, self._lose, self._polls = np.random.default_rng(seed), workers, lose, polls
        self._running: dict[int, Job] = {}
        self._tickets = 0

    def capacity(self) -> int:
        return self._workers

    def submit(self, jobs: Sequence[Job]) -> int:
        self._tickets += 1
        self._running[self._tickets] = jobs[0]
        assert len(self._running) <= self._workers + AHEAD
        return self._tickets

    def poll(self, timeout_s: float) -> Sequence[JobEvent]:
        if self._polls is not None:
            self._polls -= 1
            if self._polls < 0:
                raise Killed
        if not self._running:
            return []
        at_work = list(self._running)[: self._workers]
        ticket = at_work[self._rng.integers(len(at_work))]
        job = self._running.pop(ticket)
        if self._rng.random() < self._lose:
            return [JobEvent(ticket, "lost", error="made up")]
        return [JobEvent(ticket, "done", (self._make(job),))]

    def kill(self, ticket: int) -> None:
        self._running.pop(ticket, None)

    def close(self) -> None: ...


def result(job: Job) -> Outcome:
    """A pure function of the job: some fail."""
    number = int(job.arch_id, 16)
    if number % 7 == 0:
        return Outcome(job.number, "nan", "loss is nan")
    return Outcome(job.number, "ok", metrics={"accuracy": number % 1000 / 1000 + job.seed % 10 * 1e-5, "loss": 1.0})


class Silent:
    def trial(self, trial: Any) -> None: ...
    def started(self, number: int, worker: str) -> None: ...
    def progress(self, number: int, step: int, steps: int, metrics: Any) -> None: ...
    def lost(self, number: int, error: str) -> None: ...


def problem(space: Space, objectives: Objectives = AXES) -> Problem:
    table = Costs(space)
    return Problem(space, objectives, table, table.features)


TINY = load_space("tiny").fit(8, 1, 10)

ONLY = {
    "name": "one",
    "resolution": 8,
    "stem": {"op": "conv", "width": 8},
    "stages": [{"op": "conv", "width": 8}],
    "head": {"op": "classifier"},
}
