"""Trains candidates by programs of single layers, which a worker keeps from candidate to candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from nas.arch import Arch
from nas.data import Dataset
from nas.evaluators.base import Capabilities, Context
from nas.evaluators.scratch import ScratchEvaluator, ScratchSettings
from nas.recipe import Recipe
from nas.records import Job, Report
from nas.tasks import task_of

RECIPES = 4  # whose programs are kept: fidelities on other data need their own


@dataclass(frozen=True)
class LayerwiseSettings(ScratchSettings):
    """`evaluator=layerwise`: results are those of `scratch` but for rounding; only layers that are new are compiled."""

    capabilities: ClassVar[Capabilities] = replace(
        ScratchSettings.capabilities, parts=False, teachers=False, several_devices=False, compiles_ahead=False
    )

    def make(self, context: Context) -> LayerwiseEvaluator:
        return LayerwiseEvaluator(self, context)


class LayerwiseEvaluator(ScratchEvaluator):
    """A trial's `compile_s` counts the layers that no trial of its worker had before."""

    def __init__(self, settings: ScratchSettings, context: Context):
        super().__init__(settings, context)
        self._programs: dict[tuple[Recipe, int, str], Any] = {}

    def _train_network(self, job: Job, arch: Arch, dataset: Dataset, recipe: Recipe, report: Report) -> Any:
        from nas.train.compilation.layerwise import Layerwise

        shared = replace(recipe, epochs=recipe.horizon)  # fidelities that differ in their epochs have the same programs
        task = task_of(arch)
        key = (shared, id(dataset), task.name)  # the context keeps its datasets
        if key not in self._programs:
            self._programs = dict([*self._programs.items()][-RECIPES + 1 :]) | {key: Layerwise(dataset, shared, task)}
        variables, fresh = self._begins(job, arch)
        return self._programs[key].fit(
            arch, job.seed, report=self._on_step(job, report), checkpoint=self._checkpoints(job),
            variables=variables, fresh=fresh, epochs=recipe.epochs,
        )  # fmt: skip
