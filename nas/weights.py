"""Weights of a network on disk: an .npz of plain arrays, never pickled, written under a temporary name and renamed."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

Variables = dict[str, dict[str, dict[str, Any]]]  # collection ("params", "stats") -> node name -> array name -> array


def save_weights(path: Path, variables: Variables) -> None:
    """Writes `{"params": {node: {array: ..}}, "stats": ..}`. Raises ValueError naming a path that cannot be written."""
    flat = {
        "|".join((c, n, a)): np.asarray(v)
        for c, nodes in variables.items()
        for n, arrays in nodes.items()
        for a, v in arrays.items()
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **flat)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ValueError(f"{path}: {error.strerror or error}") from None


def load_weights(path: Path) -> Variables:
    """The arrays of `save_weights`. Raises ValueError naming a file that is missing or damaged."""
    variables: Variables = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                collection, node, array = key.split("|")
                variables.setdefault(collection, {}).setdefault(node, {})[array] = arrays[key]
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: no weights file: {error}") from None
    return variables
