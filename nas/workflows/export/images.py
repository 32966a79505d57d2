"""Images of a user's own for a bundle: files or folders, decoded and brought to the size and channels that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from nas.data.files import find_images, inventory
from nas.data.images import quietly
from nas.data.pixels import SUFFIXES, Encoded, header, pixels, upright_size, whole
from nas.data.record import DataRecord
from nas.tasks import task_of
from nas.workflows.export.inference import own_outputs, prepared
from nas.workflows.export.loading import Bundle


def image_files(path: Path, message: Callable[[str], object] = lambda line: None) -> list[Path]:
    """The file, or the images of a folder and of those in it, in order of path; `message` hears what is left out.

    Raises ValueError where there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"image: {path}: no such file or folder")
    found = find_images(path)
    for line in found.left_out():
        message(f"left out: {line}")
    if not found.images:
        raise ValueError(f"image: {path}: no images there ({', '.join(SUFFIXES)}); found {inventory(path)}")
    return list(found.images)


def read_image(path: Path, data: DataRecord) -> np.ndarray:
    """(side, side, channels) uint8, the very pixels that the training had of such a file. Raises ValueError naming a broken one."""
    if data.channels not in (1, 3):
        raise ValueError(f"image: the bundle takes images of {data.channels} channels, which files do not have")
    with quietly():
        try:
            header(Encoded(str(path), path))
            return pixels(Encoded(str(path), path), data.resolution, data.channels, data.resize)
        except ValueError as error:
            raise ValueError(f"image: {error}") from None


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of the upright image in a file. Raises ValueError naming a broken one."""
    height, width = upright_size(Encoded(str(path), path))
    return width, height


def whole_image(path: Path) -> np.ndarray:
    """(height, width, 3) uint8 of the upright image in a file. Raises ValueError naming a broken one."""
    with quietly():
        return whole(Encoded(str(path), path))


def answers(bundle: Bundle, images: np.ndarray, temperature: float = 1.0) -> Mapping[str, np.ndarray]:
    """What the network's task makes of its outputs over a temperature for (n, h, w, c) uint8 images: `Task.postprocess`."""
    trained = bundle.trained
    inputs = prepared(images, bundle.arch, trained.mean, trained.std)
    outputs = own_outputs(bundle.arch, trained.variables, inputs)
    if isinstance(outputs, np.ndarray) and outputs.ndim == 2:  # a temperature is of probabilities
        outputs = outputs.astype(np.float64) / temperature
    return task_of(bundle.arch).postprocess(outputs)


def classify(bundle: Bundle, images: np.ndarray) -> np.ndarray:
    """(n, classes) probabilities of (n, h, w, c) uint8 images."""
    return answers(bundle, images)["probability"]
