"""Images compared by their embeddings: two with each other, or some with those of a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.tasks import task_of
from nas.workflows.export import Bundle
from nas.workflows.export.images import image_files
from nas.workflows.predict import Prediction, predict
from nas.workflows.progress import SILENT, Progress


@dataclass(frozen=True)
class Neighbor:
    """An image of a gallery.

    Args:
        label: Of whom or what: its folder within the gallery, or its own name where it lies there directly.
        image: The file.
        distance: From the image that was looked up, 0 (equal) to 2.
    """

    label: str
    image: str
    distance: float


@dataclass(frozen=True)
class LookUp:
    """What a gallery has for an image.

    Args:
        image: The file.
        nearest: Of every label the nearest image, nearest first.
        error: Why the file could not be read; then there is nothing else.
    """

    image: str
    nearest: tuple[Neighbor, ...]
    error: str = ""


def compare(bundle: Bundle, image: str | Path, other: str | Path) -> float:
    """The distance of two images.

    Args:
        bundle: A network of the task embedding.
        image: A file.
        other: Another one.

    Returns:
        0 where the network sees no difference, about 1.4 for images that have nothing to do with each other, at most 2.

    Raises:
        ValueError: For a network of another task, and files that cannot be read.
    """
    check_embeds(bundle, "compare")
    found = predict(bundle, [image, other])
    for one in found:
        if one.error:
            raise ValueError(one.error)
    return float(_distances(*(_rows([one]) for one in found))[0, 0])


def look_up(bundle: Bundle, images: str | Path | Sequence[str | Path], gallery: str | Path, progress: Progress = SILENT) -> list[LookUp]:
    """Looks images up in a gallery: a folder with a folder of images for each person or thing.

    Args:
        bundle: A network of the task embedding.
        images: A file, a folder or files. An image that is in the gallery itself is not compared with itself.
        gallery: The folder.
        progress: Receives messages on files that are left out.

    Returns:
        What was found, an entry an image, in order.

    Raises:
        ValueError: For a network of another task, and where no image can be read.
    """
    check_embeds(bundle, "gallery")
    folder = Path(gallery).expanduser()
    if not folder.is_dir():
        raise ValueError(f"gallery: {folder}: no such folder")
    known = predict(bundle, image_files(folder, progress.message))
    for one in known:
        if one.error:
            progress.message(f"left out of the gallery: {one.error}")
    known = [one for one in known if not one.error]
    labels, asked = [_label(folder, Path(one.image)) for one in known], predict(bundle, images, progress)
    rows = _rows(known)
    return [LookUp(one.image, (), one.error) if one.error else _found(one, known, labels, rows) for one in asked]


def check_embeds(bundle: Bundle, key: str) -> None:
    """Raises ValueError naming the setting where a network gives no embeddings."""
    task = task_of(bundle.arch)
    if task.name != "embedding":
        raise ValueError(f"{key}: needs a network of the task embedding, {bundle.arch.name} is of {task.name}")


def _found(asked: Prediction, known: Sequence[Prediction], labels: Sequence[str], rows: np.ndarray) -> LookUp:
    distances = _distances(_rows([asked]), rows)[0]
    itself, nearest = Path(asked.image).resolve(), dict[str, Neighbor]()
    for i in map(int, np.argsort(distances, kind="stable")):
        if labels[i] not in nearest and Path(known[i].image).resolve() != itself:
            nearest[labels[i]] = Neighbor(labels[i], known[i].image, float(distances[i]))
    return LookUp(asked.image, tuple(nearest.values()))


def _label(gallery: Path, image: Path) -> str:
    within = image.relative_to(gallery)
    return within.parts[0] if len(within.parts) > 1 else within.stem


def _rows(predictions: Sequence[Prediction]) -> np.ndarray:
    """(n, d)"""
    return np.array([one.values["embedding"] for one in predictions], np.float64)


def _distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, d), (m, d) -> (n, m) Euclidean; differences, so that equal embeddings are at exactly 0."""
    return np.sqrt(np.stack([((others - row) ** 2).sum(1) for row in rows]))
