"""Keeps an executor busy: hands out jobs, retries lost ones, ends those that take too long."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nas.records import DiskFullError, Job, Outcome
from nas.runtime.base import Cause, Executor, JobEvent

AHEAD = 2  # jobs that wait in the executor, so that a worker is not idle while the driver records its last outcome
NODE_LOSSES = 20  # a lost node is seldom a candidate's fault, but one that takes every node down must end


@dataclass(frozen=True)
class Loss:
    """A job whose worker died. `counts`: whether it is one of the tries that `retries` limits."""

    job: Job
    error: str
    cause: Cause
    counts: bool


@dataclass
class Running:
    """A job that was handed out; `since` is when its worker began, or None."""

    job: Job
    since: float | None = None
    worker: str = ""
    step: int = 0
    steps: int = 0


class Dispatcher:
    """Runs jobs through an executor, one a ticket.

    Args:
        executor: Where jobs run.
        retries: How often a job whose worker died is run again.
        timeout_s: Seconds after which a job that started is ended; None is no limit.
        lost: Called with every loss.
        seen: Called with events of kind `started` and `progress`.
        clock: Seconds, for `timeout_s`.
    """

    def __init__(
        self, executor: Executor, retries: int, timeout_s: float | None = None,
        lost: Callable[[Loss], None] = lambda loss: None, seen: Callable[[JobEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self._executor, self._retries, self._timeout_s = executor, retries, timeout_s
        self._lost, self._seen, self._clock = lost, seen, clock
        self._waiting: deque[Job] = deque()
        self._tries: Counter[int] = Counter()
        self._nodes: Counter[int] = Counter()
        self.running: dict[int, Running] = {}  # by ticket

    def __len__(self) -> int:
        """How many jobs are not done."""
        return len(self._waiting) + len(self.running)

    def add(self, job: Job, tries: int = 0) -> None:
        """Queues a job that was lost `tries` times before."""
        self._tries[job.number] = tries
        self._waiting.append(job)

    def step(self, timeout_s: float = 0.5) -> Iterator[tuple[Job, Outcome]]:
        """Hands out jobs, waits up to `timeout_s` for events, and yields the jobs that are done with their outcomes."""
        self._submit()
        events = self._executor.poll(timeout_s)
        done = [found for event in events for found in self._handle(event)] + self._expired()
        self._submit()
        yield from done

    def _submit(self) -> None:
        most = self._executor.capacity() + AHEAD
        while self._waiting and len(self.running) < most:
            job = self._waiting.popleft()
            self.running[self._executor.submit([job])] = Running(job)

    def _handle(self, event: JobEvent) -> list[tuple[Job, Outcome]]:
        running = self.running.get(event.ticket)
        if running is None:
            return []
        if event.kind == "started" and running.since is None:
            running.since, running.worker = self._clock(), event.worker
        elif event.kind == "progress":
            running.step, running.steps = event.step, event.steps
        if event.kind in ("started", "progress"):
            self._seen(event)
            return []
        del self.running[event.ticket]
        if event.kind == "done":
            return [self._done(running.job, event.outcomes[0])]
        return self._again(running.job, event)

    def _done(self, job: Job, outcome: Outcome) -> tuple[Job, Outcome]:
        del self._tries[job.number], self._nodes[job.number]
        return job, outcome

    def _again(self, job: Job, event: JobEvent) -> list[tuple[Job, Outcome]]:
        """Queues another try, or returns the outcome where none is left. Raises DiskFullError for a full disk."""
        if event.cause == "disk":
            raise DiskFullError(f"{event.error}; free some space and the same command resumes")
        self._nodes[job.number] += event.cause == "node"
        counts = event.cause != "node" or self._nodes[job.number] > NODE_LOSSES
        self._tries[job.number] += counts
        self._lost(Loss(job, event.error, event.cause, counts))
        tries = self._tries[job.number]
        if tries <= self._retries:
            self._waiting.appendleft(job)
            return []
        outcome = "oom" if event.cause == "memory" else "lost"
        return [self._done(job, Outcome(job.number, outcome, f"{event.error} ({tries} times)"))]

    def _expired(self) -> list[tuple[Job, Outcome]]:
        limit, now = self._timeout_s, self._clock()
        done: list[tuple[Job, Outcome]] = []
        if limit is None:
            return done
        for ticket, running in list(self.running.items()):
            if running.since is not None and now - running.since > limit:
                self._executor.kill(ticket)
                del self.running[ticket]
                done.append(
                    self._done(running.job, Outcome(running.job.number, "timeout", f"took longer than {limit:g} s"))
                )
        return done


def run_all(
    executor: Executor, jobs: Sequence[Job], progress: Callable[[int, int], None] = lambda done, total: None,
    retries: int = 2, timeout_s: float | None = None, done: Callable[[int, Outcome], None] = lambda i, outcome: None,
) -> list[Outcome]:  # fmt: skip
    """Runs jobs and returns their outcomes in order; for work outside the search loop.

    Args:
        executor: Where jobs run.
        jobs: Of distinct numbers.
        progress: Called with (done, total): steps of a single job, or jobs where there are several.
        retries: A job lost more often has the outcome `lost`.
        timeout_s: A job that takes longer has the outcome `timeout`.
        done: Called with the index of a job and its outcome as soon as it is known.

    Raises:
        DiskFullError: A worker's disk is full.
    """
    alone, places = len(jobs) == 1, {job.number: i for i, job in enumerate(jobs)}
    assert len(places) == len(jobs), "jobs with equal numbers"

    def seen(event: JobEvent) -> None:
        if alone and event.kind == "progress":
            progress(event.step, event.steps)

    dispatcher = Dispatcher(executor, retries, timeout_s, seen=seen)
    outcomes: dict[int, Outcome] = {}
    for job in jobs:
        dispatcher.add(job)
    while dispatcher:
        for job, outcome in dispatcher.step():
            place = places[job.number]
            outcomes[place] = outcome
            done(place, outcome)
            if not alone:
                progress(len(outcomes), len(jobs))
    return [outcomes[i] for i in range(len(jobs))]
