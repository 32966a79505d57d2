"""Keeps an executor busy: hands out jobs, retries lost ones, ends those that take too long."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

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
    """The jobs of a ticket; `since` is when its worker began, or None."""

    jobs: Sequence[Job]
    since: float | None = None
    worker: str = ""
    step: int = 0
    steps: int = 0


class Dispatcher:
    """Runs jobs through an executor, one a ticket, or some where the evaluator takes several at a time.

    A ticket of several jobs that is lost, or takes too much memory, says nothing of a single job: they run again in tickets half as
    large, and only a job that was alone has been tried.

    Args:
        executor: Where jobs run.
        retries: How often a job whose worker died is run again.
        timeout_s: Seconds, a job of a ticket that started, after which the ticket is ended; None is no limit.
        lost: Called with every loss.
        seen: Called with events of kind `started` and `progress`.
        clock: Seconds, for `timeout_s`.
        group: Jobs of a ticket at most.
    """

    def __init__(
        self, executor: Executor, retries: int, timeout_s: float | None = None,
        lost: Callable[[Loss], None] = lambda loss: None, seen: Callable[[JobEvent], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic, group: int = 1,
    ):  # fmt: skip
        self._executor, self._retries, self._timeout_s, self._group = executor, retries, timeout_s, group
        self._lost, self._seen, self._clock = lost, seen, clock
        self._waiting: deque[Job] = deque()
        self._tries: Counter[int] = Counter()
        self._nodes: Counter[int] = Counter()
        self._together: dict[int, int] = {}  # jobs of a ticket at most, of those that were in one that was lost
        self.running: dict[int, Running] = {}  # by ticket

    def __len__(self) -> int:
        """How many jobs are not done."""
        return len(self._waiting) + sum(len(running.jobs) for running in self.running.values())

    def add(self, job: Job, tries: int = 0) -> None:
        """Queues a job that was lost `tries` times before."""
        self._tries[job.number] = tries
        self._waiting.append(job)

    def step(self, timeout_s: float = 0.5) -> Iterator[tuple[Job, Outcome]]:
        """Hands out jobs, waits up to `timeout_s` for events, and yields the jobs that are done with their outcomes."""
        self._submit()
        events = self._executor.poll(timeout_s)
        done = [found for event in events for found in self._handle(event)] + self._expired()
        if self._group == 1:  # otherwise what is done may bring more jobs, and with them a fuller ticket
            self._submit()
        yield from done

    def _submit(self) -> None:
        """Tickets that are not full go to workers that are free, which have equal parts of what waits."""
        capacity = self._executor.capacity()
        while self._waiting and len(self.running) < capacity + AHEAD:
            free = capacity - len(self.running)
            if free <= 0 and self.running and len(self._waiting) < self._group:
                return
            jobs = self._taken(min(self._group, -(-len(self._waiting) // max(free, 1))))
            self.running[self._executor.submit(jobs)] = Running(jobs)

    def _taken(self, most: int) -> list[Job]:
        """The first jobs that wait, of one kind, as many as each of them may have in its ticket."""
        jobs = list[Job]()
        while self._waiting and len(jobs) < most and self._waiting[0].kind == (jobs or self._waiting)[0].kind:
            most = min(most, self._together.get(self._waiting[0].number, most))
            if len(jobs) < most:
                jobs.append(self._waiting.popleft())
        return jobs

    def _handle(self, event: JobEvent) -> list[tuple[Job, Outcome]]:
        running = self.running.get(event.ticket)
        if running is None:
            return []
        if event.kind == "started":
            if running.since is None:
                running.since, running.worker = self._clock(), event.worker
            for job in running.jobs:
                self._seen(replace(event, number=job.number))
            return []
        if event.kind == "progress":
            running.step, running.steps = event.step, event.steps
            self._seen(event)
            return []
        del self.running[event.ticket]
        if event.kind == "lost":
            return self._again(running.jobs, event)
        if len(running.jobs) > 1 and all(outcome.outcome == "oom" for outcome in event.outcomes):
            return self._again(running.jobs, replace(event, error=event.outcomes[0].error, cause="memory"))
        return [self._done(job, outcome) for job, outcome in zip(running.jobs, event.outcomes, strict=True)]

    def _done(self, job: Job, outcome: Outcome) -> tuple[Job, Outcome]:
        del self._tries[job.number], self._nodes[job.number]
        self._together.pop(job.number, None)
        return job, outcome

    def _again(self, jobs: Sequence[Job], event: JobEvent) -> list[tuple[Job, Outcome]]:
        """Queues another try, or returns the outcomes where none is left. Raises DiskFullError for a full disk."""
        if event.cause == "disk":
            raise DiskFullError(f"{event.error}; free some space and the same command resumes")
        if len(jobs) == 1:
            return self._tried(jobs[0], event)
        for job in reversed(jobs):
            self._together[job.number] = -(-len(jobs) // 2)
            self._lost(Loss(job, event.error, event.cause, counts=False))
            self._waiting.appendleft(job)
        return []

    def _tried(self, job: Job, event: JobEvent) -> list[tuple[Job, Outcome]]:
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
            if running.since is not None and now - running.since > limit * len(running.jobs):
                self._executor.kill(ticket)
                del self.running[ticket]
                many = f", {len(running.jobs)} together" if len(running.jobs) > 1 else ""
                text = f"took longer than {limit:g} s{many}"
                done += [self._done(job, Outcome(job.number, "timeout", text)) for job in running.jobs]
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
