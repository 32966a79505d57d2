"""Trains each candidate from scratch by the recipe and scores it on the validation split."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.core.settings import build
from nas.data import Dataset
from nas.evaluators.base import Capabilities, Context, EvaluatorSettings, guarded
from nas.nn.weights import Variables, load_weights, save_weights
from nas.recipe import Recipe
from nas.records import Job, Outcome, Report, Training
from nas.tasks import fit_arch, task_of

if TYPE_CHECKING:
    from nas.convert.fill import Imported
    from nas.convert.surgeon import Seen
    from nas.train import Checkpoints, Fit, Teacher
    from nas.train.ahead import Ahead


@dataclass(frozen=True)
class KeepsWeights(EvaluatorSettings):
    """What evaluators that train each candidate have in common.

    Args:
        keep_weights: Saves the weights of every trial, so that the report need not train the front again.
    """

    keep_weights: bool = True


@dataclass(frozen=True)
class ScratchSettings(KeepsWeights):
    """`evaluator=scratch`: each candidate is compiled and trained alone.

    Args:
        start: Weights of a trained network that every candidate starts from, as `weights=` of `nas train` has them; None: initial
            values. A space whose layers before the head are those of that network, such as `efficientnet_lite0_ssdlite`, has them all.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        fidelities=True, inherits_weights=True, inspects=True, tests=True, parts=True, teachers=True, several_devices=True,
        compiles_ahead=True,
    )

    start: str | None = None

    def images_of(self) -> str | None:
        return self.start

    def begins(self, arch: Arch, seed: int) -> Imported | None:
        if self.start is None:
            return None
        from nas.convert import starting_weights

        try:
            return starting_weights(self.start, lower(arch), seed)
        except ValueError as error:
            raise ValueError(f"evaluator.start: {error}") from None

    def make(self, context: Context) -> ScratchEvaluator:
        return ScratchEvaluator(self, context)


class ScratchEvaluator:
    """Trains (`train`), tests (`test`), inspects (`inspect`) and scores given weights (`score`), one job after the other."""

    def __init__(self, settings: KeepsWeights, context: Context):
        self._settings, self._context = settings, context
        self._recipe = build(Recipe, context.settings["recipe"], "recipe")
        self._known: dict[tuple[str, str], dict[str, Seen]] = {}
        self._ahead: Ahead | None = None

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        work = {"train": self._train, "test": self._test, "score": self._score, "inspect": self._inspect}
        return [guarded(job, self._context.worker, lambda job=job: work[job.kind](job, report)) for job in jobs]

    def ahead(self, job: Job) -> None:
        """Begins to compile the training of a job, in a thread; nothing for one that starts from other values or has a teacher."""
        from nas.train.ahead import Ahead
        from nas.train.loop import compile_ahead
        from nas.train.parallel import DeviceMesh

        begun = self._settings.images_of() or {"parent", "teacher"} & job.data.keys()
        if not self._settings.capabilities.compiles_ahead or job.kind != "train" or begun:
            return
        self._ahead = self._ahead or Ahead()
        with contextlib.suppress(ValueError):  # the training itself says what is wrong
            compile_ahead(self._ahead, *self._task(job), DeviceMesh(self._context.devices))

    def _train(self, job: Job, report: Report) -> Outcome:
        outcome = self._outcome(job, self._fit(job, report))
        if not ((training := Training.of(job.data)) and training.more):
            self._checkpoints(job).clear()
        return outcome

    def _outcome(self, job: Job, fit: Fit) -> Outcome:
        """What a training left, its weights on disk."""
        for line in task_of(arch_from_dict(dict(job.arch))).advice(fit.metrics):
            logging.getLogger("nas").warning("trial %s: %s", job.number, line)
        if self._settings.keep_weights:
            save_weights(self._context.weights(job.number), {"params": fit.params, "stats": fit.stats})
        return Outcome(
            job.number, "ok", metrics=fit.metrics, compile_s=fit.compile_s, hidden_s=fit.hidden_s, train_s=fit.train_s,
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
        arch, dataset, _ = self._task(job)
        graph = lower(arch)
        metrics = evaluate(graph, variables, dataset.test, dataset, self._recipe.batch, self._recipe.dtype, task=task_of(arch))
        return Outcome(job.number, "ok", metrics=metrics, worker=self._context.worker)

    def _inspect(self, job: Job, report: Report) -> Outcome:
        """What the trial's network answers on the validation split, by its own weights."""
        from nas.evaluators.inspection import inspected

        variables, (arch, dataset, _) = load_weights(self._context.weights(job.number)), self._task(job)
        data = inspected(arch, variables, dataset, self._recipe.batch)
        return Outcome(job.number, "ok", data=data, worker=self._context.worker)

    def _fit(self, job: Job, report: Report) -> Any:
        return self._train_network(job, *self._task(job), report)

    def _task(self, job: Job) -> tuple[Arch, Dataset, Recipe]:
        """What is trained on what and how: on a fidelity, a part of it."""
        arch, training = arch_from_dict(dict(job.arch)), Training.of(job.data)
        recipe = build(Recipe, job.data["recipe"], "recipe") if "recipe" in job.data else self._recipe
        if training is None:
            return arch, self._context.dataset, recipe
        dataset = self._context.dataset_at(training.fidelity)
        if dataset.resolution != self._context.dataset.resolution:
            arch = fit_arch(task_of(arch), arch, dataset, dataset.resolution)
        return arch, dataset, replace(recipe, epochs=training.fidelity.epochs, schedule_epochs=training.horizon)

    def _checkpoints(self, job: Job) -> Checkpoints:
        """Fidelities on the same data use the checkpoints of the trial that the training began with."""
        training = Training.of(job.data)
        if training is None:
            return self._context.checkpoints(job.number)
        fidelity = training.fidelity
        kind = f"-{fidelity.fraction:g}-{fidelity.resolution or 0}" if (fidelity.fraction, fidelity.resolution) != (1.0, None) else ""
        return self._context.checkpoints(training.root, training.more, kind)

    def _train_network(self, job: Job, arch: Arch, dataset: Dataset, recipe: Recipe, report: Report) -> Any:
        from nas.train import DeviceMesh, fit

        variables, fresh = self._begins(job, arch)
        return fit(arch, dataset, recipe, job.seed, report=self._on_step(job, report), checkpoint=self._checkpoints(job),
                   variables=variables, fresh=fresh, teacher=self._teacher(job, dataset),
                   mesh=DeviceMesh(self._context.devices), ahead=self._ahead)  # fmt: skip

    def _teacher(self, job: Job, dataset: Dataset) -> Teacher | None:
        """The network that `job.data` names as `teacher`, by its arch and weights; it knows images as the job's network does."""
        from nas.train import Teacher

        if "teacher" not in job.data:
            return None
        arch, weights = job.data["teacher"]["arch"], Path(job.data["teacher"]["weights"])
        return Teacher(arch_from_dict(dict(arch)), load_weights(weights), dataset.mean, dataset.std)

    def _on_step(self, job: Job, report: Report) -> Callable[[int, int, dict[str, float]], bool | None]:
        return lambda step, steps, metrics: report(job.number, step, steps, metrics)

    def _begins(self, job: Job, arch: Arch) -> tuple[Variables | None, Sequence[str]]:
        """(what the training starts from, the nodes among it that were never trained)."""
        variables = self._inherited(job, arch)
        if variables is None and (begun := self._settings.begins(arch, job.seed)):
            return begun.variables, begun.fresh
        return variables, self._fresh(job, variables)

    def _inherited(self, job: Job, arch: Arch) -> Variables | None:
        """What a wider network of the same form leaves it: `job.data` has that network's `weights` and, as `parent`, its arch."""
        if "parent" not in job.data:
            return None
        from nas.convert.inherit import inherit

        parent, child, variables = lower(arch_from_dict(dict(job.data["parent"]))), lower(arch), load_weights(Path(job.data["weights"]))
        seen = self._seen(parent, variables, job.data["weights"]) if parent.id != child.id else None
        return inherit(parent, child, variables, job.seed, seen)

    def _seen(self, parent: Graph, variables: Variables, weights: str) -> dict[str, Seen]:
        """What the layers of a parent read; kept for its other children."""
        from nas.train.seen import seen_by_layers

        if (parent.id, weights) not in self._known:
            self._known = {(parent.id, weights): seen_by_layers(parent, variables, self._context.dataset)}
        return self._known[parent.id, weights]

    def _fresh(self, job: Job, variables: Variables | None) -> list[str]:
        """The layers that the wider network has not, which start from initial values."""
        if variables is None:
            return []
        parent = {node.name for node in lower(arch_from_dict(dict(job.data["parent"]))).nodes}
        return [name for name in variables["params"] if name not in parent]

    def _score(self, job: Job, report: Report) -> Outcome:
        """The validation split, with given weights as they are."""
        from nas.train import evaluate

        variables, dataset = load_weights(Path(job.data["weights"])), self._context.dataset
        save_weights(self._context.weights(job.number), variables)
        arch = arch_from_dict(dict(job.arch))
        graph = lower(arch)
        metrics = evaluate(graph, variables, dataset.valid, dataset, self._recipe.batch, self._recipe.dtype, task=task_of(arch))
        return Outcome(job.number, "ok", metrics=metrics, worker=self._context.worker)
