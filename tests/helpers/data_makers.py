"""Small made-up datasets in every layout, written into a folder; shared by the data tests."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nas.data import Dataset, load_dataset

N = 40  # images a made-up training part has, in two classes that take turns


def make_pixels(n: int = N, size: int = 6, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)


def make_labels(n: int = N) -> np.ndarray:
    return np.arange(n) % 2


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(buffer, kind)
    return buffer.getvalue()


def write_idx(path: Path, array: np.ndarray) -> None:
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype("u1").tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def make_idx(root: Path, suffix: str = ".gz") -> dict[str, Any]:
    for prefix, n in (("train", N), ("t10k", 10)):
        write_idx(root / f"{prefix}-images-idx3-ubyte{suffix}", make_pixels(n)[..., 0])
        write_idx(root / f"{prefix}-labels-idx1-ubyte{suffix}", make_labels(n))
    return {"name": "fashion_mnist", "path": str(root), "classes": None}


def make_folder(root: Path) -> dict[str, Any]:
    for part, n in (("train", N), ("test", 10)):
        for i, (pixels, label) in enumerate(zip(make_pixels(n), make_labels(n), strict=True)):
            file = root / part / ("cat", "dog")[label] / f"{i:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(pixels))
    return {"name": "folder", "path": str(root)}


def make_npz(root: Path, **arrays: np.ndarray | None) -> dict[str, Any]:
    whole = {
        "x_train": make_pixels(),
        "y_train": make_labels(),
        "x_test": make_pixels(10),
        "y_test": make_labels(10),
        **arrays,
    }
    np.savez(root / "data.npz", **{key: value for key, value in whole.items() if value is not None})  # type: ignore[arg-type]
    return {"name": "npz", "path": str(root / "data.npz")}


def write_parquet(
    path: Path, images: Sequence[bytes | None], labels: Any, names: list[str] | None = None, **more: Any
) -> None:
    column = pa.array(
        [{"bytes": image, "path": None} for image in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    table = pa.table({"img": column, "label": labels, **more})
    if names:
        features = {"img": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=7)


def make_parquet(root: Path) -> dict[str, Any]:
    pixels, labels = make_pixels(), make_labels()
    half = N // 2
    for i, rows in enumerate((slice(0, half), slice(half, N))):
        name = f"train-0000{i}-of-00002.parquet"
        write_parquet(root / name, [png(p) for p in pixels[rows]], labels[rows], ["cat", "dog"])
    write_parquet(root / "test.parquet", [png(p) for p in make_pixels(10)], make_labels(10))
    return {"name": "parquet", "path": str(root)}


MAKERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "digits": lambda root: {"name": "digits"},
    "fashion_mnist": make_idx,
    "folder": make_folder,
    "npz": make_npz,
    "parquet": make_parquet,
}


def error_of(settings: Any) -> str:
    with pytest.raises(ValueError, match=r"^dataset") as error:
        load_dataset(settings)
    message = str(error.value)
    assert "\n" not in message
    return message


def same(one: Dataset, other: Dataset) -> bool:
    pairs = [(getattr(one, part), getattr(other, part)) for part in ("train", "valid", "test")]
    return all(np.array_equal(a.images, b.images) and np.array_equal(a.targets, b.targets) for a, b in pairs)


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))
