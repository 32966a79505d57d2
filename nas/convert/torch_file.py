"""PyTorch's weight files, `.pth` and `.pt`, read without PyTorch: arrays and their names, never code.

The file is a zip: a record of what there is (`nas.convert.torch_record` reads it), and one entry of plain numbers for each
storage. Everything is held against the size of the file before it is read. Files of PyTorch before 1.6 are no zip:
`nas.convert.torch_legacy` reads them.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from nas.convert.state_dict import Chosen, choose
from nas.convert.torch_legacy import MAGIC, number_type, read_legacy
from nas.convert.torch_record import MAX_RECORD, Storage, Tensor, read_record
from nas.core.safetensors import from_bfloat16
from nas.core.text import one_line

RECORD, SCRIPT = "data.pkl", "constants.pkl"
MAX_ENTRIES, MAX_VIEWS = 100_000, 4
TAR, TAR_PLACE = b"ustar", 257  # how the first block of a tar is marked
# By weights_only=True PyTorch does not read its tars, so the line says what else it would do.
CONVERT = 'torch.save(torch.load("old.pth", map_location="cpu", weights_only=False), "new.pth"), which runs what the file says'
FAULTS = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, OverflowError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


def read_torch(path: Path) -> Chosen[np.ndarray]:
    """The arrays of the network in a PyTorch file, as `nas.convert.state_dict` chooses them; nothing else is read.

    Returns:
        Arrays by name in the order of the state dict, as they are; those of bfloat16 as float32.

    Raises:
        ValueError: One line that names the file, and what is wrong with it or not understood.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except FAULTS as error:
        reason = one_line(str(error)) or type(error).__name__
        raise ValueError(f"{path}: no PyTorch weights: {reason[:300]}") from None


def _read(file: IO[bytes]) -> Chosen[np.ndarray]:
    begin, size = file.read(TAR_PLACE + len(TAR)), file.seek(0, os.SEEK_END)
    if begin.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            return _read_zip(archive, size)
    if begin.startswith(MAGIC):
        return _arrays(*read_legacy(file))
    if begin[TAR_PLACE:] == TAR:
        raise ValueError(f"a tar, as the first versions of PyTorch wrote; where PyTorch is, and you trust the file: {CONVERT}")
    raise ValueError("not what torch.save writes, which is a zip, or begins with a magic number")


def _read_zip(archive: zipfile.ZipFile, size: int) -> Chosen[np.ndarray]:
    members = _members(archive, size)
    root = _root(members)
    if members[root + RECORD].file_size > MAX_RECORD:
        raise ValueError(f"its record has more than {MAX_RECORD >> 20} MiB")
    order = archive.read(members[f"{root}byteorder"]) if f"{root}byteorder" in members else b"little"
    if order not in (b"little", b"big"):
        raise ValueError(f"its byte order is {order[:20]!r}; expected little or big")
    tree = read_record(archive.read(members[root + RECORD]))
    return _arrays(tree, lambda storage: _numbers(archive, members, f"{root}data/{storage.key}", storage, order))


def _arrays(tree: Any, numbers: Callable[[Storage], np.ndarray]) -> Chosen[np.ndarray]:
    """The arrays of a checkpoint; `numbers` gives those of a storage."""
    chosen = choose(tree, Tensor)
    _check_views(chosen.arrays)
    storages: dict[tuple[str, str], np.ndarray] = {}
    arrays = {name: _array(tensor, numbers, storages) for name, tensor in chosen.arrays.items()}
    return Chosen(arrays, chosen.place, chosen.left)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by name: together no larger than the file, which those of PyTorch, never compressed, cannot be."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"it has {len(entries):,} entries; {MAX_ENTRIES:,} are the most")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise ValueError(f"{entry.filename[:60]} is compressed, which torch.save does not do")
    if (total := sum(entry.file_size for entry in entries)) > size:
        raise ValueError(f"it declares {total:,} bytes and has {size:,}")
    members = {entry.filename: entry for entry in entries}
    if len(members) < len(entries):
        raise ValueError("two of its entries have one name")
    return members


def _root(members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The folder that all of it is in, with the slash."""
    roots = [name.removesuffix(RECORD) for name in members if name.endswith(f"/{RECORD}") and name.count("/") == 1]
    if len(roots) != 1:
        raise ValueError(f"it holds {', '.join(members)[:100] or 'nothing'}; expected one {RECORD} in a folder, as torch.save writes it")
    if roots[0] + SCRIPT in members:
        raise ValueError("a TorchScript program; only tensors are read: save its state_dict() with torch.save")
    return roots[0]


def _check_views(chosen: Mapping[str, Tensor]) -> None:
    """Tensors may share a storage, as tied layers do; many that fill the memory from one may not."""
    counts: dict[tuple[str, str], int] = {}
    for storage in (tensor.storage for tensor in chosen.values()):
        counts[storage.key, storage.dtype] = max(storage.count, counts.get((storage.key, storage.dtype), 0))
    if sum(tensor.size for tensor in chosen.values()) > MAX_VIEWS * sum(counts.values()):
        raise ValueError(f"its tensors are more than {MAX_VIEWS} times as large as what they share")


def _array(tensor: Tensor, read: Callable[[Storage], np.ndarray], storages: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    storage, key = tensor.storage, (tensor.storage.key, tensor.storage.dtype)
    if key not in storages:
        storages[key] = read(storage)
    numbers = storages[key]
    if tensor.storage.count > len(numbers):
        raise ValueError(f"storage {storage.key}: cut off")
    if not tensor.size:
        view = np.zeros(tensor.shape, numbers.dtype)
    else:  # the tensor was held against its storage's length when its record was read
        steps = [step * numbers.itemsize for step in tensor.strides]
        view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps, writeable=False)
    return from_bfloat16(view) if storage.dtype == "bfloat16" else view


def _numbers(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], entry: str, storage: Storage, order: bytes
) -> np.ndarray:
    if entry not in members:
        raise ValueError(f"storage {storage.key[:60]}: not in the file")
    dtype = number_type(storage, "<" if order == b"little" else ">")
    if (expected := storage.count * dtype.itemsize) > members[entry].file_size:
        raise ValueError(f"storage {storage.key[:60]}: {members[entry].file_size:,} bytes, expected {expected:,}")
    return np.frombuffer(archive.read(members[entry])[:expected], dtype) if expected else np.zeros(0, dtype)
