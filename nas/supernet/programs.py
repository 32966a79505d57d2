"""The compiled programs of a supernet's units: forward, backward, update, and those that score a candidate.

Each is compiled once, for the shapes of its unit, and kept: candidates share them. Batch norm always uses the batch in training,
and no running statistics are kept, because those of one candidate mean nothing for another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Sharding

from nas.arch.graph import Node
from nas.nn.network import RANDOM, values_of
from nas.nn.network import run as run_nodes
from nas.nn.ops import Array, Implementation
from nas.recipe import Recipe
from nas.supernet.paths import Unit
from nas.tasks import Mixed, Task, training_loss
from nas.train.distill import feature_distance
from nas.train.optim import Packed, Tree, learning_rate, mix, optimizer_at, ramp

Draws: TypeAlias = tuple[
    Tree, Tree, Tree
]  # (number, rate) of each node that needs random numbers, and widths that are masks
Slots: TypeAlias = tuple[Packed, ...]
Pull: TypeAlias = Callable[[Array], tuple[Slots, Array]]  # gradient of the output -> of the slots and of the input


class SlotState(NamedTuple):
    """What a training step changes of a slot: its arrays, the optimizer's of it, and their moving average or nothing."""

    params: Packed
    opt: Tree
    ema: Tree


class Answer(NamedTuple):
    """What a candidate says of a batch: (n, outputs), and its last feature map, (n, h, w, channels), where that is to be matched."""

    outputs: Array
    features: Array | None = None


@dataclass(frozen=True, eq=False)
class Functions:
    """The pure functions of a unit that are compiled."""

    unit: Unit
    recipe: Recipe
    task: Task
    implementation: Implementation = "auto"

    def run(self, slots: Slots, x: Array, key: Array, step: Array, random: Draws) -> tuple[Array, Packed]:
        """(output, statistics of the batch) in training mode."""
        values, stats = self._values(slots, x, key, step, random)
        return values[-1], stats

    def answer(self, slots: Slots, x: Array, key: Array, step: Array, random: Draws) -> Answer:
        """What the last unit says in training mode."""
        values, _ = self._values(slots, x, key, step, random)
        return Answer(outputs_of(values[-1]), values[pooled(self.unit.nodes)] if self.recipe.match_features else None)

    def _values(self, slots: Slots, x: Array, key: Array, step: Array, random: Draws) -> tuple[list[Array], Packed]:
        """What stands before the first primitive and what each of them gives, and statistics of the batch."""
        folded, names = jax.random.fold_in(key, step), self.unit.random

        def draw(node: Node, x: Array, _: int) -> Array:
            i = names.index(node.name)
            return drawn(node, x, random[1][i], jax.random.fold_in(folded, random[0][i]), self.unit.widest[i])

        kept = (pooled(self.unit.nodes),) if self.unit.last and self.recipe.match_features else ()
        values, stats = values_of(self.unit.nodes, self.unit.values(x, random[2]), self.unit.tree(slots), {}, train=True, momentum=0,
                                  random=draw, implementation=self.implementation, outputs=kept)  # fmt: skip
        return values, self.unit.stats.pack(stats)

    def forward(self, slots: Slots, x: Array, key: Array, step: Array, random: Draws) -> tuple[Array, Pull]:
        """(output, the backward pass as a tree of what it needs)."""
        y, pull = jax.vjp(lambda s, x: self.run(s, x, key, step, random)[0], slots, x)
        return y, pull

    def backward(self, pull: Pull, g: Array) -> tuple[Array, Slots]:
        """(gradient of the input, gradients of the slots)."""
        grads, dx = pull(g)
        return (jnp.zeros(()) if self.unit.first else dx), grads

    def end(self, slots: Slots, pairs: Mixed, x: Array, key: Array, step: Array, random: Draws,
            taught: Answer | None = None, beside: bool = False) -> tuple[Array, Answer, Array, Slots]:  # fmt: skip
        """The last unit both ways: (loss, answer, gradient of its input, gradients of its slots).

        taught: the answer of another candidate, which the loss then follows in place of the targets; `beside`: beside them.
        """

        def loss_of(slots: Slots, x: Array) -> tuple[Array, Answer]:
            said = self.answer(slots, x, key, step, random)
            return candidate_loss(self.task, self.recipe, said, pairs, taught, beside), said

        (loss, said), (grads, dx) = jax.value_and_grad(loss_of, (0, 1), has_aux=True)(slots, x)
        return loss, said, dx, grads

    def end_beside(self, *args: Any) -> tuple[Array, Answer, Array, Slots]:
        """As `end`, by the targets and another candidate's answer."""
        return self.end(*args, beside=True)

    def observe(self, slots: Slots, widths: Array, x: Array) -> tuple[Array, Packed]:
        """(output, statistics of the batch): in training mode, but that nothing is dropped."""
        y, stats = run_nodes(self.unit.nodes, self.unit.values(x, widths), self.unit.tree(slots), {}, train=True, momentum=0, random=_whole,
                       implementation=self.implementation)  # fmt: skip
        return y, self.unit.stats.pack(stats)

    def score(self, slots: Slots, widths: Array, stats: Packed, x: Array) -> Array:
        moving = self.unit.stats.unpack(stats)
        return run_nodes(self.unit.nodes, self.unit.values(x, widths), self.unit.tree(slots), moving, train=False, random=_whole,
                   implementation=self.implementation)[0]  # fmt: skip

    def metrics(
        self, slots: Slots, widths: Array, stats: Packed, x: Array, targets: Array, valid: Array
    ) -> Mapping[str, Array]:
        return self.task.reduce(outputs_of(self.score(slots, widths, stats, x)), targets, valid)

    def answered(self, slots: Slots, widths: Array, targets: Array, x: Array, valid: Array) -> Mapping[str, Array]:
        """As `metrics`, with the statistics of the batch itself."""
        return self.task.reduce(outputs_of(self.observe(slots, widths, x)[0]), targets, valid)


def outputs_of(y: Array) -> Array:
    """What the last unit gives, (n, 1, 1, outputs) or (n, outputs), as (n, outputs) of at least float32."""
    return y.reshape(len(y), -1).astype(jnp.promote_types(y.dtype, jnp.float32))


def candidate_loss(
    task: Task, recipe: Recipe, said: Answer, pairs: Mixed, taught: Answer | None, beside: bool = False
) -> Array:
    """The mean loss of a candidate over a batch, a scalar.

    Args:
        task: Has the losses.
        recipe: The settings of the loss against the targets.
        said: The answer of the candidate.
        pairs: The targets.
        taught: The answer of another candidate, whose outputs the loss follows in place of the targets, at a temperature of 1, and whose
            last feature map by `recipe.match_features`; None: the targets alone.
        beside: Whether the targets count beside it.
    """
    alone = replace(recipe, distill=1.0, temperature=1.0)
    parts: list[Array] = []
    if taught is not None:
        parts.append(task.distill(said.outputs, taught.outputs, jnp.zeros(len(said.outputs)), alone).mean())
        if said.features is not None and taught.features is not None:
            theirs = taught.features[..., : said.features.shape[3]]  # a narrower candidate has the first channels
            parts.append(recipe.match_features * feature_distance(said.features, theirs).mean())
    if taught is None or beside:
        parts.append(training_loss(task, recipe, said.outputs, pairs).mean())
    return sum(parts[1:], parts[0])


def pooled(nodes: Sequence[Node]) -> int:
    """Which value of a last unit is the last feature map: what its last pooling over all pixels reads."""
    return [node for node in nodes if node.op == "global_pool"][-1].inputs[0]


def drawn(node: Node, x: Array, rate: Any, key: Array, widest: int) -> Array:
    """Dropout or stochastic depth with the numbers that the widest candidate draws, of which a narrower one takes the first."""
    missing = max(widest - x.shape[3], 0)
    full = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, missing))) if missing else x
    return RANDOM[node.op](full, rate, key)[..., : x.shape[3]]


def _whole(node: Node, x: Array, index: int) -> Array:
    return x


def updated(recipe: Recipe, steps_per_epoch: int, own: SlotState, grads: Packed, step: Array) -> SlotState:
    """A slot after a step's gradients, by the rate of that step whatever came to the slot before."""
    update = optimizer_at(recipe, learning_rate(recipe, steps_per_epoch, step))
    updates, opt = update.update(grads, own.opt, own.params)
    params = optax.apply_updates(own.params, updates)
    ema = jax.tree.map(lambda a, b: mix(a, b, ramp(recipe.ema, step + 1)), own.ema, params) if recipe.ema else ()
    return SlotState(cast("Packed", params), opt, ema)


def begun(recipe: Recipe, params: Packed) -> SlotState:
    """A slot before the first step."""
    copied = jax.tree.map(lambda a: jnp.array(a, copy=True), params)
    return SlotState(
        copied, optimizer_at(recipe, recipe.lr).init(copied), jax.tree.map(jnp.copy, copied) if recipe.ema else ()
    )


Made: TypeAlias = tuple[Callable[..., Tree], Sequence[Tree]]  # a function, and shapes of what it takes


@dataclass(eq=False)
class Programs:
    """Compiled programs by what they compute, and the seconds that took. They are executables, whatever JAX's caches hold."""

    kept: dict[Hashable, tuple[jax.stages.Compiled, Tree]] = field(default_factory=dict)
    compile_s: float = 0.0
    scope: str = ""

    def within(self, scope: str) -> Programs:
        """The same programs for one loss and one normalization of images, which shapes do not tell."""
        return Programs(self.kept, scope=scope)

    def get(
        self, key: Hashable, made: Callable[[], Made], donate: tuple[int, ...] = (), out: Sharding | None = None
    ) -> jax.stages.Compiled:
        """The executable by the key, compiled where there was none; `out`: how its results lie on several devices."""
        return self.with_results(key, made, donate, out)[0]

    def with_results(
        self, key: Hashable, made: Callable[[], Made], donate: tuple[int, ...] = (), out: Sharding | None = None
    ) -> tuple[jax.stages.Compiled, Tree]:
        """(executable, shapes of its results)."""
        key = self.scope, key
        found = self.kept.get(key)
        if found is None:
            began, (function, args) = time.perf_counter(), made()
            lowered = jax.jit(function, donate_argnums=donate, out_shardings=out).lower(*args)
            found = self.kept[key] = lowered.compile(), lowered.out_info
            self.compile_s += time.perf_counter() - began
        return found

    @property
    def count(self) -> int:
        return len(self.kept)


def packed_shapes(unit: Unit) -> Tree:
    """Shapes of a unit's slots."""
    return tuple(
        {part: jax.ShapeDtypeStruct((size,), jnp.float32) for part, size in layout.sizes.items()}
        for layout in unit.layouts
    )


def sized(x: Array, side: int, dtype: str) -> Array:
    """(n, h, w, c) float32 -> what a network of this resolution takes, bilinear."""
    y = x if x.shape[1] == side else jax.image.resize(x, (len(x), side, side, x.shape[3]), "bilinear")
    return y.astype(jnp.dtype(dtype))
