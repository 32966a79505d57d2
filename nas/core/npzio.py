"""What an .npz file says of its arrays, held against their sizes: NumPy allocates what a header says before it reads."""

from __future__ import annotations

import math
import tokenize
import zipfile
from typing import IO

import numpy as np


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array at the beginning of a .npy file.

    Args:
        file: Open for reading; afterwards it stands at the array's data.

    Returns:
        Its shape and type.

    Raises:
        ValueError: It is no such file. (Python's own parser, which NumPy asks, has other errors for what is nested too deeply.)
    """
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        return shape, dtype
    except (tokenize.TokenError, MemoryError, RecursionError, SyntaxError) as error:
        raise ValueError(f"a header that cannot be read: {type(error).__name__}") from None


MOST_PACKED, SMALL = 50, 2**26  # trained weights hardly compress; what grows more and is large was made to fill the memory


def check_members(archive: zipfile.ZipFile) -> None:
    """Checks every array of an archive of weights before any is read.

    Args:
        archive: An .npz file.

    Raises:
        ValueError: An array holds objects, fewer bytes than its header says, or is large and almost nothing in the file.
    """
    for info in archive.infolist():
        with archive.open(info) as file:
            name = info.filename.removesuffix(".npy")
            if not info.filename.endswith(".npy"):
                raise ValueError(f"it holds an array called {name!r}")
            shape, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"{name}: holds Python objects, which are not loaded")
        if (expected := math.prod(shape) * dtype.itemsize) > info.file_size:
            raise ValueError(f"{name}: truncated: {expected:,} bytes by its header, {info.file_size:,} in the file")
        if info.file_size > max(SMALL, MOST_PACKED * info.compress_size):
            raise ValueError(f"{name}: {info.file_size:,} bytes packed in {info.compress_size:,}, which no trained weights are")
