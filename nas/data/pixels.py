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
SIDEWAYS = (5, 6, 7, 8)  # of these, those that exchange width and height
PNG_TAGS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
MASK_FORMATS = ("PNG",)  # others lose numbers, or PIL gives them another meaning
NUMBER_MODES = {"1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N"}
STRETCHED = {"L;2": 85, "L;4": 17}
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


def whole(item: Encoded, channels: int = COLOR) -> np.ndarray:
    """(height, width, channels) uint8: the upright image at its own size. Raises ValueError naming an image that is broken."""
    found = _guarded(item, lambda image: np.asarray(_converted(_upright(image), channels)))
    return found.reshape(*found.shape[:2], channels)


def window(width: int, height: int, rule: Resize) -> tuple[int, int, int, int]:
    """What of an image becomes the square: (left, top, width, height) in its pixels; by pad it is larger than the image.

    squash: the whole image; crop: the largest square from the middle; pad: the smallest square around it. With a fraction that
    much of the middle of the sides, or of the square.

    Example:
        >>> window(640, 480, "crop"), window(640, 480, "pad"), window(640, 480, "squash:0.5")
        ((80, 0, 480, 480), (0, -80, 640, 640), (160, 120, 320, 240))
    """
    name, fraction = parsed(rule)
    if name == "pad":
        side = max(width, height)
        return -((side - width) // 2), -((side - height) // 2), side, side
    wide, high = (min(width, height),) * 2 if name == "crop" else (width, height)
    if fraction < 1:
        wide, high = (max(1, round(fraction * side)) for side in (wide, high))
    return (width - wide) // 2, (height - high) // 2, wide, high


def squared(
    image: Image.Image, size: int, rule: Resize, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> Image.Image:
    """A gray or RGB image as `size` x `size` pixels: its `window`, where that is larger than the image on white, resized."""
    (width, height), (left, top, wide, high) = image.size, window(*image.size, rule)
    if min(left, top) < 0:
        padded = Image.new(image.mode, (wide, high), BACKGROUND if image.mode == "L" else (BACKGROUND,) * 3)
        padded.paste(image, (-left, -top))
        image = padded
    elif (wide, high) != (width, height):
        image = image.crop((left, top, left + wide, top + high))
    return image if image.size == (size, size) else image.resize((size, size), resample)


def upright_size(item: Encoded) -> tuple[int, int]:
    """(height, width) once the image is turned as its EXIF orientation says. Raises ValueError naming an image that is broken."""


    def size(image: Image.Image) -> tuple[int, int]:
        # PIL decodes a whole PNG to look for tags behind its pixels.
        tagless = image.format == "PNG" and not any(tag in item.content for tag in PNG_TAGS)
        turned = not tagless and _orientation(image) in SIDEWAYS
        return image.size if turned else (image.height, image.width)

    return _guarded(item, size)


def mask_numbers(item: Encoded) -> np.ndarray:
    """(h, w) uint8 or uint16, the numbers that the pixels of a PNG have: gray levels as they are stored, or indices of a palette.

    Raises ValueError naming an image that is broken, no PNG, or in color.
    """
    found = _guarded(item, _numbers, MASK_FORMATS)
    if isinstance(found, str):
        raise ValueError(f"{item.name}: pixels of kind {found}; expected a mask with one number a pixel: gray, or a palette")
    return found


def _numbers(image: Image.Image) -> np.ndarray | str:
    """The numbers, or the kind of pixels where they are none."""
    if image.mode not in NUMBER_MODES:
        return image.mode
    raw = [tile[3] for tile in getattr(image, "tile", ())]  # PIL stretches 2 and 4 bits of gray over 0 to 255
    level = next((level for mode, level in STRETCHED.items() if mode in raw), 1)
    found = np.asarray(_upright(image))
    return found.astype(np.uint8) // level if found.dtype.itemsize == 1 else found.astype(np.uint16)


def _guarded(item: Encoded, use: Callable[[Image.Image], T], formats: tuple[str, ...] = FORMATS) -> T:
    """`use(opened image)`, with whatever is wrong with the bytes as one ValueError naming the image."""
    most = Image.MAX_IMAGE_PIXELS or math.inf
    try:
        file = io.BytesIO(item.source) if isinstance(item.source, bytes) else item.source
        with Image.open(file, formats=formats) as image:
            if image.width * image.height > most:
                raise Image.DecompressionBombError
            return use(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{item.name}: more than {most:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{item.name}: corrupt image: not {', '.join(formats)}") from error
    except BROKEN as error:
        raise ValueError(f"{item.name}: corrupt image: {' '.join(str(error).split())[:120]}") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says."""
    image.load()
    turn = _orientation(image)
    return image.transpose(TURNS[turn]) if turn in TURNS else image


def _orientation(image: Image.Image) -> int:
    """Of `TURNS`, as its EXIF tags say, or 0; one that cannot be read counts as none."""
    try:
        found = image.getexif().get(ORIENTATION)
    except BROKEN:
        return 0
    return next((turn for turn in TURNS if turn == found), 0)


def _converted(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a pixel, which convert("L") would clip at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (BACKGROUND,) * 3 + (255,)), image)
    return image.convert("L" if channels == 1 else "RGB")
