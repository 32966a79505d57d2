"""What an evaluator needs before the first trial, such as a trained supernet: run once, kept in the journal."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

from nas.journal import Journal
from nas.records import JSON, Job, Outcome
from nas.runtime.base import Executor, JobEvent
from nas.runtime.dispatch import Dispatcher, Loss
from nas.runtime.local import LocalExecutor
from nas.workflows.progress import Progress

KEY = "preparation"


def prepare(
    jobs: Sequence[Job], journal: Journal, executor: Executor, retries: int, progress: Progress, begins: str | None = None
) -> None:
    """Runs the jobs that the journal has not finished. Each is on record before it starts and as soon as it ends.

    Args:
        jobs: All jobs of the preparation, numbered from 0.
        journal: Keeps every job with its losses and its result.
        executor: Where jobs run; no limit of time holds.
        retries: How often a job is run again after its worker died, over all runs of the command.
        progress: Receives messages and steps.
        begins: The line for people with which it begins; None: that of a search.

    Raises:
        ValueError: A job failed; the same command runs it again. Or the run began with another preparation.
    """
    kept = _Kept(jobs, journal, progress)
    if not (missing := kept.missing):
        return
    progress.message(
        begins or f"preparing the evaluator: {len(missing)} {'job' if len(missing) == 1 else 'jobs'} before the first trial ..."
    )
    began = time.monotonic()
    dispatcher = Dispatcher(executor, retries, lost=kept.lost, seen=kept.seen)
    for job in missing:
        dispatcher.add(job, kept.attempts(job))
    if isinstance(executor, LocalExecutor):
        executor.live = kept.seen
    try:
        while dispatcher:
            for job, outcome in dispatcher.step():
                kept.finish(job, outcome)
    finally:
        if isinstance(executor, LocalExecutor):
            executor.live = None
    journal.add_event("prepared", seconds=time.monotonic() - began)


def prepared(journal: Journal) -> list[dict[str, JSON]]:
    """The `data` that the jobs of a run's preparation returned, in order; empty where there are none."""
    return [entry["result"] for entry in journal.get(KEY, [])]


class _Kept:
    """The preparation in the journal: an entry for each job, with its losses so far, and its result or None."""

    def __init__(self, jobs: Sequence[Job], journal: Journal, progress: Progress):
        self._jobs, self._journal, self._progress = jobs, journal, progress
        plain = json.loads(json.dumps([job.to_dict() for job in jobs]))
        entries = journal.get(KEY)
        if entries is None and not journal.next_number:
            entries = [{"job": job, "attempts": 0, "result": None} for job in plain]
        self._entries: list[dict[str, JSON]] = entries or []
        if [entry["job"] for entry in self._entries] != plain:
            raise ValueError(
                "evaluator: its preparation is not the one that the run began with; run=<another folder> starts anew"
            )
        if jobs:
            journal.put(KEY, self._entries)

    @property
    def missing(self) -> list[Job]:
        return [job for job in self._jobs if self._entries[job.number]["result"] is None]

    def attempts(self, job: Job) -> int:
        return self._entries[job.number]["attempts"]

    def lost(self, loss: Loss) -> None:
        number = loss.job.number
        self._put(number, attempts=self.attempts(loss.job) + loss.counts)
        self._journal.add_event("prepare_retry", number=number, error=loss.error, cause=loss.cause)
        self._progress.message(f"preparation {number} was lost: {loss.error}")

    def seen(self, event: JobEvent) -> None:
        """Steps of a job that is alone; of several, people hear when one ends."""
        if event.kind == "progress" and len(self._jobs) == 1:
            self._progress.step(event.step, event.steps, event.metrics)

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Keeps a result. Raises ValueError for a failure, which the same command tries again."""
        if outcome.outcome == "ok":
            self._put(job.number, result=_plain(outcome.data))
            self._progress.message(f"preparation {job.number + 1} of {len(self._jobs)}: done")
            return
        self._put(job.number, attempts=0)
        self._journal.add_event("prepare_failed", number=job.number, outcome=outcome.outcome, error=outcome.error)
        raise ValueError(f"evaluator: its preparation failed ({outcome.outcome}): {outcome.error}; log.txt of the run has more")

    def _put(self, number: int, **changes: JSON) -> None:
        self._entries[number] |= changes
        self._journal.put(KEY, self._entries)


def _plain(data: Mapping[str, JSON]) -> dict[str, JSON]:
    try:
        return json.loads(json.dumps(dict(data), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"evaluator: expected plain data from its preparation, such as a path as text; {error}"
        ) from None
