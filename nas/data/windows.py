"""Windows of images: the part of an image, or more than it, that becomes the whole of the next one, with masks and boxes in it.

A window is (y0, x0, y1, x1) in fractions of the image. What of it is outside is filled. Windows of windows are windows, so that an
image is resampled once, however many things happen to it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from PIL import Image

from nas.data.boxes import AREA, CLASS, IGNORED, PIXELS, X0, X1, Y0, Y1
from nas.data.masks import IGNORED as IGNORED_PIXEL

Window: TypeAlias = tuple[float, float, float, float]
WHOLE: Window = (0.0, 0.0, 1.0, 1.0)
SMALLEST = 1e-6  # side of a box, in fractions of the image, below which nothing of it is left
EDGES = [Y0, X0, Y1, X1]


def within(outer: Window, inner: Window) -> Window:
    """The window that `inner` of `outer` is of the image.

    Example:
        >>> within((0.0, 0.5, 1.0, 1.0), (0.5, 0.0, 1.0, 0.5))
        (0.5, 0.5, 1.0, 0.75)
    """
    top, left, height, width = outer[0], outer[1], outer[2] - outer[0], outer[3] - outer[1]
    return top + inner[0] * height, left + inner[1] * width, top + inner[2] * height, left + inner[3] * width


def snapped(window: Window, height: int, width: int) -> Window:
    """The window moved so that the borders of the image, where they are in it, fall between pixels of the result of this size."""
    (y0, y1), (x0, x1) = _snapped(window[0], window[2], height), _snapped(window[1], window[3], width)
    return y0, x0, y1, x1


def _snapped(low: float, high: float, pixels: int) -> tuple[float, float]:
    scale = pixels / (high - low)
    begin, end = -low * scale, (1 - low) * scale  # where the image is in the result
    if begin > 0 and end < pixels:
        begin = min(round(begin), pixels - 1)
        end = max(round(end), begin + 1)
        scale = float(end - begin)
    elif begin > 0:
        begin = round(begin)
    elif end < pixels:
        begin += round(end) - end
    low = -begin / scale
    return low, low + pixels / scale


def image_in(image: np.ndarray, window: Window, fill: np.ndarray | int) -> np.ndarray:
    """(h, w, c) uint8 -> what a snapped window shows of it, as large; bilinear, over all pixels that shrink into one."""
    out = np.empty_like(image)
    out[:] = fill
    return _pasted(out, image, window)


def mask_in(mask: np.ndarray, window: Window) -> np.ndarray:
    """(h, w) uint8 -> what a snapped window shows of it, as large, by nearest neighbor; outside it is 255."""
    return _pasted(np.full_like(mask, IGNORED_PIXEL), mask, window)


def patch(plane: np.ndarray, window: Window, height: int, width: int) -> np.ndarray:
    """(h, w, c) image or (h, w) mask -> what a window within it shows, (height, width, ..)."""
    rows, columns = plane.shape[:2]
    box = window[1] * columns, window[0] * rows, window[3] * columns, window[2] * rows
    resample = Image.Resampling.NEAREST if plane.ndim == 2 else Image.Resampling.BILINEAR
    flat = plane[..., 0] if plane.ndim == 3 and plane.shape[2] == 1 else plane
    found = np.asarray(Image.fromarray(flat).resize((width, height), resample, box))
    return found.reshape(height, width, *plane.shape[2:])


def _pasted(out: np.ndarray, plane: np.ndarray, window: Window) -> np.ndarray:
    (top, bottom), (left, right) = _seen(window[0], window[2], len(plane)), _seen(window[1], window[3], plane.shape[1])
    inside = max(window[0], 0.0), max(window[1], 0.0), min(window[2], 1.0), min(window[3], 1.0)
    if top < bottom and left < right:
        out[top:bottom, left:right] = patch(plane, inside, bottom - top, right - left)
    return out


def _seen(low: float, high: float, pixels: int) -> tuple[int, int]:
    """The first pixel of the result that shows the image, and that behind the last, along an axis."""
    scale = pixels / (high - low)
    return max(round(-low * scale), 0), min(round((1 - low) * scale), pixels)


def boxes_in(targets: np.ndarray, window: Window) -> np.ndarray:
    """(most, 8) float32 -> the objects as a window shows them.

    Boxes are clipped; those are dropped whose center is outside, and of ignored ones those of which nothing can be seen. AREA becomes
    that of what can be seen, PIXELS those of the window.
    """
    rows = targets[targets[:, CLASS] >= 0].astype(np.float64)
    corner, side = np.array(window[:2]), np.array(window[2:]) - np.array(window[:2])
    moved = (rows[:, EDGES] - np.tile(corner, 2)) / np.tile(side, 2)
    clipped = moved.clip(0, 1)
    center, sides = (moved[:, :2] + moved[:, 2:]) / 2, clipped[:, 2:] - clipped[:, :2]
    inside = ((center >= 0) & (center <= 1)).all(1) | (rows[:, IGNORED] > 0)
    kept = inside & (sides > SMALLEST).all(1)
    rows[:, EDGES] = clipped
    rows[:, AREA] *= sides.prod(1) / np.maximum((moved[:, 2:] - moved[:, :2]).prod(1), np.finfo(float).tiny)
    return padded(rows[kept], len(targets), float(targets[0, PIXELS] * side.prod()))


def padded(rows: np.ndarray, most: int, pixels: float) -> np.ndarray:
    """(k, 8) objects -> (most, 8) float32, all of an image with so many pixels."""
    out = np.zeros((most, rows.shape[1]), np.float32)
    out[:, CLASS] = -1
    out[: len(rows)] = rows
    out[:, PIXELS] = pixels
    return out


def mirrored(targets: np.ndarray) -> np.ndarray:
    """(most, 8) boxes, left and right exchanged."""
    out, filled = targets.copy(), targets[:, CLASS] >= 0
    out[filled, X0], out[filled, X1] = 1 - targets[filled, X1], 1 - targets[filled, X0]
    return out
