"""PyTorch's files from before 1.6, read without PyTorch: no zip, but one record after another and then the plain numbers.

In turn: a magic number, the version of the format, facts on the machine that wrote it, the checkpoint, and the keys of its
storages; then for each key how many numbers it has, and they. The records are read as those of newer files are, by
`nas.convert.torch_record`, and nothing is read that the file is too small to hold.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import IO, Any, Literal

import numpy as np

from nas.convert.torch_record import MAX_RECORD, Storage, read_next

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
VERSION, COUNT_BYTES = 1001, 8


def read_legacy(file: IO[bytes]) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """The checkpoint of a file that begins with `MAGIC`, and a function that reads the numbers of one of its storages.

    Raises:
        ValueError: Naming what is not understood, or does not fit into the file, in one line.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(len(MAGIC))
    # In memory, where a length that the file only claims takes none: a read of a file takes the memory before it looks.
    stream = io.BytesIO(file.read(min(size, MAX_RECORD)))
    storages: dict[str, Storage] = {}
    try:
        _check_writer(read_next(stream), read_next(stream))
        tree = read_next(stream, storages)
        keys = _keys(read_next(stream), storages)
    except ValueError:
        if size - len(MAGIC) > MAX_RECORD == stream.tell():
            raise ValueError(f"its record has more than {MAX_RECORD >> 20} MiB") from None
        raise
    places = _places(file, len(MAGIC) + stream.tell(), size, [storages[key] for key in keys])
    return tree, lambda storage: _numbers(file, storage, places)


def number_type(storage: Storage, order: Literal["<", ">"] = "<") -> np.dtype:
    """The type of a storage's numbers as they lie in the file; bits of bfloat16 are uint16."""
    return np.dtype("uint16" if storage.dtype == "bfloat16" else storage.dtype).newbyteorder(order)


def _check_writer(version: Any, facts: Any) -> None:
    if type(version) is not int or version != VERSION:
        found = version if type(version) is int and 0 <= version < 2**31 else type(version).__name__
        raise ValueError(f"version {found} of the format before PyTorch 1.6; {VERSION} is known")
    if type(facts) is not dict or type(facts.get("little_endian")) is not bool:
        raise ValueError("it does not say by little_endian in which order its bytes are")
    if not facts["little_endian"]:
        raise ValueError("of a machine that writes the high byte first; of such files those since PyTorch 1.6 are read")


def _keys(keys: Any, storages: Mapping[str, Storage]) -> list[str]:
    """The keys in the order of the numbers: each storage of the checkpoint once, and no other."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("its list of storages is none")
    if len(listed := set(keys)) < len(keys):
        raise ValueError("its list of storages names one twice")
    if missing := [key for key in storages if key not in listed]:
        raise ValueError(f"storage {missing[0][:60]}: not in the file")
    if unknown := [key for key in keys if key not in storages]:
        raise ValueError(f"storage {unknown[0][:60]}: in the file, but no tensor's, so that its type is not known")
    return keys


def _places(file: IO[bytes], place: int, size: int, storages: list[Storage]) -> dict[str, int]:
    """Where the numbers of each storage begin, every length held against the checkpoint's and against the file's size."""
    places: dict[str, int] = {}
    for storage in storages:
        file.seek(place)
        count = int.from_bytes(file.read(COUNT_BYTES), "little", signed=True)
        if place + COUNT_BYTES <= size and count != storage.count:
            raise ValueError(f"storage {storage.key[:60]}: {count:,} numbers, expected {storage.count:,}")
        places[storage.key] = place + COUNT_BYTES
        place += COUNT_BYTES + storage.count * number_type(storage).itemsize
        if place > size:
            raise ValueError(f"storage {storage.key[:60]}: cut off, by {place - size:,} bytes")
    if place < size:
        raise ValueError(f"{size - place:,} bytes follow its last storage")
    return places


def _numbers(file: IO[bytes], storage: Storage, places: Mapping[str, int]) -> np.ndarray:
    dtype = number_type(storage)
    file.seek(places[storage.key])
    return np.frombuffer(file.read(storage.count * dtype.itemsize), dtype) if storage.count else np.zeros(0, dtype)
