"""What a network predicts on the square that it sees, brought back to the image that the square was made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from nas.data.pixels import Resize, window

SURE = 0.25  # score from which on an object is shown where no threshold is given
UNSEEN = 255  # pixels that the network did not see, as the rule `crop` leaves some out


@dataclass(frozen=True)
class Found:
    """An object in an image.

    Args:
        label: Its class.
        score: From 0 to 1.
        box: (x0, y0, x1, y1) in pixels of the image.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]


def classes_on(logits: np.ndarray, width: int, height: int, rule: Resize) -> np.ndarray:
    """(side, side, classes) scores of pixels -> (height, width) uint8 numbers of classes on the image of that size.

    Scores are resized (bilinear) and compared there, so that borders are as smooth as the scores are. One class at a time is in
    memory. Pixels that the rule left out are `UNSEEN`.
    """
    left, top, wide, high = window(width, height, rule)
    best, classes = np.full((high, wide), -np.inf, np.float32), np.zeros((high, wide), np.uint8)
    for number in range(logits.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(logits[..., number], np.float32))
        scores = np.asarray(plane.resize((wide, high), Image.Resampling.BILINEAR))
        classes[scores > best] = number
        best = np.maximum(best, scores)
    placed = np.full((height, width), UNSEEN, np.uint8)
    y, x = max(top, 0), max(left, 0)
    seen = classes[max(-top, 0) :, max(-left, 0) :][: height - y, : width - x]
    placed[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
    return placed


def boxes_on(boxes: np.ndarray, width: int, height: int, rule: Resize) -> np.ndarray:
    """(n, 4) y0, x0, y1, x1 in fractions of the square -> (n, 4) x0, y0, x1, y1 in pixels of the image, cut off at its border."""
    left, top, wide, high = window(width, height, rule)
    corners = boxes[:, [1, 0, 3, 2]] * [wide, high, wide, high] + [left, top, left, top]
    return corners.clip(0, [width, height, width, height])
