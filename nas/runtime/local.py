"""Jobs in this process, one after the other: the easiest to debug; nothing outlives a crash of the driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.records import Job, WorkerSpec
from nas.runtime.base import Event
from nas.runtime.worker import Worker


@dataclass(frozen=True)
class LocalSettings:
    """`executor=local`. A trial cannot be ended here, so `search.timeout_s` and limits of memory do not hold."""

    def start(self, spec: WorkerSpec, dataset: Any = None, evaluator: Any = None) -> LocalExecutor:
        return LocalExecutor(spec, dataset, evaluator)


class LocalExecutor:
    def __init__(self, spec: WorkerSpec, dataset: Any = None, evaluator: Any = None):
        self._worker = Worker(spec, dataset, evaluator)
        self._queue: deque[tuple[int, Sequence[Job]]] = deque()
        self._tickets = self._announced = 0

    def capacity(self) -> int:
        return 1

    def submit(self, jobs: Sequence[Job]) -> int:
        self._tickets += 1
        self._queue.append((self._tickets, jobs))
        return self._tickets

    def poll(self, timeout_s: float) -> Sequence[Event]:
        if not self._queue:
            return []
        ticket, jobs = self._queue[0]
        if ticket != self._announced:
            self._announced = ticket
            return [Event(ticket, "started", number=jobs[0].number)]
        self._queue.popleft()
        told: list[Event] = []

        def report(number: int, step: int, steps: int, metrics: Any) -> None:
            told.append(Event(ticket, "progress", number=number, step=step, steps=steps, metrics=dict(metrics)))

        outcomes = self._worker.run(jobs, report)
        return [*told, Event(ticket, "done", tuple(outcomes))]

    def kill(self, ticket: int) -> None:
        self._queue = deque(item for item in self._queue if item[0] != ticket)

    def close(self) -> None:
        self._queue.clear()
