"""Masks: layouts of folders, Parquet and arrays; what their numbers mean; what can be wrong with them."""

from __future__ import annotations

import hashlib
import io
import runpy
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_makers import error_of, png, spoil
from documents import write_files
from nas.data import Dataset, load_dataset
from nas.data.arrays import dataset_of_arrays
from nas.data.described import described
from nas.data.masks import IGNORED, Numbers
from nas.data.pixels import Encoded, mask_numbers
from nas.data.record import record_of
from places import ROOT
from spatial_makers import HIGH, WIDE, image, make_masks, mask, palette_png, write, write_table

COUNT = 5  # images of a part


def _pairs(root: Path, images: str, masks: str, n: int = COUNT, seed: int = 0, names: str = "{:03}", mask_names: str = "{:03}") -> None:
    for i in range(n):
        write(root / images / f"{names.format(i)}.jpg", png(image(seed + i), "JPEG"))
        write(root / masks / f"{mask_names.format(i)}.png", png(mask(seed + i)))


def _load(root: Path, **settings: Any) -> Dataset:
    return load_dataset({"name": "masks", "path": str(root), "classes": ("a", "b", "c"), "resolution": 4, **settings})


LAYOUTS: list[tuple[list[tuple[str, str, str]], dict[str, str]]] = [
    ([("train", "train/images", "train/masks"), ("test", "test/images", "test/masks")], {}),
    ([("train", "images/training", "annotations/training"), ("valid", "images/validation", "annotations/validation")], {}),
    ([("train", "train", "trainannot"), ("valid", "val", "valannot"), ("test", "test", "testannot")], {}),
    ([("train", "train", "train_labels"), ("valid", "val", "val_labels")], {"mask_names": "{:03}_L"}),
    ([("train", "train2017", "semantic/train2017"), ("valid", "val2017", "semantic/val2017")], {}),
    ([("train", "leftImg8bit/train/ulm", "gtFine/train/ulm"), ("valid", "leftImg8bit/val/bonn", "gtFine/val/bonn")],
     {"names": "ulm_{:03}_leftImg8bit", "mask_names": "ulm_{:03}_gtFine_labelTrainIds"}),
]  # fmt: skip


@pytest.mark.parametrize("folders, names", LAYOUTS)
def test_layouts_of_folders(tmp_path: Path, folders: list[tuple[str, str, str]], names: dict[str, str]) -> None:
    for i, (_, images, masks) in enumerate(folders):
        _pairs(tmp_path, images, masks, COUNT, 10 * i, **names)
    data = _load(tmp_path, resize="crop")
    parts = [part for part, _, _ in folders]
    for i, part in enumerate(parts[1:], 1):
        found = getattr(data, part)
        assert len(found) == COUNT
        # The largest square from the middle of 8x6 pixels, halved or so by nearest neighbor.
        expected = Image.fromarray(mask(10 * i)[:, 1:7]).resize((4, 4), Image.Resampling.NEAREST)
        assert np.array_equal(found.targets[0], np.asarray(expected))
    assert data.target.kind == "mask"
    assert not data.left_out


def test_one_folder_is_split_and_what_has_no_pair_is_counted(tmp_path: Path) -> None:
    _pairs(tmp_path, "images", "masks", 10)
    write(tmp_path / "images" / "x.jpg", png(image(0), "JPEG"))
    write(tmp_path / "masks" / "y.png", png(mask(0)))
    write(tmp_path / "masks" / "z.jpg", png(image(0), "JPEG"))
    write(tmp_path / "previews" / "000.jpg", png(image(0), "JPEG"))
    data = _load(tmp_path)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [6, 2, 2]
    assert data.left_out == (
        "1 image without a mask (.jpg 1): x.jpg", "1 mask without an image (.png 1): y.png", "1 mask that is no PNG (.jpg 1): z.jpg",
        "1 image in another folder (.jpg 1): 000.jpg",
    )  # fmt: skip
    strict = error_of({"name": "masks", "path": str(tmp_path), "resolution": 4, "strict": True})
    assert strict.endswith("1 image without a mask (.jpg 1): x.jpg; dataset.strict=false leaves them out")


def test_lists_of_voc_and_palettes(tmp_path: Path) -> None:
    for i in range(7):
        write(tmp_path / "JPEGImages" / f"{i}.jpg", png(image(i), "JPEG"))
        border = np.where(mask(i) == 0, 255, mask(i)).astype(np.uint8)
        write(tmp_path / "SegmentationClass" / f"{i}.png", palette_png(border))
        write(tmp_path / "SegmentationObject" / f"{i}.png", palette_png(mask(i)))
    write(tmp_path / "ImageSets" / "Segmentation" / "train.txt", b"3\n1\n4\n")
    write(tmp_path / "ImageSets" / "Segmentation" / "val.txt", b"2\n")
    write(tmp_path / "ImageSets" / "Segmentation" / "test.txt", b"6\n")
    data = _load(tmp_path, resolution=24, resize="pad")
    assert [len(part) for part in (data.train, data.valid, data.test)] == [3, 1, 1]
    inside = data.valid.targets[0][3:-3]  # 8x6 pixels become 24x18
    assert np.array_equal(inside, np.kron(np.where(mask(2) == 0, IGNORED, mask(2)), np.ones((3, 3), int)))
    assert (data.valid.targets[0][:3] == IGNORED).all()
    assert data.left_out[0].startswith("2 images in no list (.jpg 2): 0.jpg, 5.jpg")
    write(tmp_path / "ImageSets" / "Segmentation" / "val.txt", b"2\n9\n")
    assert "val.txt: line 2: 9 has no image with a mask" in error_of({"name": "masks", "path": str(tmp_path)})
    write(tmp_path / "ImageSets" / "Segmentation" / "val.txt", b"3\n")
    assert "3 is in another part too" in error_of({"name": "masks", "path": str(tmp_path)})


def test_numbers_of_categories_have_gaps(tmp_path: Path) -> None:
    """COCO's panoptic-semantic PNG: a pixel has the id of its category, 0 where there is none."""
    for part, shift in (("train2017", 0), ("val2017", 100)):
        _pairs(tmp_path, part, f"semantic/{part}", seed=shift)
        for path in (tmp_path / "semantic" / part).iterdir():
            path.write_bytes(png(np.array([0, 1, 184], np.uint8)[np.asarray(Image.open(path))]))
    data = _load(tmp_path, classes=None, ignore=0)
    assert data.classes == ("1", "184")
    assert set(np.unique(data.train.targets)) == {0, 1, IGNORED}
    named = _load(tmp_path, classes={0: "nothing", 1: "person", 184: "tree-merged"}, ignore="nothing")
    assert named.classes == ("person", "tree-merged")
    of_json = _load(tmp_path, classes={"0": "nothing", "1": "person", "184": "tree-merged"}, ignore=["nothing"])
    assert of_json.digest == named.digest
    assert np.array_equal(named.train.targets, data.train.targets)
    with pytest.raises(ValueError, match=r"row \d, column \d has the number 184; expected 0 to 1 \(2 classes\) or 255; dataset.classes"):
        _load(tmp_path, classes=("background", "person"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_every_depth_gives_the_numbers_as_stored(bits: int) -> None:
    numbers = mask(0, classes=2**bits if bits < 8 else 200)
    assert np.array_equal(mask_numbers(Encoded("x", palette_png(numbers, bits))), numbers)
    assert np.array_equal(mask_numbers(Encoded("x", _gray_png(numbers, bits))), numbers)
    wide = numbers.astype(np.uint16) * 257
    assert np.array_equal(mask_numbers(Encoded("x", png(wide))), wide)


def _gray_png(numbers: np.ndarray, bits: int) -> bytes:
    """PIL writes no gray of 2 or 4 bits: a palette's bytes with another color type, without the palette."""
    content = palette_png(numbers, bits)
    head = content[:8]
    chunks, at = [], 8
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            body = body[:9] + b"\0" + body[10:]
        if kind != b"PLTE":
            chunks.append((kind, body))
        at += size + 12
    return head + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )


def test_a_turned_image_has_a_turned_mask(tmp_path: Path) -> None:
    """The mask is that of the image as people see it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(5):
        content = io.BytesIO()
        Image.fromarray(image(i, HIGH, WIDE)).save(content, "PNG", exif=exif)  # lies on its side in the file
        write(tmp_path / "images" / f"{i}.png", content.getvalue())
        write(tmp_path / "masks" / f"{i}.png", png(mask(i)))
    assert len(_load(tmp_path).train) == 3


def _parquet(root: Path, masks: Callable[[int], bytes | None] = lambda i: png(mask(i)), **more: Any) -> dict[str, Any]:
    for part, n in (("train", 12), ("test", 3)):
        write_table(root / f"{part}.parquet", [png(image(i)) for i in range(n)], label=[masks(i) for i in range(n)], **more)
    return {"name": "parquet", "path": str(root), "mask_column": "label", "resolution": 4, "classes": ("a", "b", "c")}


def test_parquet_with_masks(tmp_path: Path) -> None:
    settings = _parquet(tmp_path)
    data = load_dataset(settings)
    assert data.classes == ("a", "b", "c")
    assert [len(part) for part in (data.train, data.valid, data.test)] == [10, 2, 3]
    expected = np.asarray(Image.fromarray(mask(2)).resize((4, 4), Image.Resampling.NEAREST))
    assert np.array_equal(data.test.targets[2], expected)
    assert load_dataset({**settings, "classes": None}).classes == ("0", "1", "2")
    ignored = load_dataset({**settings, "ignore": "b"})
    assert ignored.classes == ("a", "c")
    assert np.array_equal(ignored.test.targets == 1, data.test.targets == 2)
    assert np.array_equal(ignored.test.targets == IGNORED, data.test.targets == 1)
    binary = load_dataset({**settings, "instances": True, "classes": ("background", "person")})
    assert binary.classes == ("background", "person")
    assert np.array_equal(binary.test.targets, np.minimum(data.test.targets, 1))


def test_streamed_images_have_the_same_masks(tmp_path: Path) -> None:
    settings = _parquet(tmp_path)
    one, other = load_dataset(settings), load_dataset({**settings, "stream": True})
    assert np.array_equal(one.train.targets, other.train.targets)
    assert np.array_equal(one.train.images, other.train.images[:])
    _pairs(tmp_path / "folder", "images", "masks", 10)
    one, other = _load(tmp_path / "folder"), _load(tmp_path / "folder", stream=True)
    assert np.array_equal(one.valid.targets, other.valid.targets)
    assert np.array_equal(one.valid.images, other.valid.images[:])


def test_a_mask_moves_the_digest_and_the_record_has_its_classes(tmp_path: Path) -> None:
    settings = make_masks(tmp_path, 10, 4)
    data = load_dataset(settings)
    assert record_of(data).classes == ("sky", "road", "tree")
    write(tmp_path / "test" / "masks" / "000.png", png(mask(99, 6, 6)))
    assert load_dataset(settings).digest != data.digest


def test_what_is_printed_of_masks(tmp_path: Path) -> None:
    settings = {**make_masks(tmp_path, 10, 4), "classes": ("sky", "road", "tree", "car"), "ignore": "road"}
    lines = described(load_dataset(settings))
    assert lines[0] == "images: 8 train, 2 valid, 4 test; 6x6, color; 3 classes: sky, tree, car"
    assert lines[1].startswith("pixels in training, %: ")
    assert lines[1].endswith("; without a pixel: car")


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"classes": ("a",)}, "dataset.classes: expected 2 to 255 that are not ignored, got 1 (a)"),
    ({"classes": ("a", "a")}, "dataset.classes: the name 'a' appears twice"),
    ({"classes": {1: "a", 255: "b"}}, "dataset.classes: 255 is no number of a class"),
    ({"classes": {-1: "a", 2: "b"}}, "dataset.classes: -1 is no number of a class"),
    ({"classes": {"sky": "a", "2": "b"}}, "dataset.classes: 'sky' is no number of a class; expected a list of names, or names by number"),
    ({"classes": "abc"}, "dataset.classes: expected a list or a mapping or null, got 'abc'"),
    ({"ignore": "skt"}, "dataset.ignore: no class 'skt'; did you mean sky? (classes: sky, road, tree)"),
    ({"ignore": -1}, "dataset.ignore: expected 0 to 65535, or the name of a class, got -1"),
    ({"ignore": ("sky", "road")}, "dataset.classes: expected 2 to 255 that are not ignored, got 1 (tree)"),
    ({"instances": True}, "dataset.classes: expected two, what is 0 and what is not, with instances=true, got 3"),
    ({"split": "classes"}, "dataset.split: masks has no class labels; expected images"),
    ({"train_size": 10**6}, "dataset.train_size: expected "),
]


@pytest.mark.parametrize("change, message", MISTAKES)
def test_wrong_settings(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert error_of({**make_masks(tmp_path, 8, 3), **change}).startswith(message)


@pytest.mark.parametrize("change, message", [
    ({"classes": ("a", "b")}, "dataset.classes: needs mask_column or boxes_column; leave it out, or set that"),
    ({"instances": True}, "dataset.instances: needs mask_column"),
    ({"mask_column": "label", "label_column": "label"}, "dataset.label_column: has no meaning beside mask_column"),
    ({"mask_column": "labl"}, "dataset.mask_column: "),
    ({"mask_column": "number"}, "dataset.mask_column: column number of "),
])  # fmt: skip
def test_wrong_settings_of_parquet(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_table(tmp_path / "train.parquet", [png(image(0))] * 4, label=[png(mask(0))] * 4, number=list(range(4)))
    assert error_of({"name": "parquet", "path": str(tmp_path), "resolution": 4, **change}).startswith(message)


Spoiled = tuple[Callable[[Path], Any], str]
FIRST = "train/masks/000.png"
FAULTS: list[Spoiled] = [
    (lambda root: write(root / FIRST, png(mask(0, 5, 6))), f"{FIRST}: 5x6 pixels, where the image has 6x6"),
    (lambda root: write(root / FIRST, png(np.full((6, 6), 7, np.uint8))), f"{FIRST}: the pixel in row 0, column 0 has the number 7"),
    (lambda root: write(root / FIRST, png(image(0, 6, 6))), f"{FIRST}: pixels of kind RGB; expected a mask with one number a pixel"),
    (lambda root: write(root / FIRST, png(image(0, 6, 6), "JPEG")), f"{FIRST}: corrupt image: not PNG"),
    (lambda root: spoil(root / FIRST, lambda content: content[:60]), f"{FIRST}: corrupt image: "),
    (lambda root: [spoil(path, lambda content: b"x") for path in (root / "train/masks").iterdir()], "8 masks cannot be read: "),
    (lambda root: write(root / "train/masks/000_mask.png", b""), "000_mask.png: has the name of "),
    (lambda root: (root / "train").rename(root / "exam"), "in no part, where others are in test"),
    (lambda root: [path.unlink() for path in root.rglob("masks/*.png")], "has no images with masks; expected a folder with images/"),
    (lambda root: [path.unlink() for path in root.rglob("train/masks/*.png")], "has no training part"),
]


@pytest.mark.parametrize("change, message", FAULTS)
def test_broken_masks(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    settings = make_masks(tmp_path, 8, 3)
    change(tmp_path)
    assert message in error_of(settings)
    if "cannot be read" in message:
        assert message in error_of({**settings, "classes": None})


def test_broken_masks_of_parquet(tmp_path: Path) -> None:
    settings = _parquet(tmp_path, lambda i: None if i == 2 else png(mask(i)))
    assert error_of(settings).endswith("test.parquet: row 2: label has no image bytes")
    settings = _parquet(tmp_path, lambda i: png(mask(i, 3 if i == 1 else WIDE)))
    error = error_of(settings)
    assert error.startswith("dataset: 2 masks cannot be read: ")
    assert "train.parquet: row 1: label: 3x6 pixels, where the image has 8x6" in error
    settings = _parquet(tmp_path)
    write_table(tmp_path / "test.parquet", [png(image(0))] * 3, number=[1, 2, 3])
    data = load_dataset(settings)
    assert data.left_out == ("3 images of the test part without masks",)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [8, 2, 2]


def test_arrays_of_masks() -> None:
    images, masks = np.stack([image(i, 6) for i in range(10)]), np.stack([mask(i, 6) for i in range(10)])
    data = dataset_of_arrays((images, masks))
    assert data.classes == ("0", "1", "2")
    assert (data.target.kind, data.target.shape) == ("mask", (HIGH, HIGH))
    mapped = {"x_train": images, "y_train": masks, "x_test": images[:2], "y_test": masks[:2].astype(int), "classes": ["a", "b", "c"]}
    data = dataset_of_arrays(mapped)
    assert data.classes == ("a", "b", "c")
    assert np.array_equal(data.test.targets, masks[:2])


def test_arrays_of_any_size() -> None:
    images = [image(i, WIDE + i) for i in range(10)]
    masks = [mask(i, WIDE + i) for i in range(10)]
    arrays = {"x_train": images, "y_train": masks, "x_test": images[:1], "y_test": masks[:1]}
    data = dataset_of_arrays({**arrays, "resolution": 6, "resize": "crop"})
    assert np.array_equal(data.test.images[:][0], images[0][:, 1:7])
    assert np.array_equal(data.test.targets[0], masks[0][:, 1:7])


@pytest.mark.parametrize("change, message", [
    ({"y_train": np.zeros((4, 6, 5), int)}, r"y_train: expected masks of shape \(4, 6, 6\), as the images of x_train"),
    ({"y_test": np.zeros(4, int)}, "y_test: expected masks, as y_train has, got labels"),
    ({"y_train": [np.zeros((6, 4), int)] * 4}, r"y_train\[0\]: expected boxes \(k, 5\), x0, y0, x1, y1, class, or a mask as large as its"),
    ({"y_train": [np.zeros((6, 6))] * 4}, "or a mask as large as its image, whole numbers, got float64 of shape"),
    ({"y_train": [np.zeros((6, 6), int)] * 3}, "y_train: expected 4 targets, as there are images, got 3"),
    ({"y_train": np.full((4, 6, 6), -1)}, r"y_train\[0\]: numbers from -1 to -1; expected 0 to 65535"),
    ({"x_train": [np.zeros((6, 6), float)] * 4}, r"x_train\[0\]: expected uint8 of shape"),
    ({"resolution": 0}, "dataset.resolution: expected 1 to 4096"),
    ({"resolutoin": 8}, "unknown array 'resolutoin'; did you mean resolution"),
])  # fmt: skip
def test_wrong_arrays(change: dict[str, Any], message: str) -> None:
    images, masks = np.zeros((4, 6, 6, 3), np.uint8), np.tile(np.arange(6), (4, 6, 1))
    with pytest.raises(ValueError, match=message) as error:
        dataset_of_arrays({"x_train": images, "y_train": masks, "x_test": images, "y_test": masks, **change})
    assert "\n" not in str(error.value)


def test_more_masks_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_masks(tmp_path, 8, 3)
    monkeypatch.setattr("nas.data.images.machine_memory", lambda: 300)
    assert "masks of 11 images of 6x6 need" in error_of({**settings, "stream": True})


def test_numbers_can_be_a_table_of_many() -> None:
    numbers = Numbers.of({7: "road", 8: "sidewalk", 300: "sky"}, ignore=(0, "sidewalk"))
    assert numbers.names == ("road", "sky")
    found = np.array([[7, 300], [0, 8]])
    assert numbers.classes_of(found, "x").tolist() == [[0, 1], [IGNORED, IGNORED]]


def test_the_rule_of_the_guide_splits_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "guides" / "masks-and-boxes.md"
    write_files(page, tmp_path)
    write_table(tmp_path / "all.parquet", [png(image(i)) for i in range(20)], label=[png(mask(i)) for i in range(20)])
    monkeypatch.setattr("sys.argv", ["split_by_row.py", str(tmp_path / "all.parquet"), str(tmp_path / "parts")])
    runpy.run_path(str(tmp_path / "split_by_row.py"))
    data = load_dataset({"name": "parquet", "path": str(tmp_path / "parts"), "mask_column": "label", "resolution": 4})
    rows = [row for row in range(20) if int(hashlib.md5(str(row).encode()).hexdigest(), 16) % 5 == 0]
    assert len(data.test) == len(rows)
    assert np.array_equal(data.test.targets[0], np.asarray(Image.fromarray(mask(rows[0])).resize((4, 4), Image.Resampling.NEAREST)))
