"""Small made-up datasets of masks and boxes, written into a folder; shared by their tests."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from data_makers import N, make_pixels, png

WIDE, HIGH = 8, 6  # of the made-up images, in pixels


def image(seed: int, width: int = WIDE, height: int = HIGH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def mask(seed: int, width: int = WIDE, height: int = HIGH, classes: int = 3) -> np.ndarray:
    return np.random.default_rng([seed, 1]).integers(0, classes, (height, width), np.uint8)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def palette_png(numbers: np.ndarray, bits: int = 8) -> bytes:
    """Numbers as indices of a palette of random colors."""
    made, content = Image.fromarray(numbers, "P"), io.BytesIO()
    made.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    made.save(content, "PNG", bits=bits)
    return content.getvalue()


def make_masks(root: Path, count: int = N, test: int = 10) -> dict[str, Any]:
    """Square images, so that any size is theirs; train/ and test/ of images/ and masks/."""
    for part, n in (("train", count), ("test", test)):
        for i, pixels in enumerate(make_pixels(n)):
            write(root / part / "images" / f"{i:03}.png", png(pixels))
            write(root / part / "masks" / f"{i:03}.png", png(mask(i, 6, 6)))
    return {"name": "masks", "path": str(root), "classes": ("sky", "road", "tree")}


def write_table(path: Path, images: Sequence[bytes | None], group: int = 7, **columns: Any) -> None:
    """`columns` of bytes become structs, as the Hugging Face hub has images."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def column(values: Any) -> Any:
        is_file = isinstance(values, list) and any(isinstance(value, bytes) for value in values)
        return pa.array([{"bytes": value, "path": None} for value in values], kind) if is_file else values

    table = {name: column(values) for name, values in {"image": list(images), **columns}.items()}
    pq.write_table(pa.table(table), path, row_group_size=group)


SPATIAL: dict[str, Callable[[Path], dict[str, Any]]] = {"masks": make_masks}
