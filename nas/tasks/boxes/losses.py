"""Losses of detectors: of boxes over the positive default boxes, of classes over these and the background. Traced.

Each is (n,), the sum over an image. Training divides by the number of positive default boxes of the whole batch.

Source:
    Smooth L1: Girshick 2015 (arXiv:1504.08083). Hard negatives: Liu et al. 2016 (arXiv:1512.02325), sec. 2.2. Focal loss: Lin et
    al. 2017 (arXiv:1708.02002). GIoU: Rezatofighi et al. 2019 (arXiv:1902.09630).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.tasks.boxes.geometry import decode, encode, giou

if TYPE_CHECKING:
    from nas.tasks.base import Array


def smooth_l1(codes: Array, boxes: Array, anchors: Array, positive: Array, beta: float = 1.0) -> Array:
    """Of the four numbers of the codes: quadratic for differences below `beta`, linear beyond.

    Args:
        codes: (n, A, 4) of the network.
        boxes: (n, A, 4) of the object that each default box answers.
        anchors: (A, 4).
        positive: (n, A) bool, which of them answer one.
        beta: Where the two forms meet.

    Returns:
        (n,).
    """
    import jax.numpy as jnp

    apart = jnp.abs(codes - encode(boxes, anchors))
    losses = jnp.where(apart < beta, apart**2 / (2 * beta), apart - beta / 2)
    return jnp.where(positive, losses.sum(-1), 0).sum(1)


def giou_loss(codes: Array, boxes: Array, anchors: Array, positive: Array) -> Array:
    """1 - GIoU of the decoded box and the object, from 0 to 2; arguments and result as `smooth_l1`."""
    import jax.numpy as jnp

    return jnp.where(positive, 1 - giou(decode(codes, anchors), boxes), 0).sum(1)


def softmax_loss(
    logits: Array,
    labels: Array,
    positive: Array,
    negative: Array,
    ratio: float = 3.0,
    least: int = 3,
    smoothing: float = 0.0,
) -> Array:
    """Cross-entropy of the positive default boxes and of the hardest of the negative ones.

    Args:
        logits: (n, A, classes + 1), class 0 being the background.
        labels: (n, A) of 0 to classes; meaningful where `positive`.
        positive: (n, A) bool.
        negative: (n, A) bool.
        ratio: Negative ones for each positive one of the image, those of the highest loss.
        least: Negative ones of an image that has few positive ones, or none.
        smoothing: Fraction of a label that is spread over all classes.

    Returns:
        (n,).
    """
    import jax
    import jax.numpy as jnp

    logs = jax.nn.log_softmax(logits)
    expected = jax.nn.one_hot(jnp.where(positive, labels, 0), logits.shape[-1], dtype=bool)
    own = jnp.where(expected, logs, 0).sum(-1)
    losses = -(1 - smoothing) * own - smoothing * logs.mean(-1)
    hard = jax.lax.stop_gradient(jnp.where(negative, losses, -jnp.inf))
    place = jnp.argsort(jnp.argsort(-hard, axis=1), axis=1)
    count = jnp.maximum(ratio * positive.sum(1), least)
    return jnp.where(positive | (negative & (place < count[:, None])), losses, 0).sum(1)


def focal_loss(
    logits: Array, labels: Array, positive: Array, negative: Array, alpha: float = 0.25, gamma: float = 2.0
) -> Array:
    """Logistic losses of each class, those of easy boxes weighing less; background is no class, its targets are all 0.

    Args:
        logits: (n, A, classes).
        labels: (n, A) of 0 to classes - 1; meaningful where `positive`.
        positive: (n, A) bool.
        negative: (n, A) bool.
        alpha: Weight of a class that is there; 1 - alpha of one that is not.
        gamma: Power of the missing probability that a loss is multiplied by.

    Returns:
        (n,).
    """
    import jax
    import jax.numpy as jnp

    there = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool) & positive[..., None]
    losses = focal_terms(logits, there, alpha, gamma)
    return jnp.where(positive | negative, losses.sum(-1), 0).sum(1)


def focal_terms(logits: Array, there: Array, alpha: float, gamma: float) -> Array:
    """The focal loss of each logit, of something that is there (bool) or not; `alpha` and `gamma` as `focal_loss` has them."""
    import jax
    import jax.numpy as jnp

    signed = jnp.where(there, logits, -logits)
    missing = jnp.exp(gamma * jax.nn.log_sigmoid(-signed))  # (1 - p)^gamma, whose gradient is finite at p = 1 too
    return -jnp.where(there, alpha, 1 - alpha) * missing * jax.nn.log_sigmoid(signed)


def logistic_terms(logits: Array, chance: Array) -> Array:
    """Binary cross-entropy of each logit with a chance from 0 to 1, less the chance's entropy: 0 where both are equal."""
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import xlogy

    chance = jnp.asarray(chance, logits.dtype)
    least = xlogy(chance, chance) + xlogy(1 - chance, 1 - chance)
    return least - chance * jax.nn.log_sigmoid(logits) - (1 - chance) * jax.nn.log_sigmoid(-logits)
