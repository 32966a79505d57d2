"""Batches of rows, and random crop, flip and cutout of uint8 images; NumPy on the host, pure given the generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nas.data.dataset import Split
from nas.data.policies import auto_augment, rand_augment
from nas.recipe import Augment

MAX_PADDING = 1024


def augment(
    images: np.ndarray, rng: np.random.Generator, settings: Augment, fill: int | Sequence[int] = 0, first: int = 0,
    of: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Augments a batch on the host: crop, flip, policy, cutout, in this order.

    Args:
        images: (n, h, w, c) uint8; they stay as they are.
        rng: All randomness.
        settings: What is done, and how strongly.
        fill: The level that cutout leaves, or one a channel; the paper's is the mean of the training images.
        first: Number of the first image in the whole batch, where these are a part of it.
        of: Images in the whole batch; None: these are all. A part becomes what it would within the whole.

    Returns:
        (n, h, w, c) uint8.

    Raises:
        ValueError: Where the padding is too large for the images.

    Source:
        Cutout: DeVries and Taylor 2017 (arXiv:1708.04552). For policies see `nas.data.policies`.

    Example:
        >>> images = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
        >>> augment(images, np.random.default_rng(0), Augment(crop_padding=1)).shape
        (1, 4, 4, 1)
    """
    whole, mine = of or len(images), slice(first, first + len(images))
    if pad := settings.pixels(images.shape[1]):
        images = _crop(images, rng.integers(0, 2 * pad + 1, (2, whole))[:, mine], pad, settings.padding)
    if settings.flip:
        images = _flip(images, np.flatnonzero(rng.random(whole)[mine] < 0.5))
    if settings.policy != "none":
        seeds = rng.integers(0, 2**63, whole)[mine]
        auto = settings.policy == "autoaugment"
        images = auto_augment(images, seeds) if auto else rand_augment(images, seeds, settings.layers, settings.magnitude)
    if settings.cutout:
        centers = [rng.integers(0, side, whole)[mine] for side in images.shape[1:3]]
        images = _cutout(images, centers, settings.cutout, fill)
    return images


def check_padding(pad: int, padding: str, height: int, width: int) -> None:
    """Raises ValueError where the padding is too large for the images."""
    if pad > MAX_PADDING or (padding == "reflect" and pad >= min(height, width)):
        raise ValueError(f"crop_padding: {pad} pixels are too many for images of {width}x{height}")


def _crop(images: np.ndarray, corners: np.ndarray, pad: int, padding: str) -> np.ndarray:
    """`corners`: (2, n), the top and left of each crop in its padded image."""
    n, h, w, c = images.shape
    check_padding(pad, padding, h, w)
    if padding == "reflect":
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    else:
        padded = np.zeros((n, h + 2 * pad, w + 2 * pad, c), np.uint8)
        padded[:, pad : pad + h, pad : pad + w] = images
    # All crops of an image as a view: a row of a crop is one run of w * c bytes, which a copy by index keeps whole.
    flat = padded.reshape(n, h + 2 * pad, -1)
    by_image, by_row, _ = flat.strides
    shape = (n, 2 * pad + 1, 2 * pad + 1, h, w * c)
    crops = np.lib.stride_tricks.as_strided(flat, shape, (by_image, by_row, c, by_row, 1), writeable=False)
    top, left = corners
    return crops[np.arange(n), top, left].reshape(n, h, w, c)


def _flip(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    out, mirrored = images.copy(), images[chosen][:, :, ::-1]
    for channel in range(images.shape[3]):  # three times faster than runs of three bytes
        out[chosen, :, :, channel] = mirrored[..., channel]
    return out


def _cutout(images: np.ndarray, centers: Sequence[np.ndarray], side: int, fill: int | Sequence[int]) -> np.ndarray:
    out, level = images.copy(), np.asarray(fill, np.uint8)
    top, left = (center - side // 2 for center in centers)
    for image, y, x in zip(out, top.tolist(), left.tolist(), strict=True):
        image[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = level
    return out


def batches(split: Split, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """One epoch of row numbers in random order.

    Args:
        split: The images.
        batch: Rows at a time; what is left over is dropped. A split smaller than one batch gives one batch of all its rows.
        rng: The order.

    Yields:
        (batch,) row numbers.

    Raises:
        ValueError: For a batch below 1.

    Example:
        >>> split = Split(np.zeros((7, 8, 8, 1), np.uint8), np.zeros(7, np.int32))
        >>> [len(rows) for rows in batches(split, 3, np.random.default_rng(0))]
        [3, 3]
    """
    if batch < 1:
        raise ValueError(f"batch: expected 1 or more images, got {batch}")
    order = split.order(rng)
    size = min(batch, len(order)) or batch
    for start in range(0, len(order) - size + 1, size):
        yield order[start : start + size]
