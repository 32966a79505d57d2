"""Trains each candidate from scratch by the recipe and scores it on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.arch import Arch, arch_from_dict
from nas.blocks import lower
from nas.evaluators.base import Context, guarded
from nas.jobs import Job, Outcome, Report
from nas.recipe import Recipe
from nas.settings import build
from nas.weights import Variables, load_weights, save_weights


@dataclass(frozen=True)
class Scratch:
    """`evaluator=scratch`: one program a candidate. `keep_weights` saves them, so that the report need not train again."""

    keep_weights: bool = True

    def make(self, context: Context) -> ScratchEvaluator:
        return ScratchEvaluator(self, context)


class ScratchEvaluator:
    group = 1

    def __init__(self, settings: Scratch, context: Context):
        self._settings, self._context = settings, context
        self._recipe = build(Recipe, context.settings["recipe"], "recipe")

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        work = {"train": self._train, "test": self._test, "score": self._score}
        return [guarded(job, self._context.worker, lambda job=job: work[job.kind](job, report)) for job in jobs]

    def _train(self, job: Job, report: Report) -> Outcome:
        fit = self._fit(job, report)
        if self._settings.keep_weights:
            save_weights(self._context.weights(job.number), {"params": fit.params, "stats": fit.stats})
        self._context.checkpoints(job.number).clear()
        return Outcome(
            job.number, "ok", metrics=fit.metrics, compile_s=fit.compile_s, train_s=fit.train_s,
            memory_bytes=fit.peak_memory_bytes, worker=self._context.worker,
        )  # fmt: skip

    def _test(self, job: Job, report: Report) -> Outcome:
        """The test split, with the trial's own weights; trained again from the same seed where they are gone."""
        from nas.train import evaluate

        path = self._context.weights(job.number)
        if path.exists():
            variables = load_weights(path)
        else:
            fit = self._fit(job, report)
            variables = {"params": fit.params, "stats": fit.stats}
        dataset = self._context.dataset
        graph = lower(arch_from_dict(dict(job.arch)))
        metrics = evaluate(graph, variables, dataset.test, dataset, self._recipe.batch, self._recipe.dtype)
        return Outcome(job.number, "ok", metrics=metrics, worker=self._context.worker)

    def _fit(self, job: Job, report: Report) -> Any:
        recipe = build(Recipe, job.data["recipe"], "recipe") if "recipe" in job.data else self._recipe
        return self._train_network(job, arch_from_dict(dict(job.arch)), recipe, report)

    def _train_network(self, job: Job, arch: Arch, recipe: Recipe, report: Report) -> Any:
        from nas.train import fit

        return fit(arch, self._context.dataset, recipe, job.seed, report=self._on_step(job, report),
                   checkpoint=self._context.checkpoints(job.number), variables=self._inherited(job, arch))  # fmt: skip

    def _on_step(self, job: Job, report: Report) -> Callable[[int, int, dict[str, float]], bool | None]:
        return lambda step, steps, metrics: report(job.number, step, steps, metrics)

    def _inherited(self, job: Job, arch: Arch) -> Variables | None:
        """What a wider network of the same form leaves it: `job.data` has that network's `weights` and, as `parent`, its arch."""
        if "parent" not in job.data:
            return None
        from nas.convert.inherit import inherit

        parent = lower(arch_from_dict(dict(job.data["parent"])))
        return inherit(parent, lower(arch), load_weights(Path(job.data["weights"])), job.seed)

    def _score(self, job: Job, report: Report) -> Outcome:
        """The validation split, with given weights as they are."""
        from nas.train import evaluate

        variables, dataset = load_weights(Path(job.data["weights"])), self._context.dataset
        save_weights(self._context.weights(job.number), variables)
        graph = lower(arch_from_dict(dict(job.arch)))
        metrics = evaluate(graph, variables, dataset.valid, dataset, self._recipe.batch, self._recipe.dtype)
        return Outcome(job.number, "ok", metrics=metrics, worker=self._context.worker)
