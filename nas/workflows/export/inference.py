"""What the network itself answers, in this process: what every exported file is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.nn.weights import Variables

if TYPE_CHECKING:
    from jax import Array

BATCH = 32  # images of a program, at most: to fill up a batch then costs less than to compile another program


def prepared(images: np.ndarray, arch: Arch, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(n, h, w, c) uint8 -> float32, normalized, at the network's size: what every format takes."""
    import jax

    center, scale = (np.array(v, np.float32).reshape(1, 1, 1, -1) for v in (mean, std))
    scaled = (images.astype(np.float32) / 255 - center) / scale
    if scaled.shape[1] == arch.resolution:
        return scaled
    shape = (len(images), arch.resolution, arch.resolution, scaled.shape[3])
    return np.asarray(jax.image.resize(scaled, shape, "bilinear"))


def rows_for(count: int) -> int:
    """Images of the program that runs `count` of them: a power of two, so that few programs serve all counts."""
    return min(BATCH, 1 << max(count - 1, 0).bit_length())


def own_logits(arch: Arch, variables: Variables, images: np.ndarray, rows: int | None = None) -> np.ndarray:
    """The network's own, of prepared images, in this process.

    Programs are kept for the next call, and are of `rows` images (None: `rows_for` these): a folder's last batch needs no other
    one.
    """
    return np.concatenate([np.asarray(logits) for logits, _ in _answers(arch, variables, images, rows)])


def own_maps(arch: Arch, variables: Variables, images: np.ndarray, rows: int | None = None) -> list[np.ndarray]:
    """(n, h, w, c) of each of `nas.explain.taps.tail_inputs`, by the programs of `own_logits`."""
    parts = zip(*(maps for _, maps in _answers(arch, variables, images, rows)), strict=True)
    return [np.concatenate([np.asarray(one) for one in of_node]) for of_node in parts]


def _answers(
    arch: Arch, variables: Variables, images: np.ndarray, rows: int | None
) -> Iterator[tuple[Array, list[Array]]]:
    """Logits and maps of `rows` images at a time, those that fill up the last ones cut off."""
    run, rows = _inference(arch, lower(arch).id), rows or rows_for(len(images))
    for start in range(0, len(images), rows):
        some = images[start : start + rows]
        padded = np.pad(some, ((0, rows - len(some)), (0, 0), (0, 0), (0, 0)))
        logits, maps = run(variables, padded)
        yield logits[: len(some)], [one[: len(some)] for one in maps]


@lru_cache(maxsize=4)
def _inference(arch: Arch, graph_id: str) -> Callable[..., tuple[Array, list[Array]]]:
    """The compiled network; `graph_id`: blocks of one name can differ."""
    import jax

    from nas.explain.taps import logits_and_maps

    graph = lower(arch)
    return jax.jit(lambda variables, images: logits_and_maps(graph, variables, images))
