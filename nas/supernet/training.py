"""Training the weights that a space's candidates share.

    trained = train_supernet(space, dataset, recipe, Uniform(), seed=0)    # a Fit, whose `params` are the shared weights

Each step draws candidates, runs them on one batch by the programs of their units, and updates the slots that were used, once. The
epochs, checkpoints and reports are those of any training (`nas.train.loop`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from nas.arch.blocks import lower
from nas.data.dataset import Dataset, Split
from nas.nn.ops import Array
from nas.nn.weights import AnyArray, HostVariables
from nas.recipe import Recipe
from nas.records import JSON
from nas.space import Space
from nas.supernet.paths import Path, Paths, Placed, Unit
from nas.supernet.programs import Functions, Made, Own, Programs, begun, sized, updated
from nas.supernet.scoring import Scorer, Scoring
from nas.supernet.strategies import Candidates, Strategy
from nas.supernet.weights import SharedWeights
from nas.tasks import MetricState, Mixed, Task, check_fit, check_own, check_recipe, task_of
from nas.train.checkpoint import Checkpoints
from nas.train.loop import Fit, Report, finish, silent
from nas.train.optim import Layout, Tree
from nas.train.score import Score, normalized
from nas.train.state import State
from nas.train.trainer import Program, Trainer
from nas.train.transfer import refuse_transfer


@dataclass(frozen=True)
class SupernetTrainer(Trainer):
    """A trainer whose state holds the slots of a space by name; what is validated is its largest candidate."""

    scorer: Scorer | None = None
    largest: tuple[int, ...] = ()
    about: Mapping[str, JSON] = dataclasses.field(default_factory=dict)

    def result(self, state: State) -> HostVariables:
        assert self.scorer is not None
        slots = jax.tree.map(np.array, state.ema[0] if state.ema else state.params)
        return SharedWeights(self.scorer.paths, slots).variables()

    def scored(self, state: State) -> Tree:
        return state.ema[0] if state.ema else state.params

    def score(self, score: Any, weights: Tree, split: Split) -> MetricState:
        assert self.scorer is not None
        return self.scorer.metrics(weights, self.largest, split)

    def identity(self, state: State) -> dict[str, JSON]:
        return super().identity(state) | dict(self.about)


def train_supernet(space: Space, dataset: Dataset, recipe: Recipe, strategy: Strategy, seed: int, *, report: Report = silent,
                   task: Task | None = None, checkpoint: Checkpoints | None = None, scoring: Scoring | None = None,
                   programs: Programs | None = None, start: SharedWeights | None = None) -> Fit:  # fmt: skip
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

    Returns:
        What `nas.train.fit` gives; `params` are the shared arrays by slot and node, metrics those of the largest candidate.

    Raises:
        ValueError: Naming the gene for what cannot be shared, before anything is trained, or the recipe's setting.
    """
    run = Supernet(space, dataset, recipe, task=task, programs=programs)
    return run.fit(strategy, seed, report=report, checkpoint=checkpoint, scoring=scoring or Scoring(), start=start)


class Supernet:
    """The units of a space and their compiled programs, for one dataset and one recipe.

    Args:
        space: Fitted to the dataset.
        dataset: What is trained on.
        recipe: The settings of the training.
        task: That of the space's heads where none is given.
        programs: Compiled ones to share with others.
        masked: Whether widths are masks within programs of the largest layers; None: where too many layers differ.

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
    ):
        self.space, self.dataset, self.recipe = space, dataset, recipe
        arch = space.decode(space.canonical([0] * len(space.genes)))
        self.task = task or task_of(arch)
        check_fit(self.task, arch, dataset)
        check_recipe(self.task, recipe)
        refuse_transfer(recipe, "a supernet")
        check_own(self.task, arch, recipe, "supernet")
        if recipe.accumulate > 1:
            raise ValueError(f"recipe.accumulate: a supernet makes an update every step, got {recipe.accumulate}")
        self.task = self.task.weighed(recipe, dataset)
        self.paths, self.programs = Paths.of(space, masked), programs or Programs()
        self.candidates = Candidates(space)
        self._arch = arch

    def scorer(self, scoring: Scoring) -> Scorer:
        return Scorer(self.paths, self.programs, self.dataset, self.recipe, self.task, scoring)

    def fit(
        self, strategy: Strategy, seed: int, *, report: Report, checkpoint: Checkpoints | None, scoring: Scoring,
        start: SharedWeights | None = None,
    ) -> Fit:  # fmt: skip
        """Trains the weights, as `train_supernet` says."""
        began = time.perf_counter()
        slots = (start or SharedWeights.initial(self.paths, seed, strategy.zero_gamma)).slots
        trainer = SupernetTrainer(
            lower(self._arch), self.dataset, self.recipe, seed, self.task, Layout(()), Layout(()), checkpoint,
            scorer=self.scorer(scoring), largest=self.candidates.largest,
            about={"space": self.space.fingerprint, "strategy": [type(strategy).__name__, str(strategy)]},
        )  # fmt: skip
        key = jax.random.key(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
        owns = {slot: begun(self.recipe, params) for slot, params in slots.items()}
        state = _state(owns, bool(self.recipe.ema), np.int32(0), key)
        step, score = _Stepper(self, trainer, strategy, seed), cast("Score", None)  # the trainer scores by itself
        return finish(trainer, Program(step, score, time.perf_counter() - began, None), state, report)


def _state(owns: Mapping[str, Own], ema: bool, step: np.int32, key: Array) -> State:
    params = {slot: own.params for slot, own in owns.items()}
    opt = {slot: own.opt for slot, own in owns.items()}
    return State(params, {}, opt, ({slot: own.ema for slot, own in owns.items()},) if ema else (), step, key)


class _Stepper:
    """A training step: (state, images, targets) -> (state, loss)."""

    def __init__(self, net: Supernet, trainer: SupernetTrainer, strategy: Strategy, seed: int):
        self._net, self._trainer, self._strategy, self._seed = net, trainer, strategy, seed

    def __call__(self, state: State, images: AnyArray, targets: AnyArray) -> tuple[State, Array]:
        step, key = np.int32(state.step), state.key
        x, pairs = self._mixed(images, targets, key, step)
        grads: dict[str, Tree] = {}
        losses, taught = [], None
        for genome in self._strategy.genomes(self._net.candidates, self._seed, int(step)):
            run = _Pass(self._net, self._net.paths.path(genome), state.params, key, step)
            loss, outputs = run(self._sized(x, run.path.side), pairs, grads, taught)
            taught = outputs if self._strategy.distills and taught is None else taught
            losses.append(loss)
        return self._updated(state, grads, step), sum(losses[1:], losses[0]) / len(losses)

    def _mixed(self, images: AnyArray, targets: AnyArray, key: Array, step: np.int32) -> tuple[Array, Mixed]:
        net = self._net

        def mixed(images: Array, targets: Array, key: Array, step: Array) -> tuple[Array, Mixed]:
            pairs = net.task.mix(net.recipe, normalized(images, net.dataset), targets, jax.random.fold_in(key, step))
            return pairs.images, pairs._replace(images=jnp.zeros(()))

        args = images, targets, key, step
        return net.programs.get(("mixed", images.shape), lambda: (mixed, args))(*args)

    def _sized(self, x: Array, side: int) -> Array:
        dtype = self._net.recipe.dtype
        return self._net.programs.get(("sized", side, x.shape), lambda: (lambda x: sized(x, side, dtype), (x,)))(x)

    def _updated(self, state: State, grads: Mapping[str, Tree], step: np.int32) -> State:
        recipe, steps = self._net.recipe, self._trainer.steps_per_epoch
        params, opt, ema = dict(state.params), dict(state.opt), dict(state.ema[0]) if state.ema else {}
        for slot, grad in grads.items():
            own = Own(params[slot], opt[slot], ema.get(slot, ()))
            key = "update", recipe, steps, tuple(array.shape for array in own.params.values())
            made = partial(_made_update, recipe, steps, own, grad, step)
            params[slot], opt[slot], after = self._net.programs.get(key, made, (0,))(own, grad, step)
            if state.ema:
                ema[slot] = after
        return State(params, state.stats, opt, (ema,) if state.ema else (), np.int32(step + 1), state.key)


def _made_update(recipe: Recipe, steps: int, own: Own, grad: Tree, step: np.int32) -> Made:
    return lambda own, grads, step: updated(recipe, steps, own, grads, step), (own, grad, step)


@dataclass(frozen=True, eq=False)
class _Pass:
    """One candidate on one batch, both ways."""

    net: Supernet
    path: Path
    params: Mapping[str, Tree]
    key: Array
    step: np.int32

    def __call__(self, x: Array, pairs: Mixed, grads: dict[str, Tree], taught: Array | None) -> tuple[Array, Array]:
        """Adds the candidate's gradients to `grads`, and gives (loss, outputs)."""
        *before, end = self.path.placed
        pulls = []
        for placed in before:
            y, pull = self._forward(placed, x)
            pulls.append((x.shape, pull))
            x = y
        loss, outputs, g, own = self._end(end, x, pairs, taught)
        _add(grads, end, own)
        for placed in reversed(before):
            shape, pull = pulls.pop()
            made = partial(self._made_backward, placed.unit, pull, g)
            g, own = self.net.programs.get((placed.unit, "backward", shape), made)(pull, g)
            _add(grads, placed, own)
        return loss, outputs

    def _forward(self, placed: Placed, x: Array) -> tuple[Array, Any]:
        args = _slots(self.params, placed), x, self.key, self.step, placed.draws
        made = partial(self._made, placed.unit, "forward", args)
        return self.net.programs.get((placed.unit, "forward", x.shape), made)(*args)

    def _end(self, placed: Placed, x: Array, pairs: Mixed, taught: Array | None) -> tuple[Array, Array, Array, Any]:
        args = _slots(self.params, placed), pairs, x, self.key, self.step, placed.draws
        args = args if taught is None else (*args, taught)
        made = partial(self._made, placed.unit, "end", args)
        return self.net.programs.get((placed.unit, "end", x.shape, taught is None), made)(*args)

    def _functions(self, unit: Unit) -> Functions:
        return Functions(unit, self.net.recipe, self.net.task)

    def _made(self, unit: Unit, what: str, args: Sequence[Tree]) -> Made:
        return getattr(self._functions(unit), what), args

    def _made_backward(self, unit: Unit, pull: Any, g: Array) -> Made:
        return self._functions(unit).backward, (pull, g)


def _slots(params: Mapping[str, Tree], placed: Placed) -> tuple[Tree, ...]:
    return tuple(params[slot] for slot in placed.slots)


def _add(grads: dict[str, Tree], placed: Placed, own: Sequence[Tree]) -> None:
    for slot, grad in zip(placed.slots, own, strict=True):
        grads[slot] = jax.tree.map(jnp.add, grads[slot], grad) if slot in grads else grad
