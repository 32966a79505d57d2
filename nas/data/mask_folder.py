"""Folders of images and PNG masks, paired by their names, in the layouts that data sets of segmentation come in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nas.data.dataset import Dataset, Part, StreamSettings, assemble, existing_path
from nas.data.files import IMAGE_FOLDERS, NUMBER, Found, composed, counted, find_images, inventory, part_of
from nas.data.forms import part_of_files
from nas.data.masks import Masks, Numbers, with_numbers
from nas.data.pixels import Encoded
from nas.data.split_lists import split_lists

EXPECTED = "a folder with images/ and masks/ (PNG of the same names), in train/, val/ and test/ or not, or train/ and trainannot/"
MASKS = {
    "masks", "mask", "labels", "label", "annotations", "annotation", "annots", "semantic", "segmentation", "segmentationclass",
    "groundtruth", "gt", "gtfine",
}  # fmt: skip
BEHIND_PART = re.compile(r"[-_.]?(annots?|annotations?|masks?|labels?|gt)$")  # trainannot, train_labels
# What stands behind the name that image and mask have in common.
IMAGE_SUFFIX = re.compile(r"_leftImg8bit$")
MASK_SUFFIX = re.compile(r"(_gtFine_labelTrainIds|_masks?|_labels?|_gt|_L)$")


@dataclass(frozen=True)
class MaskSettings(StreamSettings):
    """The settings of masks.

    Args:
        classes: Names by number: a list from 0 on, or a mapping {7: road, 8: sidewalk} where numbers have gaps; None: the numbers
            that masks have, for which every mask is read once more.
        ignore: Numbers, or names of `classes`, whose pixels are neither trained on nor scored; 255 never is.
        instances: Whether a mask has a number for each object: all above 0 are the second class.
        strict: Whether what would be left out, and counted, is an error.
    """

    classes: tuple[str, ...] | Mapping[int | str, str] | None = None
    ignore: int | str | tuple[int | str, ...] | None = None
    instances: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes is not None or self.instances:
            Numbers.of(self.classes, self.ignore, self.instances)


@dataclass(frozen=True)
class MaskFolder(MaskSettings):
    """Images and masks: <path>/images and <path>/masks, <path>/train/images and so on; see `find_pairs`."""

    path: str | None = None

    def load(self) -> Dataset:
        root = existing_path(self.path, EXPECTED)
        pairs, unpaired, left_out = find_pairs(root)
        if self.strict and unpaired:
            raise ValueError(f"{root}: {unpaired[0]}; dataset.strict=false leaves them out")
        parts, names = with_numbers({key: _part(some) for key, some in pairs.items()}, self.classes, self.ignore, self.instances)
        return assemble("masks", self, parts, names, left_out=[*unpaired, *left_out])


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    image: Path
    mask: Path


def _part(pairs: Sequence[Pair]) -> Part:
    def masks(rows: np.ndarray) -> list[Encoded]:
        return [Encoded(str(pairs[row].mask), pairs[row].mask) for row in rows]

    def place(row: int) -> str:
        return str(pairs[row].mask)

    return part_of_files([pair.image for pair in pairs], Masks(masks, len(pairs), place), place)


@dataclass(frozen=True)
class _Named:
    """A file: its part, or "" where no folder says one, and what image and mask have in common: other folders and the name.

    kind: `mask`; `image`; `image?`, which is in no folder of images; or `other`, in a folder of masks and no PNG.
    """

    part: str
    key: str
    kind: Literal["mask", "image", "image?", "other"]


def find_pairs(root: Path) -> tuple[dict[str, list[Pair]], list[str], list[str]]:
    """(images with their masks by part, lines on those that are in no pair, lines on other files).

    A mask is a PNG in a folder called masks, labels, annotations, semantic, SegmentationClass, gtFine or the like, or train with
    such a word behind it (trainannot, val_labels). A part is a folder called train, val or test, also with a number (train2017), or
    what ImageSets/Segmentation/*.txt say. An image and its mask have the same part, the same other folders and the same
    name, but for what Cityscapes and CamVid add (_leftImg8bit, _gtFine_labelTrainIds, _mask, _L).

    Raises:
        ValueError: Where there are no pairs, no training part, two files of one name, or an image of a list is not there.
    """
    found = find_images(root)
    named = {path: _named(path.relative_to(root)) for path in found.images}
    sure = "image" if any(one.kind == "image" for one in named.values()) else "image?"
    by_image, by_mask = _by_key(named, sure), _by_key(named, "mask")
    pairs = {key: Pair(path, by_mask[key]) for key, path in by_image.items() if key in by_mask}
    if not pairs:
        raise ValueError(f"path: {root} has no images with masks; expected {EXPECTED}; found {inventory(root)}")
    unpaired = [
        *counted("image without a mask", [path for key, path in by_image.items() if key not in by_mask], "images without masks"),
        *counted("mask without an image", [path for key, path in by_mask.items() if key not in by_image], "masks without images"),
        *counted("mask that is no PNG", [path for path, one in named.items() if one.kind == "other"], "masks that are no PNG"),
    ]
    apart = [path for path, one in named.items() if one.kind.startswith("image") and one.kind != sure]
    left_out = [*counted("image in another folder", apart, "images in other folders"), *Found((), found.others, found.hidden).left_out()]
    parts, unlisted = _by_list(root, pairs) or (_by_folder(root, pairs), [])
    return parts, [*unpaired, *unlisted], left_out


def _named(path: Path) -> _Named:
    part, is_mask, is_image, others = "", False, False, []
    for folder in path.parts[:-1]:
        name = folder.lower()
        said = part_of(NUMBER.sub("", BEHIND_PART.sub("", name))) or ""
        is_image |= name in IMAGE_FOLDERS
        is_mask |= name in MASKS or bool(said and BEHIND_PART.search(name))
        part = part or said
        others += [folder] if not said and name not in IMAGE_FOLDERS | MASKS else []
    stem = (MASK_SUFFIX if is_mask else IMAGE_SUFFIX).sub("", path.stem)
    kind = ("mask" if path.suffix.lower() == ".png" else "other") if is_mask else "image" if is_image else "image?"
    return _Named(part, composed("/".join([*others, stem])), kind)


def _by_key(named: Mapping[Path, _Named], kind: str) -> dict[tuple[str, str], Path]:
    found: dict[tuple[str, str], Path] = {}
    for path, one in named.items():
        if one.kind != kind:
            continue
        if (key := (one.part, one.key)) in found:
            raise ValueError(f"{path}: has the name of {found[key]}; expected one image and one mask of each name")
        found[key] = path
    return found


def _by_folder(root: Path, pairs: Mapping[tuple[str, str], Pair]) -> dict[str, list[Pair]]:
    parts: dict[str, list[Pair]] = {}
    for (part, _), pair in pairs.items():
        parts.setdefault(part, []).append(pair)
    loose = parts.pop("", [])
    if parts and loose:
        raise ValueError(f"{loose[0].image}: in no part, where others are in {', '.join(sorted(parts))}")
    if parts and "train" not in parts:
        raise ValueError(f"path: {root} has no training part; expected {EXPECTED}; found {', '.join(sorted(parts))}")
    return parts or {"train": loose}


def _by_list(root: Path, pairs: Mapping[tuple[str, str], Pair]) -> tuple[dict[str, list[Pair]], list[str]] | None:
    """(pairs by part, lines on what is in no list) where ImageSets/Segmentation has lists."""
    lists = split_lists(root, "Segmentation")
    if not lists:
        return None
    by_id = {key: pair for (_, key), pair in pairs.items()}
    parts = {part: [*_listed(ids, by_id)] for part, ids in lists.items()}
    used = {name for ids in lists.values() for name in ids}
    return parts, counted("image in no list", [pair.image for key, pair in by_id.items() if key not in used], "images in no list")


def _listed(ids: Mapping[str, str], by_id: Mapping[str, Pair]) -> Iterator[Pair]:
    for name, place in ids.items():
        if name not in by_id:
            raise ValueError(f"{place}: {name} has no image with a mask")
        yield by_id[name]
