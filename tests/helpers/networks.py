"""Variables, images and logits of any lowered network."""

from __future__ import annotations

import jax
import numpy as np

from nas.arch.graph import Graph
from nas.nn.network import apply, init
from nas.nn.weights import HostVariables
from nas.tasks import single


def settled(graph: Graph, seed: int = 0) -> HostVariables:
    """Variables as after a training: no scale is 1 and no bias 0; small enough that values stay of order one."""
    rng, values = np.random.default_rng(seed), init(graph, seed)
    for arrays in (arrays for part in values.values() for arrays in part.values()):
        for name, array in arrays.items():
            if name != "kernel":
                low, high = (0.5, 1.5) if name in ("scale", "var") else (-0.3, 0.3)
                arrays[name] = rng.uniform(low, high, array.shape).astype(np.float32)
    return values


def images_of(graph: Graph, count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, *graph.input_shape), np.float32)


def logits(graph: Graph, values: HostVariables, images: np.ndarray) -> np.ndarray:
    @jax.jit
    def infer(values: HostVariables, images: jax.Array) -> jax.Array:
        return single(apply(graph, values["params"], values["stats"], images, train=False)[0])

    return np.asarray(infer(values, images))
