"""Augmentation of images together with their masks or boxes: geometry moves both; NumPy on the host, pure given the generator.

    images, targets = augment_targets(images, targets, rng, Augment(flip=True, scale=(0.5, 2.0)), fill=mean)

Each image draws from a seed of its own, so that it becomes the same in whatever part of a batch it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from nas.data.augment import check_padding
from nas.data.boxes import CLASS, IGNORED, PIXELS
from nas.data.windows import EDGES, WHOLE, Window, boxes_in, image_in, mask_in, mirrored, padded, patch, snapped, within
from nas.recipe import Augment

GROUP = 4  # images of a batch that make mosaics of each other
CENTER = (0.25, 0.75)  # of a mosaic, in fractions of its side
SHRUNK = 0.5  # the least that an image becomes in a mosaic
OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, None)  # that some object must have with a crop; None: no crop
SIDES, ASPECTS, TRIES, ROUNDS = (0.3, 1.0), (0.5, 2.0), 40, 50  # of crops
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def augment_targets(
    images: np.ndarray, targets: np.ndarray, rng: np.random.Generator, settings: Augment, fill: int | Sequence[int] = 0, first: int = 0,
    of: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Augments a batch: mosaic, zoom-out, scale jitter, padding, crop by overlap, flip, color, cutout, in this order.

    Args:
        images: (n, h, w, c) uint8, c 1 or 3; they stay as they are.
        targets: (n, h, w) uint8 masks, or (n, most, 8) float32 boxes as `nas.data.boxes` has them.
        rng: All randomness.
        settings: What is done, and how strongly.
        fill: The level of what is empty, or one a channel; masks are 255 there.
        first: Number of the first image in the whole batch, where these are a part of it.
        of: Images in the whole batch; None: these are all. A part becomes what it would within the whole.

    Returns:
        Images and targets, of the same shapes.

    Raises:
        ValueError: For settings that `check_augment` refuses, too large a padding, and parts of a batch that mosaics would need more of.

    Source:
        Crop by overlap, zoom-out and color: SSD, Liu et al. 2016 (arXiv:1512.02325). Scale jitter: Ghiasi et al. 2021
        (arXiv:2012.07177). Mosaic: YOLOv4, Bochkovskiy et al. 2020 (arXiv:2004.10934).

    Example:
        >>> images, masks = np.zeros((1, 4, 4, 3), np.uint8), np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
        >>> augment_targets(images, masks, np.random.default_rng(0), Augment(crop_padding=1))[1].max()
        np.uint8(255)
    """
    check_augment(settings, "mask" if targets.dtype == np.uint8 else "boxes")
    check_padding(settings.pixels(images.shape[1]), "zero", *images.shape[1:3])
    if not (settings.joint or settings.flip or settings.cutout or settings.pixels(images.shape[1])):
        return images, targets
    whole = of or len(images)
    draws = [np.random.default_rng(seed) for seed in rng.integers(0, 2**63, whole)[first : first + len(images)]]
    level = np.asarray(fill, np.uint8)
    out, moved = np.empty_like(images), np.empty_like(targets)
    if settings.mosaic:
        images, targets = _mosaics(images, targets, draws, settings.mosaic, first, whole)
    for i, draw in enumerate(draws):
        image, moved[i] = _moved(images[i], targets[i], draw, settings, level)
        out[i] = _recolored(image, draw, settings, level)
    return out, moved


def check_augment(settings: Augment, kind: Literal["mask", "boxes"], where: str = "") -> None:
    """Raises ValueError naming a setting, after `where`, that has no meaning for masks or boxes."""
    if settings.policy != "none":
        raise ValueError(f"{where}policy: {settings.policy} moves images without their targets; expected none, and brightness, scale, ..")
    if settings.padding != "zero":
        raise ValueError(f"{where}padding: reflect would show objects twice; expected zero")
    if settings.crop == "iou" and kind == "mask":
        raise ValueError(f"{where}crop: iou is of boxes; expected none, and scale for masks")


def _moved(
    image: np.ndarray, target: np.ndarray, draw: np.random.Generator, settings: Augment, level: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    window = _window(image.shape[0], target, draw, settings)
    if window != WHOLE:
        image, target = image_in(image, window, level), _in(target, window)
    if settings.flip and draw.random() < 0.5:
        image, target = image[:, ::-1], target[:, ::-1] if target.dtype == np.uint8 else mirrored(target)
    return image, target


def _in(target: np.ndarray, window: Window) -> np.ndarray:
    return mask_in(target, window) if target.dtype == np.uint8 else boxes_in(target, window)


def _window(side: int, target: np.ndarray, draw: np.random.Generator, settings: Augment) -> Window:
    """What of the image is seen, after all that moves it."""
    window = WHOLE
    if settings.zoom_out and draw.random() < 0.5:
        window = _square(draw.uniform(1, settings.zoom_out), draw)
    if settings.scale:
        window = within(window, _square(1 / draw.uniform(*settings.scale), draw))
    if pad := settings.pixels(side):
        down, right = draw.integers(-pad, pad + 1, 2) / side
        window = within(window, (down, right, 1 + down, 1 + right))
    window = snapped(window, side, side)
    if settings.crop == "iou":
        window = snapped(within(window, _by_overlap(boxes_in(target, window), draw)), side, side)
    return window


def _square(side: float, draw: np.random.Generator) -> Window:
    """A window of this side, in it or around it at random."""
    top, left = (1 - side) * draw.random(2)
    return top, left, top + side, left + side


def _by_overlap(target: np.ndarray, draw: np.random.Generator) -> Window:
    """SSD's crop: at random until the center of some object is in it, and some such object has the overlap (IoU) that was drawn."""
    boxes = target[(target[:, CLASS] >= 0) & (target[:, IGNORED] == 0)][:, EDGES].astype(np.float64)
    if not len(boxes):
        return WHOLE
    for _ in range(ROUNDS):
        least = OVERLAPS[draw.integers(len(OVERLAPS))]
        if least is None:
            return WHOLE
        sides = draw.uniform(*SIDES, (TRIES, 2))
        corners = draw.random((TRIES, 2)) * (1 - sides)
        aspect = sides[:, 1] / sides[:, 0]
        crops = np.concatenate([corners, corners + sides], 1)[(aspect > ASPECTS[0]) & (aspect < ASPECTS[1])]
        fitting = np.flatnonzero(_overlaps(crops, boxes) >= least)
        if len(fitting):
            y0, x0, y1, x1 = crops[fitting[0]].tolist()
            return y0, x0, y1, x1
    return WHOLE


def _overlaps(crops: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(crops,) the largest IoU of each with a box whose center is in it; -1 where there is none."""
    one, other = crops[:, None], boxes[None]
    center = (other[..., :2] + other[..., 2:]) / 2
    inside = ((center > one[..., :2]) & (center < one[..., 2:])).all(-1)
    shared = (np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])).clip(0).prod(-1)
    total = (one[..., 2:] - one[..., :2]).prod(-1) + (other[..., 2:] - other[..., :2]).prod(-1) - shared
    return np.where(inside, shared / total, -1).max(1, initial=-1)


def _mosaics(
    images: np.ndarray, targets: np.ndarray, draws: Sequence[np.random.Generator], chance: float, first: int, whole: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images of which some are made of four: of themselves and the others of their four neighbors in the batch."""
    last = first + len(images)
    if first % GROUP or (last % GROUP and last != whole):
        raise ValueError(f"mosaic: needs parts of a batch of {GROUP} images or a multiple, got {len(images)} from number {first} on")
    out, moved = images.copy(), targets.copy()
    for i, draw in enumerate(draws):
        if draw.random() >= chance:
            continue
        group = np.arange(i // GROUP * GROUP, min(i // GROUP * GROUP + GROUP, len(images)))
        tiles = np.resize(np.roll(group, -int(np.flatnonzero(group == i)[0])), GROUP)  # the image itself is among them
        made = _mosaic([(images[j], targets[j]) for j in tiles[draw.permutation(GROUP)]], draw, targets[i])
        if made is not None:
            out[i], moved[i] = made
    return out, moved


def _mosaic(
    tiles: Sequence[tuple[np.ndarray, np.ndarray]], draw: np.random.Generator, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Four images around a random center, each a window at 1 to `SHRUNK` of its size; None where their boxes have no room.

    `own`: the targets of the image that it takes the place of, and whose PIXELS it keeps.
    """
    image, target = np.empty_like(tiles[0][0]), np.empty_like(own)
    side, is_mask, rows = len(image), target.dtype == np.uint8, []
    down, across = (int(value) for value in np.rint(draw.uniform(*CENTER, 2) * side))
    for place, (shown, aim) in enumerate(tiles):
        top, bottom = ((0, down), (down, side))[place // 2]
        left, right = ((0, across), (across, side))[place % 2]
        tile = np.array([bottom - top, right - left]) / side
        seen = tile / draw.uniform(max(*tile, SHRUNK), 1)
        y, x = draw.random(2) * (1 - seen)
        window = float(y), float(x), float(min(y + seen[0], 1)), float(min(x + seen[1], 1))
        image[top:bottom, left:right] = patch(shown, window, bottom - top, right - left)
        if is_mask:
            target[top:bottom, left:right] = patch(aim, window, bottom - top, right - left)
            continue
        found = boxes_in(aim, window)
        found = found[found[:, CLASS] >= 0]
        found[:, EDGES] = found[:, EDGES] * np.tile(tile, 2) + np.tile([top / side, left / side], 2)
        rows.append(found)
    if is_mask:
        return image, target
    joined = np.concatenate(rows)
    return (image, padded(joined, len(target), float(own[0, PIXELS]))) if len(joined) <= len(target) else None


def _recolored(image: np.ndarray, draw: np.random.Generator, settings: Augment, level: np.ndarray) -> np.ndarray:
    """Brightness, contrast and saturation by random factors, then cutout."""
    strengths = settings.brightness, settings.contrast, settings.saturation
    brightness, contrast, saturation = (draw.uniform(max(0, 1 - by), 1 + by) if by else 1.0 for by in strengths)
    if settings.brightness or settings.contrast:
        means = image.mean((0, 1))
        gray = brightness * float(means @ LUMA if len(means) == len(LUMA) else means[0])
        levels = gray + contrast * (brightness * np.arange(256) - gray)
        image = np.rint(levels).clip(0, 255).astype(np.uint8)[image]
    if settings.saturation and image.shape[2] == len(LUMA):
        gray = (image @ LUMA)[..., None]
        image = np.rint(gray + np.float32(saturation) * (image - gray)).clip(0, 255).astype(np.uint8)
    if settings.cutout:
        image = image.copy()
        top, left = (int(value) - settings.cutout // 2 for value in draw.integers(0, image.shape[:2]))
        image[max(top, 0) : max(top + settings.cutout, 0), max(left, 0) : max(left + settings.cutout, 0)] = level
    return image
