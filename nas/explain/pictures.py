"""Maps, feature maps and filters as pictures: uint8 arrays, and PNG files of them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.arch.graph import Graph
from nas.nn.weights import Variables

if TYPE_CHECKING:
    from PIL import Image

# Dark over purple and orange to light, by equal steps of lightness: five points of Matplotlib's "inferno".
COLORS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)
FLAT = 0.05  # of the largest range of the tiles of a grid: what a smaller one is scaled by
GAP = 1  # pixels between the tiles of a grid
MARGIN, NUMBER = 3, 14  # pixels between the pictures of a sheet, and above them for a number


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

    One that varies less than a twentieth as much as the most varying one stays dark: what is left in a dead channel is noise.

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
    widest = FLAT * float((high - low).max()) or 1.0
    pixels = (255 * (tiles - low) / np.maximum(high - low, widest)).round().astype(np.uint8)
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
            return filters(graph, variables, i) if node.attr["kernel"] != 1 and seen in (1, 3) else None
    return None


def with_colors(image: np.ndarray) -> np.ndarray:
    """(h, w), (h, w, 1) or (h, w, 3) uint8 as it is; (h, w, c) of another c as the mean of its channels, (h, w, 1)."""
    return image if image.ndim == 2 or image.shape[2] in (1, 3) else image.mean(2, keepdims=True).astype(np.uint8)


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture whose pixels are repeated, until its shorter side has `side` pixels or a few more."""
    times = max(1, math.ceil(side / min(picture.shape[:2])))
    return picture.repeat(times, 0).repeat(times, 1)


def color_scale() -> np.ndarray:
    """(12, 256, 3) uint8: the colors of `heat` from nothing, on the left, to the strongest value."""
    return heat(np.tile(np.linspace(0, 1, 256), (12, 1)))


def sheet(images: Sequence[np.ndarray], maps: Sequence[np.ndarray], side: int, across: int = 6) -> np.ndarray:
    """Images with their maps below them, numbered from 1, `across` in a row.

    Args:
        images: (h, w, 1 or 3) uint8.
        maps: (h, w, 3) uint8, one an image.
        side: Of each of them in the picture, in pixels.
        across: Images in a row.

    Returns:
        (height, width, 3) uint8, white between the pictures.
    """
    from PIL import Image, ImageDraw

    rows = math.ceil(len(images) / across)
    width, height = side + 2 * MARGIN, NUMBER + 2 * (side + MARGIN) + MARGIN
    paper = Image.new("RGB", (min(len(images), across) * width, rows * height), "white")
    draw = ImageDraw.Draw(paper)
    for i, pair in enumerate(zip(images, maps, strict=True)):
        x, y = (i % across) * width + MARGIN, (i // across) * height
        draw.text((x, y), str(i + 1), fill="black")
        for j, one in enumerate(pair):
            paper.paste(_squared(one, side), (x, y + NUMBER + j * (side + MARGIN)))
    return np.asarray(paper)


def _squared(picture: np.ndarray, side: int) -> Image.Image:
    """In color; pixels of a small one stay pixels."""
    from PIL import Image

    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).convert("RGB")
    return image.resize((side, side), Image.Resampling.NEAREST if picture.shape[0] < side else Image.Resampling.LANCZOS)


def png(picture: np.ndarray) -> bytes:
    """(h, w), (h, w, 1) or (h, w, 3) uint8 as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture).save(file, "png")
    return file.getvalue()
