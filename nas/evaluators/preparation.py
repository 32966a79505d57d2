"""Jobs that an evaluator needs before the first trial, and how their results reach the jobs of trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from nas.evaluators.base import Context, EvaluatorSettings
from nas.records import JSON, Job


def preparation_jobs(evaluator: EvaluatorSettings, context: Context, seed: int) -> list[Job]:
    """The jobs that an evaluator declares, of kind `prepare`, numbered from 0, with seeds derived from the run's."""
    return [
        dataclasses.replace(
            job, number=i, kind="prepare", seed=int(np.random.default_rng([seed, i, 3]).integers(2**31))
        )
        for i, job in enumerate(evaluator.preparation(context))
    ]


def with_prepared(data: Mapping[str, JSON], prepared: Sequence[Mapping[str, JSON]]) -> dict[str, JSON]:
    """A job's data with the results of the preparation, which `Job.prepared` reads; unchanged where there was none."""
    return {**data, "prepared": list(prepared)} if prepared else dict(data)
