"""Attributions by gradients with respect to the image: which pixels the score of a class depends on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from nas.arch.graph import Graph
from nas.explain.taps import scores
from nas.nn.ops import Array
from nas.nn.weights import Variables


def input_gradient(graph: Graph, variables: Variables, images: Array, classes: Array) -> Array:
    """(n, h, w, c): the gradient of each image's logit of its class with respect to the image."""
    return jax.grad(lambda x: scores(graph, variables, x, classes).sum())(images)


def strongest(gradient: Array) -> Array:
    """(n, h, w, c) -> (n, h, w): the largest magnitude over the channels."""
    return jnp.abs(gradient).max(3)


def saliency(graph: Graph, variables: Variables, images: Array, classes: Array) -> Array:
    """The magnitude of the gradient at each pixel, the largest over the channels.

    Args:
        graph: A network with one output.
        variables: Its weights and statistics.
        images: (n, h, w, c), normalized.
        classes: (n,) whole numbers: the class that is explained in each image.

    Returns:
        (n, h, w), 0 or more.

    Source:
        Simonyan et al. 2013 (arXiv:1312.6034).
    """
    return strongest(input_gradient(graph, variables, images, classes))


def smooth_grad(graph: Graph, variables: Variables, images: Array, classes: Array, *, noise: float = 0.15, copies: int = 50,
                seed: int = 0) -> Array:  # fmt: skip
    """Saliency of the mean gradient over noisy copies of the image, in which what depends on single pixel values averages out.

    Args:
        graph: A network with one output.
        variables: Its weights and statistics.
        images: (n, h, w, c), normalized.
        classes: (n,) whole numbers: the class that is explained in each image.
        noise: Standard deviation of the noise as a fraction of the image's range; the paper has 0.1 to 0.2.
        copies: Of each image.
        seed: Of the noise.

    Returns:
        (n, h, w), 0 or more.

    Source:
        Smilkov et al. 2017 (arXiv:1706.03825).
    """
    deviation = noise * (images.max((1, 2, 3), keepdims=True) - images.min((1, 2, 3), keepdims=True))

    def add(total: Array, key: Array) -> tuple[Array, None]:
        noisy = images + deviation * jax.random.normal(key, images.shape, images.dtype)
        return total + input_gradient(graph, variables, noisy, classes), None

    total, _ = lax.scan(add, jnp.zeros_like(images), jax.random.split(jax.random.key(seed), copies))
    return strongest(total / copies)


def integrated_gradients(graph: Graph, variables: Variables, images: Array, classes: Array, *, baseline: Array | None = None,
                         steps: int = 100) -> Array:  # fmt: skip
    """What each value of the image adds to the score, compared with a baseline image.

    The attributions of an image sum to the difference of the logits of image and baseline, up to the error of the sum over
    `steps` points that stands for an integral along the line between the two.

    Args:
        graph: A network with one output.
        variables: Its weights and statistics.
        images: (n, h, w, c), normalized.
        classes: (n,) whole numbers: the class that is explained in each image.
        baseline: (h, w, c), normalized; None: 0 everywhere, which is the mean color of the training images.
        steps: Points on the line, in the middles of equal parts.

    Returns:
        (n, h, w, c), signed, in units of the logit.

    Source:
        Sundararajan et al. 2017 (arXiv:1703.01365).
    """
    start = jnp.zeros_like(images) if baseline is None else jnp.broadcast_to(baseline[None], images.shape)

    def add(total: Array, fraction: Array) -> tuple[Array, None]:
        return total + input_gradient(graph, variables, start + fraction * (images - start), classes), None

    total, _ = lax.scan(add, jnp.zeros_like(images), (jnp.arange(steps, dtype=images.dtype) + 0.5) / steps)
    return (images - start) * total / steps
