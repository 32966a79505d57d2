"""What a network is trained for: the meaning of its outputs, the loss, the metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from nas.nn.ops import Array


@dataclass(frozen=True)
class Task:
    """loss(outputs, labels, smoothing) -> (n,), the training loss; metrics: name -> f(outputs, labels) -> (n,).

    Both give one number an example; a split's metric is their mean.
    """

    name: str
    loss: Callable[[Array, Array, float], Array]
    metrics: Mapping[str, Callable[[Array, Array], Array]]


def cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> Array:
    """(n, classes), (n,) -> (n,); the target is 1 - smoothing for the label plus smoothing / classes for every class."""
    classes = logits.shape[1]
    targets = jax.nn.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
    return -(targets * jax.nn.log_softmax(logits)).sum(1)


def is_right(logits: Array, labels: Array) -> Array:
    return (logits.argmax(1) == labels).astype(jnp.float32)


CLASSIFICATION = Task("classification", cross_entropy, {"accuracy": is_right, "loss": cross_entropy})
