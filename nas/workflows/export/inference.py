"""What the network itself answers, in this process: what every exported file is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.nn.weights import Variables

if TYPE_CHECKING:
    from jax import Array

    from nas.tasks.base import HostOutputs, Outputs

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
    """`own_outputs` of a network whose output is one array."""
    outputs = own_outputs(arch, variables, images, rows)
    assert isinstance(outputs, np.ndarray), "the network has one output"
    return outputs


def own_outputs(arch: Arch, variables: Variables, images: np.ndarray, rows: int | None = None) -> HostOutputs:
    """The network's own outputs of prepared images, in this process: (n, classes), (n, h, w, classes), or several by name.

    Programs are kept for the next call, and are of `rows` images (None: `rows_for` these): a folder's last batch needs no other
    one.
    """
    return joined([host(outputs) for outputs, _ in _answers(arch, variables, images, rows)])


def host(outputs: Outputs) -> HostOutputs:
    """Outputs as NumPy arrays."""
    return {name: np.asarray(one) for name, one in outputs.items()} if isinstance(outputs, Mapping) else np.asarray(outputs)


def joined(parts: Sequence[HostOutputs]) -> HostOutputs:
    """Outputs of batches, (n, ..) each, as those of all images."""
    if isinstance(first := parts[0], Mapping):
        return {name: np.concatenate([part[name] for part in parts if isinstance(part, Mapping)]) for name in first}
    return np.concatenate([part for part in parts if not isinstance(part, Mapping)])


def taken(outputs: HostOutputs, rows: slice | np.ndarray) -> HostOutputs:
    """The outputs of some images."""
    return {name: one[rows] for name, one in outputs.items()} if isinstance(outputs, Mapping) else outputs[rows]


def own_maps(arch: Arch, variables: Variables, images: np.ndarray, rows: int | None = None) -> list[np.ndarray]:
    """(n, h, w, c) of each of `nas.explain.taps.tail_inputs`, by the programs of `own_logits`."""
    parts = zip(*(maps for _, maps in _answers(arch, variables, images, rows)), strict=True)
    return [np.concatenate([np.asarray(one) for one in of_node]) for of_node in parts]


def _answers(
    arch: Arch, variables: Variables, images: np.ndarray, rows: int | None
) -> Iterator[tuple[Outputs, list[Array]]]:
    """Outputs and maps of `rows` images at a time, those that fill up the last ones cut off; maps of networks with one vector alone."""
    run, rows = _inference(arch, lower(arch).id), rows or rows_for(len(images))
    for start in range(0, len(images), rows):
        some = images[start : start + rows]
        padded = np.pad(some, ((0, rows - len(some)), (0, 0), (0, 0), (0, 0)))
        outputs, maps = run(variables, padded)
        cut = {name: one[: len(some)] for name, one in outputs.items()} if isinstance(outputs, Mapping) else outputs[: len(some)]
        yield cut, [one[: len(some)] for one in maps]


@lru_cache(maxsize=4)
def _inference(arch: Arch, graph_id: str) -> Callable[..., tuple[Outputs, list[Array]]]:
    """The compiled network; `graph_id`: blocks of one name can differ."""
    import jax

    from nas.explain.taps import logits_and_maps
    from nas.nn.network import apply

    graph = lower(arch)
    if not graph.named and graph.nodes[-1].shape[:2] == (1, 1):
        return jax.jit(lambda variables, images: logits_and_maps(graph, variables, images))
    return jax.jit(lambda variables, images: (apply(graph, variables["params"], variables["stats"], images, train=False)[0], []))
