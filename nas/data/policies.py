"""AutoAugment (arXiv:1805.09501) and RandAugment (arXiv:1909.13719) of uint8 images, on the host, pure given the generator.

Ranges of the operations are those of the published EfficientNet code: magnitude 0 to 10 (RandAugment goes beyond, by the same
lines). What a geometric operation leaves empty is gray 128.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

GRAY = 128
MAX_LEVEL = 10.0
Operation = Callable[[Image.Image, float], Image.Image]  # (image, its argument) -> image

# AutoAugment's policy for ImageNet ("v0"): pairs of (operation, probability, magnitude).
POLICY = (
    (("equalize", 0.8, 1), ("shear_y", 0.8, 4)), (("color", 0.4, 9), ("equalize", 0.6, 3)),
    (("color", 0.4, 1), ("rotate", 0.6, 8)), (("solarize", 0.8, 3), ("equalize", 0.4, 7)),
    (("solarize", 0.4, 2), ("solarize", 0.6, 2)), (("color", 0.2, 0), ("equalize", 0.8, 8)),
    (("equalize", 0.4, 8), ("solarize_add", 0.8, 3)), (("shear_x", 0.2, 9), ("rotate", 0.6, 8)),
    (("color", 0.6, 1), ("equalize", 1.0, 2)), (("invert", 0.4, 9), ("rotate", 0.6, 0)),
    (("equalize", 1.0, 9), ("shear_y", 0.6, 3)), (("color", 0.4, 7), ("equalize", 0.6, 0)),
    (("posterize", 0.4, 6), ("autocontrast", 0.4, 7)), (("solarize", 0.6, 8), ("color", 0.6, 9)),
    (("solarize", 0.2, 4), ("rotate", 0.8, 9)), (("rotate", 1.0, 7), ("translate_y", 0.8, 9)),
    (("shear_x", 0.0, 0), ("solarize", 0.8, 4)), (("shear_y", 0.8, 0), ("color", 0.6, 4)),
    (("color", 1.0, 0), ("rotate", 0.6, 2)), (("equalize", 0.8, 4), ("equalize", 0.0, 8)),
    (("equalize", 1.0, 4), ("autocontrast", 0.6, 2)), (("shear_y", 0.4, 7), ("solarize_add", 0.6, 7)),
    (("posterize", 0.8, 2), ("solarize", 0.6, 10)), (("solarize", 0.6, 8), ("equalize", 0.6, 1)),
    (("color", 0.8, 6), ("rotate", 0.4, 5)),
)  # fmt: skip


def auto_augment(images: np.ndarray, seeds: Sequence[int] | np.ndarray) -> np.ndarray:
    """(n, h, w, c) uint8, c 1 or 3, a seed an image -> the same shape: each by a pair of the policy drawn for it."""

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return _by_pair(image, POLICY[rng.integers(len(POLICY))], rng)

    return _each(images, seeds, change)


def rand_augment(images: np.ndarray, seeds: Sequence[int] | np.ndarray, layers: int, magnitude: float) -> np.ndarray:
    """(n, h, w, c) uint8, c 1 or 3, a seed an image -> the same shape: each by `layers` operations drawn for it, at `magnitude`."""

    def change(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for _ in range(layers):
            image = apply(image, RANDOM[rng.integers(len(RANDOM))], magnitude, rng)
        return image

    return _each(images, seeds, change)


def apply(image: Image.Image, name: str, magnitude: float, rng: np.random.Generator) -> Image.Image:
    """One operation at a magnitude; the sign of what has a direction is drawn."""
    operation, argument, signed = OPERATIONS[name]
    value = argument(magnitude / MAX_LEVEL, image.size[0])
    return operation(image, -value if signed and rng.random() < 0.5 else value)


def _by_pair(
    image: Image.Image, pair: tuple[tuple[str, float, float], ...], rng: np.random.Generator
) -> Image.Image:
    for name, probability, magnitude in pair:
        if rng.random() < probability:
            image = apply(image, name, magnitude, rng)
    return image


def _each(images: np.ndarray, seeds: Sequence[int] | np.ndarray,
          change: Callable[[Image.Image, np.random.Generator], Image.Image]) -> np.ndarray:  # fmt: skip
    if images.shape[3] not in (1, 3):
        raise ValueError(f"policy: expected gray or color images, got {images.shape[3]} channels")
    out = np.empty_like(images)
    for i, (image, seed) in enumerate(zip(images, seeds, strict=True)):
        plane = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        changed = np.asarray(change(plane, np.random.default_rng(seed)))
        out[i] = changed[..., None] if image.shape[2] == 1 else changed
    return out


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    fill = (GRAY,) * len(image.getbands())
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill if len(fill) > 1 else GRAY)


def _solarize_add(image: Image.Image, amount: float) -> Image.Image:
    table = [min(v + int(amount), 255) if v < GRAY else v for v in range(256)]
    return image.point(table * len(image.getbands()))


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    fill = (GRAY,) * len(image.getbands())
    return image.rotate(degrees, fillcolor=fill if len(fill) > 1 else GRAY)


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, factor: kind(image).enhance(factor)


def _factor(fraction: float, side: int) -> float:
    return fraction * 1.8 + 0.1


# name -> (operation, argument(magnitude / 10, side of the image in pixels), whether the argument has a sign)
OPERATIONS: dict[str, tuple[Operation, Callable[[float, int], float], bool]] = {
    "autocontrast": (lambda image, _: ImageOps.autocontrast(image), _factor, False),
    "equalize": (lambda image, _: ImageOps.equalize(image), _factor, False),
    "invert": (lambda image, _: ImageOps.invert(image), _factor, False),
    "rotate": (_rotate, lambda fraction, side: 30 * fraction, True),
    "posterize": (lambda image, bits: ImageOps.posterize(image, max(1, int(bits))), lambda fraction, side: 4 * fraction, False),
    "solarize": (lambda image, level: ImageOps.solarize(image, int(level)), lambda fraction, side: 256 * fraction, False),
    "solarize_add": (_solarize_add, lambda fraction, side: 110 * fraction, False),
    "color": (_enhance(ImageEnhance.Color), _factor, False),
    "contrast": (_enhance(ImageEnhance.Contrast), _factor, False),
    "brightness": (_enhance(ImageEnhance.Brightness), _factor, False),
    "sharpness": (_enhance(ImageEnhance.Sharpness), _factor, False),
    "shear_x": (lambda image, v: _affine(image, 1, v, 0, 0, 1, 0), lambda fraction, side: 0.3 * fraction, True),
    "shear_y": (lambda image, v: _affine(image, 1, 0, 0, v, 1, 0), lambda fraction, side: 0.3 * fraction, True),
    # 100 pixels of 224, as the published code has it, in proportion to the image
    "translate_x": (lambda image, v: _affine(image, 1, 0, v, 0, 1, 0), lambda fraction, side: side * fraction * 100 / 224, True),
    "translate_y": (lambda image, v: _affine(image, 1, 0, 0, 0, 1, v), lambda fraction, side: side * fraction * 100 / 224, True),
}  # fmt: skip
RANDOM = tuple(OPERATIONS)
