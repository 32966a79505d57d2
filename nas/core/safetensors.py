"""Reads the safetensors format: a length, a JSON header of names, types, shapes and places, and the bytes of the arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nas.core.jsonio import parse_json
from nas.core.text import one_line

# NumPy has no bfloat16: its 16 bits are the upper half of a float32.
TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
BFLOAT16 = "BF16"
MAX_HEADER = 100_000_000


def from_bytes(data: bytes, where: str) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file.

    Args:
        data: The file.
        where: Its name, for errors.

    Returns:
        Arrays by name in the order of the header; bfloat16 as float32.

    Raises:
        ValueError: Begins with `where`: it is no such file, its header does not fit its size, or a type is unknown.

    Example:
        >>> header = b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
        >>> from_bytes(len(header).to_bytes(8, "little") + header + np.float32([1, 2]).tobytes(), "a.safetensors")
        {'a': array([1., 2.], dtype=float32)}
    """
    try:
        size = int.from_bytes(data[:8], "little")
        if not 0 < size <= min(MAX_HEADER, len(data) - 8):
            raise ValueError("its header is cut off")
        header, body = parse_json(data[8 : 8 + size]), memoryview(data)[8 + size :]
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        arrays = {name: _array(name, entry, body) for name, entry in entries.items()}
        if sum(array.nbytes for array in arrays.values()) > len(body):
            raise ValueError("arrays that lie over one another")
        return {name: from_bfloat16(a) if entries[name]["dtype"] == BFLOAT16 else a for name, a in arrays.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: no safetensors file: {one_line(str(error))[:200]}") from None


def _array(name: str, entry: Any, body: memoryview) -> np.ndarray:
    (start, stop), shape, kind = entry["data_offsets"], entry["shape"], entry["dtype"]
    if kind not in TYPES:
        raise ValueError(f"{name}: type {kind}; expected one of {', '.join(TYPES)}")
    dtype = np.dtype(TYPES[kind])
    if not all(type(n) is int and n >= 0 for n in (start, stop, *shape)) or len(shape) > 16:
        raise ValueError(f"{name}: a shape or a place that is none")
    if not (start <= stop <= len(body) and stop - start == math.prod(shape) * dtype.itemsize):
        raise ValueError(f"{name}: its place is not in the file, or not as large as its shape")
    return (np.frombuffer(body[start:stop], dtype) if stop > start else np.zeros(0, dtype)).reshape(shape)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 of an array of bfloat16, whose bits are given as whole numbers.

    Example:
        >>> from_bfloat16(np.uint16([0x3F80, 0xC000]))
        array([ 1., -2.], dtype=float32)
    """
    return np.asarray(bits.astype(np.uint32, order="C") << np.uint32(16)).view(np.float32)
