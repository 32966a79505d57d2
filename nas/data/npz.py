"""A NumPy archive: x_train, y_train and, where there, x_valid, y_valid, x_test, y_test and classes."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.core.npzio import read_header
from nas.core.settings import did_you_mean
from nas.data.array_parts import NAMES, Kind, check_kinds, from_arrays
from nas.data.dataset import Dataset, DatasetSettings, existing_path
from nas.data.images import check_memory


@dataclass(frozen=True)
class Npz(DatasetSettings):
    """One .npz file. Images are uint8 (n, h, w) or (n, h, w, 1 or 3); targets labels (n,), whole numbers from 0 on, masks (n, h, w),
    or boxes (n, most, 5), as `from_arrays` has them.
    """

    path: str | None = None

    def load(self) -> Dataset:
        path = existing_path(self.path, "a .npz file with x_train and y_train", is_folder=False)
        return from_arrays(read_npz(path, NAMES), self, "npz", str(path))


def read_npz(path: Path, expected: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the `expected` arrays that the archive holds. Raises ValueError for what is no archive of plain arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
            found = [name for name in expected if name in sizes]
            for name in ("x_train", "y_train"):
                if name not in found:
                    raise ValueError(f"{path}: no array {name}{did_you_mean(name, sizes)} (arrays: {', '.join(sizes)})")
            check_kinds(str(path), {name: _kind_of_member(path, archive, name, sizes[name]) for name in found})
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
