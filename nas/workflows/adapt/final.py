"""The recipe of the training that ends a NetAdapt."""

from __future__ import annotations

from collections.abc import Mapping

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.data import Dataset
from nas.recipe import Recipe
from nas.records import JSON
from nas.tasks import check_recipe, task_of
from nas.workflows.adapt.proposals import changes as all_changes
from nas.workflows.photographs import decided

PLACE = "adapt.final_recipe"
ELSEWHERE = {"epochs": "adapt.final_epochs", "lr": "adapt.final_lr"}  # keys of a recipe that have their own setting
NESTED = ("augment", "embedding")


def final_recipe(recipe: Mapping[str, JSON], epochs: int, lr: float, changes: Mapping[str, JSON]) -> dict[str, JSON]:
    """Settings of the last training.

    Args:
        recipe: Of the short trainings.
        epochs: Of the last one.
        lr: Its highest rate, which falls as a cosine.
        changes: Keys that differ; of `augment` and `embedding` those inside.

    Returns:
        The settings of a `Recipe`.

    Raises:
        ValueError: For a change of the epochs or the rate, which have settings of their own.

    Example:
        >>> found = final_recipe({"augment": {"flip": False}}, 10, 0.02, {"label_smoothing": 0.1, "augment": {"cutout": 4}})
        >>> found["label_smoothing"], found["augment"]
        (0.1, {'flip': False, 'cutout': 4})
    """
    for key, place in ELSEWHERE.items():
        if key in changes:
            raise ValueError(f"{PLACE}.{key}: has a setting of its own; set {place}")
    own = {"epochs": epochs, "lr": lr, "schedule": "cosine", "warmup_epochs": 0, "schedule_epochs": None}
    found = {**recipe, **own}
    for key, value in changes.items():
        inside = key in NESTED and isinstance(value, Mapping)
        found[key] = {**(found.get(key) or {}), **value} if inside else value
    return found


def decided_changes(changes: Mapping[str, JSON], final: Mapping[str, JSON], dataset: Dataset) -> dict[str, JSON]:
    """The changes with what their `augment` leaves open decided by the images; `final` is the recipe that they make."""
    return {**changes, "augment": decided(final, dataset)[0]["augment"]} if "augment" in changes else dict(changes)


def check_final(arch: Arch, recipe: Recipe, distill: bool, kinds: tuple[str, ...]) -> None:
    """Raises ValueError where the last training has no teacher to match, or a proposal could narrow what it matches."""
    check_recipe(task_of(arch), recipe, taught=distill, where=PLACE)
    if not recipe.match_features:
        return
    from nas.train.distill import feature_shape  # it loads JAX

    shape = feature_shape(lower(arch), PLACE)
    for change in all_changes(arch, kinds):
        smaller = next(iter(change.smaller()), None)
        if smaller is not None and feature_shape(lower(smaller)) != shape:
            raise ValueError(
                f"{PLACE}.match_features: {change.name} would narrow the last feature map, and a teacher's could not be matched; "
                "leave it out, or that kind out of adapt.kinds"
            )
