"""Weights of a network on disk: an .npz of plain arrays, never pickled, written under a temporary name and renamed."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nas.core.npzio import check_members

if TYPE_CHECKING:
    import jax

AnyArray: TypeAlias = "jax.Array | np.ndarray"
Arrays: TypeAlias = "Mapping[str, Mapping[str, AnyArray]]"  # node name -> array name -> array
Variables: TypeAlias = "Mapping[str, Arrays]"  # collection ("params", "stats") -> its arrays
HostArrays: TypeAlias = dict[str, dict[str, np.ndarray]]
HostVariables: TypeAlias = dict[str, HostArrays]
ORIGINS = ("keras", "timm", "torchvision")
SUPERNET = "supernet"  # before a folder or file of weights that the candidates of a space share
BUNDLED, TRAINED = "weights.safetensors", "weights.npz"  # in a bundle, and in the folder of a training
IMAGENET = "imagenet"  # the whole of `weights=`: published weights of an installed package
TORCH_HINT = "Files of PyTorch are read by weights= of nas train, under a name that ends in .pth or .pt"


def absolute_source(source: str) -> str:
    """A source whose file is named from the root: workers have other working folders. `imagenet` is no file."""
    origin, path = split_source(source)
    full = str(path.absolute())
    return source if origin == IMAGENET else f"{origin}:{full}" if origin else full


def split_source(source: str) -> tuple[str, Path]:
    """What `weights=` names: where the file comes from, empty where it is not said, and its path; of `imagenet` that word.

    A folder stands for the weights in it: a bundle, or what a training left.

    Example:
        >>> split_source("timm:nets/model.safetensors")
        ('timm', PosixPath('nets/model.safetensors'))
    """
    if source == IMAGENET:
        return IMAGENET, Path(IMAGENET)
    origin, colon, name = source.partition(":")
    if colon and origin in (*ORIGINS, SUPERNET):
        return origin, Path(name).expanduser()
    path = Path(source).expanduser()
    files = (path / BUNDLED, path / TRAINED) if path.is_dir() else ()
    return "", next((file for file in files if file.is_file()), path)


def save_weights(path: Path, variables: Variables) -> None:
    """Writes the weights of a network, whole or not at all.

    Args:
        path: The file, an .npz.
        variables: `{"params": {node: {array: ..}}, "stats": ..}`.

    Raises:
        ValueError: Naming a path that cannot be written.

    Example:
        >>> save_weights(Path("weights.npz"), {"params": {"head/fc": {"bias": np.zeros(3, np.float32)}}, "stats": {}})
        >>> load_weights(Path("weights.npz"))
        {'params': {'head/fc': {'bias': array([0., 0., 0.], dtype=float32)}}}
    """
    save_arrays(path, flattened(variables))


def load_weights(path: Path) -> HostVariables:
    """Reads the weights that `save_weights` wrote.

    Args:
        path: The file.

    Returns:
        NumPy arrays by collection, node and name; a collection without arrays is not among them.

    Raises:
        ValueError: Naming a file that is missing or damaged.
    """
    return nested(load_arrays(path), path)


def flattened(variables: Variables) -> dict[str, np.ndarray]:
    """Weights with one key an array, as files have them.

    Example:
        >>> list(flattened({"params": {"head/fc": {"bias": np.zeros(3)}}}))
        ['params|head/fc|bias']
    """
    return {
        "|".join((c, n, a)): np.asarray(v)
        for c, nodes in variables.items()
        for n, arrays in nodes.items()
        for a, v in arrays.items()
    }


def nested(arrays: Mapping[str, np.ndarray], path: Path) -> HostVariables:
    """The inverse of `flattened`. Raises ValueError naming the array of `path` that is none of a network."""
    variables: HostVariables = {}
    for key, value in arrays.items():
        parts = key.split("|")
        if len(parts) != 3:
            raise ValueError(f"{path}: no weights file: it holds an array called {key!r}")
        collection, node, array = parts
        variables.setdefault(collection, {}).setdefault(node, {})[array] = value
    return variables


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays and waits until they are on disk. Raises ValueError naming a path that cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)
        raise ValueError(f"{path}: {error.strerror or error}") from None


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `save_arrays`, each checked against its checksum. Raises ValueError naming a missing or damaged file."""
    try:
        with open(path, "rb") as file:  # opened here, because np.load leaves a file that is no zip open
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile) or arrays.zip is None:
                raise ValueError("one array, expected a zip of named ones")
            check_members(arrays.zip)
            return {key: arrays[key] for key in arrays.files}
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        reason = " ".join(str(error).split())
        if "pickle" in reason:  # NumPy's advice is to trust it
            reason = f"expected the .npz of nas train, which holds plain arrays; Python objects are not loaded. {TORCH_HINT}"
        if "data.pkl" in reason:
            reason = f"a zip of PyTorch. {TORCH_HINT}"
        raise ValueError(f"{path}: no weights file: {reason}") from None
