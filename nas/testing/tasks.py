"""The laws of tasks: heads, losses, metrics that do not depend on how batches are cut, and what people look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import HEADS, lower
from nas.data import Dataset, Split
from nas.recipe import Recipe
from nas.records import LABEL, NUMBER, TargetSpec
from nas.tasks import TASKS, MetricState, Task, fit_arch, task_of
from nas.tasks.base import HostOutputs
from nas.testing.require import require

IMAGES, SIDE = 12, 8
SPECS = (
    LABEL,
    NUMBER,
    TargetSpec("mask", (SIDE, SIDE), "uint8"),
    TargetSpec("boxes", (4, 8), "float32"),
    TargetSpec("identity"),
)


def check_task(task: Task | str, dataset: Dataset | None = None, head: Mapping[str, object] | None = None) -> None:
    """Checks the laws of a task on random images and outputs; nothing is trained.

    Args:
        task: The task, or its name in `TASKS` after the plugin that has it was loaded.
        dataset: A small one that the task can be trained on; None: 12 random images with targets that the task accepts.
        head: Settings of the head; None: the first of the task's, with its defaults.

    Raises:
        AssertionError: Naming the law that is broken and where.

    Example:
        >>> from nas.testing import check_task
        >>> check_task("classification")
    """
    made = TASKS[task] if isinstance(task, str) else task
    _check_names(made)
    data = dataset or random_dataset(made)
    arch = _network(made, data, head or {"op": made.heads[0]})
    rows = min(len(data.train), IMAGES)
    targets, outputs = data.train.targets[:rows], _outputs(arch, rows)
    made = made.of(arch)
    _check_loss(made, outputs, targets)
    _check_metrics(made, outputs, targets)
    _check_padding(made, outputs, targets)
    _check_images(made, data.train.images[:rows], outputs, targets)


def random_dataset(task: Task) -> Dataset:
    """8x8 color images with random targets of the first kind that the task accepts."""
    for spec in SPECS:
        data = _random(spec)
        try:
            task.targets(data)
        except ValueError:
            continue
        return data
    raise AssertionError(f"{task.name}: targets accepts one of the kinds of TargetSpec: it refuses all")


def _random(spec: TargetSpec) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    targets = (
        rng.uniform(size=(IMAGES, *spec.shape)) if spec.kind == "number" else rng.integers(0, 3, (IMAGES, *spec.shape))
    )
    if spec.kind == "boxes":
        targets = np.broadcast_to(np.array([0.1, 0.1, 0.6, 0.7, 0, 0, 20, 64], np.float32), (IMAGES, *spec.shape))
    split = Split(images, targets.astype(spec.dtype))
    classes = () if spec.kind == "number" else ("a", "b", "c")
    return Dataset("random", classes, split, split, split, SIDE, 3, (0.5,) * 3, (0.3,) * 3, spec)


def _check_names(task: Task) -> None:
    require(task.metrics, "a task has metrics")
    wrong = {name: way for name, way in task.metrics.items() if way not in ("max", "min")}
    require(not wrong, "the direction of a metric is max or min", f"{wrong}")
    require(task.primary == next(iter(task.metrics)), "the first metric is the primary one", task.primary)
    one, other = (1.0, 0.0) if task.metrics[task.primary] == "max" else (0.0, 1.0)
    strict = task.better(one, other) and not task.better(other, one) and not task.better(one, one)
    require(strict, "better is strict, in the direction of the primary metric")
    require(task.heads, "a task has a head, which makes a network its own")
    for op in task.heads:
        require(op in HEADS, "a head of a task is in HEADS", op)
        others = [name for name, other in TASKS.items() if op in other.heads and other.name != task.name]
        require(not others, "a head belongs to one task", f"{op} is also of {', '.join(others)}")


def _network(task: Task, data: Dataset, head: Mapping[str, object]) -> Arch:
    stages = [{"op": "conv", "kernel": 3, "width": 4, "stride": 2}]
    base = {
        "resolution": data.resolution,
        "channels": data.channels,
        "classes": 7,
        "stages": stages,
        "head": dict(head),
    }
    arch = fit_arch(task, arch_from_dict({**base, "stem": {"op": "conv", "kernel": 3, "width": 4}}), data)
    require(task.fit_head(arch, data) == arch, "fit_head changes nothing where the head fits")
    if task in TASKS.values():
        require(task_of(arch).name == task.name, "a network with the task's head is the task's", task_of(arch).name)
    return arch


def _outputs(arch: Arch, rows: int) -> HostOutputs:
    """(rows, ...) random outputs of the shapes that the network's head gives, by name where it has several."""
    graph, rng = lower(arch), np.random.default_rng(1)
    shapes = {name: graph.nodes[i].shape for name, i in graph.outputs.items()}
    flat = {name: shape[2:] if shape[:2] == (1, 1) else shape for name, shape in shapes.items()}
    found = {name: rng.normal(size=(rows, *shape)).astype(np.float32) for name, shape in flat.items()}
    return found if graph.named else next(iter(found.values()))


def _rows(outputs: HostOutputs, rows: slice) -> HostOutputs:
    return outputs[rows] if isinstance(outputs, np.ndarray) else {name: one[rows] for name, one in outputs.items()}


def _check_loss(task: Task, outputs: HostOutputs, targets: np.ndarray) -> None:
    import jax
    import jax.numpy as jnp

    def parts(outputs: Any) -> Mapping[str, Any]:
        return task.loss(outputs, jnp.asarray(targets), None, Recipe())

    def total(outputs: Any) -> tuple[Any, Mapping[str, Any]]:
        found = parts(outputs)
        return sum(values.sum() for values in found.values()), found

    (_, found), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(outputs)
    for name, values in found.items():
        shape = np.shape(values)
        require(shape == (len(targets),), "a part of the loss is (n,)", f"{name}: {shape} for {len(targets)} images")
        require(np.isfinite(values).all(), "the loss of finite outputs is finite", name)
    require(all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)), "the gradient of the loss is finite")


def _state(task: Task, outputs: HostOutputs, targets: np.ndarray, valid: np.ndarray | None = None) -> MetricState:
    """The metrics of one batch, whose rows count where `valid`."""
    import jax
    import jax.numpy as jnp

    mask = np.ones(len(targets), bool) if valid is None else valid
    part = _reducer(task)(jax.tree.map(jnp.asarray, outputs), jnp.asarray(targets), jnp.asarray(mask))
    state = task.new_metrics()
    state.update({name: np.asarray(value) for name, value in part.items()}, targets[mask])
    return state


@lru_cache(maxsize=4)
def _reducer(task: Task) -> Callable[..., Mapping[str, Any]]:
    """Compiled, as in a training: operation by operation a large one takes many times longer."""
    import jax

    return jax.jit(task.reduce)


def _check_metrics(task: Task, outputs: HostOutputs, targets: np.ndarray) -> None:
    whole = _state(task, outputs, targets)
    found, half = whole.compute(), len(targets) // 2
    require(list(found) == list(task.metrics), "compute gives the metrics in their order", f"{list(found)}")
    merged = _state(task, _rows(outputs, slice(half)), targets[:half])
    merged.merge(_state(task, _rows(outputs, slice(half, None)), targets[half:]))
    _require_close(found, merged.compute(), "metrics of merged halves are those of the whole")
    again = task.new_metrics(json.loads(json.dumps(whole.to_json())))
    _require_close(found, again.compute(), "a state that was written and read computes the same")


def _check_padding(task: Task, outputs: HostOutputs, targets: np.ndarray) -> None:
    """A batch with rows that only fill it, as the last one of a split has."""
    rows = len(targets) // 2
    valid = np.arange(len(targets)) < rows
    expected = _state(task, _rows(outputs, slice(rows)), targets[:rows]).compute()
    law = "rows that are not valid change no metric"
    _require_close(expected, _state(task, outputs, targets, valid).compute(), law)


def _check_images(task: Task, images: np.ndarray, outputs: HostOutputs, targets: np.ndarray) -> None:
    augment = dataclasses.replace(Recipe().augment, crop_padding=1)
    moved, kept = task.augment(images, targets, np.random.default_rng(0), augment)
    same = (moved.shape, kept.shape, kept.dtype) == (images.shape, targets.shape, targets.dtype)
    require(same, "augment keeps shapes and the type of targets", f"{moved.shape}, {kept.shape}, {kept.dtype}")
    prediction = task.postprocess(outputs)
    lengths: Sequence[int] = [len(values) for values in prediction.values()]
    require({*lengths} == {len(targets)}, "a prediction has a row for each image", f"{lengths} for {len(targets)}")
    first = {name: values[0] for name, values in prediction.items()}
    drawn = task.draw(images[0], first, targets[0])
    require(
        drawn.dtype == np.uint8 and drawn.ndim == 3,
        "draw gives an image (h, w, c) uint8",
        f"{drawn.dtype} {drawn.shape}",
    )


def _require_close(expected: Mapping[str, float], found: Mapping[str, float], law: str) -> None:
    close = all(np.isclose(found.get(name, np.nan), value, rtol=1e-5) for name, value in expected.items())
    require(close, law, f"expected {dict(expected)}, got {dict(found)}")
