"""Keras' weight files read without Keras, through h5py: arrays and names only, never the code or config beside them.

Three layouts: `.weights.h5` of Keras 3; `.keras`, a zip with such a file in it; and `.h5` of Keras 1 and 2, which is what
`keras.applications` downloads. Only arrays kept inside the file are read: HDF5 can point to other files.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nas.convert.keras import CLASSES, IGNORED, Layer

MAX_BYTES = 8 << 30
NOT_LAYERS = ("optimizer", "optimizer_weights", "metrics", "loss_tracker")
INNER = "model.weights.h5"


def read_layers(path: Path) -> list[Layer]:
    """The layers with arrays of a Keras checkpoint. Raises ValueError naming the file and what is wrong with it."""
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{path}: reading Keras' files needs h5py: pip install 'nas[keras]'") from None
    try:
        with h5py.File(_opened(path), "r") as file:
            layers = _legacy(file) if "model_weights" in file or "layer_names" in file.attrs else _containers(file)
            _check_size(path, layers)
            return [layer() for _, layer in layers]
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, KeyError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no Keras weights file: {' '.join(str(error).split())[:200]}") from None


Lazy = tuple[int, Callable[[], Layer]]  # bytes to be read, and how to read them


def _check_size(path: Path, layers: list[Lazy]) -> None:
    if not layers:
        raise ValueError(f"{path}: holds no layers with weights")
    if (total := sum(size for size, _ in layers)) > MAX_BYTES:
        raise ValueError(f"{path}: declares {total / 2**30:.0f} GiB of weights; {MAX_BYTES >> 30} GiB is the most")


def _opened(path: Path) -> Any:
    """A path, or the weights inside a `.keras` file as an open file."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if INNER not in names:
            raise ValueError(f"{path}: holds {', '.join(names)[:120]}; expected {INNER}, as model.save writes it")
        if (size := archive.getinfo(INNER).file_size) > MAX_BYTES:
            raise ValueError(f"{path}: {INNER} declares {size / 2**30:.0f} GiB; {MAX_BYTES >> 30} GiB is the most")
        return io.BytesIO(archive.read(INNER))


def _containers(file: Any) -> list[Lazy]:
    """Keras 3: `layers/conv2d_1/vars/0`, numbered within a class in the order of the model; the name is an attribute."""
    found = []
    for place in sorted(_variable_groups(file, ()), key=_by_number):
        group = file["/".join((*place, "vars"))]
        kind = _numbered(place[-1])[0]
        arrays = [_dataset(group, str(i)) for i in range(len(group))]
        found.append(_lazy(kind, str(group.attrs.get("name", "/".join(place))), arrays))
    return found


def _by_number(place: tuple[str, ...]) -> tuple[Any, ...]:
    """Convolutions before dense layers, the rest as numbered: across classes a file does not keep the order."""
    kind, number = _numbered(place[-1])
    return kind == "dense", place[:-1], kind, number


def _numbered(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)(?:_(\d+))?", name)
    return (match[1], int(match[2] or 0)) if match else (name, 0)


def _variable_groups(group: Any, place: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name in group:
        if (not place and name in NOT_LAYERS) or len(place) > 8:
            continue
        child = _inside(group, name)
        if not hasattr(child, "keys"):
            continue
        if name == "vars":
            if place and len(child) and _numbered(place[-1])[0] not in IGNORED:
                yield place
        else:
            yield from _variable_groups(child, (*place, name))


def _legacy(file: Any) -> list[Lazy]:
    """Keras 1 and 2: the names of layers in their order, and of each one's arrays, as attributes."""
    root = _inside(file, "model_weights") if "model_weights" in file else file
    found = []
    for name in map(_text, root.attrs["layer_names"]):
        group = _inside(root, name)
        names = [_text(n) for n in group.attrs["weight_names"]]
        arrays = [_dataset(group, n) for n in names]
        kind = _kind([n.split("/")[-1].split(":")[0] for n in names], [a.shape for a in arrays])
        if kind not in IGNORED:
            found.append(_lazy(kind, name, arrays))
    return found


def _kind(names: list[str], shapes: list[tuple[int, ...]]) -> str:
    """The class of a layer by its arrays."""
    if not names or "count" in names or "seed_generator_state" in names:
        return IGNORED[0]
    if "pointwise_kernel" in names:
        return "separable_conv2d"
    if "moving_variance" in names:
        return "batch_normalization"
    if len(shapes[0]) == 4:
        depthwise = "depthwise_kernel" in names or (shapes[0][3] == 1 and shapes[0][2] > 1)
        return "depthwise_conv2d" if depthwise else "conv2d"
    return "dense" if len(shapes[0]) == 2 else "/".join(names)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _inside(group: Any, name: str) -> Any:
    """A member of a group that is not a link to somewhere else."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise TypeError(f"{name} is a link")
    return group[name]


def _dataset(group: Any, name: str) -> Any:
    for part in name.split("/"):
        group = _inside(group, part)
    if group.external or group.is_virtual:
        raise TypeError(f"{name} is not in this file")
    return group


def _lazy(kind: str, name: str, arrays: list[Any]) -> Lazy:
    if kind not in CLASSES:
        raise TypeError(f"layer {name} of class {kind} has no counterpart here")
    if any(array.dtype.kind != "f" for array in arrays):
        raise TypeError(f"layer {name} has arrays that are not of floats")
    size = sum(array.size for array in arrays) * 4
    return size, lambda: Layer(kind, name, tuple(np.asarray(array[()], np.float32) for array in arrays))
