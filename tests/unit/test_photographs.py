"""Flips and crops are the default for photographs, and for nothing else; what a recipe says itself stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_makers import MAKERS, make_pixels, png
from nas.core.paths import CONF
from nas.core.settings import build
from nas.core.yamlio import read_yaml
from nas.data import Dataset, augment, load_dataset
from nas.data.arrays import dataset_of_arrays
from nas.data.augment_on_device import augment_on_device
from nas.recipe import Augment
from nas.workflows.defaults import compose
from nas.workflows.photographs import are_photographs, decided
from nas.workflows.search.plan import SearchCommand, make_plan
from spatial_makers import SPATIAL, mask, write_table


def photos(root: Path, side: int) -> dict[str, Any]:
    """Settings of a folder of twelve images in two classes."""
    for i, pixels in enumerate(make_pixels(12, side)):
        file = root / f"{side}" / ("cat", "dog")[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    return {"name": "folder", "path": str(root / f"{side}")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Dataset]:
    root = tmp_path_factory.mktemp("photos")
    return {side: load_dataset(photos(root, side)) for side in (48, 56)}


@pytest.mark.parametrize(
    "side, given, padding, flip, note",
    [
        (56, {}, 7, True, "flips and crops after a padding of 7 pixels; without: recipe.augment.flip=false recipe.augment.crop_padding=0"),
        (56, {"flip": False}, 7, False, "crops after a padding of 7 pixels; without: recipe.augment.crop_padding=0"),
        (56, {"crop_padding": 4}, 4, True, "flips; without: recipe.augment.flip=false"),
        (56, {"crop_padding": 0, "flip": False}, 0, False, ""),
        (48, {}, 0, False, ""),
        (48, {"flip": True, "crop_padding": 0.125}, 6, True, ""),
    ],
)
def test_photographs_are_flipped_and_cropped_where_the_recipe_leaves_it_open(
    folders: dict[int, Dataset], side: int, given: Mapping[str, Any], padding: int, flip: bool, note: str
) -> None:
    settings, notes = decided({"epochs": 2, "augment": given}, folders[side])
    assert settings["augment"] == {**given, "crop_padding": padding, "flip": flip}
    assert type(settings["augment"]["crop_padding"]) is int
    assert notes == ([f"photographs of {side} pixels: {note}"] if note else [])
    assert decided(settings, folders[side]) == (settings, [])


def table(**columns: Any) -> Callable[[Path], dict[str, Any]]:
    """A Parquet file of twenty images with such columns."""

    def make(root: Path) -> dict[str, Any]:
        write_table(root / "train.parquet", [png(pixels) for pixels in make_pixels(20)], **columns)
        return {"name": "parquet", "path": str(root)}

    return make


FILES: dict[str, tuple[Callable[[Path], dict[str, Any]], dict[str, Any]]] = {  # how each is made, further settings
    "folder": (MAKERS["folder"], {}),
    "parquet": (MAKERS["parquet"], {}),
    "parquet with boxes": (table(boxes=[[[1, 1, 5, 5]]] * 20), {"boxes_column": "boxes"}),
    "parquet with masks": (table(mask=[png(mask(i, 6, 6)) for i in range(20)]), {"mask_column": "mask", "classes": ("a", "b", "c")}),
    **{name: (make, {}) for name, make in SPATIAL.items()},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_image_files_over_48_pixels_are_photographs_whatever_they_are_labeled_with(name: str, stream: bool, tmp_path: Path) -> None:
    make, more = FILES[name]
    settings = {**make(tmp_path), **more, "stream": stream}
    assert are_photographs(load_dataset({**settings, "resolution": 49}))
    assert not are_photographs(load_dataset({**settings, "resolution": 48}))


@pytest.mark.parametrize("name", ["digits", "fashion_mnist", "npz"])
def test_arrays_are_not_photographs(name: str, tmp_path: Path) -> None:
    few = {"train_size": 20, "test_size": 10} if name == "digits" else {}
    assert not are_photographs(load_dataset({**MAKERS[name](tmp_path), **few, "resolution": 56}))


def test_arrays_of_different_sizes_are_not_either() -> None:
    images = [np.zeros((6, 5 + i % 3), np.uint8) for i in range(20)]
    assert not are_photographs(dataset_of_arrays({"x_train": images, "y_train": np.arange(20) % 2, "resolution": 56}))


@pytest.mark.parametrize("name, padding", [("proxy", 1), ("quick", 0), ("finetune", 0), ("full", 1)])
def test_digits_are_never_mirrored_and_cropped_by_a_pixel_at_most(name: str, padding: int) -> None:
    settings, notes = decided(read_yaml(CONF / "recipe" / f"{name}.yaml"), load_dataset({"name": "digits", "train_size": 100}))
    assert (settings["augment"]["crop_padding"], settings["augment"]["flip"], notes) == (padding, False, [])


def test_a_search_on_photographs_says_and_records_it(tmp_path: Path) -> None:
    config = compose("search", {"dataset": photos(tmp_path, 56), "device": [], "objective": "params", "recipe": "quick"})
    plan = make_plan(build(SearchCommand, config, ""))
    assert plan.identity["recipe"]["augment"]["flip"] is True
    assert any(note.startswith("photographs of 56 pixels: flips and crops") for note in plan.notes)


def test_a_fraction_is_pixels_of_the_side_on_host_and_device() -> None:
    import jax
    import jax.numpy as jnp

    images, fraction, pixels = make_pixels(8, 16), Augment(crop_padding=0.125), Augment(crop_padding=2)
    first, second = (augment(images, np.random.default_rng(0), settings) for settings in (fraction, pixels))
    assert np.array_equal(first, second)
    first, second = (augment_on_device(jnp.array(images), jax.random.key(0), settings, (0, 0, 0)) for settings in (fraction, pixels))
    assert jnp.array_equal(first, second)
    assert not jnp.array_equal(first, images)


def test_half_a_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^crop_padding: expected whole pixels, or a fraction of the side below 1, got 1.5"):
        Augment(crop_padding=1.5)
