"""Maps, feature maps and filters as pictures: uint8 arrays, and PNG files of them."""

from __future__ import annotations

import io
import math

import numpy as np

from nas.arch.graph import Graph
from nas.nn.weights import Variables

# Dark over purple and orange to light, by equal steps of lightness: five points of Matplotlib's "inferno".
COLORS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)
GAP = 1  # pixels between the tiles of a grid


def scaled(values: np.ndarray, percentile: float = 100) -> np.ndarray:
    """Values from 0 to 1: 0 and what is below stay 0, the percentile and what is above are 1; all 0 where nothing is above 0.

    Example:
        >>> scaled(np.array([-1.0, 0.0, 1.0, 4.0])).tolist()
        [0.0, 0.0, 0.25, 1.0]
    """
    top = float(np.percentile(values, percentile))
    if top <= 0:  # of a map of few pixels the percentile may be 0
        top = float(values.max())
    return (values / top).clip(0, 1) if top > 0 else np.zeros_like(values)


def heat(values: np.ndarray) -> np.ndarray:
    """(h, w) from 0 to 1 -> (h, w, 3) uint8, from dark over red to light.

    Example:
        >>> heat(np.array([[0.0, 1.0]])).tolist()
        [[[0, 0, 4], [252, 255, 164]]]
    """
    places = np.linspace(0, 1, len(COLORS))
    return np.stack([np.interp(values, places, COLORS[:, i]) for i in range(3)], -1).round().astype(np.uint8)


def resized(values: np.ndarray, side: int) -> np.ndarray:
    """(h, w) float -> (side, side), bilinear."""
    from PIL import Image

    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))


def overlay(image: np.ndarray, values: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """A heat map over the gray image that it explains.

    Args:
        image: (side, side, 1 or 3) uint8.
        values: (h, w) from 0 to 1, of any size; it is brought to the image's.
        opacity: Of the heat map.

    Returns:
        (side, side, 3) uint8.

    Example:
        >>> overlay(np.full((4, 4, 3), 200, np.uint8), np.zeros((2, 2)), opacity=0.5)[0, 0].tolist()
        [100, 100, 102]
    """
    gray = image.astype(np.float32).mean(2, keepdims=True)
    colors = heat(resized(values, image.shape[0])).astype(np.float32)
    return ((1 - opacity) * gray + opacity * colors).round().astype(np.uint8)


def grid(tiles: np.ndarray) -> np.ndarray:
    """Tiles side by side in a rectangle that is about square, each from its own lowest to its own highest value.

    Args:
        tiles: (n, h, w) or (n, h, w, 3), such as the channels of a feature map, or filters.

    Returns:
        (height, width) or (height, width, 3) uint8; between tiles `GAP` pixels are white.

    Example:
        >>> grid(np.arange(12.0).reshape(3, 2, 2)).shape
        (5, 5)
    """
    axes = tuple(range(1, tiles.ndim))
    low, high = tiles.min(axes, keepdims=True), tiles.max(axes, keepdims=True)
    pixels = (255 * (tiles - low) / np.where(high > low, high - low, 1)).round().astype(np.uint8)
    count, height, width = tiles.shape[:3]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    shape = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, *tiles.shape[3:])
    picture = np.full(shape, 255, np.uint8)
    for i, tile in enumerate(pixels):
        y, x = (i // columns) * (height + GAP), (i % columns) * (width + GAP)
        picture[y : y + height, x : x + width] = tile
    return picture


def channels(feature_map: np.ndarray, most: int = 64) -> np.ndarray:
    """(h, w, c) -> (n, h, w): the `most` channels of highest mean magnitude, in their order.

    Example:
        >>> channels(np.stack([np.zeros((2, 2)), np.ones((2, 2)), -np.ones((2, 2))], 2), most=2)[:, 0, 0].tolist()
        [1.0, -1.0]
    """
    strength = np.abs(feature_map).mean((0, 1))
    kept = np.sort(np.argsort(-strength, kind="stable")[:most])
    return np.moveaxis(feature_map, 2, 0)[kept]


def filters(graph: Graph, variables: Variables, node: int) -> np.ndarray:
    """The kernels of a convolution of gray or color images, or of a depthwise one.

    Args:
        graph: The network.
        variables: Its weights.
        node: Index of the convolution.

    Returns:
        (n, k, k) where each filter sees one channel, (n, k, k, 3) where it sees three.

    Raises:
        ValueError: Where the node is no convolution, or its filters see other numbers of channels.
    """
    found = graph.nodes[node]
    if found.op != "conv":
        raise ValueError(f"{found.name}: has no filters; expected a convolution")
    kernel = np.moveaxis(np.asarray(variables["params"][found.name]["kernel"]), 3, 0)
    if kernel.shape[3] not in (1, 3):
        raise ValueError(f"{found.name}: each filter sees {kernel.shape[3]} channels; expected 1 or 3, which can be shown as a picture")
    return kernel[..., 0] if kernel.shape[3] == 1 else kernel


def first_filters(graph: Graph, variables: Variables) -> np.ndarray | None:
    """`filters` of the convolution that reads the image; None where there is none, or it is 1x1."""
    for i, node in enumerate(graph.nodes):
        if node.op == "conv" and node.inputs == (0,):
            seen = graph.input_shape[2] // node.attr["groups"]
            return filters(graph, variables, i) if node.attr["kernel"] > 1 and seen in (1, 3) else None
    return None


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture whose pixels are repeated, until its shorter side has `side` pixels or a few more."""
    times = max(1, math.ceil(side / min(picture.shape[:2])))
    return picture.repeat(times, 0).repeat(times, 1)


def strip(pictures: list[np.ndarray], gap: int = 4) -> np.ndarray:
    """Pictures of one height side by side, gray ones in color: (h, w, 3) uint8; white between them."""
    colored = [np.repeat(one.reshape(*one.shape[:2], -1), 3 if one.ndim == 2 or one.shape[2] == 1 else 1, 2) for one in pictures]
    space = np.full((colored[0].shape[0], gap, 3), 255, np.uint8)
    return np.concatenate([part for one in colored for part in (one, space)][:-1], 1)


def png(picture: np.ndarray) -> bytes:
    """(h, w), (h, w, 1) or (h, w, 3) uint8 as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture).save(file, "png")
    return file.getvalue()
