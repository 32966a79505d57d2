"""Encoded images and arrays into equal uint8 stacks; every broken image is named.

Sizes and colors are looked at first, from the headers alone, over all parts of a dataset: so sizes that differ, or a
stack that cannot fit in memory, are refused before anything is decoded or allocated.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from nas.core.memory import machine_memory

GRAY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
COLOR_MODES = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
# Not everything that PIL opens: for EPS it would run Ghostscript over the data.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
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


Fetched = np.ndarray | Sequence[Encoded]  # (n, h, w, c) uint8, or n encoded images


@dataclass(frozen=True)
class Format:
    """What the header of an image says; sizes in pixels, `channels` 1 (gray) or 3."""

    name: str
    height: int
    width: int
    channels: int


def read_images(parts: Mapping[str, Fetched], resolution: int | None) -> dict[str, np.ndarray]:
    """Each part as (n, r, r, c) uint8, with one r and one c for all parts.

    r is `resolution` (bilinear resizing of what differs), or where that is None the size that all images share. c is 1
    where all images are gray, else 3. Raises ValueError for images that are broken, differ in size, are not square,
    or do not fit in memory together.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        size, channels = common_form([fmt for name, part in parts.items() for fmt in formats_of(name, part)], resolution)
        count = sum(len(part) for part in parts.values())
        check_memory(count * size * size * channels, f"{count} images of {size}x{size}x{channels}")
        return {name: _stack(part, size, channels) for name, part in parts.items()}


def decoded(part: Fetched, size: int, channels: int, as_found: bool) -> np.ndarray:
    """Images as (n, size, size, channels) uint8; safe in threads.

    Raises ValueError naming an image that is broken, is colored where `channels` is 1, or, with `as_found`, has another size.
    """
    for item in part if not isinstance(part, np.ndarray) else ():
        fmt = _header(item)
        if fmt.height * fmt.width > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise ValueError(f"{item.name}: more than {Image.MAX_IMAGE_PIXELS:,} pixels")
        if as_found and (fmt.height, fmt.width) != (size, size):
            raise ValueError(f"{item.name}: {fmt.width}x{fmt.height} pixels where others have {size}x{size}: set dataset.resolution")
        if fmt.channels > channels:
            raise ValueError(f"{item.name}: in color, where the images looked at first are gray; save them all in one of the two")
    return _stack(part, size, channels)


def common_form(formats: Sequence[Format], resolution: int | None) -> tuple[int, int]:
    """(size, channels) that images get: the given size, or the one that all share; 1 channel where all are gray, else 3.

    Raises ValueError for images that differ in size, or are not square, without a `resolution`.
    """
    return resolution or _common_size(formats), max(fmt.channels for fmt in formats)


def check_memory(wanted_bytes: int, what: str) -> None:
    """Raises ValueError where `wanted_bytes` are more than this machine, or this container, has."""
    limit = machine_memory()
    if wanted_bytes > limit:
        raise ValueError(
            f"{what} need {wanted_bytes / 2**30:,.1f} GiB, this machine has {limit / 2**30:,.1f}; "
            "lower dataset.train_size, dataset.test_size or dataset.resolution"
        )


def formats_of(name: str, part: Fetched) -> list[Format]:
    """Size and colors of each image, from its header; of an array, of all at once."""
    if isinstance(part, np.ndarray):
        return [Format(f"{name} images", *part.shape[1:])]
    return [_header(item) for item in part]


def _header(item: Encoded) -> Format:
    mode, width, height = _guarded(item, lambda image: (image.mode, *image.size))
    if mode not in GRAY_MODES | COLOR_MODES:
        raise ValueError(f"{item.name}: pixels of kind {mode} are not supported; save it as gray or RGB")
    return Format(item.name, height, width, 1 if mode in GRAY_MODES else 3)


def _common_size(formats: Sequence[Format]) -> int:
    (height, width), _ = Counter((fmt.height, fmt.width) for fmt in formats).most_common(1)[0]
    usual = next(fmt for fmt in formats if (fmt.height, fmt.width) == (height, width))
    for fmt in formats:
        if (fmt.height, fmt.width) != (height, width):
            raise ValueError(
                f"{fmt.name}: {fmt.width}x{fmt.height} pixels where {usual.name} has {width}x{height}; "
                "images differ in size: set dataset.resolution"
            )
    if height != width:
        raise ValueError(f"{usual.name}: {width}x{height} pixels, not square: set dataset.resolution")
    return height


def _guarded(item: Encoded, use: Callable[[Image.Image], T]) -> T:
    """`use(opened image)`, with whatever is wrong with the bytes as one ValueError naming the image."""
    try:
        file = io.BytesIO(item.source) if isinstance(item.source, bytes) else item.source
        with Image.open(file, formats=FORMATS) as image:
            return use(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{item.name}: more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{item.name}: corrupt image: not {', '.join(FORMATS)}") from error
    except BROKEN as error:
        raise ValueError(f"{item.name}: corrupt image: {' '.join(str(error).split())[:120]}") from error


def _stack(part: Fetched, size: int, channels: int) -> np.ndarray:
    if isinstance(part, np.ndarray):
        return _stack_array(part, size, channels)
    out = np.empty((len(part), size, size, channels), np.uint8)
    for i, item in enumerate(part):
        pixels = _guarded(item, lambda image: np.asarray(_resized(_converted(image, channels), size)))
        out[i] = pixels.reshape(size, size, channels)
    return out


def _stack_array(array: np.ndarray, size: int, channels: int) -> np.ndarray:
    if array.shape[1:3] != (size, size):
        planes = [Image.fromarray(image[..., 0] if array.shape[3] == 1 else image) for image in array]
        array = np.stack([np.asarray(_resized(plane, size)) for plane in planes]).reshape(
            -1, size, size, array.shape[3]
        )
    return array if array.shape[3] == channels else np.repeat(array, channels, axis=3)


def _converted(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits a pixel, which convert("L") would clip at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("L" if channels == 1 else "RGB")


def _resized(image: Image.Image, size: int) -> Image.Image:
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
