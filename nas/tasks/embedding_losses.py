"""Losses of embeddings: triplets, pairs, and a softmax over angles. Pure functions, traced.

Each gives (n,), whose mean is the loss, so that what an anchor adds can be seen. Distances are squared ones of embeddings of
length 1, from 0 (equal) to 4 (opposite), as in FaceNet.

Source:
    Triplets, semi-hard: Schroff et al. 2015 (arXiv:1503.03832). Batch-hard and batch-all: Hermans et al. 2017
    (arXiv:1703.07737). Contrastive: Hadsell et al. 2006. ArcFace: Deng et al. 2019 (arXiv:1801.07698).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.tasks.base import Array

TINY = 1e-12  # under a root, so that its gradient is finite where two embeddings are equal


def squared_distances(embeddings: Array) -> Array:
    """(n, d) -> (n, n), 0 or more."""
    import jax.numpy as jnp

    products = jnp.matmul(embeddings, embeddings.T, precision="highest")
    squares = (embeddings**2).sum(1)
    return jnp.maximum(squares[:, None] + squares[None, :] - 2 * products, 0)


def pairs_of(labels: Array) -> tuple[Array, Array]:
    """(n,) labels -> (positive, negative), each (n, n) bool; an image makes no pair with itself."""
    import jax.numpy as jnp

    same = labels[:, None] == labels[None, :]
    return same & ~jnp.eye(len(labels), dtype=bool), ~same


def batch_all(embeddings: Array, labels: Array, margin: float) -> Array:
    """Every triplet (anchor, positive, negative) of the batch; the mean over those whose loss is not 0.

    Args:
        embeddings: (n, d) of length 1.
        labels: (n,).
        margin: By which a negative must be farther than a positive, of squared distances.

    Returns:
        (n,), an entry an anchor, whose mean is the loss; 0 where no triplet violates the margin.
    """
    import jax.numpy as jnp

    distances, (positive, negative) = squared_distances(embeddings), pairs_of(labels)
    triplets = positive[:, :, None] & negative[:, None, :]
    losses = jnp.where(triplets, jnp.maximum(distances[:, :, None] - distances[:, None, :] + margin, 0), 0)
    return _mean_over(losses.sum((1, 2)), (losses > 0).sum())


def batch_hard(embeddings: Array, labels: Array, margin: float) -> Array:
    """For every anchor its farthest positive and its nearest negative; arguments and result as `batch_all`."""
    import jax.numpy as jnp

    distances, (positive, negative) = squared_distances(embeddings), pairs_of(labels)
    farthest = jnp.where(positive, distances, 0).max(1)
    nearest = jnp.where(negative, distances, jnp.inf).min(1)
    anchors = positive.any(1) & negative.any(1)
    return _mean_over(jnp.where(anchors, jnp.maximum(farthest - nearest + margin, 0), 0), anchors.sum())


def semi_hard(embeddings: Array, labels: Array, margin: float) -> Array:
    """For every positive pair the nearest negative that is farther than the positive and within the margin, as in FaceNet.

    Pairs that have no such negative do not count. Arguments and result as `batch_all`.
    """
    import jax.numpy as jnp

    distances, (positive, _) = squared_distances(embeddings), pairs_of(labels)
    nearest, _ = _nearest_beyond(distances, labels)
    counted = positive & (nearest < distances + margin)
    losses = jnp.where(counted, distances - jnp.where(counted, nearest, 0) + margin, 0)
    return _mean_over(losses.sum(1), counted.sum())


def semi_hard_all(embeddings: Array, labels: Array, margin: float) -> Array:
    """As TensorFlow Addons has semi-hard: the mean over every positive pair.

    Its negative is the nearest that is farther than the positive, and where none is, the farthest of all. Arguments and result
    as `batch_all`.
    """
    import jax.numpy as jnp

    distances, (positive, negative) = squared_distances(embeddings), pairs_of(labels)
    nearest, found = _nearest_beyond(distances, labels)
    farthest = jnp.where(negative, distances, 0).max(1)[:, None]
    losses = jnp.maximum(distances - jnp.where(found, nearest, farthest) + margin, 0)
    return _mean_over(jnp.where(positive, losses, 0).sum(1), positive.sum())


def contrastive(embeddings: Array, labels: Array, margin: float) -> Array:
    """Half the mean squared distance of positive pairs, and of what negative pairs are nearer than the margin.

    Args:
        embeddings: (n, d) of length 1.
        labels: (n,).
        margin: That negatives should have, of distances that are not squared.

    Returns:
        (n,), whose mean is the loss. Both kinds of pairs count alike, however many there are.
    """
    import jax.numpy as jnp

    squared, (positive, negative) = squared_distances(embeddings), pairs_of(labels)
    missing = jnp.maximum(margin - jnp.sqrt(jnp.maximum(squared, TINY)), 0)
    attracted = _mean_over(jnp.where(positive, squared, 0).sum(1), positive.sum())
    repelled = _mean_over(jnp.where(negative, missing**2, 0).sum(1), negative.sum())
    return (attracted + repelled) / 2


def arcface(
    embeddings: Array, centers: Array, labels: Array, margin: float, scale: float, smoothing: float = 0.0
) -> Array:
    """Cross-entropy of the angles to a learned center a class, the label's own angle made larger by the margin.

    Args:
        embeddings: (n, d) of length 1.
        centers: (d, classes), of any length.
        labels: (n,), from 0 on.
        margin: In radians.
        scale: What cosines are multiplied by before the softmax.
        smoothing: Fraction of a label that is spread over all classes.

    Returns:
        (n,), whose mean is the loss. Where the larger angle would be over 180 degrees, the cosine falls by
        margin * sin(margin), so that it goes down with the angle everywhere.
    """
    import jax
    import jax.numpy as jnp

    from nas.tasks.classification import cross_entropy

    lengths = jnp.sqrt(jnp.maximum((centers**2).sum(0, keepdims=True), TINY))
    cosines = jnp.clip(jnp.matmul(embeddings, centers / lengths, precision="highest"), -1, 1)
    sines = jnp.sqrt(jnp.maximum(1 - cosines**2, TINY))
    larger = cosines * math.cos(margin) - sines * math.sin(margin)
    larger = jnp.where(cosines > -math.cos(margin), larger, cosines - margin * math.sin(margin))
    own = jax.nn.one_hot(labels, centers.shape[1], dtype=bool)
    return cross_entropy(scale * jnp.where(own, larger, cosines), labels, smoothing)


def _nearest_beyond(distances: Array, labels: Array) -> tuple[Array, Array]:
    """Of every pair (a, p): the distance of the nearest negative of a that is farther than p, (n, n), and whether there is one."""
    import jax.numpy as jnp

    _, negative = pairs_of(labels)
    beyond = negative[:, None, :] & (distances[:, None, :] > distances[:, :, None])
    found = beyond.any(2)
    nearest = jnp.where(beyond, distances[:, None, :], jnp.inf).min(2)
    return nearest, found


def _mean_over(totals: Array, count: Array) -> Array:
    """(n,) whose mean is sum(totals) / count; zeros where nothing counts."""
    return totals * (len(totals) / count.clip(1))


IN_BATCH: dict[str, Callable[[Array, Array, float], Array]] = {
    "batch_all": batch_all,
    "batch_hard": batch_hard,
    "semi_hard": semi_hard,
    "semi_hard_all": semi_hard_all,
    "contrastive": contrastive,
}
MARGINS = {"contrastive": 1.0, "arcface": 0.5}  # of their papers; triplets have FaceNet's
MARGIN = 0.2
