"""The one way from the bytes of an image to pixels, for training, streaming, export and prediction.

An image is turned upright as its EXIF orientation says; of several frames the first is taken; 16 bits a channel are scaled to
8; what is transparent is blended on white; palettes, CMYK and the like become RGB, or gray; it is made square by one of three
rules, which may leave its border out, and resized (bilinear, over all pixels that shrink into one). Color profiles are not applied.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from PIL import Image

Resize: TypeAlias = str  # one of RESIZES; of the first two the middle alone with a fraction behind it: crop:0.875
RESIZES = ("squash", "crop", "pad")
CUTTING = ("squash", "crop")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# Not everything that PIL opens: for EPS it would run Ghostscript over the data.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
COLOR = 3  # channels of color images
GRAY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
COLOR_MODES = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
BACKGROUND = 255  # white, behind what is transparent and beside what is padded
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
# What PIL's parsers raise over broken bytes: no common class of their own.
BROKEN = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error)

T = TypeVar("T")


@dataclass(frozen=True)
class Encoded:
    """One image not yet decoded.

    Args:
        name: For errors.
        source: The bytes of a file in one of `FORMATS`, or the path of one.
    """

    name: str
    source: bytes | Path

    @property
    def content(self) -> bytes:
        """The bytes of the file. Raises ValueError naming it where it cannot be read."""
        try:
            return self.source.read_bytes() if isinstance(self.source, Path) else self.source
        except OSError as error:
            raise ValueError(f"{self.name}: {error.strerror}") from error

    @property
    def described(self) -> str:
        """Folder, name and size, without where the dataset lies and when it was written."""
        if not isinstance(self.source, Path):
            return str(len(self.source))
        try:
            return f"{'/'.join(self.source.parts[-2:])} {self.source.stat().st_size}"
        except OSError as error:
            raise ValueError(f"{self.name}: {error.strerror}") from error


@dataclass(frozen=True)
class Format:
    """What the header of an image says; sizes in pixels, `channels` 1 (gray) or 3."""

    name: str
    height: int
    width: int
    channels: int


def header(item: Encoded) -> Format:
    """Size, before it is turned upright, and colors. Raises ValueError naming an image that is broken, or of another kind."""
    mode, width, height = _guarded(item, lambda image: (image.mode, *image.size))
    if mode not in GRAY_MODES | COLOR_MODES:
        raise ValueError(f"{item.name}: pixels of kind {mode} are not supported; save it as gray or RGB")
    return Format(item.name, height, width, 1 if mode in GRAY_MODES else 3)


def parsed(rule: object) -> tuple[str, float]:
    """A rule's name and the fraction of the sides that it keeps. Raises ValueError for what is none.

    Example:
        >>> parsed("crop:0.875"), parsed("pad")
        (('crop', 0.875), ('pad', 1.0))
    """
    name, colon, fraction = rule.partition(":") if isinstance(rule, str) else ("", "", "")
    try:
        kept = float(fraction) if colon else 1.0
    except ValueError:
        kept = 0.0
    if name not in (CUTTING if colon else RESIZES) or not 0 < kept <= 1:
        known = f"{', '.join(RESIZES)}, or a fraction of the middle such as crop:0.875 or squash:0.9"
        raise ValueError(f"resize: expected one of {known}, got {rule!r:.40}")
    return name, kept


def pixels(item: Encoded, size: int, channels: int, rule: Resize) -> np.ndarray:
    """(size, size, channels) uint8. Raises ValueError naming an image that is broken."""
    found = _guarded(item, lambda image: np.asarray(squared(_converted(_upright(image), channels), size, rule)))
    return found.reshape(size, size, channels)


def squared(image: Image.Image, size: int, rule: Resize) -> Image.Image:
    """A gray or RGB image as `size` x `size` pixels.

    squash: both sides become `size`; crop: the largest square from the middle; pad: white is added to the shorter side. With a
    fraction that much of the middle of the sides, or of the square, is kept.
    """
    (width, height), (name, fraction) = image.size, parsed(rule)
    if fraction < 1 or (width != height and name == "crop"):
        wide, high = (min(width, height),) * 2 if name == "crop" else (width, height)
        wide, high = (max(1, round(fraction * side)) for side in (wide, high))
        left, top = (width - wide) // 2, (height - high) // 2
        image = image.crop((left, top, left + wide, top + high))
    elif width != height and name == "pad":
        side = max(width, height)
        padded = Image.new(image.mode, (side, side), BACKGROUND if image.mode == "L" else (BACKGROUND,) * 3)
        padded.paste(image, ((side - width) // 2, (side - height) // 2))
        image = padded
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)


def _guarded(item: Encoded, use: Callable[[Image.Image], T]) -> T:
    """`use(opened image)`, with whatever is wrong with the bytes as one ValueError naming the image."""
    most = Image.MAX_IMAGE_PIXELS or math.inf
    try:
        file = io.BytesIO(item.source) if isinstance(item.source, bytes) else item.source
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > most:
                raise Image.DecompressionBombError
            return use(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{item.name}: more than {most:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{item.name}: corrupt image: not {', '.join(FORMATS)}") from error
    except BROKEN as error:
        raise ValueError(f"{item.name}: corrupt image: {' '.join(str(error).split())[:120]}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; one that cannot be read counts as none."""
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except BROKEN:
        turn = None
    return image if turn is None else image.transpose(turn)


def _converted(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a pixel, which convert("L") would clip at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (BACKGROUND,) * 3 + (255,)), image)
    return image.convert("L" if channels == 1 else "RGB")
