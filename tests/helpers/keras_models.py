"""Keras' own models with random weights, and what they answer; shared by the tests of parity and of weight files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax
import keras
import numpy as np


@contextmanager
def without_initial_values() -> Iterator[None]:
    """Drawing them takes most of the time that Keras needs for a model, and `randomize` replaces them anyway."""

    def zeros(self: Any, shape: Any, dtype: Any = None, **_: Any) -> np.ndarray:
        return np.zeros(shape, np.float32)

    initializers = keras.initializers.VarianceScaling, keras.initializers.RandomNormal
    with mock.patch.object(initializers[0], "__call__", zeros), mock.patch.object(initializers[1], "__call__", zeros):
        yield


def application(name: str, **options: Any) -> Any:
    """A model of keras.applications without softmax."""
    with without_initial_values():
        return getattr(keras.applications, name)(weights=None, classifier_activation=None, **options)


def randomize(model: Any, gain: float, seed: int = 0) -> None:
    """Every weight and statistic drawn anew: kernels N(0, gain^2 / fan in), a dense one N(0, 1 / fan in).

    Preprocessing layers are left alone: they pass images on as they are, divided by 255 where Keras' model does that.
    """
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            continue
        for weight in layer.weights:
            if weight.dtype == "float32":
                depthwise = "depthwise" in weight.name or isinstance(layer, keras.layers.DepthwiseConv2D)
                weight.assign(_drawn(weight.name, tuple(weight.shape), depthwise, gain, rng))


def _drawn(name: str, shape: tuple[int, ...], depthwise: bool, gain: float, rng: np.random.Generator) -> np.ndarray:
    if name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if name in ("beta", "bias", "moving_mean"):
        return rng.normal(0, 0.1, shape).astype(np.float32)
    assert "kernel" in name, name
    fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
    scale = (gain if len(shape) == 4 else 1) / np.sqrt(fan_in)
    return rng.standard_normal(shape, np.float32) * np.float32(scale)


def images(resolution: int, seed: int = 1) -> np.ndarray:
    """Two images (2, n, n, 3) float32: smooth patches and noise, about N(0, 1), so that pooling does not make them alike."""
    rng = np.random.default_rng(seed)
    smooth = jax.image.resize(rng.standard_normal((2, 8, 8, 3), np.float32), (2, resolution, resolution, 3), "cubic")
    return 1.5 * np.asarray(smooth) + 0.3 * rng.standard_normal((2, resolution, resolution, 3), np.float32)


def answers(model: Any, batch: np.ndarray) -> np.ndarray:
    """Logits in inference mode."""

    def forward(trainable: Any, fixed: Any, batch: Any) -> Any:
        return model.stateless_call(trainable, fixed, batch, training=False)[0]

    values = [[v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables)]
    with jax.numpy_rank_promotion("allow"):  # Keras' own arithmetic relies on it
        return np.asarray(jax.jit(forward)(*values, batch))
