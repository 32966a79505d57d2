"""The recipe for photographs: flips and crops where the images are such, and the recipe leaves both open."""

from __future__ import annotations

from collections.abc import Mapping

from nas.core.settings import build
from nas.data import Dataset
from nas.recipe import Recipe
from nas.records import JSON

OFF = {"flip": "false", "crop_padding": "0"}
SMALL = 48  # pixels; up to here images are icons, digits and the like as often as photographs


def are_photographs(dataset: Dataset) -> bool:
    """Whether the images are files, in folders or rows of tables, and larger than `SMALL` pixels; arrays may be anything."""
    return dataset.encoded and dataset.resolution > SMALL


def decided(recipe: Mapping[str, JSON], dataset: Dataset) -> tuple[dict[str, JSON], list[str]]:
    """A recipe with what it leaves open decided by the images.

    Args:
        recipe: Settings of a `Recipe`.
        dataset: What is trained on.

    Returns:
        The settings to train with and to record, and a line for people where a default was chosen for photographs.
    """
    given, photographs = build(Recipe, recipe, "recipe").augment, are_photographs(dataset)
    chosen = given.decided(dataset.resolution, photographs)
    values = {key: getattr(chosen, key) for key in OFF}
    settings = {**recipe, "augment": {**(recipe.get("augment") or {}), **values}}
    chosen_ones = {key: OFF[key] for key in values if getattr(given, key) is None}
    if not photographs or not chosen_ones:
        return settings, []
    how = {"flip": "flips", "crop_padding": f"crops after a padding of {chosen.crop_padding} pixels"}
    off = " ".join(f"recipe.augment.{key}={value}" for key, value in chosen_ones.items())
    return settings, [f"photographs of {dataset.resolution} pixels: {' and '.join(how[key] for key in chosen_ones)}; without: {off}"]
