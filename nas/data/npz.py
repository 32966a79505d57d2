"""A NumPy archive: x_train, y_train and, where there, x_valid, y_valid, x_test, y_test and classes."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.core.npzio import read_header
from nas.core.settings import did_you_mean
from nas.data.dataset import Dataset, DatasetSettings, Part, assemble, existing_path
from nas.data.images import check_memory

NAMES = ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test", "classes")


@dataclass(frozen=True)
class Kind:
    """Shape and type of an array that need not be read."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.shape}"


@dataclass(frozen=True)
class Npz(DatasetSettings):
    """One .npz file. Images are uint8 (n, h, w) or (n, h, w, 1 or 3), labels (n,) whole numbers from 0 on."""

    path: str | None = None

    def load(self) -> Dataset:
        path = existing_path(self.path, "a .npz file with x_train and y_train", is_folder=False)
        return from_arrays(read_npz(path, NAMES), self, "npz", str(path))


def from_arrays(arrays: Mapping[str, np.ndarray], settings: DatasetSettings, name: str, where: str) -> Dataset:
    """The dataset of arrays by the names of `NAMES`; `where` begins errors. Raises ValueError naming the array that is wrong."""
    _check_kinds(where, {key: Kind(array.shape, array.dtype) for key, array in arrays.items()})
    parts = {key: _part(where, arrays, key) for key in ("train", "valid", "test") if _has(where, arrays, key)}
    classes = arrays.get("classes")
    return assemble(name, settings, parts, None if classes is None else [str(name) for name in classes])


def read_npz(path: Path, expected: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the `expected` arrays that the archive holds. Raises ValueError for what is no archive of plain arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
            found = [name for name in expected if name in sizes]
            for name in ("x_train", "y_train"):
                if name not in found:
                    raise ValueError(f"{path}: no array {name}{did_you_mean(name, sizes)} (arrays: {', '.join(sizes)})")
            _check_kinds(str(path), {name: _kind_of_member(path, archive, name, sizes[name]) for name in found})
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in found}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path}: not a readable .npz file: {error}") from error


def _kind_of_member(path: Path, archive: zipfile.ZipFile, name: str, size: int) -> Kind:
    """The kind of one array by its header, held against its size, for NumPy allocates what the header says before it reads."""
    try:
        with archive.open(f"{name}.npy") as file:
            shape, dtype = read_header(file)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: {name}: not a NumPy array: {str(error).splitlines()[0]}") from error
    if dtype.hasobject:
        raise ValueError(f"{path}: {name}: holds Python objects, which are not loaded; save plain numbers")
    expected = math.prod(shape) * dtype.itemsize
    if expected > size:
        raise ValueError(f"{path}: {name}: truncated: {expected:,} bytes by its header, {size:,} in the file")
    check_memory(expected, f"{path}: {name}: its {expected:,} bytes")
    return Kind(shape, dtype)


def _check_kinds(where: str, kinds: Mapping[str, Kind]) -> None:
    """Raises ValueError for arrays that are no images, labels or names of classes: before a byte of them is read, of a file."""
    for key in ("train", "valid", "test"):
        if _has(where, kinds, key):
            _check_part(where, key, kinds[f"x_{key}"], kinds[f"y_{key}"])
    classes = kinds.get("classes")
    if classes is not None and (classes.dtype.kind != "U" or len(classes.shape) != 1):
        raise ValueError(f"{where}: classes: expected a list of texts, got {classes}")


def _check_part(where: str, key: str, images: Kind, labels: Kind) -> None:
    shape = (*images.shape, 1) if len(images.shape) == 3 else images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise ValueError(f"{where}: x_{key}: expected uint8 of shape (n, h, w) or (n, h, w, 1 or 3), got {images}")
    if not labels.shape or labels.shape[0] != shape[0]:
        raise ValueError(f"{where}: y_{key}: expected {shape[0]} labels as x_{key} has images, got {labels}")


def _has(where: str, arrays: Collection[str], key: str) -> bool:
    has_images, has_labels = f"x_{key}" in arrays, f"y_{key}" in arrays
    if has_images != has_labels:
        raise ValueError(f"{where}: has only one of x_{key} and y_{key}")
    return has_images


def _part(where: str, arrays: Mapping[str, np.ndarray], key: str) -> Part:
    images, labels = arrays[f"x_{key}"], arrays[f"y_{key}"]
    images = images[..., None] if images.ndim == 3 else images
    return Part(labels, lambda rows: images[rows], lambda row: f"{where}: y_{key}[{row}]")
