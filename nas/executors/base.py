"""What every executor does: take groups of jobs, tell what happens to them, and end one for real."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nas.jobs import Job, Outcome


@dataclass(frozen=True)
class Event:
    """`kind`: `progress` (step of steps, metrics), `done` (outcomes) or `lost` (the worker died; `error` says how)."""

    ticket: int
    kind: str
    outcomes: tuple[Outcome, ...] = ()
    number: int = -1
    step: int = 0
    steps: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


class Executor(Protocol):
    """Runs jobs somewhere. A ticket stands for the jobs of one `submit`, which run together in one worker."""

    def capacity(self) -> int:
        """How many tickets run at once; more may be submitted and wait."""
        ...

    def submit(self, jobs: Sequence[Job]) -> int: ...

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """What happened since the last call; waits up to `timeout_s` seconds where nothing has."""
        ...

    def kill(self, ticket: int) -> None:
        """Ends the process that runs the ticket; no event follows for it."""
        ...

    def close(self) -> None: ...


def run_all(
    executor: Executor, jobs: Sequence[Job], progress: Callable[[int, int], None] = lambda done, total: None,
    retries: int = 2, timeout_s: float | None = None, done: Callable[[int, Outcome], None] = lambda i, outcome: None,
) -> list[Outcome]:  # fmt: skip
    """Runs jobs one a ticket, at most `capacity` at once, and gives their outcomes in order; for work outside the loop.

    `done(i, outcome)` hears of the outcome of the i-th job as soon as it is known.
    A job lost more than `retries` times has the outcome `lost`, one that takes longer than `timeout_s` is ended.
    """
    waiting, active = list(enumerate(jobs))[::-1], {}
    outcomes: dict[int, Outcome] = {}
    tries = [0] * len(jobs)

    def settle(i: int, outcome: Outcome) -> None:
        outcomes[i] = outcome
        done(i, outcome)

    while len(outcomes) < len(jobs):
        while waiting and len(active) < executor.capacity():
            i, job = waiting.pop()
            active[executor.submit([job])] = (i, job, time.monotonic())
        for event in executor.poll(0.5):
            if event.kind == "progress" and event.ticket in active and len(jobs) == 1:
                progress(event.step, event.steps)
            if event.kind == "progress" or event.ticket not in active:
                continue
            i, job, _ = active.pop(event.ticket)
            tries[i] += event.kind == "lost"
            if event.kind == "done":
                settle(i, event.outcomes[0])
            elif tries[i] > retries:
                settle(i, Outcome(job.number, "lost", event.error))
            else:
                waiting.append((i, job))
            if len(jobs) > 1:
                progress(len(outcomes), len(jobs))
        for ticket, (i, job, since) in list(active.items()):
            if timeout_s is not None and time.monotonic() - since > timeout_s:
                executor.kill(ticket)
                del active[ticket]
                settle(i, Outcome(job.number, "timeout", f"took longer than {timeout_s:g} s"))
    return [outcomes[i] for i in range(len(jobs))]
