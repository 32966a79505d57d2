"""Images classified by a trained network: an exported bundle, or the folder of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.core.jsonio import parse_json
from nas.data.record import record_from
from nas.workflows.export import Bundle, load_bundle
from nas.workflows.export.bundle import INDEX
from nas.workflows.export.formats import Trained
from nas.workflows.export.images import answers, image_files, read_image
from nas.workflows.export.sources import whole_weights
from nas.workflows.trained import RESULT

Images = str | Path | Sequence[str | Path] | np.ndarray
BATCH = 64  # images that are decoded at a time


@dataclass(frozen=True)
class Prediction:
    """The output of a network for one image.

    Args:
        image: The file, or the number of the image in an array.
        probabilities: By class, highest first; empty where the task has no classes.
        values: Outputs of other tasks by name, such as `value` of a regression.
    """

    image: str
    probabilities: Mapping[str, float]
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The most likely class."""
        return next(iter(self.probabilities))

    def top(self, count: int) -> dict[str, float]:
        """Returns the `count` most likely classes with their probabilities, highest first."""
        return dict(list(self.probabilities.items())[:count])


def predict(bundle: Bundle, images: Images) -> list[Prediction]:
    """Classifies images.

    Args:
        bundle: A network from `load_bundle` or `trained_bundle`.
        images: A file, a folder, files, or an array (n, h, w, c) or (h, w, c) uint8.

    Returns:
        One prediction per image, in order.

    Raises:
        ValueError: An image cannot be read, or the array has another shape or type.
    """
    return [found for names, batch in _batches(bundle, images) for found in _predictions(bundle, names, batch)]


def _predictions(bundle: Bundle, names: Sequence[str], images: np.ndarray) -> Iterator[Prediction]:
    classes, found = bundle.trained.classes, answers(bundle, images)
    if "probability" not in found:
        yield from (Prediction(one, {}, {key: column[i].tolist() for key, column in found.items()}) for i, one in enumerate(names))
        return
    for name, row in zip(names, found["probability"], strict=True):
        yield Prediction(name, {classes[i]: float(row[i]) for i in np.argsort(-row, kind="stable")})


def _batches(bundle: Bundle, images: Images) -> Iterator[tuple[list[str], np.ndarray]]:
    if isinstance(images, np.ndarray):
        arrays = _checked(images, bundle.arch.channels)
        yield from (
            ([str(i) for i in range(start, min(start + BATCH, len(arrays)))], arrays[start : start + BATCH])
            for start in range(0, len(arrays), BATCH)
        )
        return
    files = image_files(Path(images).expanduser()) if isinstance(images, str | Path) else [Path(path) for path in images]
    for start in range(0, len(files), BATCH):
        some = files[start : start + BATCH]
        yield [str(path) for path in some], np.stack([read_image(p, bundle.data) for p in some])


def _checked(images: np.ndarray, channels: int) -> np.ndarray:
    arrays = images[None] if images.ndim == 3 else images
    if arrays.ndim != 4 or arrays.dtype != np.uint8 or arrays.shape[3] != channels or arrays.shape[1] != arrays.shape[2]:
        shape = f"(n, side, side, {channels})"
        raise ValueError(f"images: expected uint8 of shape {shape}, got {images.dtype} of shape {images.shape}")
    return arrays


def find_bundle(weights: str | Path) -> Bundle:
    """Loads the network in a folder.

    Args:
        weights: A bundle of `nas export`, a folder of `nas train`, or the weights.npz in it.

    Returns:
        The network with its classes and normalization.

    Raises:
        ValueError: A file is missing, changed, or of another kind.
    """
    path = Path(weights).expanduser()
    folder = path.parent if path.name == "weights.npz" else path
    return trained_bundle(folder) if (folder / RESULT).is_file() and not (folder / INDEX).is_file() else load_bundle(path)


def trained_bundle(folder: Path) -> Bundle:
    """Loads the network of a training, with the classes and the normalization that it was trained with.

    Args:
        folder: The folder of the training.

    Returns:
        The network, its architecture and the training's record.

    Raises:
        ValueError: A file is missing or of another kind.
    """
    arch = load_arch(str(folder / "arch.yaml"))
    try:
        record = parse_json((folder / RESULT).read_text(encoding="utf-8"))
        data = record_from(record)
    except OSError as error:
        raise ValueError(f"{folder / RESULT}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / RESULT}: not a result of nas train: {error}") from None
    variables = whole_weights(str(folder / "weights.npz"), arch)
    trained = Trained(arch.name, lower(arch), variables, data.classes, data.mean, data.std)
    return Bundle(folder, arch, trained, data, record)
