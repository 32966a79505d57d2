"""Encoded images and arrays into equal uint8 stacks; every broken image is named.

Sizes and colors are looked at first, from the headers alone, over all parts of a dataset: so sizes that differ, or a
stack that cannot fit in memory, are refused before anything is decoded or allocated.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from PIL import Image

from nas.core.memory import machine_memory
from nas.data.pixels import Encoded, Format, Resize, header, parsed, pixels, squared

LISTED = 8  # broken images that an error names

T = TypeVar("T")
Fetched = np.ndarray | Sequence[Encoded]  # (n, h, w, c) uint8, or n encoded images


def read_images(
    parts: Mapping[str, Fetched], resolution: int | None, rule: Resize = "squash", channels: int | None = None
) -> dict[str, np.ndarray]:
    """Each part as (n, r, r, c) uint8, with one r and one c for all parts.

    r is `resolution`, to which what differs is brought by the rule, or where that is None the size that all images share.
    c is `channels`, or where that is None 1 where all images are gray, else 3. Raises ValueError for images that are broken, all of
    which it names, that differ in size, are not square, or do not fit in memory together.
    """
    with quietly():
        _check_headers([item for part in parts.values() if not isinstance(part, np.ndarray) for item in part])
        size, channels = common_form([fmt for name, part in parts.items() for fmt in formats_of(name, part)], resolution, channels)
        count = sum(len(part) for part in parts.values())
        check_memory(count * size * size * channels, f"{count} images of {size}x{size}x{channels}")
        stacks = {name: _stack(part, size, channels, rule) for name, part in parts.items()}
        if wrong := [text for _, some in stacks.values() for text in some]:
            raise ValueError(listed(wrong))
        return {name: stack for name, (stack, _) in stacks.items()}


def decoded(part: Fetched, size: int, channels: int, as_found: bool, rule: Resize) -> np.ndarray:
    """Images as (n, size, size, channels) uint8; safe in threads.

    Raises ValueError naming an image that is broken, is colored where `channels` is 1, or, with `as_found`, has another size.
    """
    for item in part if not isinstance(part, np.ndarray) else ():
        fmt = header(item)
        if as_found and (fmt.height, fmt.width) != (size, size):
            raise ValueError(f"{item.name}: {fmt.width}x{fmt.height} pixels where others have {size}x{size}: set dataset.resolution")
        if fmt.channels > channels:
            raise ValueError(f"{item.name}: in color, where the images looked at first are gray; save them all in one of the two")
    stack, wrong = _stack(part, size, channels, rule)
    if wrong:
        raise ValueError(listed(wrong))
    return stack


@contextmanager
def quietly() -> Iterator[None]:
    """Without PIL's warnings about single images: what counts is raised."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def tried(use: Callable[[Encoded], T], items: Sequence[Encoded]) -> tuple[list[T], dict[int, str]]:
    """(what `use` gives for each item that is not broken, by number of the others what is wrong with them)."""
    found, wrong = [], {}
    for i, item in enumerate(items):
        try:
            found.append(use(item))
        except ValueError as error:
            wrong[i] = str(error)
    return found, wrong


def listed(wrong: Sequence[str], what: str = "images") -> str:
    """The errors of single images as one line."""
    if len(wrong) == 1:
        return wrong[0]
    more = f"; and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
    return f"{len(wrong)} {what} cannot be read: {'; '.join(wrong[:LISTED])}{more}"


def common_form(formats: Sequence[Format], resolution: int | None, channels: int | None = None) -> tuple[int, int]:
    """(size, channels) that images get: those given; else the size that all share, and 1 channel where all are gray, else 3.

    Raises ValueError for images that differ in size, or are not square, without a `resolution`.
    """
    return resolution or _common_size(formats), channels or max(fmt.channels for fmt in formats)


def check_memory(wanted_bytes: int, what: str) -> None:
    """Raises ValueError where `wanted_bytes` are more than this machine, or this container, has."""
    limit = machine_memory()
    if wanted_bytes > limit:
        raise ValueError(
            f"{what} need {wanted_bytes / 2**30:,.1f} GiB, this machine has {limit / 2**30:,.1f}; "
            "lower dataset.train_size, dataset.test_size or dataset.resolution"
        )


def formats_of(name: str, part: Fetched) -> list[Format]:
    """Size and colors of each image, from its header; of an array, of all at once. Raises ValueError naming the broken ones."""
    if isinstance(part, np.ndarray):
        return [Format(f"{name} images", *part.shape[1:])]
    found, wrong = tried(header, part)
    if wrong:
        raise ValueError(listed([*wrong.values()]))
    return found


def _check_headers(items: Sequence[Encoded]) -> None:
    """Raises ValueError where one is broken, naming all that are, those too whose header alone is whole."""
    _, wrong = tried(header, items)
    if wrong:
        left = [item for i, item in enumerate(items) if i not in wrong]
        _, later = tried(lambda item: pixels(item, 1, 1, "squash"), left)
        raise ValueError(listed([*wrong.values(), *later.values()]))


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


def _stack(part: Fetched, size: int, channels: int, rule: Resize) -> tuple[np.ndarray, list[str]]:
    """(images, what is wrong with those that are broken)."""
    if isinstance(part, np.ndarray):
        return _stack_array(part, size, channels, rule), []
    out, wrong = np.empty((len(part), size, size, channels), np.uint8), []
    for i, item in enumerate(part):
        try:
            out[i] = pixels(item, size, channels, rule)
        except ValueError as error:
            wrong.append(str(error))
    return out, wrong


def _stack_array(array: np.ndarray, size: int, channels: int, rule: Resize) -> np.ndarray:
    if array.shape[1:3] != (size, size) or parsed(rule)[1] < 1:
        planes = [Image.fromarray(image[..., 0] if array.shape[3] == 1 else image) for image in array]
        array = np.stack([np.asarray(squared(plane, size, rule)) for plane in planes]).reshape(-1, size, size, array.shape[3])
    return array if array.shape[3] == channels else np.repeat(array, channels, axis=3)
