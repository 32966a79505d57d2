"""Pictures of predictions: each image with its masks or boxes, as files for people to look at."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nas.arch import Arch
from nas.core.yamlio import write_bytes
from nas.tasks import task_of
from nas.workflows.export.images import whole_image
from nas.workflows.predict import Prediction


def draw_all(arch: Arch, predictions: Sequence[Prediction], folder: str | Path) -> list[Path]:
    """Writes `<name>.png` for each image that could be read, and of a mask `<name>.mask.png`, gray, with the numbers of classes.

    Args:
        arch: The network that predicted.
        predictions: Of files.
        folder: Is made where it is not there.

    Returns:
        The pictures.

    Raises:
        ValueError: The task has nothing to draw, or the folder cannot be written.
    """
    task, target = task_of(arch), Path(folder).expanduser()
    if not task.pictures:
        raise ValueError(f"draw: the task {task.name} has masks or boxes nowhere; leave it out")
    try:
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for name, one in _named(predictions):
            image = whole_image(Path(one.image))
            drawn = task.draw(image, _parts(one, image), None, one.classes)
            written.append(_write(target / f"{name}.png", drawn))
            if one.mask is not None:
                _write(target / f"{name}.mask.png", one.mask)
    except OSError as error:
        raise ValueError(f"draw: {error.filename or target}: {error.strerror or error}") from None
    return written


def _parts(one: Prediction, image: np.ndarray) -> dict[str, np.ndarray]:
    """The prediction as `Task.draw` takes it."""
    if one.mask is not None:
        return {"mask": one.mask}
    height, width = image.shape[:2]
    objects = one.objects or ()
    boxes = np.array([found.box for found in objects], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]] / [height, width, height, width]
    classes = np.array([one.classes.index(found.label) for found in objects], np.int32)
    return {"boxes": boxes, "scores": np.array([found.score for found in objects], np.float32), "classes": classes}


def _named(predictions: Sequence[Prediction]) -> Iterator[tuple[str, Prediction]]:
    """Names of files without their suffix; one that comes again has a number."""
    seen: dict[str, int] = {}
    for one in predictions:
        if one.error:
            continue
        stem = Path(one.image).stem
        seen[stem] = seen.get(stem, 0) + 1
        yield stem if seen[stem] == 1 else f"{stem}-{seen[stem]}", one


def _write(path: Path, pixels: np.ndarray) -> Path:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    write_bytes(path, content.getvalue())
    return path
