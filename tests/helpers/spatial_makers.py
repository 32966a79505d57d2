"""Small made-up datasets of masks and boxes, written into a folder; shared by their tests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from data_makers import make_pixels, png

COUNT, TEST = 20, 5  # images of the parts
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


def make_masks(root: Path, count: int = COUNT, test: int = TEST) -> dict[str, Any]:
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


def xml(boxes: Sequence[tuple[Any, ...]], width: int = WIDE, height: int = HIGH) -> bytes:
    """VOC's annotation of (name, xmin, ymin, xmax, ymax[, difficult])."""
    objects = "".join(
        f"<object><name>{name}</name>{'<difficult>1</difficult>' * bool(more)}<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1, *more in boxes
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>x.jpg</filename>{size}{objects}</annotation>".encode()


def make_voc(root: Path, count: int = COUNT, test: int = TEST) -> dict[str, Any]:
    """Square images with a cat, every second a dog too, the third of each ten without an object; all for training but `test`."""
    names = [f"{i:03}" for i in range(count + test)]
    for i, (name, pixels) in enumerate(zip(names, make_pixels(count + test), strict=True)):
        boxes = [("cat", 1, 0, 4, 3), ("dog", 2, 2, 6, 5)][: 0 if i % 10 == 2 else 1 + i % 2]
        write(root / "JPEGImages" / f"{name}.png", png(pixels))
        write(root / "Annotations" / f"{name}.xml", xml(boxes, 6, 6))
    for part, some in (("train", names[:count]), ("test", names[count:])):
        write(root / "ImageSets" / "Main" / f"{part}.txt", "\n".join(some).encode())
    return {"name": "voc", "path": str(root)}


def coco(images: Sequence[tuple[int, str]], annotations: Sequence[dict[str, Any]], width: int = WIDE, height: int = HIGH) -> dict[str, Any]:
    """COCO's file of (id, name) and annotations, with the categories 1, person, and 90, toothbrush."""
    return {
        "images": [{"id": number, "file_name": name, "width": width, "height": height} for number, name in images],
        "annotations": [{"id": 100 + i, **item} for i, item in enumerate(annotations)],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    }


def make_coco(root: Path, count: int = COUNT, test: int = TEST) -> dict[str, Any]:
    for part, n in (("train", count), ("test", test)):
        names = [(i + 1, f"{part}{i:03}.png") for i in range(n)]
        for (_, name), pixels in zip(names, make_pixels(n), strict=True):
            write(root / f"{part}2017" / name, png(pixels))
        boxes = [{"image_id": i, "category_id": (1, 90)[i % 2], "bbox": [1, 2, 3, 2.5], "iscrowd": 0} for i, _ in names[1:]]
        write(root / "annotations" / f"instances_{part}2017.json", json.dumps(coco(names, boxes, 6, 6)).encode())
    return {"name": "coco", "path": str(root)}


def make_yolo(root: Path, count: int = COUNT, test: int = TEST) -> dict[str, Any]:
    for part, n in (("train", count), ("test", test)):
        for i, pixels in enumerate(make_pixels(n)):
            write(root / "images" / part / f"{i:03}.png", png(pixels))
            lines = ["0 0.5 0.5 0.5 0.5", "1 0.25 0.75 0.5 0.25"][: i % 3]
            write(root / "labels" / part / f"{i:03}.txt", "\n".join(lines).encode())
    write(root / "data.yaml", b"names: [cat, dog]\nnc: 2\n")
    return {"name": "yolo", "path": str(root)}


SPATIAL: dict[str, Callable[[Path], dict[str, Any]]] = {"masks": make_masks, "voc": make_voc, "coco": make_coco, "yolo": make_yolo}
