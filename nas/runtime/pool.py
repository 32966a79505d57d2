"""The common part of executors with several workers: a queue of tickets, and workers that take one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nas.records import Job, Outcome
from nas.runtime.base import JobEvent


@dataclass
class Member:
    """A worker and the ticket that it works on; `name` is shown to people, `given` counts its tickets so far.

    next: the ticket that it compiles for meanwhile.
    """

    name: str = ""
    ticket: int | None = None
    next: int | None = None
    jobs: Sequence[Job] = field(default_factory=tuple)
    given: int = 0


W = TypeVar("W", bound=Member)


class Pool(ABC, Generic[W]):
    """Hands queued tickets to free workers, in order; subclasses start, feed and end workers.

    compiles_ahead: whether a busy worker hears which ticket comes next; it takes that one then, and no other worker does.
    """

    compiles_ahead = False

    def __init__(self) -> None:
        self._members: list[W] = []
        self._queue: deque[tuple[int, Sequence[Job]]] = deque()
        self._events: list[JobEvent] = []
        self._tickets = 0
        self._alone: set[int] = set()  # tickets for a worker that has done nothing yet

    @abstractmethod
    def _free(self) -> W | None:
        """A worker that can begin now, or None; may start one that can begin later."""

    @abstractmethod
    def _give(self, member: W, jobs: Sequence[Job]) -> None:
        """Sends jobs to a worker."""

    @abstractmethod
    def _hint(self, member: W, job: Job) -> None:
        """Tells a busy worker which job it will have next."""

    @abstractmethod
    def _end(self, member: W) -> None:
        """Ends a worker's process for real."""

    def submit(self, jobs: Sequence[Job]) -> int:
        self._tickets += 1
        self._queue.append((self._tickets, jobs))
        self._feed()
        return self._tickets

    def kill(self, ticket: int) -> None:
        self._queue = deque(item for item in self._queue if item[0] != ticket)
        self._alone.discard(ticket)
        for member in [m for m in self._members if m.ticket == ticket]:
            self._bury(member)

    def close(self) -> None:
        self._queue.clear()
        for member in list(self._members):
            self._bury(member)

    def _feed(self) -> None:
        while self._queue and (member := self._free()) is not None:
            if self._queue[0][0] in self._alone and member.given:
                self._bury(member)
                continue
            member.ticket, member.jobs = self._queued(member)
            member.given += 1
            self._events.append(JobEvent(member.ticket, "started", worker=member.name, number=member.jobs[0].number))
            self._give(member, member.jobs)
        if self.compiles_ahead:
            self._look_ahead()

    def _queued(self, member: W) -> tuple[int, Sequence[Job]]:
        """Takes the ticket that a worker compiled for from the queue, or else the first that no other one did."""
        own, member.next = member.next, None
        others = {other.next for other in self._members if other.ticket is not None}
        if self._queue[0][0] in self._alone:
            return self._queue.popleft()
        found = next((item for item in self._queue if item[0] == own), None)
        found = found or next((item for item in self._queue if item[0] not in others), self._queue[0])
        self._queue.remove(found)
        return found

    def _look_ahead(self) -> None:
        """Gives each busy worker without one a ticket of the queue to compile for."""
        taken = {member.next for member in self._members}
        waiting = [item for item in self._queue if item[0] not in taken and item[0] not in self._alone]
        for member, (ticket, jobs) in zip([m for m in self._members if m.ticket is not None and m.next is None], waiting, strict=False):
            member.next = ticket
            self._hint(member, jobs[0])

    def _spent(self, member: W, ticket: int, outcomes: Sequence[Outcome]) -> list[JobEvent]:
        """The end of a worker that exceeded its memory, or has grown. What earlier trials left in it is not the trial's: where it
        exceeded its memory and there were any, the trial runs once more in a fresh worker, and what happens there counts."""
        self._bury(member)
        exceeded = any(outcome.outcome == "oom" for outcome in outcomes)
        if exceeded and member.given > 1 and ticket not in self._alone:
            self._alone.add(ticket)
            self._queue.appendleft((ticket, member.jobs))
            return []
        self._alone.discard(ticket)
        return [JobEvent(ticket, "done", tuple(outcomes))]

    def _bury(self, member: W) -> None:
        self._members.remove(member)
        self._end(member)

    def _taken_events(self) -> list[JobEvent]:
        events, self._events = self._events, []
        return events
