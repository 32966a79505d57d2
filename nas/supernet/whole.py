"""A supernet's training step as one compiled program, in which the candidates of a step are inputs.

A switch chooses the unit that stands at each place; only what is chosen runs. It is what an accelerator needs: the programs of single
units, a hundred dispatches a step, leave it idle. The result is theirs up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nas.nn.ops import Array, Implementation
from nas.nn.weights import AnyArray
from nas.space import Genome
from nas.supernet.masked import fitted
from nas.supernet.paths import Paths, Placed, Unit
from nas.supernet.programs import Answer, Functions, SlotState, candidate_loss, outputs_of, sized, updated
from nas.supernet.scoring import Scorer
from nas.supernet.step import LOSSES, SupernetTrainer
from nas.supernet.strategies import Candidates, Strategy
from nas.tasks import Mixed
from nas.train.compilation.switch import Branch, switch
from nas.train.optim import Tree
from nas.train.score import normalized
from nas.train.state import State

MOST_WHOLE = 200  # units; more would take longer to compile than single ones take to train
MOST_ROWS = 10_000  # that are kept
Row: TypeAlias = Mapping[str, AnyArray]  # a candidate as the program has it: units, numbers, rates, widths, used


@dataclass(frozen=True)
class Place:
    """A place of the space and what can stand there: units with the slots they take, or nothing.

    Args:
        options: Each once; None is nothing.
        channels: Of what comes out, where it is widest; a narrower one has zeros after its own.
        slots: All that its units take.
    """

    options: tuple[tuple[Unit, tuple[str, ...]] | None, ...]
    channels: int
    slots: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WholePlan:
    """The places of a space and the candidates as rows of arrays."""

    paths: Paths
    places: Mapping[str, Place]

    @classmethod
    def of(cls, paths: Paths) -> WholePlan | None:
        """None where one program cannot hold the space: it has several resolutions or strides, or too many units."""
        if paths.layers.cases > 1 or len(paths.all_units()) > MOST_WHOLE:
            return None
        options: dict[str, dict[tuple[Unit, tuple[str, ...]] | None, None]] = {}
        for layer in paths.layers.all():
            placed = paths.placed(layer)
            options.setdefault(layer.scope, {})[(placed.unit, placed.slots) if placed else None] = None
        places, before = {}, 0
        for scope, found in options.items():
            if scope in paths.layers.optional:
                found.setdefault(None)
            units = [one[0] for one in found if one]
            before = max([unit.nodes[-1].shape[2] for unit in units] + [before] * (None in found))
            slots = dict.fromkeys(slot for one in found if one for slot in one[1])
            places[scope] = Place(tuple(found), before, tuple(slots))
        return cls(paths, places)

    @cached_property
    def slots(self) -> tuple[str, ...]:
        return tuple(self.paths.store.slots)

    @cached_property
    def side(self) -> int:
        """Of the images that every candidate takes."""
        return next(self.paths.layers.all()).in_shape[0]

    @cached_property
    def _most(self) -> tuple[int, int]:
        """(random numbers, masks) of a unit that has most."""
        units = [one[0] for place in self.places.values() for one in place.options if one]
        return max(len(unit.random) for unit in units), max(len(unit.masks) for unit in units)

    @cached_property
    def _rows(self) -> dict[Genome, Row]:
        return {}

    def row(self, genome: Genome) -> Row:
        """The candidate as the program has it; some are kept, as in small spaces candidates come again."""
        if (known := self._rows.get(genome)) is None:
            known = self._row(genome)
            if len(self._rows) < MOST_ROWS:
                self._rows[genome] = known
        return known

    def _row(self, genome: Genome) -> Row:
        placed = {one.scope: one for one in self.paths.path(genome).placed}
        random, masks = self._most
        count = len(self.places)
        row = {
            "units": np.zeros(count, np.int32),
            "numbers": np.zeros((count, random), np.int32),
            "rates": np.zeros((count, random), np.float32),
            "widths": np.zeros((count, masks), np.int32),
            "used": np.zeros(len(self.slots), bool),
        }
        for p, (scope, place) in enumerate(self.places.items()):
            one = placed.get(scope)
            row["units"][p] = place.options.index((one.unit, one.slots) if one else None)
            if one:
                _put(row, p, one)
        row["used"][[self.slots.index(slot) for one in placed.values() for slot in one.slots]] = True
        return row

    def rows(self, steps: Sequence[Sequence[Genome]]) -> Row:
        """Of steps of equally many candidates: each array (steps, candidates, ..), but `used` (steps, slots)."""
        rows = [[self.row(genome) for genome in step] for step in steps]
        out = {name: np.array([[one[name] for one in step] for step in rows]) for name in rows[0][0]}
        return {**out, "used": np.any(out["used"], axis=1)}


def _put(row: Mapping[str, np.ndarray], p: int, placed: Placed) -> None:
    for name, values in (("numbers", placed.numbers), ("rates", placed.rates), ("widths", placed.widths)):
        row[name][p, : len(values)] = values


@dataclass(frozen=True, eq=False)
class WholeStep:
    """The pure training step, in which the candidates are an input: their strategy knows them ahead."""

    plan: WholePlan
    net: Scorer
    trainer: SupernetTrainer
    strategy: Strategy

    def __call__(self, state: State, images: Array, targets: Array, first: Array, rows: Row) -> tuple[State, Array]:
        """`rows`: of a dispatch, whose first step has the number `first`."""
        recipe, task, key, step = self.net.recipe, self.net.task, state.key, jnp.asarray(state.step)
        own = jax.tree.map(lambda a: a[step - first], rows)
        pairs = task.mix(recipe, normalized(images, self.net.dataset), targets, jax.random.fold_in(key, step))
        x, pairs = sized(pairs.images, self.plan.side, recipe.dtype), pairs._replace(images=jnp.zeros(()))
        grads, losses = self._gradients(state.params, x, pairs, own, key, step)
        if self.strategy.averages:
            grads = jax.tree.map(lambda a: a / len(losses), grads)
        state = self._updated(state, grads, own["used"])
        if self.trainer.roles:
            counted = self.trainer.counted(self.strategy, state.stats[LOSSES], losses, step)
            state = state._replace(stats={**state.stats, LOSSES: counted})
        return state, losses.mean()

    def _gradients(
        self, params: Tree, x: Array, pairs: Mixed, rows: Row, key: Array, step: Array
    ) -> tuple[Tree, Array]:
        """(summed gradients, the losses of the candidates)."""
        task, recipe, count = self.net.task, self.net.recipe, rows["units"].shape[0]

        def loss_of(params: Tree, row: Row, taught: Array | None) -> tuple[Array, Array]:
            outputs = self.forward(params, x, row, key, step)
            return candidate_loss(task, recipe, Answer(outputs), pairs, None if taught is None else Answer(taught)), outputs

        def one(row: Row, taught: Array | None) -> tuple[Tree, Array, Array]:
            (loss, outputs), grads = jax.value_and_grad(loss_of, has_aux=True)(params, row, taught)
            return grads, loss, outputs

        rows = {name: rows[name] for name in ("units", "numbers", "rates", "widths")}
        total, losses, taught = jax.tree.map(jnp.zeros_like, params), [], None
        if count == 1 or self.strategy.distills:
            total, loss, taught = one({name: array[0] for name, array in rows.items()}, None)
            losses, rows = [loss[None]], {name: array[1:] for name, array in rows.items()}

        def more(total: Tree, row: Row) -> tuple[Tree, Array]:
            grads, loss, _ = one(row, taught)
            return jax.tree.map(jnp.add, total, grads), loss

        if count > 1:  # scanned, so that the network is compiled once more and not once a candidate
            total, rest = lax.scan(more, total, rows)
            losses.append(rest)
        return total, jnp.concatenate(losses)

    def forward(self, params: Tree, x: Array, row: Row, key: Array, step: Array) -> Array:
        """Outputs of a candidate in training mode."""
        for p, place in enumerate(self.plan.places.values()):
            branches = [self._branch(place, option) for option in place.options]
            fixed = {name: row[name][p] for name in ("numbers", "rates", "widths")} | {"key": key, "step": step}
            x = switch(row["units"][p], branches, (x, {slot: params[slot] for slot in place.slots}), fixed)
        return outputs_of(x)

    def _branch(self, place: Place, option: tuple[Unit, tuple[str, ...]] | None) -> Branch:
        def nothing(moving: Any, fixed: Any) -> Array:
            return fitted(moving[0], place.channels)

        if option is None:
            return nothing
        unit, slots = option
        # XLA cannot distribute our own machine code among devices
        implementation: Implementation = "auto" if self.trainer.mesh.size == 1 else "portable"
        functions = Functions(unit, self.net.recipe, self.net.task, implementation)
        random, masks = len(unit.random), len(unit.masks)

        def run(moving: Any, fixed: Any) -> Array:
            x, own = moving
            draws = fixed["numbers"][:random], fixed["rates"][:random], fixed["widths"][:masks]
            packed = tuple(own[slot] for slot in slots)
            y = functions.run(packed, fitted(x, unit.in_shape[2]), fixed["key"], fixed["step"], draws)[0]
            return fitted(y, place.channels)

        return run

    def _updated(self, state: State, grads: Mapping[str, Tree], used: Array) -> State:
        recipe, steps = self.net.recipe, self.trainer.steps_per_epoch
        params, opt, ema = {}, {}, {}
        for i, slot in enumerate(self.plan.slots):
            own = SlotState(state.params[slot], state.opt[slot], state.ema[0][slot] if state.ema else ())
            new = updated(recipe, steps, own, grads[slot], jnp.asarray(state.step))
            params[slot], opt[slot], ema[slot] = jax.tree.map(lambda a, b, i=i: jnp.where(used[i], a, b), new, own)
        return State(params, state.stats, opt, (ema,) if state.ema else (), state.step + 1, state.key)


class WholeStepper:
    """A training step: (state, a batch of the trainer's feed) -> (state, loss or losses)."""

    def __init__(
        self,
        plan: WholePlan,
        trainer: SupernetTrainer,
        among: Candidates,
        strategy: Strategy,
        cost: Callable[[Genome], float],
    ):
        assert trainer.scorer is not None
        self._plan, self._trainer, self._among, self._strategy, self._cost = plan, trainer, among, strategy, cost
        self._step = WholeStep(plan, trainer.scorer, trainer, strategy)
        self._steps = max(trainer.dispatch, 1)
        self._known: tuple[object, int] = (None, 0)  # a state and its step, which is not read from the device

    def __call__(self, state: State, *batch: AnyArray) -> tuple[State, Array]:
        first = self._known[1] if state.step is self._known[0] else int(state.step)
        rows = self._plan.rows([self._genomes(first + i) for i in range(self._steps)])
        state, loss = self._program(state, first, rows)(state, *batch, np.int32(first), rows)
        self._known = state.step, first + (int(batch[3]) if self._trainer.dispatch else 1)
        return state, loss

    def _program(self, state: State, first: int, rows: Row) -> jax.stages.Compiled:
        trainer, feed = self._trainer, self._trainer.feed
        assert trainer.scorer is not None
        counts = rows["units"].shape[:2]
        paths = self._plan.paths
        of_space = paths.layers.space.fingerprint, paths.masked, type(self._strategy), counts
        key = "whole", *of_space, trainer.scorer.recipe, trainer.steps_per_epoch, trainer.dispatch, trainer.mesh
        args = state, *feed.shapes(), np.int32(first), rows
        return trainer.scorer.programs.get(key, lambda: (feed.wrap(self._step), args), (0,), trainer.mesh.everywhere())

    def traced(self, state: State) -> tuple[Callable[..., tuple[State, Array]], Sequence[object]]:
        """(what one dispatch runs, arrays of the shapes that it takes)."""
        rows = self._plan.rows([self._genomes(i) for i in range(self._steps)])
        return self._trainer.feed.wrap(self._step), (state, *self._trainer.feed.shapes(), np.int32(0), rows)

    def _genomes(self, step: int) -> Sequence[Genome]:
        return self._strategy.genomes(self._trainer.context(self._among, step, self._cost))
