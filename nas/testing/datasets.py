"""The laws of datasets: shapes and types, one seed one split, a fixed test part, sizes, one line for a mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nas.data import Dataset, Split, load_dataset
from nas.data.boxes import CLASS, PIXELS, X0, X1, Y0, Y1
from nas.data.masks import IGNORED as IGNORED_PIXEL
from nas.testing.require import require

Settings = Mapping[str, Any]
DatasetLaw = Callable[[Settings], None]
PARTS = ("train", "valid", "test")


def shapes_and_types(settings: Settings) -> None:
    data = load_dataset(settings)
    for name in PARTS:
        split: Split = getattr(data, name)
        shape, expected = split.images.shape, (len(split), data.resolution, data.resolution, data.channels)
        require(
            shape == expected,
            f"{name}: images are (n, resolution, resolution, channels)",
            f"expected {expected}, got {shape}",
        )
        dtype = split.images[: min(len(split), 2)].dtype
        require(dtype == np.uint8, f"{name}: images are uint8", f"got {dtype}")
        data.target.check(split.targets, name)
        if data.target.kind == "label":
            labels, every = {*map(int, split.targets)}, {*range(len(data.classes))}
            require(
                labels == every, f"{name}: every class has an image", f"labels {sorted(labels)} of {len(every)} classes"
            )
        if data.target.kind in ("mask", "boxes"):
            _check_spatial(name, split, data)
    counts = (len(data.mean), len(data.std), data.channels)
    require(len({*counts}) == 1, "mean and std have a number for each channel", f"{counts}")
    require(min(data.std) > 0, "std is positive", f"{data.std}")


def _check_spatial(name: str, split: Split, data: Dataset) -> None:
    targets = split.targets
    if data.target.kind == "mask":
        found = {*np.unique(targets).tolist()}
        allowed = {*range(len(data.classes)), IGNORED_PIXEL}
        require(found <= allowed, f"{name}: pixels are of a class or {IGNORED_PIXEL}", f"got {sorted(found - allowed)}")
        return
    filled = targets[targets[..., CLASS] >= 0]
    edges, corners = filled[:, [Y0, X0, Y1, X1]], filled[:, [Y0, X0]] < filled[:, [Y1, X1]]
    require(((edges >= 0) & (edges <= 1)).all() and corners.all(), f"{name}: boxes have an area within the image", f"{edges[:3]}")
    classes = {*np.unique(targets[..., CLASS]).tolist()}
    require(classes <= {*range(-1, len(data.classes))}, f"{name}: objects are of a class", f"got {sorted(classes)}")
    behind = (targets[:, 1:, CLASS] >= 0) & (targets[:, :-1, CLASS] < 0)
    require(not behind.any(), f"{name}: the objects of an image come first")
    require((targets[..., PIXELS] > 0).all(), f"{name}: every row has the pixels of the original")


def same_settings_same_dataset(settings: Settings) -> None:
    one, other = load_dataset(settings), load_dataset(settings)
    for name in PARTS:
        require(
            _same(getattr(one, name), getattr(other, name)),
            f"{name}: the same settings give the same images and targets",
        )


def only_validation_depends_on_the_split_seed(settings: Settings) -> None:
    for sizes in ({}, {"test_size": max(len(load_dataset(settings).test) // 2, 1)}):
        one, other = (load_dataset({**settings, **sizes, "split_seed": seed}) for seed in (0, 7))
        require(
            np.array_equal(one.test.images[:], other.test.images[:]),
            "split_seed leaves the test part as it is",
            f"{sizes}",
        )
    one, other = (load_dataset({**settings, "split_seed": seed}) for seed in (0, 7))
    different = not np.array_equal(one.valid.images[:], other.valid.images[:])
    require(different, "split_seed changes the validation part")


def sizes_and_resolution_are_kept(settings: Settings) -> None:
    whole = load_dataset(settings)
    trained, valid, test = (len(whole.train) + len(whole.valid)) * 3 // 4, len(whole.valid), len(whole.test) // 2
    resolution = whole.resolution + 3
    sizes = {"train_size": trained, "valid_size": valid, "test_size": test, "resolution": resolution}
    data: Dataset = load_dataset({**settings, **sizes})
    found, expected = [len(getattr(data, name)) for name in PARTS], [trained - valid, valid, test]
    require(found == expected, "train_size, valid_size and test_size are kept", f"expected {expected}, got {found}")
    side = data.train.images.shape[1:3]
    require(
        side == (resolution, resolution) and data.resolution == resolution,
        "resolution is kept",
        f"{resolution}, got {side}",
    )


MISTAKES: tuple[tuple[dict[str, object], str], ...] = (
    ({"train_szie": 3}, "dataset.train_szie: unknown key; did you mean train_size?"),
    ({"train_size": "abc"}, "dataset.train_size: expected a whole number, got 'abc'"),
    ({"train_size": 0}, "dataset.train_size: expected 1 or more, or null, got 0"),
    ({"train_size": 10**9}, "dataset.train_size: expected "),
    ({"valid_size": 10**9}, "dataset.valid_size: expected "),
    ({"valid_fraction": 1.0}, "dataset.valid_fraction: expected a fraction between 0 and 1, got 1.0"),
    ({"test_size": 10**9}, "dataset.test_size: expected 1 to "),
    ({"resolution": 0}, "dataset.resolution: expected 1 to 4096 pixels"),
    ({"split_seed": -1}, "dataset.split_seed: expected 0 or more"),
)


def mistakes_are_one_clear_line(settings: Settings) -> None:
    law = "a wrong setting is one line that names it"
    for change, opening in MISTAKES:
        try:
            load_dataset({**settings, **change})
        except ValueError as error:
            message = str(error)
            require(
                message.startswith(opening) and "\n" not in message,
                law,
                f"{change}: expected {opening!r}, got {message!r}",
            )
        else:
            require(False, law, f"{change} is accepted")


DATASET_LAWS: tuple[DatasetLaw, ...] = (
    shapes_and_types,
    same_settings_same_dataset,
    only_validation_depends_on_the_split_seed,
    sizes_and_resolution_are_kept,
    mistakes_are_one_clear_line,
)


def check_dataset(settings: Settings) -> None:
    """Checks the laws of a dataset; it is loaded some ten times, so make it small.

    Args:
        settings: `name`, after the plugin that has it was loaded, and the dataset's settings.

    Raises:
        AssertionError: Naming the law that is broken and where.
        ValueError: For wrong settings.

    Example:
        >>> from nas.testing import check_dataset
        >>> check_dataset({"name": "digits"})
    """
    for law in DATASET_LAWS:
        law(settings)


def _same(one: Split, other: Split) -> bool:
    return np.array_equal(one.images[:], other.images[:]) and np.array_equal(one.targets, other.targets)
