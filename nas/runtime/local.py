"""Jobs in the caller's process, one after the other: the easiest to debug; nothing outlives a crash of the driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nas.data import Dataset
from nas.evaluators import Evaluator
from nas.records import Job
from nas.runtime.base import JobEvent
from nas.runtime.spec import WorkerSpec
from nas.runtime.worker import Worker


@dataclass(frozen=True)
class LocalSettings:
    """`executor=local`: jobs run in the process and thread that polls.

    Datasets and evaluators may be objects. A trial cannot be ended, so `search.timeout_s` and limits of memory do not hold;
    `search.threads` neither: XLA has the threads that this process allows it (`NPROC` when JAX starts, or all).
    """

    @property
    def in_process(self) -> bool:
        """See `ExecutorSettings.in_process`."""
        return True

    @property
    def cluster(self) -> None:
        """See `ExecutorSettings.cluster`."""
        return None

    @property
    def devices(self) -> int:
        """See `ExecutorSettings.devices`."""
        return 1

    @property
    def asks_ahead(self) -> bool:
        """See `ExecutorSettings.asks_ahead`."""
        return False

    def start(
        self, spec: WorkerSpec, dataset: Dataset | None = None, evaluator: Evaluator | None = None
    ) -> LocalExecutor:
        """See `ExecutorSettings.start`; takes every object as it is."""
        return LocalExecutor(spec, dataset, evaluator)


class LocalExecutor:
    """Runs a ticket when it is polled, and reports its progress together with its end, but to `live`, which hears of it at once."""

    dashboard = ""
    notes = ()
    live: Callable[[JobEvent], object] | None = None

    def __init__(self, spec: WorkerSpec, dataset: Dataset | None = None, evaluator: Evaluator | None = None):
        self._worker = Worker(spec, dataset, evaluator)
        self._queue: deque[tuple[int, Sequence[Job]]] = deque()
        self._tickets = self._announced = 0

    def capacity(self) -> int:
        return 1

    def submit(self, jobs: Sequence[Job]) -> int:
        self._tickets += 1
        self._queue.append((self._tickets, jobs))
        return self._tickets

    def poll(self, timeout_s: float) -> Sequence[JobEvent]:
        if not self._queue:
            return []
        ticket, jobs = self._queue[0]
        if ticket != self._announced:
            self._announced = ticket
            return [JobEvent(ticket, "started", number=jobs[0].number)]
        self._queue.popleft()
        reports: list[JobEvent] = []

        def report(number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None:
            event = JobEvent(ticket, "progress", number=number, step=step, steps=steps, metrics=dict(metrics))
            (self.live or reports.append)(event)

        outcomes = self._worker.run(jobs, report)
        return [*reports, JobEvent(ticket, "done", tuple(outcomes))]

    def kill(self, ticket: int) -> None:
        self._queue = deque(item for item in self._queue if item[0] != ticket)

    def close(self) -> None:
        self._queue.clear()
