"""Files as PyTorch writes them, made without PyTorch: the record by hand, the numbers beside it in a zip, or after it."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.convert.torch_file import read_torch
from nas.convert.torch_legacy import MAGIC

STORAGES = {
    "float64": "Double", "float32": "Float", "float16": "Half", "int64": "Long", "int32": "Int", "uint8": "Byte", "bool": "Bool",
    "uint16": "BFloat16", "int16": "Short",
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """A tensor that is a part of a storage; an array is one that is all of its own. Bits of bfloat16 are uint16."""

    storage: np.ndarray
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """A tensor as a module keeps it."""

    array: np.ndarray


@dataclass(frozen=True)
class OldParameter:
    """The same, as PyTorch before 0.4 wrote it."""

    array: np.ndarray


@dataclass(frozen=True)
class Global:
    """A name that the record calls without arguments."""

    module: str
    name: str


class Record:
    """Protocol 2, with every name and text remembered as Python's pickler does; `storages` are the numbers.

    `more` are the parts of a reference to a storage after the fifth: before 1.6 there was one, None.
    """

    def __init__(self, tree: Any, more: tuple[Any, ...] = ()) -> None:
        self.more = more
        self.out, self.storages, self.names, self.count = bytearray(b"\x80\x02"), [], {}, 0
        self.value(tree)
        self.out += b"."

    def keep(self) -> int:
        self.out += b"q" + bytes([self.count]) if self.count < 256 else b"r" + struct.pack("<I", self.count)
        self.count += 1
        return self.count - 1

    def name(self, module: str, name: str) -> None:
        if (module, name) in self.names:
            kept = self.names[module, name]
            self.out += b"h" + bytes([kept]) if kept < 256 else b"j" + struct.pack("<I", kept)
            return
        self.out += f"c{module}\n{name}\n".encode()
        self.names[module, name] = self.keep()

    def value(self, value: Any) -> None:
        match value:
            case None | True | False:
                self.out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
            case int():
                self.out += b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"\x8a\x08" + struct.pack("<q", value)
            case float():
                self.out += b"G" + struct.pack(">d", value)
            case str():
                self.out += b"X" + struct.pack("<I", len(value.encode())) + value.encode()
                self.keep()
            case tuple():
                self.out += b"("
                self.values(value, b"t")
                self.keep()
            case list():
                self.out += b"]"
                self.keep()
                self.out += b"("
                self.values(value, b"e")
            case dict():
                self.dictionary(value)
            case Global(module, name):
                self.name(module, name)
                self.out += b")R"
            case Parameter(array):
                self.name("torch._utils", "_rebuild_parameter")
                self.out += b"("
                self.values([array, True, OrderedDict()], b"tR")
            case OldParameter(array):
                self.name("torch.nn.parameter", "Parameter")
                self.out += b"("
                self.name("torch._utils", "_rebuild_tensor")
                self.storage(array.reshape(-1), [0, array.shape, tuple(s // array.itemsize for s in array.strides)], b"tRtR")
                self.value((True, False, OrderedDict()))
                self.out += b"b"
            case np.ndarray():
                array = np.asarray(value, order="C")
                self.tensor(View(array.ravel(), 0, value.shape, tuple(s // array.itemsize for s in array.strides)))
            case View():
                self.tensor(value)

    def values(self, values: Any, end: bytes) -> None:
        for value in values:
            self.value(value)
        self.out += end

    def dictionary(self, value: dict[Any, Any]) -> None:
        if isinstance(value, OrderedDict):
            self.name("collections", "OrderedDict")
            self.out += b")R"
        else:
            self.out += b"}"
        self.keep()
        if value:
            self.out += b"("
            self.values([part for item in value.items() for part in item], b"u")
        if isinstance(value, OrderedDict) and value:  # what state_dict() carries beside its items
            self.value({"_metadata": OrderedDict()})
            self.out += b"b"

    def tensor(self, view: View) -> None:
        self.name("torch._utils", "_rebuild_tensor_v2")
        self.storage(view.storage, [view.offset, view.shape, view.strides, False, OrderedDict()], b"tR")

    def storage(self, numbers: np.ndarray, arguments: list[Any], end: bytes) -> None:
        key = next((i for i, storage in enumerate(self.storages) if storage is numbers), len(self.storages))
        if key == len(self.storages):
            self.storages.append(numbers)
        self.out += b"(("
        self.value("storage")
        self.name("torch", f"{STORAGES[numbers.dtype.name]}Storage")
        self.values([str(key), "cpu", numbers.size, *self.more], b"tQ")
        self.values(arguments, end)


def zipped(record: bytes, storages: Mapping[str, bytes], **more: bytes) -> bytes:
    """The file of a record and its storages by key; `more` are other entries."""
    entries = {"data.pkl": record, **{f"data/{key}": content for key, content in storages.items()}, "version": b"3\n", **more}
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"net/{name}", content)
    return buffer.getvalue()


def torch_bytes(tree: Any) -> bytes:
    """What `torch.save(tree)` writes, with arrays for tensors."""
    record = Record(tree)
    return zipped(bytes(record.out), {str(i): storage.tobytes() for i, storage in enumerate(record.storages)})


FACTS = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def chained(record: bytes, keys: Any, storages: bytes, version: Any = 1001, facts: Any = FACTS) -> bytes:
    """The file of PyTorch before 1.6 of a record, the keys of its storages, and these one after another."""
    return MAGIC + Record(version).out + Record(facts).out + record + Record(keys).out + storages


def counted(storage: np.ndarray) -> bytes:
    """A storage as it lies in such a file."""
    return struct.pack("<q", storage.size) + storage.tobytes()


def legacy_bytes(tree: Any) -> bytes:
    """What `torch.save(tree)` wrote before PyTorch 1.6."""
    record = Record(tree, (None,))
    storages = {str(key): storage for key, storage in enumerate(record.storages)}
    return chained(bytes(record.out), sorted(storages), b"".join(counted(storages[key]) for key in sorted(storages)))


WRITERS = {"zip": torch_bytes, "legacy": legacy_bytes}


def write_torch(path: Path, tree: Any, form: str = "zip") -> Path:
    """`torch_bytes`, or another of `WRITERS`, as a file."""
    path.write_bytes(WRITERS[form](tree))
    return path


def refused(path: Path) -> str:
    """The one line that a file is refused with, which begins with its path."""
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as found:
        read_torch(path)
    line = str(found.value)
    assert line.isprintable()
    assert len(line) < len(str(path)) + 400
    return line
