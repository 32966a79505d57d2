"""What every executor does: take groups of jobs, tell what happens to them, and end one for real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from nas.records import Job, Outcome

Cause = Literal["worker", "node", "memory", "disk"]


@dataclass(frozen=True)
class Event:
    """`kind`: `started` (by `worker`), `progress` (step of steps, metrics), `done` (outcomes) or `lost`.

    Of what is lost, `error` says how and `cause` why: the `worker` died, or its `node`, for want of `memory`, or the `disk`
    that it writes to is full.
    """

    ticket: int
    kind: str
    outcomes: tuple[Outcome, ...] = ()
    number: int = -1
    step: int = 0
    steps: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    cause: Cause = "worker"
    worker: str = ""


class Executor(Protocol):
    """Runs jobs somewhere. A ticket stands for the jobs of one `submit`, which run together in one worker."""

    def capacity(self) -> int:
        """How many tickets run at once, now: workers may come and go. More may be submitted and wait."""
        ...

    def submit(self, jobs: Sequence[Job]) -> int: ...

    def poll(self, timeout_s: float) -> Sequence[Event]:
        """What happened since the last call; waits up to `timeout_s` seconds where nothing has."""
        ...

    def kill(self, ticket: int) -> None:
        """Ends the process that runs the ticket; no event follows for it."""
        ...

    def close(self) -> None: ...
