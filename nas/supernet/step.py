"""A step of a supernet's training: candidates run on one batch by the programs of their units, and the slots that were used are updated.

All of them are updated once, whatever number of candidates used them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nas.data.dataset import Split
from nas.nn.ops import Array
from nas.nn.weights import AnyArray, HostVariables
from nas.recipe import Recipe
from nas.records import JSON
from nas.space import Genome
from nas.supernet.paths import Path, Placed, Unit
from nas.supernet.programs import Answer, Functions, Made, SlotState, begun, sized, updated
from nas.supernet.scoring import Scorer
from nas.supernet.sorting import hidden_orders, with_orders
from nas.supernet.strategies import Candidates, Changes, StepContext, Strategy
from nas.supernet.weights import SharedWeights
from nas.tasks import MetricState, Mixed
from nas.train.optim import Tree
from nas.train.score import normalized
from nas.train.state import State
from nas.train.trainer import Trainer

VALID = 1  # which random numbers of a step draw its validation images
# Under which a training's statistics hold what its strategy keeps, its teacher, and the epoch's losses by kind of candidate.
STRATEGY, TEACHER, LOSSES = "strategy", "teacher", "losses"


@dataclass(frozen=True)
class SupernetTrainer(Trainer):
    """A trainer whose state holds the slots of a space by name, and as statistics what the strategy keeps.

    What is validated is the largest candidate.
    """

    scorer: Scorer | None = None
    largest: tuple[int, ...] = ()
    about: Mapping[str, JSON] = dataclasses.field(default_factory=dict)
    roles: tuple[str, ...] = ()

    def result(self, state: State) -> HostVariables:
        assert self.scorer is not None
        slots = jax.tree.map(np.array, state.ema[0] if state.ema else state.params)
        kept = {name: np.array(array) for name, array in state.stats.get(STRATEGY, {}).items()}
        stats = {STRATEGY: kept} if kept else {}
        return {**SharedWeights(self.scorer.paths, slots).variables(), "stats": stats}

    def scored(self, state: State) -> Tree:
        weights = state.ema[0] if state.ema else state.params
        return weights if self.mesh.size == 1 else jax.tree.map(lambda a: a.addressable_data(0), weights)

    def score(self, score: Any, weights: Tree, split: Split) -> MetricState:
        assert self.scorer is not None
        return self.scorer.metrics(weights, self.largest, split)

    def identity(self, state: State) -> dict[str, JSON]:
        return super().identity(state) | dict(self.about)

    def figures(self, state: State) -> dict[str, float]:
        """Mean training losses of the epoch by kind of candidate."""
        if not self.roles:
            return {}
        sums, counts = (np.asarray(state.stats[LOSSES][name]) for name in ("sums", "counts"))
        return {f"{role}_loss": float(total / max(count, 1)) for role, total, count in zip(self.roles, sums, counts, strict=True)}

    def counted(self, strategy: Strategy, known: Tree, losses: Sequence[Array] | Array, step: AnyArray) -> Tree:
        """The losses of an epoch by kind of candidate, with those of a step, one a candidate."""
        count, kept = len(losses), jnp.where(step % self.steps_per_epoch == 0, 0.0, 1.0)
        kinds = np.eye(len(self.roles), dtype=np.float32)[[strategy.role(i, count) for i in range(count)]]
        sums = (jnp.stack(list(losses))[:, None] * kinds).sum(0)
        return {"sums": kept * known["sums"] + sums, "counts": kept * known["counts"] + kinds.sum(0)}

    def context(self, among: Candidates, step: int, cost: Callable[[Genome], float]) -> StepContext:
        """A step as a strategy sees it that keeps nothing and asks the device nothing."""
        return StepContext(among, self.seed, step, self.horizon, self.rows, cost=cost)

    @property
    def horizon(self) -> int:
        """Steps that the training is laid out for."""
        return self.recipe.horizon * self.steps_per_epoch


class Stepper:
    """A training step: (state, images, targets) -> (state, loss)."""

    def __init__(
        self, trainer: SupernetTrainer, among: Candidates, strategy: Strategy, cost: Callable[[Genome], float]
    ):
        assert trainer.scorer is not None
        self._net, self._trainer = trainer.scorer, trainer
        self._among, self._strategy, self._cost = among, strategy, cost

    def __call__(self, state: State, images: AnyArray, targets: AnyArray) -> tuple[State, Array]:
        strategy, context = self._strategy, self._context(state)
        state = self._changed(state, strategy.changes(context))
        step, key = np.int32(state.step), state.key
        x, pairs = self._mixed(images, targets, key, step)

        def passing(genome: Genome, params: Mapping[str, Tree] = state.params) -> tuple[_Pass, Array]:
            run = _Pass(self._net, self._net.paths.path(genome), params, key, step)
            return run, self._sized(x, run.path.side)

        def answers(genome: Genome, params: Mapping[str, Tree] = state.params) -> tuple[Array, Answer]:
            run, seen = passing(genome, params)
            return run.answers(seen, pairs)

        teacher = strategy.teacher(context)
        taught = None if teacher is None else answers(teacher, state.stats[TEACHER])[1]
        grads: dict[str, Tree] = {}
        losses = []
        for genome in strategy.genomes(replace(context, loss=lambda genome: float(answers(genome)[0]))):
            run, seen = passing(genome)
            loss, said = run(seen, pairs, grads, taught, teacher is not None)
            taught = said if strategy.distills and taught is None else taught
            losses.append(loss)
        state = self._updated(state, self._scaled(grads, len(losses)), step)
        kept = strategy.learned(replace(context, quality=partial(self._quality, state.params, context)))
        stats = {**state.stats, STRATEGY: dict(kept)} if kept else state.stats
        if self._trainer.roles:
            stats = {**stats, LOSSES: self._counted(stats[LOSSES], losses, step)}
        return state._replace(stats=stats), sum(losses[1:], losses[0]) / len(losses)

    def _counted(self, known: Tree, losses: Sequence[Array], step: np.int32) -> Tree:
        args, key = (known, losses, step), ("counted", len(losses), self._strategy, self._trainer.steps_per_epoch)
        return self._net.programs.get(key, lambda: (partial(self._trainer.counted, self._strategy), args))(*args)

    def _changed(self, state: State, changes: Changes) -> State:
        """The state before a step as the strategy wants it."""
        if not changes.teacher and changes.inner is None:
            return state
        full = self._strategy.full(self._among)
        if changes.teacher:
            state = state._replace(stats={**state.stats, TEACHER: copied(state.params, self._net.paths.path(full))})
        if changes.inner is None:
            return state

        def weights(slots: Mapping[str, Tree]) -> SharedWeights:
            return SharedWeights(self._net.paths, jax.tree.map(np.asarray, dict(slots)))

        orders = hidden_orders(weights(state.params), full, changes.inner)
        params, *ema = (dict(with_orders(weights(slots), full, orders).slots) for slots in (state.params, *state.ema))
        owns = {slot: begun(self._net.recipe, packed) for slot, packed in params.items()}
        opt = {slot: own.opt for slot, own in owns.items()}
        averages = tuple(jax.tree.map(lambda a: jnp.array(a, copy=True), one) for one in ema)
        return state._replace(params={slot: own.params for slot, own in owns.items()}, opt=opt, ema=averages)

    def _quality(self, params: Mapping[str, Tree], context: StepContext, genome: Genome, images: int) -> float:
        return self._net.quality(params, context.rng(VALID), genome, images)

    def _context(self, state: State) -> StepContext:
        kept = {name: np.asarray(array) for name, array in state.stats.get(STRATEGY, {}).items()}
        return replace(self._trainer.context(self._among, int(state.step), self._cost), kept=kept)

    def _scaled(self, grads: dict[str, Tree], candidates: int) -> dict[str, Tree]:
        if not self._strategy.averages or candidates == 1:
            return grads
        return {slot: jax.tree.map(lambda a: a / candidates, grad) for slot, grad in grads.items()}

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
            own = SlotState(params[slot], opt[slot], ema.get(slot, ()))
            key = "update", recipe, steps, tuple(array.shape for array in own.params.values())
            made = partial(_made_update, recipe, steps, own, grad, step)
            params[slot], opt[slot], after = self._net.programs.get(key, made, (0,))(own, grad, step)
            if state.ema:
                ema[slot] = after
        return State(params, state.stats, opt, (ema,) if state.ema else (), np.int32(step + 1), state.key)


def _made_update(recipe: Recipe, steps: int, own: SlotState, grad: Tree, step: np.int32) -> Made:
    return lambda own, grads, step: updated(recipe, steps, own, grads, step), (own, grad, step)


def copied(slots: Mapping[str, Tree], path: Path) -> dict[str, Tree]:
    """The arrays that a candidate takes, which an update of theirs does not take over."""
    used = {slot for placed in path.placed for slot in placed.slots}
    return {slot: jax.tree.map(lambda a: jnp.array(a, copy=True), slots[slot]) for slot in sorted(used)}


@dataclass(frozen=True, eq=False)
class _Pass:
    """One candidate on one batch, both ways."""

    net: Scorer
    path: Path
    params: Mapping[str, Tree]
    key: Array
    step: np.int32

    def __call__(
        self, x: Array, pairs: Mixed, grads: dict[str, Tree], taught: Answer | None, beside: bool = False
    ) -> tuple[Array, Answer]:
        """Adds the candidate's gradients to `grads`, and gives (loss, answer). taught, beside: as `Functions.end` has them."""
        *before, end = self.path.placed
        pulls = []
        for placed in before:
            y, pull = self._forward(placed, x)
            pulls.append((x.shape, pull))
            x = y
        loss, said, g, own = self._end(end, x, pairs, taught, beside)
        _add(grads, end, own)
        for placed in reversed(before):
            shape, pull = pulls.pop()
            made = partial(self._made_backward, placed.unit, pull, g)
            g, own = self.net.programs.get((placed.unit, "backward", shape), made)(pull, g)
            _add(grads, placed, own)
        return loss, said

    def answers(self, x: Array, pairs: Mixed) -> tuple[Array, Answer]:
        """(the candidate's loss against the targets, its answer), in training mode."""
        *before, end = self.path.placed
        for placed in before:
            x, _ = self._forward(placed, x)
        return self._end(end, x, pairs, None)[:2]

    def _forward(self, placed: Placed, x: Array) -> tuple[Array, Any]:
        args = _slots(self.params, placed), x, self.key, self.step, placed.draws
        made = partial(self._made, placed.unit, "forward", args)
        return self.net.programs.get((placed.unit, "forward", x.shape), made)(*args)

    def _end(
        self, placed: Placed, x: Array, pairs: Mixed, taught: Answer | None, beside: bool = False
    ) -> tuple[Array, Answer, Array, Any]:
        args = _slots(self.params, placed), pairs, x, self.key, self.step, placed.draws
        args = args if taught is None else (*args, taught)
        what = "end_beside" if beside else "end"
        made = partial(self._made, placed.unit, what, args)
        return self.net.programs.get((placed.unit, what, x.shape, taught is None), made)(*args)

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
