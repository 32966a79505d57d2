"""`Dataset`, the settings that all datasets share, and the way from labeled parts to train, validation and test.

A family of datasets (one module each) finds its labels, wraps them as `Part`s whose images are fetched row by row, and
leaves the rest to `assemble`: labels are checked and rows chosen before any image is decoded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from nas.core.text import one_line
from nas.data.digest import content_digest
from nas.data.forms import Part, Spatial, is_streamed, sized, streamed
from nas.data.images import read_images
from nas.data.pixels import COLOR, Resize, parsed
from nas.data.split import choose_rows, not_taken
from nas.data.statistics import channel_statistics
from nas.data.stream import MIB, Streamed
from nas.data.targets import check_range, names_from, numbers, whole_labels
from nas.data.unseen import choose_by_class, identities, numbered
from nas.records import IDENTITY, LABEL, TargetSpec

MAX_RESOLUTION = 4096


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their targets.

    Args:
        images: (n, h, w, c) uint8, read-only, or `Streamed`, whose rows are read when they are asked for.
        targets: (n, ...) as the dataset's `TargetSpec` has them: (n,) int32 class labels, (n,) float32 numbers, (n, h, w) uint8
            masks, (n, most, 8) float32 boxes.

    Example:
        >>> split = Split(np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 1, 2], np.int32))
        >>> len(split.take(np.array([0, 2])))
        2
    """

    images: np.ndarray | Streamed
    targets: np.ndarray

    def __post_init__(self) -> None:
        for array in (self.images, self.targets):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def strata(self) -> np.ndarray:
        """(n,) what a subset keeps in proportion: labels or numbers; masks and boxes have nothing of the kind."""
        return self.targets if self.targets.ndim == 1 else np.zeros(len(self), np.int64)

    def take(self, rows: np.ndarray) -> Split:
        """The examples with these row numbers, in this order."""
        images = self.images.take(rows) if isinstance(self.images, Streamed) else self.images[rows]
        return Split(images, self.targets[rows])

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """(n,) row numbers in random order."""
        return self.images.order(rng) if isinstance(self.images, Streamed) else rng.permutation(len(self))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and what is to be predicted from them. Controllers see results on `valid`; `test` is for the final report alone.

    Args:
        name: Of the dataset, for messages and records.
        classes: Names by label; empty where targets are no labels.
        train: What candidates are trained on.
        valid: What they are scored on during a search.
        test: What the final networks are scored on, once.
        resolution: Side of the images in pixels.
        channels: 1 for gray images, 3 for color.
        mean: Per channel, over `train`, of images / 255.
        std: The same; at least 1/255, so that dividing by it is safe for a channel that is constant.
        target: What the targets of the three splits are.
        resize: The rule by which images were made square, for those that the network sees later.
        left_out: Lines on what the source has and none of the splits holds, and why.
        encoded: Whether its images are files, or rows of files, as cameras and programs write them; arrays are not.

    Raises:
        ValueError: Where the targets of a split are not what `target` states.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    valid: Split
    test: Split
    resolution: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target: TargetSpec = LABEL
    resize: Resize = "squash"
    left_out: tuple[str, ...] = ()
    encoded: bool = False

    def __post_init__(self) -> None:
        for part in ("train", "valid", "test"):
            self.target.check(getattr(self, part).targets, f"{self.name}: {part}")

    @cached_property
    def digest(self) -> str:
        """A hash of its content: see `nas.data.digest`."""
        splits = (self.train, self.valid, self.test)
        return content_digest((self.classes, self.resolution, self.channels), ((one.images, one.targets) for one in splits))


@dataclass(frozen=True)
class DatasetSettings(ABC):
    """The settings that every dataset has; a family adds its own fields and `load`.

    Args:
        train_size: Images taken from the training part, in proportion of its classes; None: all.
        test_size: The same of the test part.
        valid_size: Images that are split off the training part for validation, or taken of a validation part; None: as
            `valid_fraction` says, or all.
        valid_fraction: The fraction of the training part that is split off.
        resolution: Side in pixels that images are resized to; None: as found.
        resize: How images that are not square become so: `squash` both sides to the resolution, `crop` the largest square
            from the middle, or `pad` the shorter side with white; `crop:0.875` and `squash:0.9` keep that much of the middle;
            None: squash, but for weights that a training starts from as they were trained.
        split: What parts are made of: `images`, so that each has every class, or `classes`, so that none has one of another's, as
            embeddings of new people or things need it. Then `valid_fraction` is one of classes, and targets are identities.
        split_seed: One seed, one choice of images; the test images do not depend on it.
        channels: 3: gray images get three equal channels, as networks that were trained on color expect; None: gray where all are
            gray, but with weights of color images that a training starts from.
        published: Side in pixels that images become where `resolution` is open and some are larger, or they differ in size: that of
            the weights that a training starts from, which sets it. Otherwise they stay as found, and whole.

    Raises:
        ValueError: For a value out of range, naming the key.
    """

    train_size: int | None = None
    test_size: int | None = None
    valid_size: int | None = None
    valid_fraction: float = 0.2
    resolution: int | None = None
    resize: Resize | None = None
    split: Literal["images", "classes"] = "images"
    split_seed: int = 0
    channels: int | None = None
    published: int | None = None

    def __post_init__(self) -> None:
        for key in ("train_size", "test_size", "valid_size"):
            size = getattr(self, key)
            if size is not None and size < 1:
                raise ValueError(f"{key}: expected 1 or more, or null, got {size}")
        if not 0 < self.valid_fraction < 1:
            raise ValueError(f"valid_fraction: expected a fraction between 0 and 1, got {self.valid_fraction}")
        for key in ("resolution", "published"):
            if (side := getattr(self, key)) is not None and not 1 <= side <= MAX_RESOLUTION:
                raise ValueError(f"{key}: expected 1 to {MAX_RESOLUTION} pixels, or null, got {side}")
        parsed(self.rule)
        if self.channels not in (None, COLOR):
            raise ValueError(f"channels: expected {COLOR}, or null for the images' own, got {self.channels}")
        if self.split_seed < 0:
            raise ValueError(f"split_seed: expected 0 or more, got {self.split_seed}")

    @property
    def rule(self) -> Resize:
        """How images become square."""
        return self.resize or "squash"

    @abstractmethod
    def load(self) -> Dataset:
        """Reads the images; raises ValueError naming the setting, file or row that is wrong."""


@dataclass(frozen=True)
class StreamSettings(DatasetSettings):
    """The settings of a dataset that may be larger than memory.

    Args:
        stream: Whether images are read when a batch needs them; None: where they would take more than half of this
            machine's memory.
        stream_mib: Memory in MiB for batches that are read ahead, and of Parquet files for the row groups that are shuffled
            together.
    """

    stream: bool | None = None
    stream_mib: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.stream_mib <= 2**24:
            raise ValueError(f"stream_mib: expected 1 to {2**24} MiB, got {self.stream_mib}")


def existing_path(path: str | None, expected: str, is_folder: bool = True) -> Path:
    """The user's `path` setting as a Path; `expected` tells what should be there. Raises ValueError where it is not."""
    if not path:
        raise ValueError(f"path: not set; expected {expected}")
    found = Path(path).expanduser()
    if not (found.is_dir() if is_folder else found.is_file()):
        problem = f"is not a {'folder' if is_folder else 'file'}" if found.exists() else "does not exist"
        raise ValueError(f"path: {found} {problem}; expected {expected}")
    return found


def assemble(
    name: str, settings: DatasetSettings, parts: Mapping[str, Part], classes: Sequence[str] | None = None,
    target: TargetSpec = LABEL, left_out: Sequence[str] = (),
) -> Dataset:  # fmt: skip
    """The dataset of `parts`: "train", and where the source has them "valid" and "test".

    Without "test" a fixed fifth of "train" is the test part; without "valid" it is split off "train". Labels are stratified:
    every part has the classes in proportion, or by `split`, classes of its own.

    Args:
        name: Of the dataset, for messages.
        settings: Sizes of the parts and the resolution.
        parts: Images and targets by part.
        classes: Names by label; None: the labels themselves.
        target: What the targets are, where they are arrays; a `Spatial` says it itself.
        left_out: Lines on files and rows that are not among the parts, which users are shown.

    Returns:
        The dataset, its images read or `Streamed`.

    Raises:
        ValueError: For bad targets, an empty or a single class, sizes that do not fit, and broken images.
    """
    spatial = parts["train"].targets
    if isinstance(spatial, Spatial) or target.kind != "label":
        if settings.split == "classes":
            raise ValueError(f"split: {name} has no class labels; expected images")
        names, empty = tuple(classes or ()), []
        given = {} if isinstance(spatial, Spatial) else parts
        targets = {key: numbers(part.array, part.place, target) for key, part in given.items()}
        rows = choose_rows({key: np.zeros(len(part.targets), np.int64) for key, part in parts.items()}, settings, (f"all of {name}",))
    elif settings.split == "classes":
        labels, names, empty = identities(parts, classes), (), []
        rows = choose_by_class(labels, settings)
        target, targets = IDENTITY, numbered(labels, rows)
    else:
        targets, names, empty = _labels(parts, classes)
        rows = choose_rows(targets, settings, names)
    sources = {key: key if key in parts else "train" for key in rows}
    chosen = {key: (parts[sources[key]], rows[key]) for key in rows}
    size, rule = sized(chosen, settings.resolution, settings.published, settings.rule)
    if isinstance(settings, StreamSettings) and is_streamed(chosen, size, settings.stream):
        images: Mapping[str, np.ndarray | Streamed] = streamed(chosen, size, rule, settings.stream_mib * MIB, settings.channels)
    else:
        images = read_images({key: part.fetch(mine) for key, (part, mine) in chosen.items()}, size, rule, settings.channels)
    size, channels = images["train"].shape[2:]
    if isinstance(spatial, Spatial):
        target, arrays, more = spatial.placed(chosen, size, rule)
    else:
        arrays, more = {key: targets[sources[key]][rows[key]].astype(target.dtype) for key in rows}, empty
    splits = {key: Split(images[key], arrays[key]) for key in rows}
    mean, std = channel_statistics(images["train"])
    taken = not_taken(settings, {key: len(part.targets) for key, part in parts.items()}, rows)
    lines = map(one_line, (*left_out, *more, *taken))  # names of files may hold anything
    return Dataset(
        name, names, splits["train"], splits["valid"], splits["test"], size, channels, mean, std, target, rule, tuple(lines),
        parts["train"].encoded,
    )  # fmt: skip


def _labels(
    parts: Mapping[str, Part], classes: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...], list[str]]:
    """(labels by part, names by label, lines on names that no image has, which are dropped)."""
    labels = {key: whole_labels(part.array, part.place) for key, part in parts.items()}
    names = tuple(classes) if classes is not None else names_from(labels["train"], parts["train"].place)
    if len(names) < 2:
        raise ValueError(f"only one class ({', '.join(names)}); classification needs two or more")
    for key, part in parts.items():
        check_range(labels[key], len(names), part.place)
    kept = np.isin(np.arange(len(names)), np.concatenate([*labels.values()]))
    missing = np.setdiff1d(np.flatnonzero(kept), labels["train"])
    if len(missing):
        raise ValueError(f"class {names[missing[0]]} has no image in the training part")
    empty = [name for name, has in zip(names, kept, strict=True) if not has]
    number = np.cumsum(kept) - 1
    lines = [f"{len(empty)} names of classes without images: {', '.join(empty[:5])}{', ..' if len(empty) > 5 else ''}"] if empty else []
    return {key: number[part] for key, part in labels.items()}, tuple(name for name in names if name not in set(empty)), lines
