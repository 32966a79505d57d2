"""Where a task meets an architecture, a dataset and a recipe: fitting them, and saying what does not fit."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nas.arch import AUTO, Arch
from nas.data.augment_targets import check_augment
from nas.data.dataset import Dataset
from nas.recipe import Recipe
from nas.records import JSON
from nas.space import Space
from nas.tasks.base import HostOutputs, Task, augments_images_alone
from nas.tasks.spatial import SpatialTask

OF_TASKS = {"dice": "masks", "embedding": "embeddings", "detection": "boxes"}  # parts of a recipe, see `Task.settings`


def fit_arch(task: Task, arch: Arch, dataset: Dataset, resolution: int | None = None) -> Arch:
    """The architecture fitted to a dataset: its channels, the sizes of its outputs, and a resolution in pixels (None: its own)."""
    return task.fit_head(arch.with_io(resolution, dataset.channels), dataset)


def fit_space(task: Task, space: Space, dataset: Dataset, resolution: int | None = None) -> Space:
    """The space fitted to a dataset as `fit_arch` fits an architecture; its first one decides what the head leaves to the data."""
    task.targets(dataset)
    first = space.decode(space.canonical([0] * len(space.genes)))
    fitted = fit_arch(task, first, dataset, resolution)
    head = {key: value for key, value in fitted.head.knobs if first.head.get(key) == AUTO}
    return space.fit(resolution, dataset.channels, fitted.classes, head)


def metrics_of(task: Task, outputs: HostOutputs, targets: np.ndarray) -> dict[str, float]:
    """The metrics of outputs that are there already, such as those of an exported file; (n, ...) each."""
    return metrics_over(task, [(outputs, targets)])


def metrics_over(task: Task, batches: Iterable[tuple[HostOutputs, np.ndarray]]) -> dict[str, float]:
    """The metrics of batches of (outputs, targets), of which one at a time is in memory."""
    import jax
    import jax.numpy as jnp

    state, reduce = task.new_metrics(), jax.jit(task.reduce)
    for outputs, targets in batches:
        part = reduce(jax.tree.map(jnp.asarray, outputs), jnp.asarray(targets), jnp.ones(len(targets), bool))
        state.update({name: np.asarray(value) for name, value in part.items()}, targets)
    return state.compute()


def outputs(task: Task, arch: Arch, dataset: Dataset) -> int:
    """The size of the outputs that the dataset needs, which an architecture has as `classes`."""
    task.targets(dataset)
    return task.fit_head(arch, dataset).classes


def about(task: Task) -> dict[str, JSON]:
    """What a journal or a record keeps of a task, so that readers need not know it: name, metrics, primary."""
    return {"name": task.name, "metrics": dict(task.metrics), "primary": task.primary}


def check_fit(task: Task, arch: Arch, dataset: Dataset) -> None:
    """Raises ValueError, naming the remedy, where the architecture's channels or outputs are not those of the dataset."""
    task.targets(dataset)
    expected = {"channels": dataset.channels, "classes": task.fit_head(arch, dataset).classes}
    for key, got in (("channels", arch.channels), ("classes", arch.classes)):
        if got != expected[key]:
            fix = f"arch.with_io(channels={expected['channels']}, classes={expected['classes']})"
            raise ValueError(
                f"{arch.name}: {key}: {dataset.name} has {expected[key]}, the architecture {got}; fit it by {fix}"
            )
    if task.fit_head(arch, dataset) != arch:
        raise ValueError(f"{arch.name}: head: its outputs do not fit {dataset.name}; fit it by nas.tasks.fit_arch")


def check_own(task: Task, arch: Arch, recipe: Recipe, evaluator: str) -> None:
    """Raises ValueError where the loss trains arrays of its own, which programs of a network's parts do not hold."""
    if task.arrays(recipe, arch, 0):
        loss = recipe.embedding.loss
        raise ValueError(f"recipe.embedding.loss: {loss} trains weights that evaluator={evaluator} has no place for; take scratch")


def check_recipe(task: Task, recipe: Recipe, taught: bool = False, where: str = "recipe") -> None:
    """Raises ValueError naming a setting of the recipe at `where` that means nothing for the task, or for a training without a teacher."""
    if recipe.match_features and not taught:
        some = "nas train teacher=, adapt.final_distill=true, or a strategy of shared weights that has one (sandwich, taught, ..)"
        raise ValueError(f"{where}.match_features: needs a teacher: {some}")
    if augments_images_alone(task) and (joint := recipe.augment.joint):
        raise ValueError(f"{where}.augment.{joint[0]}: is for images with masks or boxes; has no meaning for the task {task.name}")
    if isinstance(task, SpatialTask) and (task.kind == "mask" or task.kind == "boxes"):
        check_augment(recipe.augment, task.kind, f"{where}.augment.")
    for key in ("mixup", "cutmix"):
        if getattr(recipe, key) and not task.mixes:
            raise ValueError(f"{where}.{key}: has no meaning for the task {task.name}; leave it at 0")
    for key, of in OF_TASKS.items():
        if getattr(recipe, key) != getattr(Recipe(), key) and key not in task.settings:
            raise ValueError(f"{where}.{key}: has no meaning for the task {task.name}, it is for {of}; leave it out")
    each, pairs = recipe.embedding.per_class, recipe.embedding.loss != "arcface"
    if task.compares and pairs and recipe.batch < 2 * each:
        raise ValueError(f"{where}.batch: expected {2 * each} or more, two classes of {each} images, got {recipe.batch}")
    if recipe.class_weights != "none" and not task.weighs:
        raise ValueError(f"{where}.class_weights: has no meaning for the task {task.name}; leave it at none")
