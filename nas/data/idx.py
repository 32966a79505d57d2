"""MNIST's IDX files, as Fashion-MNIST (arXiv:1708.07747), MNIST, KMNIST and EMNIST come; gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.data.dataset import Dataset, DatasetSettings, Part, assemble, existing_path
from nas.data.images import check_memory

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
PREFIXES = {"train": "train", "test": "t10k"}
MAX_GZIP_RATIO = 1032  # deflate cannot shrink more


@dataclass(frozen=True)
class FashionMnist(DatasetSettings):
    """A folder of four IDX files; other data sets of this layout fit too, with their own `classes` (None: numbers)."""

    path: str | None = DEBIAN_FOLDER
    classes: tuple[str, ...] | None = FASHION_CLASSES

    def load(self) -> Dataset:
        expected = (
            "a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k, or these with .gz "
            "(apt install dataset-fashion-mnist brings one)"
        )
        folder = existing_path(self.path, expected)
        parts = {key: _part(folder, prefix) for key, prefix in PREFIXES.items()}
        return assemble("fashion_mnist", self, parts, self.classes)


def _part(folder: Path, prefix: str) -> Part:
    images_path = _find(folder, f"{prefix}-images-idx3-ubyte")
    labels_path = _find(folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: {len(labels)} labels, but {images_path.name} has {len(images)} images")
    return Part(labels, lambda rows: images[rows][..., None], lambda row: f"{labels_path}: item {row}")


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise ValueError(f"path: {folder} has no {name} and no {name}.gz")


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an IDX file: magic 0, 0, 8 (unsigned byte), number of dimensions; then big-endian sizes.

    Raises ValueError naming the file where it is not IDX of these dimensions, or shorter or longer than it says.
    """
    gzipped = path.suffix == ".gz"
    try:
        with gzip.open(path) if gzipped else path.open("rb") as file:
            head = file.read(4 + 4 * dimensions)
            if len(head) < 4 + 4 * dimensions or head[:4] != bytes([0, 0, 8, dimensions]):
                raise ValueError(f"{path}: not an IDX file of bytes in {dimensions} dimension{'s' * (dimensions > 1)}")
            shape = struct.unpack(f">{dimensions}I", head[4:])
            size = int(np.prod(shape, dtype=object))
            if size > path.stat().st_size * (MAX_GZIP_RATIO if gzipped else 1):
                raise ValueError(f"{path}: truncated: the header tells of {size:,} bytes, more than the file can hold")
            check_memory(size, f"{path}: its {size:,} bytes")
            body = file.read(size + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: broken or truncated: {error}") from error
    if len(body) != size or not size:
        state = "empty" if not size else "truncated" if len(body) < size else "too long"
        raise ValueError(f"{path}: {state}: the header tells of {'x'.join(map(str, shape))} bytes")
    return np.frombuffer(body, np.uint8).reshape(shape)
