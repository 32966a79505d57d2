"""Optimizers, learning rates, moving averages, and the packing of parameters that keeps training steps small.

A candidate has a hundred small arrays. Updating each by itself doubles the time that XLA needs to compile a step, so they
travel as two vectors, `Packed`: kernels, which weight decay pulls, and the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nas.nn.ops import Array
from nas.nn.weights import AnyArray, Arrays
from nas.recipe import Recipe

Tree: TypeAlias = Any  # a pytree of arrays
Packed: TypeAlias = Mapping[str, AnyArray]  # "kernels" and "others" -> (n,) float32
Runs: TypeAlias = Mapping[
    str, Sequence[tuple[int, int, float]]
]  # part of `Packed` -> (start, stop, value) of neighbors
Scalar: TypeAlias = Any  # a number, or a JAX or NumPy array of one
A = TypeVar("A", Array, np.ndarray, AnyArray)
DECAYED = {"kernels": True, "others": False}


class Packing(Protocol):
    """A way to pack a {node: {name: array}} tree, and back."""

    def pack(self, tree: Arrays, xp: ModuleType = jnp) -> Tree: ...

    def unpack(self, packed: Tree) -> dict[str, dict[str, Any]]: ...


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a {node: {name: array}} tree stand in its packed form. Each entry: (node, name, shape)."""

    entries: tuple[tuple[str, str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, tree: Arrays) -> Layout:
        return cls(tuple((node, name, a.shape) for node, arrays in tree.items() for name, a in arrays.items()))

    @property
    def sizes(self) -> dict[str, int]:
        """Values of each part of the packed form."""
        lengths = {
            part: [math.prod(shape) for _, name, shape in self.entries if (name == "kernel") == own]
            for part, own in DECAYED.items()
        }
        return {part: sum(own) for part, own in lengths.items()}

    def pack(self, tree: Arrays, xp: ModuleType = jnp) -> Packed:
        """{"kernels": (m,), "others": (n,)} float32."""
        return {part: self._joined(tree, kernels, xp) for part, kernels in DECAYED.items()}

    def _joined(self, tree: Arrays, kernels: bool, xp: ModuleType) -> AnyArray:
        parts = [xp.ravel(tree[node][name]) for node, name, _ in self.entries if (name == "kernel") == kernels]
        return xp.concatenate(parts) if parts else xp.zeros(0, np.float32)

    def unpack(self, packed: Mapping[str, A]) -> dict[str, dict[str, A]]:
        tree: dict[str, dict[str, A]] = {}
        start = dict.fromkeys(DECAYED, 0)
        for node, name, shape in self.entries:
            part = "kernels" if name == "kernel" else "others"
            stop = start[part] + math.prod(shape)
            tree.setdefault(node, {})[name] = packed[part][start[part] : stop].reshape(shape)
            start[part] = stop
        return tree

    def runs(self, values: Mapping[str, float]) -> Runs:
        """Where neighbors in the packed form have the same value, by the values of nodes; 1 where a node has none."""
        found: dict[str, list[tuple[int, int, float]]] = {part: [] for part in DECAYED}
        for node, name, shape in self.entries:
            runs, value = found["kernels" if name == "kernel" else "others"], values.get(node, 1.0)
            end = runs[-1][1] if runs else 0
            start = runs.pop()[0] if runs and runs[-1][2] == value else end
            runs.append((start, end + math.prod(shape), value))
        return found


def scaled(packed: Tree, runs: Runs) -> Packed:
    """Each run times its value. Slices, and not a vector of factors, which would be a constant as large as the network."""
    return {
        part: _side_by_side([packed[part][a:b] * value if value != 1 else packed[part][a:b] for a, b, value in found])
        for part, found in runs.items()
    }


def chosen(old: Packed, new: Packed, runs: Runs) -> Packed:
    """`old` where a run's value is 0, `new` elsewhere, to the bit."""
    return {
        part: _side_by_side([(new if value else old)[part][a:b] for a, b, value in found])
        for part, found in runs.items()
    }


def _side_by_side(parts: Sequence[AnyArray]) -> Array:
    return jnp.concatenate(parts) if parts else jnp.zeros(0, jnp.float32)


def learning_rate(recipe: Recipe, steps_per_epoch: int, step: Scalar, xp: ModuleType = jnp) -> Scalar:
    """The rate of a step, counted from 0."""
    epoch = step / steps_per_epoch
    if recipe.schedule in ("cosine", "poly"):
        left = max(recipe.horizon - recipe.warmup, 1 / steps_per_epoch)
        progress = xp.clip((epoch - recipe.warmup) / left, 0, 1)
        rate = recipe.lr * (0.5 * (1 + xp.cos(np.pi * progress)) if recipe.schedule == "cosine" else (1 - progress) ** recipe.power)
    elif recipe.schedule == "staircase":
        # A step at an exact boundary must not fall below it by rounding.
        rate = recipe.lr * recipe.decay_rate ** xp.floor(epoch / recipe.decay_epochs + 1e-4)
    else:
        rate = recipe.lr
    warmup = recipe.warmup * steps_per_epoch
    return rate * xp.minimum(1, (step + 1) / warmup) if warmup else rate * xp.ones_like(epoch)


def optimizer(
    recipe: Recipe, steps_per_epoch: int, scales: Runs | None = None, first: int = 0
) -> optax.GradientTransformation:
    """For `Packed` parameters; `steps_per_epoch` counts batches, of which `accumulate` make one update.

    scales: what the learning rate of each parameter is multiplied by. All three optimizers are linear in the rate, so it is their
    update that is. first: batches before the first one, where it does not begin with the training.

    RMSProp is TensorFlow 1's: s = 0.9 s + 0.1 g^2 from s = 1; m = momentum m + lr g / sqrt(s + 0.001); w = w - m.
    """

    update = _single(recipe, steps_per_epoch, first)
    if scales is not None:
        update = optax.chain(update, optax.stateless(lambda updates, _: scaled(updates, scales)))
    return update if recipe.accumulate == 1 else optax.MultiSteps(update, recipe.accumulate).gradient_transformation()


def _single(recipe: Recipe, steps_per_epoch: int, first: int) -> optax.GradientTransformation:
    def rate(update: Scalar) -> Scalar:
        return learning_rate(recipe, steps_per_epoch, first + update * recipe.accumulate)

    return optimizer_at(recipe, rate)


def optimizer_at(recipe: Recipe, rate: Scalar | optax.Schedule) -> optax.GradientTransformation:
    """The recipe's optimizer with a learning rate that is a number, a traced one too, or a schedule over its own updates."""
    if recipe.optimizer == "adamw":
        return optax.adamw(rate, b1=recipe.momentum, weight_decay=recipe.weight_decay, mask=DECAYED)
    if recipe.optimizer == "sgd":
        update = optax.sgd(rate, momentum=recipe.momentum or None)
    else:
        momentum = recipe.momentum or None
        update = optax.rmsprop(rate, decay=0.9, eps=1e-3, initial_scale=1.0, momentum=momentum)
    if not recipe.weight_decay:
        return update
    return optax.chain(optax.add_decayed_weights(recipe.weight_decay, mask=DECAYED), update)


def ramp(decay: Scalar, updates: Scalar, trained: Scalar = 0.0) -> Array:
    """min(decay, (1 + t) / (10 + t)) after t updates, TensorFlow's `num_updates` rule of moving averages; `decay` where `trained` is 1."""
    return jnp.minimum(decay, jnp.maximum((1 + updates) / (10 + updates), trained))


def norm_decay(recipe: Recipe, momentum: Tree, updates: Scalar, trained: Tree) -> Tree:
    """The momentum of batch statistics after so many updates, packed as they are; `trained`: 1 where they had values to keep, else 0."""
    if not recipe.norm_warmup:
        return momentum
    return jax.tree.map(lambda m, kept: ramp(m, updates, kept), momentum, trained)


def mix(old: Array, new: Array, decay: Scalar) -> Array:
    """decay old + (1 - decay) new."""
    return decay * old + (1 - decay) * new


def averaged(recipe: Recipe, old: Tree, new: Tree, count: Scalar, own: Scalar | None = None) -> Tree:
    """The moving averages after `count` batches; they move with updates, which gradients accumulate for.

    own: batches since the optimizer began; None: all.
    """
    decay = ramp(recipe.ema, count // recipe.accumulate)
    if recipe.accumulate > 1:
        decay = jnp.where((count if own is None else own) % recipe.accumulate == 0, decay, 1.0)
    return jax.tree.map(lambda a, b: mix(a, b, decay), old, new)
