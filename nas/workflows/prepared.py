"""Images made ready as they were for the weights that a training starts from, so that the first layers see what they know.

A network whose images are normalized otherwise computes something else, in silence: EfficientNet-Lite0 knows 87 % of 1,000 images of
ImageNet by its own mean and std, 76 % by ImageNet's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, TypeAlias

from nas.data import Dataset
from nas.data.conventions import NORMALIZATIONS, Convention, Numbers, convention_of, numbers_of
from nas.data.pixels import COLOR, parsed
from nas.data.record import DataRecord
from nas.records import JSON
from nas.workflows.recorded import recorded

Normalization: TypeAlias = Literal["dataset", "imagenet", "inception"] | Mapping[str, tuple[float, ...]] | None
OWN = "dataset"  # `normalization=` that asks for the dataset's own mean and std


def known(source: str | None, side: int | None = None) -> Convention | None:
    """How images were made ready for weights: by the record beside them, or as their library does. None where nothing tells.

    `side`: the resolution of the architecture that they are for, as its file has it.
    """
    if not source:
        return None
    if data := recorded(source):
        return Convention(data.mean, data.std, data.resize, "as recorded beside them")
    return convention_of(source, side)


def with_resize_of(settings: Mapping[str, JSON], source: str | None, side: int | None = None) -> dict[str, JSON]:
    """Settings of a dataset; where they leave `resize` and `resolution` open, these become the rule and the size of the weights.

    The size does not enlarge images: those that all have one smaller size stay as found. Gray images get three channels for weights
    of color images. `side`: as in `known`.
    """
    found = known(source, side)
    return dict(settings) if found is None else _opened(settings, found.resize, found.side, len(found.mean))


def form_of(settings: Mapping[str, JSON], dataset: Dataset) -> str | None:
    """A line for people where weights decided the size of images, or how much of their center is seen."""
    (_, fraction), side = parsed(dataset.resize), settings.get("published")
    if not side or (fraction == 1 and dataset.resolution != side):
        return None
    center = f"the center {fraction:.4g} of " if fraction < 1 else ""
    return f"images: {center}their sides at {dataset.resolution} px, as of these weights; dataset.resize and dataset.resolution change it"


def as_recorded(settings: Mapping[str, JSON], data: DataRecord) -> dict[str, JSON]:
    """The same, by the record of a training."""
    return _opened(settings, data.resize, data.resolution, data.channels)


def _opened(settings: Mapping[str, JSON], resize: str | None, side: int | None, channels: int) -> dict[str, JSON]:
    as_found = settings.get("resolution") is None
    if as_found and not side and resize:
        resize = parsed(resize)[0]  # images that keep their size are not cropped and enlarged again
    rule = {"resize": resize} if settings.get("resize") is None and resize else {}
    color = {"channels": channels} if settings.get("channels") is None and channels == COLOR else {}
    return {**settings, **rule, **color, **({"published": side} if as_found and side else {})}


def prepared(dataset: Dataset, source: str | None, chosen: Normalization = None) -> tuple[Dataset, str | None]:
    """A dataset with the mean and std that a training uses.

    Args:
        dataset: With its own.
        source: The weights that are started from, as `weights=` has them.
        chosen: `normalization=`; None: as the weights were trained, where that is known.

    Returns:
        The dataset, and a line for people where its own mean and std are not used.

    Raises:
        ValueError: For numbers that are not one a channel.
    """
    if chosen == OWN:
        return dataset, None
    if chosen is None:
        found = known(source)
        if found is None or len(found.mean) != dataset.channels:  # such weights do not fit, which their reader says
            return dataset, None
        mean, std = found.mean, found.std
        said = f"{found.said}; normalization={OWN} takes those of {dataset.name}"
    else:
        (mean, std), said = _stated(chosen, dataset), "as normalization= says"
    if (mean, std) == (dataset.mean, dataset.std):
        return dataset, None
    shown = (" ".join(f"{value:.4g}" for value in values) for values in (mean, std))
    return dataclasses.replace(dataset, mean=mean, std=std), "images: mean {}, std {}, {}".format(*shown, said)


def _stated(chosen: str | Mapping[str, tuple[float, ...]], dataset: Dataset) -> tuple[Numbers, Numbers]:
    if isinstance(chosen, str):
        mean, std = NORMALIZATIONS[chosen]
    elif set(chosen) != {"mean", "std"}:
        raise ValueError(f"normalization: expected mean and std, got {', '.join(map(str, chosen)) or 'neither'}")
    else:
        mean, std = (numbers_of(chosen[key], f"normalization.{key}") for key in ("mean", "std"))
    if not len(mean) == len(std) == dataset.channels:
        raise ValueError(f"normalization: expected {dataset.channels} numbers each, as {dataset.name} has channels")
    if min(std) <= 0:
        raise ValueError("normalization.std: expected numbers above 0")
    return mean, std
