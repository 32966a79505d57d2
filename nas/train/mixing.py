"""Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899): pairs of images of a batch, and of their labels."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from nas.nn.ops import Array
from nas.recipe import Recipe
from nas.tasks.classification import Task

KEY = 7_919  # folded into a step's key, which dropout uses by the numbers of layers


class Mixed(NamedTuple):
    """images: (n, h, w, c); the label of image i is `labels[i]` by `share` and `others[i]` by 1 - share."""

    images: Array
    labels: Array
    others: Array
    share: Array


def mixed(recipe: Recipe, images: Array, labels: Array, key: Array) -> Mixed:
    """Every image of a batch mixed with another one, one share for all; with both set, each step takes one of the two."""
    if not (recipe.mixup or recipe.cutmix):
        return Mixed(images, labels, labels, jnp.float32(1))
    order, beta, which, box = jax.random.split(jax.random.fold_in(key, KEY), 4)
    partner = jax.random.permutation(order, len(images))
    others, theirs = labels[partner], images[partner]
    if not recipe.cutmix:
        share = jax.random.beta(beta, recipe.mixup, recipe.mixup)
        return Mixed(share * images + (1 - share) * theirs, labels, others, share)
    cut = jax.random.beta(beta, recipe.cutmix, recipe.cutmix)
    inside = _box(box, cut, images.shape[1], images.shape[2])
    pasted = Mixed(jnp.where(inside[None, :, :, None], theirs, images), labels, others, 1 - inside.mean())
    if not recipe.mixup:
        return pasted
    share = jax.random.beta(jax.random.fold_in(beta, 1), recipe.mixup, recipe.mixup)
    blended = Mixed(share * images + (1 - share) * theirs, labels, others, share)
    first = jax.random.bernoulli(which)
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), pasted, blended)


def _box(key: Array, share: Array, height: int, width: int) -> Array:
    """(height, width) bool: a box of 1 - share of the area around a random point, cut off at the border."""
    y, x = jax.random.split(key)
    side = jnp.sqrt(1 - share)
    rows, columns = jnp.arange(height), jnp.arange(width)
    middle_y, middle_x = jax.random.randint(y, (), 0, height), jax.random.randint(x, (), 0, width)
    inside_y = jnp.abs(rows + 0.5 - middle_y) < side * height / 2
    inside_x = jnp.abs(columns + 0.5 - middle_x) < side * width / 2
    return inside_y[:, None] & inside_x[None, :]


def mixed_loss(task: Task, recipe: Recipe, logits: Array, pairs: Mixed) -> Array:
    """(n,) losses, by the shares of the two labels."""
    loss = task.loss(logits, pairs.labels, recipe.label_smoothing)
    if not (recipe.mixup or recipe.cutmix):
        return loss
    return pairs.share * loss + (1 - pairs.share) * task.loss(logits, pairs.others, recipe.label_smoothing)
