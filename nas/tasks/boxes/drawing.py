"""Pictures of boxes, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.core.text import one_line
from nas.tasks.palette import color

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw as Pen
    from PIL.ImageFont import FreeTypeFont, ImageFont

LEAST = 0.25  # score of an object that is drawn
SIDE = 320  # pixels of the shorter side of a picture, at least, so that names can be read


def boxed(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray | None = None,
    names: Sequence[str] = (),
) -> np.ndarray:
    """An image with its objects.

    Args:
        image: (h, w, c) uint8; a small one is enlarged.
        boxes: (k, 4) of y0, x0, y1, x1 in fractions of the image.
        classes: (k,); negative ones are no objects.
        scores: (k,), written beside the names; objects below `LEAST` are left out. None: of truths.
        names: Of the classes; empty: their numbers.

    Returns:
        (height, width, 3) uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))))
    scale = -(-SIDE // min(picture.size))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BILINEAR)
    shown = classes >= 0 if scores is None else (classes >= 0) & (scores >= LEAST)
    pen, font, line = ImageDraw.Draw(picture), ImageFont.load_default(), max(min(picture.size) // 250, 1)
    sides = np.array([picture.height, picture.width] * 2)
    for i in np.flatnonzero(shown)[::-1].tolist():  # the best last, on top of the others
        y0, x0, y1, x1 = (float(value) for value in boxes[i] * sides)
        number = int(classes[i])
        name = one_line(names[number]) if number < len(names) else str(number)
        text = name if scores is None else f"{name} {100 * float(scores[i]):.0f}"
        pen.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=color(number), width=line)
        _label(pen, font, text, (x0, y0), color(number))
    return np.asarray(picture)


def _label(
    pen: Pen, font: FreeTypeFont | ImageFont, text: str, at: tuple[float, float], fill: tuple[int, int, int]
) -> None:
    """A name on a field of its color, over the upper left corner of a box, or within it at the image's border."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    y = at[1] - height if at[1] >= height else at[1]
    pen.rectangle((at[0], y, at[0] + width, y + height), fill=fill)
    pen.text((at[0] + 2 - left, y + 2 - top), text, fill=(255, 255, 255), font=font)
