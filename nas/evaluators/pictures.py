"""Pictures of what a network predicts on the validation split, worst first, and figures by class."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.data import Dataset
from nas.nn.weights import Variables
from nas.recipe import Recipe
from nas.records import JSON
from nas.tasks import Task, task_of, training_loss
from nas.tasks.base import HostOutputs, Mixed

if TYPE_CHECKING:
    import jax

    from nas.tasks.base import Outputs

IMAGES = 500  # of the validation split, evenly, that are looked at
PICTURES = 12
SIDE = 288  # pixels of the shorter side of a picture, at most
BATCH = 16


def pictured(arch: Arch, variables: Variables, dataset: Dataset, batch: int) -> dict[str, JSON]:
    """What a network with pictures predicts on the validation split. Compiles one program.

    Args:
        arch: The network.
        variables: Its weights and statistics.
        dataset: What it was trained on.
        batch: Images at a time, at most.

    Returns:
        `classes` (names), `pictures`: `jpeg` (base64) and `loss`, those of the highest loss first, and what `Task.details` has.
    """
    task = task_of(arch)
    count = len(dataset.valid)
    rows = np.arange(count) if count <= IMAGES else np.linspace(0, count - 1, IMAGES).astype(int)
    state, losses = task.new_metrics(), np.zeros(len(rows))
    for at, _, part, loss in _batches(arch, variables, dataset, rows, min(batch, BATCH, len(rows))):
        state.update(part, dataset.valid.targets[rows[at]])
        losses[at] = loss
    worst = rows[np.argsort(-losses, kind="stable")[:PICTURES]]
    of_row = dict(zip(rows.tolist(), losses.tolist(), strict=True))
    pictures = []  # outputs can be as large as images, so those of the worst are computed again
    for at, outputs, _, _ in _batches(arch, variables, dataset, worst, min(batch, BATCH, len(rows))):
        predicted = task.postprocess(outputs)
        for i, row in enumerate(worst[at]):
            image = np.asarray(dataset.valid.images[row : row + 1])[0]
            drawn = _drawn(task, image, {name: one[i] for name, one in predicted.items()}, dataset.valid.targets[row], dataset)
            pictures.append({"jpeg": drawn, "loss": of_row[int(row)]})
    return {"classes": list(dataset.classes), "images": len(rows), "pictures": pictures, **task.details(state, dataset.classes)}


def _drawn(task: Task, image: np.ndarray, predicted: Mapping[str, np.ndarray], target: np.ndarray, dataset: Dataset) -> str:
    """base64 of a JPEG."""
    from PIL import Image

    picture = Image.fromarray(task.draw(image, predicted, target, dataset.classes))
    scale = min(1.0, SIDE / min(picture.size))
    file = io.BytesIO()
    picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR).save(file, "jpeg", quality=88)
    return base64.b64encode(file.getvalue()).decode()


def _batches(
    arch: Arch, variables: Variables, dataset: Dataset, rows: np.ndarray, size: int
) -> Iterator[tuple[slice, HostOutputs, Mapping[str, np.ndarray], np.ndarray]]:
    """(which of the rows, outputs, what metrics need, losses) of `size` rows of the validation split at a time."""
    import jax
    import jax.numpy as jnp

    from nas.nn.network import apply
    from nas.train.score import prepare

    graph, task, on_device = lower(arch), task_of(arch), jax.device_put(variables)

    @jax.jit
    def answered(variables: Variables, images: jax.Array, targets: jax.Array, valid: jax.Array) -> tuple[Outputs, object, jax.Array]:
        outputs, _ = apply(graph, variables["params"], variables["stats"], prepare(images, graph, dataset), train=False)
        losses = training_loss(task, Recipe(), outputs, Mixed(images, targets))
        return outputs, task.reduce(outputs, targets, valid), jnp.where(valid, losses, 0)

    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        full = np.concatenate([some, np.repeat(some[:1], size - len(some))])
        images, targets = np.asarray(dataset.valid.images[full]), dataset.valid.targets[full]
        outputs, part, losses = jax.tree.map(np.asarray, answered(on_device, images, targets, np.arange(size) < len(some)))
        cut = jax.tree.map(lambda one: one[: len(some)], outputs)  # noqa: B023
        yield slice(start, start + len(some)), cut, part, losses[: len(some)]
