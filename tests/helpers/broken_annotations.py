"""Annotations and masks that are broken in ways of every kind, by seed: bytes, structure, numbers, names."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_makers import make_pixels, png
from spatial_makers import coco, image, mask, palette_png, write, xml

COUNT = 5  # images
NUMBERS = ["nan", "inf", "-inf", "1e400", "-1", "1e308", "9" * 400, "0x10", "", " ", "ten", "1,5", "\u0663", "1e-400", "-0", "3.7", "\x00"]
VALUES: list[Any] = [
    None, True, [], {}, "", "x", -1, 0, 10**400, 1e308, float("nan"), float("inf"), [[[]]], {"id": 1}, "\ud800", [1, 2, 3, 4, 5], "../../x",
]  # fmt: skip
BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation>&b;</annotation>'
XMLS: list[bytes] = [
    BOMB, b"", b"<annotation/>", b"<a></a>", b"<annotation>" + b"<b>" * 100_000, b"<annotation><object/></annotation>", b"\xff\xfe\x00",
    b'<?xml version="1.0" encoding="x-none"?><annotation/>', b'<?xml version="1.0" encoding="utf-7"?><annotation/>',
    b"<annotation>&#0;</annotation>",
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', b"<annotation><object><name>cat</name><bndbox/></object></annotation>",
    '<?xml version="1.0" encoding="utf-16"?><annotation/>'.encode("utf-16"), b"<annotation>" + b"<object>" * 40,
]  # fmt: skip


def write_images(root: Path) -> None:
    for i, pixels in enumerate(make_pixels(COUNT)):
        write(root / "images" / f"{i}.png", png(pixels))


def spoiled(content: bytes, rng: random.Random) -> bytes:
    """Bytes cut, changed, doubled, taken out or put in."""
    at, size = rng.randrange(len(content)), rng.randrange(1, 20)
    ways = (
        content[:at], content[:at] + rng.randbytes(size) + content[at:], content[:at] + content[at + size :],
        content[:at] + rng.randbytes(size) + content[at + size :], content[at:], content + content[:at], content.replace(b"<", b"", 1),
        content.replace(b'"', b"'", 3),
    )  # fmt: skip
    return rng.choice(ways)


def broken_voc(root: Path, rng: random.Random) -> dict[str, Any]:
    write_images(root)
    for i in range(COUNT):
        write(root / "images" / f"{i}.xml", xml([("cat", 1, 1, 4, 5), ("dog", 2, 2, 5, 5)], 6, 6))
    whole = xml([("cat", 1, 1, 4, 5), ("dog", 2, 2, 5, 5)], 6, 6)
    tags = re.findall(rb"<(\w+)>", whole)
    tag = rng.choice(tags)
    ways: list[Callable[[], bytes]] = [
        lambda: spoiled(whole, rng),
        lambda: rng.choice(XMLS),
        lambda: re.sub(rb"<%b>.*?</%b>" % (tag, tag), b"", whole, count=rng.choice([0, 1])),
        lambda: re.sub(rb"(<%b>)[^<]*" % tag, rb"\g<1>" + rng.choice(NUMBERS).encode(), whole, count=1),
        lambda: re.sub(rb">(\d+)<", b">%b<" % rng.choice(NUMBERS).encode(), whole, count=rng.randrange(1, 9)),
        lambda: whole.replace(b"cat", rng.choice(["cta", "<b>x</b>", "\u202ecat", "c" * 10_000, "cat\n\n"]).encode()),
    ]
    write(root / "images" / f"{rng.randrange(COUNT)}.xml", rng.choice(ways)())
    return {"name": "voc", "path": str(root), "resolution": 4, "classes": ("cat", "dog")}


def broken_coco(root: Path, rng: random.Random) -> dict[str, Any]:
    write_images(root)
    boxes = [{"image_id": i, "category_id": 1, "bbox": [1, 1, 3, 2], "area": 6, "iscrowd": 0} for i in range(COUNT)]
    data = coco([(i, f"{i}.png") for i in range(COUNT)], boxes, 6, 6)
    content = json.dumps(data).encode()
    if rng.random() < 0.4:
        content = rng.choice([spoiled(content, rng), b"[" * 100_000, b"null", b"{}", b"\xff", b'{"images": 1e999}'])
    else:
        for _ in range(rng.randrange(1, 3)):
            _replace(data, rng)
        content = json.dumps(data).encode("utf-8", "surrogatepass")
    write(root / "all.json", content)
    return {"name": "coco", "path": str(root), "resolution": 4}


def _replace(data: Any, rng: random.Random) -> None:
    """One value anywhere within becomes another, or is taken away."""
    place = data
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        if rng.random() < 0.25:
            del place[key]
        else:
            place[key] = rng.choice(VALUES)
        return


def broken_yolo(root: Path, rng: random.Random) -> dict[str, Any]:
    write_images(root)
    for i in range(COUNT):
        write(root / "labels" / f"{i}.txt", b"0 0.5 0.5 0.4 0.4\n1 0.25 0.75 0.5 0.5\n")
    write(root / "data.yaml", b"names: [cat, dog]\n")
    lines = ["0 0.5 0.5 0.4 0.4", "1 0.25 0.75 0.5 0.5"]
    words = lines[rng.randrange(2)].split()
    words[rng.randrange(5)] = rng.choice(NUMBERS)
    texts = [
        "\n".join([lines[0], " ".join(words)]), lines[0] + " 0.9", "0 .1 .1 .2 .1 .2 .2", "2 .5 .5 .1 .1", "0 320 240 20 20", "0\n" * 50,
    ]  # fmt: skip
    content = rng.choice([spoiled("\n".join(lines).encode(), rng), rng.choice(texts).encode(), b"\xff\xfe0", rng.randbytes(30)])
    write(root / "labels" / rng.choice(["0.txt", "3.txt", "9.txt"]), content)
    if rng.random() < 0.2:
        named = [b"names: 3", b"names: [a, a]", b"{", b"names: {1: a}", b"names: &a [*a]", b"names: !!python/x y", b""]
        write(root / "data.yaml", rng.choice(named))
    return {"name": "yolo", "path": str(root), "resolution": 4}


def broken_masks(root: Path, rng: random.Random) -> dict[str, Any]:
    write_images(root)
    for i in range(COUNT):
        write(root / "masks" / f"{i}.png", png(mask(i, 6, 6)))
    whole = rng.choice([png(mask(0, 6, 6)), palette_png(mask(0, 6, 6))])
    content = io.BytesIO()
    Image.fromarray(image(0, 6, 6)).convert(rng.choice(["RGB", "RGBA", "LA", "F", "CMYK"])).save(content, "TIFF")
    ways = [
        spoiled(whole, rng), png(mask(0, rng.randrange(1, 5), 6)), png(np.full((6, 6), rng.randrange(3, 255), np.uint8)),
        png(image(0, 6, 6)), png(image(0, 6, 6), "JPEG"), content.getvalue(), b"", whole[:8], png(np.full((6, 6), 40_000, np.uint16)),
    ]  # fmt: skip
    write(root / "masks" / f"{rng.randrange(COUNT)}.png", rng.choice(ways))
    return {"name": "masks", "path": str(root), "resolution": 4, "classes": rng.choice([("a", "b", "c"), None])}


BROKEN: dict[str, Callable[[Path, random.Random], dict[str, Any]]] = {
    "voc": broken_voc, "coco": broken_coco, "yolo": broken_yolo, "masks": broken_masks,
}  # fmt: skip
