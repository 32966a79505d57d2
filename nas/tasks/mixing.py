"""Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899): pairs of images of a batch, and of their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.recipe import Recipe
from nas.tasks.base import Mixed

if TYPE_CHECKING:
    from nas.tasks.base import Array

KEY = 7_919  # folded into a step's key, which dropout uses by the numbers of layers


def mixed(recipe: Recipe, images: Array, targets: Array, key: Array) -> Mixed:
    """Every image of a batch mixed with another one, by one fraction for all; with both set, each step takes one of the two."""
    import jax
    import jax.numpy as jnp

    if not (recipe.mixup or recipe.cutmix):
        return Mixed(images, targets)
    order, beta, which, box = jax.random.split(jax.random.fold_in(key, KEY), 4)
    partner = jax.random.permutation(order, len(images))
    others, theirs = targets[partner], images[partner]
    if not recipe.cutmix:
        fraction = jax.random.beta(beta, recipe.mixup, recipe.mixup)
        return Mixed(fraction * images + (1 - fraction) * theirs, targets, others, fraction)
    cut = jax.random.beta(beta, recipe.cutmix, recipe.cutmix)
    inside = _box(box, cut, images.shape[1], images.shape[2])
    pasted = Mixed(jnp.where(inside[None, :, :, None], theirs, images), targets, others, 1 - inside.mean())
    if not recipe.mixup:
        return pasted
    fraction = jax.random.beta(jax.random.fold_in(beta, 1), recipe.mixup, recipe.mixup)
    blended = Mixed(fraction * images + (1 - fraction) * theirs, targets, others, fraction)
    first = jax.random.bernoulli(which)
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), pasted, blended)


def _box(key: Array, fraction: Array, height: int, width: int) -> Array:
    """(height, width) bool: a box of 1 - fraction of the area around a random point, cut off at the border."""
    import jax
    import jax.numpy as jnp

    y, x = jax.random.split(key)
    side = jnp.sqrt(1 - fraction)
    rows, columns = jnp.arange(height), jnp.arange(width)
    center_y, center_x = jax.random.randint(y, (), 0, height), jax.random.randint(x, (), 0, width)
    inside_y = jnp.abs(rows + 0.5 - center_y) < side * height / 2
    inside_x = jnp.abs(columns + 0.5 - center_x) < side * width / 2
    return inside_y[:, None] & inside_x[None, :]
