"""One way from a file to pixels: what a prediction sees of a file is what a training would, in memory or streamed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_makers import make_pixels
from nas.data import Dataset, Encoded, load_dataset
from nas.data.images import quietly
from nas.data.pixels import RESIZES, TURNS, Resize, parsed, pixels
from nas.data.record import DataRecord, record_of
from nas.tasks import CLASSIFICATION
from nas.workflows.export.images import read_image
from nas.workflows.export.usage import usage

SIDE = 8
WIDE = Image.fromarray(make_pixels(1, 20)[0, :12])  # 20 x 12, every pixel another


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(turn: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    return saved(WIDE, kind, exif=exif, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))


def with_alpha(mode: str) -> Image.Image:
    image = WIDE.convert(mode[:-1])
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def sixteen(kind: str, dtype: str) -> bytes:
    values = np.linspace(0, 65535, 240).reshape(12, 20).astype(dtype)
    return saved(Image.fromarray(values), kind)


def frames(kind: str) -> bytes:
    return saved(WIDE.convert("P"), kind, save_all=True, append_images=[Image.new("P", WIDE.size, 7)])


GRAY: dict[str, Callable[[], bytes]] = {
    "1.png": lambda: saved(WIDE.convert("1")), "l.png": lambda: saved(WIDE.convert("L")), "la.png": lambda: saved(with_alpha("LA")),
    "l.jpg": lambda: saved(WIDE.convert("L"), "JPEG"), "sixteen.png": lambda: sixteen("PNG", "<u2"),
    "sixteen.tif": lambda: sixteen("TIFF", "<u2"), "sixteen-big.tif": lambda: sixteen("TIFF", ">u2"),
}  # fmt: skip
COLOR: dict[str, Callable[[], bytes]] = {
    "rgb.png": lambda: saved(WIDE), "rgba.png": lambda: saved(with_alpha("RGBA")), "p.png": lambda: saved(WIDE.convert("P")),
    "p-clear.png": lambda: saved(WIDE.convert("P"), transparency=3), "rgb-clear.png": lambda: saved(WIDE, transparency=(0, 0, 0)),
    "cmyk.jpg": lambda: saved(WIDE.convert("CMYK"), "JPEG"), "cmyk.tif": lambda: saved(WIDE.convert("CMYK"), "TIFF"),
    "webp.webp": lambda: saved(with_alpha("RGBA"), "WEBP"), "bmp.bmp": lambda: saved(WIDE, "BMP"), "TIFF.TIFF": lambda: saved(WIDE, "TIFF"),
    "moving.gif": lambda: frames("GIF"), "pages.tif": lambda: frames("TIFF"), "square.png": lambda: saved(WIDE.resize((9, 9))),
    "as-is.png": lambda: saved(WIDE.resize((SIDE, SIDE))), "tall.jpeg": lambda: saved(WIDE.transpose(Image.Transpose.ROTATE_90), "JPEG"),
    **{f"turned-{turn}.{kind}": (lambda turn=turn, kind=kind: oriented(turn, kind.upper()))
       for turn in range(1, 9) for kind in ("png", "jpeg", "webp", "tiff")},
}  # fmt: skip


RULES = (*RESIZES, "crop:0.75", "squash:0.8")


def loaded(root: Path, files: dict[str, Callable[[], bytes]], rule: Resize, stream: bool) -> tuple[Dataset, list[Path]]:
    """(a dataset whose test part has the files, the files in its order)."""
    for part, names in (("train", [f"{i}.png" for i in range(4)]), ("test", list(files))):
        for kind in ("a", "b"):
            (root / part / kind).mkdir(parents=True, exist_ok=True)
            for name in names:
                (root / part / kind / name).write_bytes(files[name]() if part == "test" else next(iter(files.values()))())
    settings = {"name": "folder", "path": str(root), "resolution": SIDE, "resize": rule, "stream": stream}
    return load_dataset(settings), sorted((root / "test").rglob("*.*"))


@pytest.mark.parametrize(
    "files, rule, stream",
    [(GRAY, "squash", True), (GRAY, "pad", False), *(({**COLOR, **GRAY}, rule, rule == "crop") for rule in RULES)],
    ids=["gray-squash", "gray-pad", *RULES],
)
def test_a_prediction_sees_the_pixels_of_training(
    tmp_path: Path, files: dict[str, Callable[[], bytes]], rule: Resize, stream: bool
) -> None:
    data, paths = loaded(tmp_path, files, rule, stream)
    assert (data.channels, len(data.test)) == (1 if files is GRAY else 3, 2 * len(files))
    seen = {path.name: read_image(path, record_of(data)) for path in paths}
    trained = dict(zip([path.name for path in paths], data.test.images[:], strict=True))
    assert [name for name in files if not np.array_equal(seen[name], trained[name])] == []


def seen(content: bytes, channels: int = 3, rule: Resize = "squash", size: int = SIDE) -> np.ndarray:
    return pixels(Encoded("x", content), size, channels, rule)


@pytest.mark.parametrize("rule", RULES)
def test_the_code_of_a_model_card_reads_a_photo_alike(rule: Resize, tmp_path: Path) -> None:
    record = DataRecord(("a", "b"), (0.5,) * 3, (0.5,) * 3, SIDE, 3, rule, "")
    code = "\n".join(usage(CLASSIFICATION, record, SIDE, [])).split("```")[1].removeprefix("python\n")
    (tmp_path / "photo.jpg").write_bytes(saved(WIDE))
    scope: dict[str, Any] = {}
    exec(code.replace('"photo.jpg"', repr(str(tmp_path / "photo.jpg"))), scope)
    assert np.array_equal(scope["images"][0], seen(saved(WIDE), rule=rule))


@pytest.mark.parametrize("rule, box", [("crop:0.5", (7, 3, 13, 9)), ("squash:0.5", (5, 3, 15, 9)), ("crop:0.01", (9, 5, 10, 6))])
def test_a_fraction_keeps_the_middle(rule: Resize, box: tuple[int, int, int, int]) -> None:
    """Of 20 x 12 pixels."""
    assert np.array_equal(seen(saved(WIDE), rule=rule), seen(saved(WIDE.crop(box))))


@pytest.mark.parametrize("rule", ["shrink", "crop:", "crop:0", "crop:1.1", "crop:nan", "pad:0.5", "crop:0.5:0.5", "", None, 0.875])
def test_a_rule_that_is_none_is_one_line(rule: Any) -> None:
    with pytest.raises(ValueError, match=r"^resize: expected one of squash, crop, pad, or a fraction of the middle such as crop:0.875"):
        parsed(rule)


def squares(root: Path, *sides: int) -> Path:
    for i, side in enumerate((*sides, *sides)):
        (folder := root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        for k in range(5):
            Image.new("RGB", (side, side), (i, k, 9)).save(folder / f"{i}-{k}.png")
    return root


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "sides, asked, expected",
    [
        ((9, 9), {}, (6, "crop:0.875")),
        ((9, 5), {}, (6, "crop:0.875")),
        ((6, 6), {}, (6, "crop")),  # as found: no pixel is enlarged that nobody asked for
        ((4, 4), {}, (4, "crop")),
        ((9, 9), {"resolution": 7}, (7, "crop:0.875")),
        ((4, 4), {"published": None}, (4, "crop:0.875")),
    ],
)
def test_images_become_as_large_as_published_and_never_larger(
    sides: tuple[int, ...], asked: dict[str, Any], expected: tuple[int, str], stream: bool, tmp_path: Path
) -> None:
    settings = {"name": "folder", "path": str(squares(tmp_path, *sides)), "resize": "crop:0.875", "published": 6, "stream": stream}
    data = load_dataset({**settings, **asked})
    assert (data.resolution, data.resize) == expected


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_upright(turn: int, kind: str) -> None:
    upright = WIDE if turn == 1 else WIDE.transpose(TURNS[turn])
    assert np.array_equal(seen(oriented(turn, kind)), seen(saved(upright)))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0junk", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_an_orientation_that_cannot_be_read_counts_as_none(exif: bytes) -> None:
    with quietly():
        assert np.array_equal(seen(saved(WIDE, "JPEG", exif=exif)), seen(saved(WIDE, "JPEG")))


CLEAR = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
VALUES: dict[str, tuple[bytes, int, list[int]]] = {
    "clear is white": (saved(CLEAR), 3, [255, 255, 255]),
    "half clear": (saved(Image.new("RGBA", (4, 4), (0, 100, 255, 128))), 3, [127, 177, 255]),
    "clear and gray": (saved(Image.new("LA", (4, 4), (0, 0))), 1, [255]),
    "clear webp": (saved(CLEAR, "WEBP", lossless=True), 3, [255, 255, 255]),
    "16 bits": (saved(Image.fromarray(np.full((4, 4), 32768, np.uint16))), 1, [127]),
    "16 bits in color": (saved(Image.fromarray(np.full((4, 4), 65535, np.uint16))), 3, [255, 255, 255]),
    "no ink": (saved(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG"), 3, [255, 255, 255]),
    "bit": (saved(Image.new("1", (4, 4), 1)), 1, [255]),
}


@pytest.mark.parametrize("case", VALUES)
def test_values(case: str) -> None:
    content, channels, expected = VALUES[case]
    assert seen(content, channels)[3, 3].tolist() == expected


def test_the_three_rules() -> None:
    black = saved(Image.new("L", (16, 8)))
    columns = Image.fromarray(np.repeat([[0] * 4 + [90] * 8 + [0] * 4], 8, 0).astype(np.uint8))
    assert seen(black, 1, "squash").max() == 0
    padded = seen(black, 1, "pad", 16)[..., 0]
    assert [padded[row, 0] for row in (0, 3, 4, 11, 12, 15)] == [255, 255, 0, 0, 255, 255]
    assert np.all(seen(saved(columns), 1, "crop") == 90)
