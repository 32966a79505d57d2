"""Trainings outside the search loop, recorded in a journal like the trials of a search: what is on record is not run again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from nas.journal import Journal
from nas.records import Evaluation, Job, Outcome, Trial
from nas.runtime.base import Executor
from nas.runtime.dispatch import run_all


def job_seed(seed: int, number: int) -> int:
    """The seed of a trial's training: of the run's seed and the trial's number. The search loop uses it too."""
    return int(np.random.default_rng([seed, number, 2]).integers(2**31))


def run_journaled(
    journal: Journal, executor: Executor, expected: Sequence[tuple[Trial, Job]], *, retries: int = 2,
    timeout_s: float | None = None, ended: Callable[[Trial], None] = lambda trial: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trial]:  # fmt: skip
    """Runs trainings that the journal has not finished. Each is on record before it starts and as soon as it ends.

    Args:
        journal: Where trials are recorded.
        executor: Where jobs run.
        expected: Trials with their jobs; new ones are numbered from the journal's next number on.
        retries, timeout_s, progress: See `run_all`.
        ended: Called with each trial as it ends.

    Returns:
        The finished trials, in order.

    Raises:
        ValueError: The journal has another architecture under a trial's number.
    """
    known = {trial.number: trial for trial in journal.trials()}
    for trial, _ in expected:
        if trial.number not in known:
            known[trial.number] = journal.begin(trial)
        elif known[trial.number].arch_id != trial.arch_id:
            raise ValueError(
                f"trial {trial.number}: the journal has another architecture; its settings or its code changed"
            )
    open_jobs = [job for trial, job in expected if not known[trial.number].done]

    def done(i: int, outcome: Outcome) -> None:
        job, trial = open_jobs[i], known[open_jobs[i].number]
        metrics = {**trial.metrics, **outcome.metrics} if outcome.outcome == "ok" else trial.metrics
        finished = dataclasses.replace(trial, outcome=outcome.outcome, error=outcome.error, metrics=metrics)
        known[trial.number] = journal.finish(finished, [Evaluation.of(outcome, trial, job.seed)])
        ended(known[trial.number])

    run_all(executor, open_jobs, progress, retries, timeout_s, done)
    return [known[trial.number] for trial, _ in expected]
