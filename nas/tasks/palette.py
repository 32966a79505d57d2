"""Colors of classes, and pictures of masks, for people to look at."""

from __future__ import annotations

import colorsys

import numpy as np

from nas.data.masks import IGNORED

OPACITY = 0.55  # of classes over an image
GOLDEN = 0.618034  # of a circle of hues: neighbors in number differ, whatever the number of classes


def color(number: int) -> tuple[int, int, int]:
    """The color of a class, the same in every picture."""
    lightness = (0.5, 0.62, 0.4)[number % 3]
    red, green, blue = colorsys.hls_to_rgb((0.02 + number * GOLDEN) % 1, lightness, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def hex_color(number: int) -> str:
    """`color` as pages have it, such as `#d9471a`."""
    return "#{:02x}{:02x}{:02x}".format(*color(number))


def overlaid(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: an image (h, w, c) under the colors of a mask (h', w'), brought to its size; ignored pixels stay as they are."""
    height, width = image.shape[:2]
    rows, columns = (np.arange(size) * side // size for size, side in zip((height, width), mask.shape, strict=True))
    at = mask[rows][:, columns].astype(int)
    picture = np.broadcast_to(image, (height, width, 3)).astype(np.float32)
    table = np.array([color(i) for i in range(IGNORED + 1)], np.float32)
    blended = OPACITY * table[at] + (1 - OPACITY) * picture
    return np.where((at == IGNORED)[..., None], picture, blended).round().astype(np.uint8)
