"""Keeps an executor busy: hands jobs out, gives lost ones another try, ends those that take too long."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nas.records import DiskFullError, Job, Outcome
from nas.runtime.base import Cause, Event, Executor

AHEAD = 2  # jobs that wait in the executor, so that a worker is not idle while the driver records what it did
NODE_LOSSES = 20  # nodes that go are seldom a candidate's fault; one that takes every node down with it still ends


@dataclass(frozen=True)
class Loss:
    """A job whose worker died. `counts`: it is one of the tries that `retries` allows."""

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
    """Jobs in, (job, outcome) out, one a ticket. `lost` is called for every loss, `seen` for what starts and how far it is."""

    def __init__(
        self, executor: Executor, retries: int, timeout_s: float | None = None,
        lost: Callable[[Loss], None] = lambda loss: None, seen: Callable[[Event], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self._executor, self._retries, self._timeout_s = executor, retries, timeout_s
        self._lost, self._seen, self._clock = lost, seen, clock
        self._waiting: deque[Job] = deque()
        self._tries: Counter[int] = Counter()
        self._nodes: Counter[int] = Counter()
        self.running: dict[int, Running] = {}  # by ticket

    def __len__(self) -> int:
        """Jobs that are not done."""
        return len(self._waiting) + len(self.running)

    def add(self, job: Job, tries: int = 0) -> None:
        """Queues a job that was lost `tries` times before."""
        self._tries[job.number] = tries
        self._waiting.append(job)

    def step(self, timeout_s: float = 0.5) -> Iterator[tuple[Job, Outcome]]:
        """Hands out, waits for news up to `timeout_s`, and gives what is done by now."""
        self._submit()
        events = self._executor.poll(timeout_s)
        done = [found for event in events for found in self._handle(event)] + self._expired()
        self._submit()
        yield from done

    def _submit(self) -> None:
        room = self._executor.capacity()
        while self._waiting and len(self.running) < room + AHEAD:
            job = self._waiting.popleft()
            self.running[self._executor.submit([job])] = Running(job)

    def _handle(self, event: Event) -> list[tuple[Job, Outcome]]:
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

    def _again(self, job: Job, event: Event) -> list[tuple[Job, Outcome]]:
        """Another try, or none left. Raises DiskFullError for a full disk, which no other try would find emptier."""
        if event.cause == "disk":
            raise DiskFullError(f"{event.error}; with room again, the same command resumes")
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
        done = []
        for ticket, running in list(self.running.items()) if limit else ():
            if running.since is not None and now - running.since > limit:  # type: ignore[operator]
                self._executor.kill(ticket)
                del self.running[ticket]
                done.append(self._done(running.job, Outcome(running.job.number, "timeout", f"took longer than {limit:g} s")))
        return done


def run_all(
    executor: Executor, jobs: Sequence[Job], progress: Callable[[int, int], None] = lambda done, total: None,
    retries: int = 2, timeout_s: float | None = None, done: Callable[[int, Outcome], None] = lambda i, outcome: None,
) -> list[Outcome]:  # fmt: skip
    """Runs jobs of distinct numbers one a ticket and gives their outcomes in order; for work outside the loop.

    `done(i, outcome)` hears of the outcome of the i-th job as soon as it is known. A job lost more than `retries` times
    has the outcome `lost`, one that takes longer than `timeout_s` is ended. `progress`: of the steps where there is one
    job, of the jobs where there are several.
    """
    alone, places = len(jobs) == 1, {job.number: i for i, job in enumerate(jobs)}
    assert len(places) == len(jobs), "jobs of one number"

    def seen(event: Event) -> None:
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
