"""The laws of evaluators: an outcome for each job, repeatable, with the metrics that are promised."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.arch.blocks import arch_id
from nas.evaluators import Context, EvaluatorSettings, evaluator_settings
from nas.evaluators.preparation import preparation_jobs, with_prepared
from nas.recipe import Recipe
from nas.records import OUTCOMES, Job, Outcome
from nas.space import Space, load_space
from nas.tasks import example, fit_arch, task_of
from nas.testing.require import require

DIGITS: Mapping[str, object] = {"name": "digits", "train_size": 60, "test_size": 20}
RECIPE = Recipe(epochs=1, warmup_epochs=0, batch=20)


def check_evaluator(
    settings: Mapping[str, object],
    dataset: Mapping[str, object] = DIGITS,
    space: Space | None = None,
    recipe: Recipe = RECIPE,
    jobs: int = 2,
) -> None:
    """Checks the laws of an evaluator: outcomes in order, metrics as promised, equal results for equal jobs.

    Args:
        settings: `name`, after the plugin that has it was loaded, and the evaluator's settings.
        dataset: Settings of a small dataset.
        space: Whose networks are evaluated; None: `tiny`.
        recipe: How they are trained.
        jobs: Networks to evaluate, twice.

    Raises:
        AssertionError: Naming the law that is broken and where.
        ValueError: For wrong settings, and a space or task that the evaluator does not know.

    Example:
        >>> from nas.testing import check_evaluator
        >>> check_evaluator({"name": "scratch"})  # doctest: +SKIP
    """
    evaluator = evaluator_settings(settings)
    space = space or load_space("tiny")
    given = {"evaluator": dict(settings), "dataset": dict(dataset), "recipe": dataclasses.asdict(recipe)}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        space = _fitted(space, Context(given, Path(one)), evaluator)
        evaluator.capabilities.check_task(task_of(space))
        evaluator.check(space)
        todo = jobs_of(space, jobs)
        first = _evaluated(evaluator, Context(given, Path(one), "", space.to_plain()), todo)
        again = _evaluated(evaluator, Context(given, Path(other), "", space.to_plain()), todo)
    for job, outcome in zip(todo, first, strict=True):
        _check_outcome(job, outcome, evaluator, space)
    results, repeated = ([(o.outcome, dict(o.metrics)) for o in found] for found in (first, again))
    require(results == repeated, "equal jobs have equal results in every worker", f"{results}, then {repeated}")


def jobs_of(space: Space, count: int) -> list[Job]:
    """Trainings of random networks of a space."""
    rng = np.random.default_rng(0)
    archs = [space.decode(space.sample(rng)) for _ in range(count)]
    return [Job(i, "train", arch.to_dict(), arch_id(arch), seed=i) for i, arch in enumerate(archs)]


def _fitted(space: Space, context: Context, evaluator: EvaluatorSettings) -> Space:
    if not evaluator.capabilities.needs_dataset:
        return space
    data = context.dataset
    arch = fit_arch(task_of(space), example(space), data)
    return space.fit(data.resolution, data.channels, arch.classes)


def _evaluated(evaluator: EvaluatorSettings, context: Context, jobs: Sequence[Job]) -> list[Outcome]:
    """Outcomes after the preparation, whose results the jobs receive."""
    before = preparation_jobs(evaluator, context, 0)
    again = preparation_jobs(evaluator, context, 0)
    require(before == again, "the preparation is the same whenever it is asked for", f"{before}, then {again}")
    found = _outcomes(evaluator, context, before)
    for outcome in found:
        require(outcome.outcome == "ok", "the preparation succeeds", f"job {outcome.number}: {outcome.outcome}: {outcome.error}")
        plain = json.loads(json.dumps(outcome.data, default=str)) == outcome.data
        require(plain, "the data of a preparation is plain", f"job {outcome.number}: {outcome.data}")
    prepared = [outcome.data for outcome in found]
    return _outcomes(evaluator, context, [dataclasses.replace(job, data=with_prepared(job.data, prepared)) for job in jobs])


def _outcomes(evaluator: EvaluatorSettings, context: Context, jobs: Sequence[Job]) -> list[Outcome]:
    """Evaluated in groups, as many at a time as the capabilities state."""
    numbers = {job.number for job in jobs}

    def report(number: int, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        require(number in numbers, "progress is reported for the number of a job", f"{number}")
        require(0 <= step <= steps, "progress is a step and of how many", f"{step} of {steps}")

    run, group = evaluator.make(context), evaluator.trains_together()
    found: list[Outcome] = []
    for start in range(0, len(jobs), group):
        found += run(jobs[start : start + group], report)
    expected, got = [job.number for job in jobs], [outcome.number for outcome in found]
    require(got == expected, "there is an outcome for each job, in order", f"expected {expected}, got {got}")
    return found


def _check_outcome(job: Job, outcome: Outcome, evaluator: EvaluatorSettings, space: Space) -> None:
    where = f"job {job.number} of {job.arch_id}"
    require(outcome.outcome in OUTCOMES, "an outcome is one of nas.records.OUTCOMES", f"{where}: {outcome.outcome}")
    if outcome.outcome != "ok":
        require(outcome.error, "a failure has a message", f"{where}: {outcome.outcome}")
        return
    bad = {name: value for name, value in outcome.metrics.items() if not math.isfinite(value)}
    require(not bad, "metrics of an outcome that is ok are finite", f"{where}: {bad}")
    promised = [task_of(space).primary, *evaluator.capabilities.metrics]
    missing = [name for name in promised if name not in outcome.metrics]
    law = "metrics have the task's primary one and those of the capabilities"
    require(not missing, law, f"{where}: missing {', '.join(missing)}")
