"""Images of a user's own for a bundle: files or folders, decoded and brought to the size and channels that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from nas.data.images import BROKEN, FORMATS
from nas.tasks import task_of
from nas.workflows.export.bundle import Bundle, own_logits, prepared

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PIXELS = 100_000_000


def image_files(path: Path) -> list[Path]:
    """The file, or the images of a folder in order of name. Raises ValueError where there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"image: {path}: no such file or folder")
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise ValueError(f"image: {path}: no images there ({', '.join(SUFFIXES)})")
    return found


def read_image(path: Path, side: int, channels: int) -> np.ndarray:
    """(side, side, channels) uint8. Raises ValueError naming a file that is broken, not square, or without the channels."""
    if channels not in (1, 3):
        raise ValueError(f"image: the bundle takes images of {channels} channels, which files do not have")
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width != height:
                raise ValueError(
                    f"image: {path}: {width}x{height} pixels, expected a square image ({side}x{side} or another size)"
                )
            if width * height > MAX_PIXELS:
                raise ValueError(f"image: {path}: {width}x{height} pixels are too many")
            plain = image.convert("L" if channels == 1 else "RGB")
            resized = plain if width == side else plain.resize((side, side), Image.Resampling.BILINEAR)
            return np.asarray(resized, np.uint8).reshape(side, side, channels)
    except ValueError as error:
        if str(error).startswith("image: "):
            raise
        raise ValueError(f"image: {path}: not an image that can be read: {error}") from None
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise ValueError(f"image: {path}: not an image that can be read: {' '.join(str(error).split())}") from None


def answers(bundle: Bundle, images: np.ndarray) -> Mapping[str, np.ndarray]:
    """What the network's task makes of its outputs for (n, h, w, c) uint8 images, by name: `Task.postprocess`."""
    trained = bundle.trained
    inputs = prepared(images, bundle.arch, trained.mean, trained.std)
    outputs = own_logits(bundle.arch, trained.variables, inputs).astype(np.float64)
    return task_of(bundle.arch).postprocess(outputs)


def classify(bundle: Bundle, images: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities of (n, h, w, c) uint8 images."""
    return answers(bundle, images)["probability"]
