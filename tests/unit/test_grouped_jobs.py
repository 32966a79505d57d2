"""Tickets of several jobs: how large they are, and that what happens to all of them is no fault of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from nas.records import Job, Outcome
from nas.runtime.base import JobEvent
from nas.runtime.dispatch import Dispatcher


class Fake:
    """An executor that ends its oldest ticket when it is polled: `bad` jobs take their worker with them, or its memory."""

    dashboard, notes = "", ()

    def __init__(self, workers: int = 1, bad: Sequence[int] = (), oom: Sequence[int] = ()):
        self.workers, self.bad, self.oom = workers, bad, oom
        self.tickets: list[list[int]] = []
        self.open: list[int] = []
        self.killed: list[int] = []

    def capacity(self) -> int:
        return self.workers

    def submit(self, jobs: Sequence[Job]) -> int:
        self.tickets.append([job.number for job in jobs])
        self.open.append(len(self.tickets) - 1)
        return self.open[-1]

    def poll(self, timeout_s: float) -> Sequence[JobEvent]:
        if not self.open:
            return []
        ticket = self.open.pop(0)
        numbers = self.tickets[ticket]
        began = JobEvent(ticket, "started", number=numbers[0], worker="w")
        if set(numbers) & {*self.bad}:
            return [began, JobEvent(ticket, "lost", error="made up")]
        kind = "oom" if set(numbers) & {*self.oom} else "ok"
        return [began, JobEvent(ticket, "done", tuple(Outcome(number, kind) for number in numbers))]

    def kill(self, ticket: int) -> None:
        self.killed.append(ticket)

    def close(self) -> None: ...


def run(fake: Fake, count: int, group: int, **options: Any) -> dict[int, str]:
    dispatcher = Dispatcher(fake, group=group, **{"retries": 1, **options})
    for number in range(count):
        dispatcher.add(Job(number, "train"))
    found: dict[int, str] = {}
    while dispatcher:
        found |= {job.number: outcome.outcome for job, outcome in dispatcher.step(0)}
    return found


@pytest.mark.parametrize(
    "workers, count, group, sizes",
    [(1, 10, 4, [4, 4, 2]), (2, 6, 4, [3, 3]), (2, 20, 4, [4, 4, 4, 4, 4]), (3, 1, 4, [1]), (1, 3, 1, [1, 1, 1]), (0, 2, 4, [2])],
)
def test_tickets_are_full_or_equal_parts_for_free_workers(workers: int, count: int, group: int, sizes: list[int]) -> None:
    fake, heard = Fake(workers), list[int]()
    assert run(fake, count, group, seen=lambda event: heard.append(event.number)) == dict.fromkeys(range(count), "ok")
    assert [len(numbers) for numbers in fake.tickets] == sizes
    assert heard == [*range(count)]  # each job has begun


def test_a_job_that_kills_its_worker_is_found_and_the_others_have_no_try_less() -> None:
    fake, losses = Fake(bad=[2]), list[Any]()
    assert run(fake, 4, 4, lost=losses.append) == {0: "ok", 1: "ok", 2: "lost", 3: "ok"}
    assert fake.tickets == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [2], [3]]
    assert [(loss.job.number, loss.counts) for loss in losses if loss.counts] == [(2, True), (2, True)]


def test_a_job_that_takes_too_much_memory_is_found() -> None:
    assert run(Fake(oom=[1]), 4, 4) == {0: "ok", 1: "oom", 2: "ok", 3: "ok"}


def test_jobs_that_train_together_have_their_time_together() -> None:
    class Slow(Fake):
        def poll(self, timeout_s: float) -> Sequence[JobEvent]:
            return [JobEvent(ticket, "started", worker="w") for ticket in self.open]

    now = iter(range(100))
    slow = Slow()
    assert run(slow, 3, 3, timeout_s=5, clock=lambda: next(now)) == dict.fromkeys(range(3), "timeout")
    assert slow.killed == [0]
    assert next(now) > 15
