"""The pure step of candidates that train side by side: one candidate's at the largest shapes, mapped over weights and descriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nas.nn.ops import Array, Implementation
from nas.nn.weights import AnyArray
from nas.recipe import Recipe
from nas.supernet.batched_plan import BatchedPlan
from nas.supernet.masked import fitted
from nas.supernet.programs import Functions, outputs_of, sized
from nas.supernet.whole import Row
from nas.tasks import Task, training_loss
from nas.train.optim import Packed, Tree, averaged, mix, norm_decay
from nas.train.score import normalized
from nas.train.state import State
from nas.train.trainer import Trainer

Way: TypeAlias = Callable[..., tuple[Array, Any]]


@dataclass(frozen=True, eq=False)
class Network:
    """One candidate at the largest shapes, to be mapped over candidates."""

    plan: BatchedPlan
    recipe: Recipe
    task: Task
    implementation: Implementation = "products"

    def train(self, params: Packed, x: Array, row: Row, key: Array, step: Array) -> tuple[Array, Array]:
        """(outputs in training mode, statistics of the batch)."""

        def way(functions: Functions, i: int, own: Any, x: Array, p: int) -> tuple[Array, Any]:
            random, masks = len(functions.unit.random), len(functions.unit.masks)
            draws = row["numbers"][p, :random], row["rates"][p, :random], row["widths"][p, :masks]
            return functions.run(own, x, key, step, draws)

        y, stats = self._through(params, x, row, way)
        return y, jnp.concatenate([one["others"] for one in stats])

    def score(self, params: Packed, stats: Array, x: Array, row: Row) -> Array:
        """Outputs with these statistics."""
        norms = self.plan.norms(stats)

        def way(functions: Functions, i: int, own: Any, x: Array, p: int) -> tuple[Array, Any]:
            moving = {"kernels": norms[i][:0], "others": norms[i]}
            return functions.score(own, jnp.asarray(row["widths"][p, : len(functions.unit.masks)]), moving, x), None

        return self._through(params, x, row, way)[0]

    def _through(self, params: Packed, x: Array, row: Row, way: Way) -> tuple[Array, list[Any]]:
        """All units of a place on what the place before gave; `way` has a unit, its number, its slots, what it reads and the place."""
        slots, given = self.plan.slots(params), list[Any]()
        for p, place in enumerate(self.plan.whole.places.values()):
            values = list[Array]()
            for option in place.options:
                if option is None:
                    values.append(fitted(x, place.channels))
                    continue
                unit, names = option
                functions = Functions(unit, self.recipe, self.task, self.implementation)
                y, one = way(functions, len(given), tuple(slots[slot] for slot in names), fitted(x, unit.in_shape[2]), p)
                values.append(fitted(y, place.channels))
                given.append(one)
            x = _selected(row["units"][p], values)
        return outputs_of(x), given


def _selected(index: AnyArray, values: Sequence[Array]) -> Array:
    return reduce(lambda y, one: jnp.where(index == one[0], one[1], y), list(enumerate(values))[1:], values[0])


@dataclass(frozen=True, eq=False)
class BatchedStep:
    """The pure functions that are compiled."""

    network: Network
    trainer: Trainer
    update: optax.GradientTransformation

    def start(self, params: Packed, key: Array) -> State:
        """The state before the first step. params: (k, n)."""
        count = params["others"].shape[0]
        norms = np.broadcast_to(self.network.plan.first_norms(), (count, len(self.network.plan.first_norms())))
        kept = {"norms": norms, "sums": np.zeros(count, np.float32), "failed": np.zeros(count, np.float32),
                "failed_at": np.zeros(count, np.int32)}  # fmt: skip
        ema = (params, norms) if self.trainer.recipe.ema else ()
        state = State(params, kept, self.update.init(params), ema, np.int32(0), key)
        return jax.tree.map(lambda a: jnp.array(a, copy=True), state)

    def __call__(self, state: State, images: Array, targets: Array, rows: Row, used: Packed) -> tuple[State, Array]:
        """rows: each array (k, ..); used: which of the weights a candidate has, (k, n) bool.

        A candidate whose loss is not finite has stopped: its weights are zeros from then on, so that what it computes stays finite.
        """
        recipe, task, plan, key, step = self.trainer.recipe, self.trainer.task, self.network.plan, state.key, jnp.asarray(state.step)
        pairs = task.mix(recipe, normalized(images, self.trainer.dataset), targets, jax.random.fold_in(key, step))
        x, pairs = sized(pairs.images, plan.whole.side, recipe.dtype), pairs._replace(images=jnp.zeros(()))

        def loss_of(params: Packed, row: Row) -> tuple[Array, Array]:
            outputs, norms = self.network.train(params, x, row, key, step)
            return training_loss(task, recipe, outputs, pairs).mean(), norms

        (losses, norms), grads = jax.vmap(jax.value_and_grad(loss_of, has_aux=True))(state.params, rows)
        kept = state.stats
        training = (kept["failed_at"] == 0) & jnp.isfinite(losses)
        grads = {part: jnp.where(training[:, None] & used[part], grads[part], 0) for part in used}
        updates, opt = self.update.update(grads, state.opt, state.params)
        params, count = optax.apply_updates(state.params, updates), step + 1
        params = jax.tree.map(lambda a: jnp.where(training[:, None], a, 0), params)
        momentum = jnp.asarray(plan.momentum())[None]
        norms = mix(kept["norms"], jnp.where(training[:, None], norms, 0), norm_decay(recipe, momentum, count, jnp.zeros_like(momentum)))
        ema = averaged(recipe, state.ema, (params, norms), count) if state.ema else ()
        return State(params, self._kept(kept, losses, step) | {"norms": norms}, opt, ema, count, key), _mean(losses, training)

    def _kept(self, kept: Tree, losses: Array, step: Array) -> dict[str, Array]:
        """The sums of the epoch's losses, and where and how a candidate failed first."""
        fails = (kept["failed_at"] == 0) & ~jnp.isfinite(losses)
        before = jnp.where(step % self.trainer.steps_per_epoch == 0, 0.0, kept["sums"])
        return {
            "sums": before + jnp.where(jnp.isfinite(losses), losses, 0),
            "failed": jnp.where(fails, losses, kept["failed"]),
            "failed_at": jnp.where(fails, step + 1, kept["failed_at"]),
        }

    def score(self, weights: tuple[Packed, Array], images: Array, targets: Array, valid: Array, rows: Row) -> Mapping[str, Array]:
        """What the task reduces a batch to, each array (k, ..)."""
        recipe, task, plan = self.trainer.recipe, self.trainer.task, self.network.plan
        x = sized(normalized(images, self.trainer.dataset), plan.whole.side, recipe.dtype)
        return jax.vmap(lambda params, stats, row: task.reduce(self.network.score(params, stats, x, row), targets, valid))(*weights, rows)


def _mean(losses: Array, training: Array) -> Array:
    return jnp.where(training, losses, 0).sum() / jnp.maximum(training.sum(), 1)
