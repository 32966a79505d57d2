"""What the network itself answers, in this process: what every exported file is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.nn.weights import Variables
from nas.tasks import single

if TYPE_CHECKING:
    from jax import Array

    Arrays = Mapping[str, Mapping[str, Array]]

BATCH = 256


def prepared(images: np.ndarray, arch: Arch, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(n, h, w, c) uint8 -> float32, normalized, at the network's size: what every format takes."""
    import jax

    center, scale = (np.array(v, np.float32).reshape(1, 1, 1, -1) for v in (mean, std))
    scaled = (images.astype(np.float32) / 255 - center) / scale
    if scaled.shape[1] == arch.resolution:
        return scaled
    shape = (len(images), arch.resolution, arch.resolution, scaled.shape[3])
    return np.asarray(jax.image.resize(scaled, shape, "bilinear"))


def own_logits(arch: Arch, variables: Variables, images: np.ndarray) -> np.ndarray:
    """The network's own, of prepared images, in this process.

    Programs are kept for the next call, and are of a power of two of images: a folder's last batch needs no other one.
    """
    run, rows, out = _inference(arch, lower(arch).id), min(BATCH, 1 << max(len(images) - 1, 0).bit_length()), []
    for start in range(0, len(images), rows):
        some = images[start : start + rows]
        padded = np.pad(some, ((0, rows - len(some)), (0, 0), (0, 0), (0, 0)))
        out.append(np.asarray(run(variables["params"], variables["stats"], padded))[: len(some)])
    return np.concatenate(out)


@lru_cache(maxsize=4)
def _inference(arch: Arch, graph_id: str) -> Callable[..., Array]:
    """The compiled network; `graph_id`: blocks of one name can differ."""
    import jax

    from nas.nn.network import apply

    graph = lower(arch)

    def infer(params: Arrays, stats: Arrays, some: Array) -> Array:
        return single(apply(graph, params, stats, some, train=False)[0])

    return jax.jit(infer)
