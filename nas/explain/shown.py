"""The methods by name, compiled once for a network, and their maps as pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from nas.arch.graph import Graph
from nas.explain.gradients import integrated_gradients, saliency, smooth_grad
from nas.explain.maps import cam, grad_cam, grad_cam_behind
from nas.explain.pictures import enlarged, heat, overlay, resized, scaled
from nas.explain.taps import features, last_map
from nas.nn.ops import Array
from nas.nn.weights import Variables


@dataclass(frozen=True)
class MethodSettings:
    """How the methods work.

    Args:
        node: Index of the feature map of Grad-CAM; None: the last one.
        noise: Of SmoothGrad, as a fraction of the image's range.
        copies: Noisy ones of SmoothGrad.
        seed: Of its noise.
        steps: Of integrated gradients.
        baseline: Of integrated gradients, a normalized value for each channel; None: 0.
    """

    node: int | None = None
    noise: float = 0.15
    copies: int = 50
    seed: int = 0
    steps: int = 100
    baseline: tuple[float, ...] | None = None


Method = Callable[[Graph, Variables, Array, Array, MethodSettings], Array]


def _integrated(graph: Graph, variables: Variables, images: Array, classes: Array, settings: MethodSettings) -> Array:
    """(n, h, w): how much each pixel moves the score, either way."""
    baseline = None
    if settings.baseline is not None:
        baseline = jnp.broadcast_to(jnp.array(settings.baseline, jnp.float32).reshape(1, 1, -1), graph.input_shape)
    found = integrated_gradients(graph, variables, images, classes, baseline=baseline, steps=settings.steps)
    return jnp.abs(found.sum(3))


METHODS: dict[str, Method] = {
    "cam": lambda graph, variables, images, classes, settings: jax.nn.relu(cam(graph, variables, images, classes)),
    "grad_cam": lambda graph, variables, images, classes, settings: grad_cam(graph, variables, images, classes, settings.node),
    "saliency": lambda graph, variables, images, classes, settings: saliency(graph, variables, images, classes),
    "smooth_grad": lambda graph, variables, images, classes, settings: smooth_grad(
        graph, variables, images, classes, noise=settings.noise, copies=settings.copies, seed=settings.seed
    ),
    "integrated_gradients": _integrated,
}
MAPS = ("cam", "grad_cam")  # of feature maps, shown over the image; the others are of single pixels
TITLES = {
    "cam": "CAM", "grad_cam": "Grad-CAM", "saliency": "saliency", "smooth_grad": "SmoothGrad",
    "integrated_gradients": "integrated gradients",
}  # fmt: skip
ROWS = 16  # images of a program, at most
SINGLE = 99.0  # the percentile that is brightest in maps of single pixels, where a few outshine all others


def explained(
    graph: Graph, variables: Variables, images: np.ndarray, classes: Sequence[int] | np.ndarray, method: str,
    settings: MethodSettings | None = None,
) -> np.ndarray:
    """The maps of a method.

    Programs are kept for the next call, and are of a power of two of images.

    Args:
        graph: A network with one output.
        variables: Its weights and statistics.
        images: (n, h, w, c), normalized.
        classes: (n,) the class that is explained in each image.
        method: One of `METHODS`.
        settings: Its settings.

    Returns:
        (n, h, w), 0 or more: of the feature map for `cam` and `grad_cam`, else of the image.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> from nas.nn.network import init
        >>> graph = lower(load_arch({"resolution": 8, "channels": 1, "classes": 10, "stem": {"op": "conv", "width": 4},
        ...                          "stages": [{"op": "conv", "width": 8, "stride": 2}], "head": {"op": "classifier"}}))
        >>> explained(graph, init(graph, 0), np.ones((3, 8, 8, 1), np.float32), [1, 2, 3], "grad_cam").shape
        (3, 4, 4)
    """
    run, rows, out = _program(graph, method, settings or MethodSettings()), min(ROWS, 1 << max(len(images) - 1, 0).bit_length()), []
    named = {"params": variables["params"], "stats": variables.get("stats", {})}
    for start in range(0, len(images), rows):
        some, of = images[start : start + rows], np.asarray(classes[start : start + rows], np.int32)
        missing = rows - len(some)
        padded = np.pad(some, ((0, missing), (0, 0), (0, 0), (0, 0)))
        out.append(np.asarray(run(named, padded, np.pad(of, (0, missing))))[: len(some)])
    return np.concatenate(out)


@lru_cache(maxsize=16)
def _program(graph: Graph, method: str, settings: MethodSettings) -> Callable[..., Array]:
    return jax.jit(lambda variables, images, classes: METHODS[method](graph, variables, images, classes, settings))


def picture(method: str, image: np.ndarray, values: np.ndarray, side: int = 1) -> np.ndarray:
    """A map as people see it.

    Args:
        method: That gave it.
        image: (side, side, 1 or 3) uint8.
        values: (h, w), 0 or more.
        side: Pixels of the picture, at least; the pixels of a smaller image are repeated, and a feature map lies smoothly over them.

    Returns:
        (height, height, 3) uint8: over the image for maps of feature maps, else by itself, in pixels as large as the image's.
    """
    if method in MAPS:
        return overlay(enlarged(image, side), scaled(values))
    return enlarged(heat(resized(scaled(values, SINGLE), image.shape[0])), side)


def grad_cam_pictures(
    graph: Graph, variables: Variables, images: Iterable[np.ndarray], maps: Sequence[np.ndarray], classes: np.ndarray, side: int = 1
) -> list[np.ndarray]:
    """Grad-CAM over images whose last feature maps are known already. Compiles no more than the layers behind these.

    Args:
        graph: A network with one output.
        variables: Its weights and statistics.
        images: (n, side, side, channels) uint8.
        maps: (n, h, w, c) of each of `nas.explain.taps.tail_inputs`.
        classes: (n,) the class that is explained in each image.
        side: Pixels of a picture, at least.

    Returns:
        (height, height, 3) uint8 of each.
    """
    behind = {node.name for node in graph.nodes[last_map(graph) + 1 :]}
    few = {kind: {name: arrays[name] for name in arrays.keys() & behind} for kind, arrays in variables.items()}
    run = jax.jit(lambda variables, maps, classes: grad_cam_behind(graph, variables, maps, classes))
    found = np.asarray(run(few, list(maps), np.asarray(classes, np.int32)))
    return [picture("grad_cam", image, values, side) for image, values in zip(images, found, strict=True)]


def feature_maps(graph: Graph, variables: Variables, images: np.ndarray, nodes: tuple[int, ...]) -> list[np.ndarray]:
    """What nodes give for images, a part at a time.

    Args:
        graph: The network.
        variables: Its weights and statistics.
        images: (n, h, w, c), normalized.
        nodes: Indices.

    Returns:
        (n, h, w, c) of each node, in their order.
    """
    if not nodes:
        return []
    named = {"params": variables["params"], "stats": variables.get("stats", {})}
    run, parts = jax.jit(lambda variables, images: features(graph, variables, images, list(nodes))), []
    for start in range(0, len(images), ROWS):
        parts.append([np.asarray(one) for one in run(named, images[start : start + ROWS])])
    return [np.concatenate(of_node) for of_node in zip(*parts, strict=True)]
