"""Training the weights that a space's candidates share.

    trained = train_supernet(space, dataset, recipe, Uniform(), seed=0)    # a Fit, whose `params` are the shared weights

What a step does is in `nas.supernet.step`. The epochs, checkpoints and reports are those of any training (`nas.train.loop`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import jax
import numpy as np

from nas.arch.blocks import lower
from nas.data.dataset import Dataset
from nas.nn.ops import Array
from nas.recipe import Recipe
from nas.space import Genome, Space
from nas.supernet.paths import MOST_UNITS, Paths
from nas.supernet.programs import Programs, SlotState, begun
from nas.supernet.scoring import Scorer, Scoring
from nas.supernet.step import LOSSES, STRATEGY, TEACHER, Stepper, SupernetTrainer, copied
from nas.supernet.strategies import STRATEGIES, Candidates, Kept, Strategy
from nas.supernet.weights import SharedWeights
from nas.supernet.whole import WholePlan, WholeStepper
from nas.tasks import Task, check_fit, check_own, check_recipe, task_of
from nas.train.checkpoint import Checkpoints
from nas.train.distill import feature_shape
from nas.train.loop import Fit, Report, finish, silent
from nas.train.optim import Layout, Tree
from nas.train.parallel import ALONE, DeviceMesh
from nas.train.precision import with_dtype
from nas.train.score import Score
from nas.train.state import State, Step
from nas.train.trainer import Program
from nas.train.transfer import refuse_transfer

TEACHING = tuple(name for name, one in STRATEGIES.items() if one().teaches)
NO_START = "strategy: taught learns from a trained network; name its weights by start="
FEW_UNITS = 60  # on an accelerator, where a unit takes seconds to compile and tune


def train_supernet(space: Space, dataset: Dataset, recipe: Recipe, strategy: Strategy, seed: int, *, report: Report = silent,
                   task: Task | None = None, checkpoint: Checkpoints | None = None, scoring: Scoring | None = None,
                   programs: Programs | None = None, start: SharedWeights | None = None,
                   cost: Callable[[Genome], float] | None = None, mesh: DeviceMesh = ALONE) -> Fit:  # fmt: skip
    """Trains the weights of a space.

    Args:
        space: Fitted to the dataset.
        dataset: Its training split gives the batches.
        recipe: The settings of the training. Norms always use the batch; `freeze` and `lr_scale` are refused.
        strategy: Which candidates a step has.
        seed: Of initial weights, batches and candidates.
        report: As `nas.train.fit` has it.
        task: That of the space's heads where none is given.
        checkpoint: Where it resumes from, bit for bit on a CPU.
        scoring: How the largest candidate is validated.
        programs: Compiled ones to share with other trainings.
        start: Values to start from, such as those of a trained network by `SharedWeights.with_network`; None: initial values.
        cost: What a candidate costs, for a strategy that weighs it; None: its multiply-adds. Must be a function of the candidate
            alone, such as a latency predictor that is trained already.
        mesh: Devices that share each batch; norms use the whole batch. For strategies and spaces that are one program.

    Returns:
        What `nas.train.fit` gives; `params` are the shared arrays by slot and node, metrics those of the largest candidate.
        `stats` is empty but for a strategy that keeps something: `Supernet.chosen` reads it.

    Raises:
        ValueError: Naming the gene for what cannot be shared, before anything is trained, or the recipe's setting.
    """
    run = Supernet(space, dataset, recipe, task=task, programs=programs, matrices=strategy.learns_matrices)
    return run.fit(strategy, seed, report=report, checkpoint=checkpoint, scoring=scoring or Scoring(), start=start,
                   cost=cost, mesh=mesh)  # fmt: skip


class Supernet:
    """The units of a space and their compiled programs, for one dataset and one recipe.

    Args:
        space: Fitted to the dataset.
        dataset: What is trained on.
        recipe: The settings of the training.
        task: That of the space's heads where none is given.
        programs: Compiled ones to share with others.
        masked: Whether widths are masks within programs of the largest layers; None: where too many layers differ.
        matrices: Whether smaller depthwise kernels are made of larger ones by matrices, as some strategies learn them.

    Raises:
        ValueError: Naming the gene for what cannot be shared, or the recipe's setting that has no meaning here.
    """

    def __init__(
        self,
        space: Space,
        dataset: Dataset,
        recipe: Recipe,
        *,
        task: Task | None = None,
        programs: Programs | None = None,
        masked: bool | None = None,
        matrices: bool = False,
    ):
        self.space, self.dataset, self.recipe = space, dataset, with_dtype(recipe)
        arch = space.decode(space.canonical([0] * len(space.genes)))
        self.task = task or task_of(arch)
        check_fit(self.task, arch, dataset)
        check_recipe(self.task, recipe, taught=True)  # the strategy says whether it is
        refuse_transfer(recipe, "a supernet")
        check_own(self.task, arch, recipe, "supernet")
        if recipe.accumulate > 1:
            raise ValueError(f"recipe.accumulate: a supernet makes an update every step, got {recipe.accumulate}")
        self.task = self.task.weighed(recipe, dataset)
        self.paths = Paths.of(space, masked, MOST_UNITS if jax.default_backend() == "cpu" else FEW_UNITS, matrices)
        self.programs = (programs or Programs()).within(_scope(dataset, recipe, self.task))
        self.candidates = Candidates(space)
        self._arch = arch

    def scorer(self, scoring: Scoring) -> Scorer:
        return Scorer(self.paths, self.programs, self.dataset, self.recipe, self.task, scoring)

    def check(self, strategy: Strategy) -> None:
        """Raises ValueError where the strategy cannot train these weights, naming the setting."""
        name = next((name for name, one in STRATEGIES.items() if type(strategy) is one), type(strategy).__name__)
        if strategy.teaches and not self.task.distills:
            raise ValueError(
                f"strategy: {name} lets one network teach another, which the task {self.task.name} has no loss for"
            )
        if self.recipe.match_features:
            if not strategy.teaches:
                some = ", ".join(TEACHING)
                raise ValueError(f"recipe.match_features: strategy={name} has no teacher; take one of {some}, or leave it out")
            self._check_features()
        if strategy.scheduled and self.recipe.patience:
            raise ValueError(
                f"recipe.patience: strategy={name} needs all of its steps; leave it at 0, got {self.recipe.patience}"
            )

    def _check_features(self) -> None:
        """Raises ValueError, naming the choice, where the last feature maps of candidates have different sizes.

        Narrower ones are the first channels of wider ones, which masks do not show.
        """
        parts = 3 if self.paths.masked else 2

        def shape(genome: Genome) -> tuple[int, ...]:
            return feature_shape(lower(self.space.decode(genome)))[:parts]

        largest = self.candidates.largest
        expected, last = shape(largest), self.paths.path(largest).placed[-1].unit
        if not any(node.op == "global_pool" for node in last.nodes):
            raise ValueError("recipe.match_features: the head does not pool over all pixels; leave it out")
        for genome in self.space.neighbors(largest):
            if shape(genome) != expected:
                gene = next(gene for gene, a, b in zip(self.space.genes, largest, genome, strict=True) if a != b)
                raise ValueError(f"recipe.match_features: {gene.name} changes the size of the last feature map; leave it out")

    def fit(
        self, strategy: Strategy, seed: int, *, report: Report, checkpoint: Checkpoints | None, scoring: Scoring,
        start: SharedWeights | None = None, cost: Callable[[Genome], float] | None = None, whole: bool | None = None,
        dispatch: int | None = None, mesh: DeviceMesh = ALONE,
    ) -> Fit:  # fmt: skip
        """Trains the weights, as `train_supernet` says.

        whole: whether a step is one program of the whole space (`nas.supernet.whole`); None: on an accelerator, where it can be. dispatch:
        steps that one dispatch of that program runs, as `nas.train.fit` has it. mesh: devices that share each batch, which only that
        program does.
        """
        self.check(strategy)
        if strategy.needs_start and start is None:
            raise ValueError(NO_START)
        began = time.perf_counter()
        trainer, state = self._ready(strategy, seed, scoring, start, checkpoint, mesh)
        costs = functools.cache(cost or (lambda genome: float(self.candidates.macs([genome])[0])))
        plan = self._whole(strategy, whole or mesh.size > 1 or None)
        if plan:
            trainer, state = trainer.dispatching(dispatch), mesh.replicated(state)
            step: Step = WholeStepper(plan, trainer, self.candidates, strategy, costs)
        else:
            step = Stepper(trainer, self.candidates, strategy, costs)
        score = cast("Score", None)  # the trainer scores by itself
        return finish(trainer, Program(step, score, time.perf_counter() - began, None), state, report)

    def _ready(
        self, strategy: Strategy, seed: int, scoring: Scoring, start: SharedWeights | None = None,
        checkpoint: Checkpoints | None = None, mesh: DeviceMesh = ALONE,
    ) -> tuple[SupernetTrainer, State]:  # fmt: skip
        """What a training runs with, and the state that it begins with."""
        slots = (start or SharedWeights.initial(self.paths, seed, strategy.zero_gamma)).slots
        trainer = SupernetTrainer(
            lower(self._arch), self.dataset, self.recipe, seed, self.task, Layout(()), Layout(()), checkpoint, mesh,
            scorer=self.scorer(scoring), largest=self.candidates.largest,
            about={"space": self.space.fingerprint, "strategy": [type(strategy).__name__, str(strategy)]}, roles=strategy.roles,
        )  # fmt: skip
        if strategy.scheduled:
            trainer = replace(trainer, about={**trainer.about, "steps": trainer.horizon})
        key = jax.random.key(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
        owns = {slot: begun(self.recipe, params) for slot, params in slots.items()}
        return trainer, _state(owns, self._kept(strategy, slots), bool(self.recipe.ema), key)

    def whole_step(self, strategy: Strategy, seed: int) -> tuple[Callable[..., tuple[State, Array]], Sequence[object]]:
        """(the step of the whole space as a function, arrays of the shapes that it takes), to be compiled for any device.

        Raises ValueError where one program cannot hold the space.
        """
        plan = self._whole(strategy, True)
        assert plan is not None
        trainer, state = self._ready(strategy, seed, Scoring())
        return WholeStepper(plan, trainer, self.candidates, strategy, lambda genome: 0.0).traced(state)

    def _whole(self, strategy: Strategy, asked: bool | None) -> WholePlan | None:
        """The space as one program, where that is asked for or suits the device, and can be."""
        if asked is False or (asked is None and jax.default_backend() == "cpu"):
            return None
        plan = WholePlan.of(self.paths) if strategy.ahead and not self.recipe.match_features else None
        if asked and plan is None:
            raise ValueError(
                f"{self.space.name}: one program cannot hold this space, or the candidates of this strategy; several devices need one"
            )
        return plan

    def _kept(self, strategy: Strategy, slots: Mapping[str, Tree]) -> dict[str, Tree]:
        """What a strategy has in a training's state before the first step, the weights of its teacher among it."""
        kept = {STRATEGY: dict(strategy.start(self.candidates))}
        if strategy.keeps_teacher:
            kept[TEACHER] = copied(slots, self.paths.path(strategy.full(self.candidates)))
        if strategy.roles:
            kept[LOSSES] = {name: np.zeros(len(strategy.roles), np.float32) for name in ("sums", "counts")}
        return {name: tree for name, tree in kept.items() if tree}

    def chosen(self, strategy: Strategy, fit: Fit) -> Genome | None:
        """The architecture that a training by the strategy ended with; None where the strategy chooses none."""
        return strategy.chosen(self.candidates, cast("Kept", fit.stats.get(STRATEGY, {})))


def _scope(dataset: Dataset, recipe: Recipe, task: Task) -> str:
    """What programs of equal shapes can differ in."""
    losses = recipe.label_smoothing, recipe.mixup, recipe.cutmix, recipe.class_weights, recipe.dice, recipe.match_features
    losses += recipe.embedding, recipe.detection
    return f"{dataset.digest} {dataset.mean} {dataset.std} {task.name} {recipe.dtype} {losses}"


def _state(owns: Mapping[str, SlotState], kept: dict[str, Tree], ema: bool, key: Array) -> State:
    params = {slot: own.params for slot, own in owns.items()}
    opt = {slot: own.opt for slot, own in owns.items()}
    averages = ({slot: own.ema for slot, own in owns.items()},) if ema else ()
    return State(params, kept, opt, averages, np.int32(0), key)
