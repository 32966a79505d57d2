"""What every executor does: take groups of jobs, report what happens to them, and end one for real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from nas.data import Dataset
from nas.evaluators import Evaluator
from nas.records import Job, Outcome
from nas.runtime.cluster_settings import ClusterSettings
from nas.runtime.spec import WorkerSpec

Cause = Literal["worker", "node", "memory", "disk"]
Kind = Literal["started", "progress", "done", "lost"]


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to the jobs of a ticket.

    `kind` is `started` (by `worker`), `progress` (`step` of `steps`, `metrics` so far), `done` (`outcomes`) or `lost`. Of lost
    jobs, `error` is one line and `cause` the reason: the `worker` died, or its `node`, the trial took too much `memory`, or
    the `disk` that it writes to is full.
    """

    ticket: int
    kind: Kind
    outcomes: tuple[Outcome, ...] = ()
    number: int = -1
    step: int = 0
    steps: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    cause: Cause = "worker"
    worker: str = ""


class Executor(Protocol):
    """Runs jobs in some process. A ticket stands for the jobs of one `submit`, which run together in one worker.

    Executors can be started and used from any thread, by one thread at a time. They leave the environment variables, signal
    handlers and root logger of the process that uses them as they are.
    """

    @property
    def dashboard(self) -> str:
        """Address of a page about the workers; empty where there is none."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Lines for people on the workers: what they train on, and what is not used."""
        ...

    def capacity(self) -> int:
        """How many tickets run at once, now: workers may come and go. More may be submitted and wait."""
        ...

    def submit(self, jobs: Sequence[Job]) -> int:
        """Queues jobs of one kind and returns their ticket."""
        ...

    def poll(self, timeout_s: float) -> Sequence[JobEvent]:
        """Returns what happened since the last call; waits up to `timeout_s` seconds where nothing has."""
        ...

    def kill(self, ticket: int) -> None:
        """Ends the process that runs the ticket; no event follows for it."""
        ...

    def close(self) -> None:
        """Ends all workers."""
        ...


class ExecutorSettings(Protocol):
    """A frozen settings dataclass of one kind of executor."""

    @property
    def in_process(self) -> bool:
        """Whether jobs run in the caller's process."""
        ...

    @property
    def cluster(self) -> ClusterSettings | None:
        """The cluster that one training can be distributed over; None where jobs stay on this machine."""
        ...

    @property
    def devices(self) -> int:
        """Accelerators that share each batch of a training."""
        ...

    @property
    def asks_ahead(self) -> bool:
        """Whether the user asked workers to compile the next trial while one trains."""
        ...

    def start(self, spec: WorkerSpec, dataset: Dataset | None = None, evaluator: Evaluator | None = None) -> Executor:
        """Starts an executor.

        Args:
            spec: What workers are started with. Where its settings name no dataset, `dataset` is the only one.
            dataset: The dataset as it is loaded already, so that workers need not read it, where the executor can pass it on.
            evaluator: An evaluator object, used instead of the one that the settings name.

        Raises:
            ValueError: The object cannot be passed to where jobs run; it must be in a module named in `plugins=`.
        """
        ...


def objects_refused(executor: str) -> ValueError:
    """The error of an executor whose workers are other processes, for objects that only the caller's process has."""
    return ValueError(
        f"executor={executor}: functions and objects run in the caller's process; use executor=local or name the module in plugins="
    )
