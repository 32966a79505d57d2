"""Boxes as targets: columns, the three ways to become square, what is dropped, clipped or refused, and the layouts of files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_makers import error_of, png
from nas.data import Dataset, load_dataset
from nas.data.arrays import dataset_of_arrays
from nas.data.boxes import AREA, CLASS, COLUMNS, IGNORED, PIXELS, X0, X1, Y0, Y1, counts_of
from nas.data.described import described
from nas.data.split import subset
from spatial_makers import coco, image, make_coco, make_voc, make_yolo, write, write_table, xml


def _arrays(boxes: Sequence[Any], images: Sequence[np.ndarray] | None = None, **settings: Any) -> Dataset:
    """Of images of 8x6 pixels, whose targets are those of the test part; `boxes`: (x0, y0, x1, y1, class) each."""
    shown = [image(i) for i in range(len(boxes))] if images is None else images
    given = [np.array(some, float).reshape(-1, 5) for some in boxes]
    train = {"x_train": [image(9)] * 4, "y_train": [np.array([[0, 0, 8, 6, 1]])] * 4}
    return dataset_of_arrays({**train, "x_test": shown, "y_test": given, "resolution": 4, **settings})


def _edges(target: np.ndarray) -> list[float]:
    return target[:4].tolist()


def test_the_columns() -> None:
    assert tuple(range(COLUMNS)) == (Y0, X0, Y1, X1, CLASS, IGNORED, AREA, PIXELS)
    data = _arrays([[(2, 3, 4, 6, 1), (0, 0, 8, 6, 0)], []])
    assert (data.target.kind, data.target.shape, data.target.dtype) == ("boxes", (2, 8), "float32")
    first, other = data.test.targets[0]
    assert _edges(first) == [0.5, 0.25, 1.0, 0.5]
    assert first[CLASS:].tolist() == [1, 0, 6, 48]
    assert other.tolist() == [0, 0, 1, 1, 0, 0, 48, 48]
    assert data.test.targets[1].tolist() == [[0, 0, 0, 0, -1, 0, 0, 48]] * 2
    assert data.train.targets[0].tolist() == [[0, 0, 1, 1, 1, 0, 48, 48], [0, 0, 0, 0, -1, 0, 0, 48]]


def test_a_dataset_without_objects_has_room_for_one() -> None:
    data = dataset_of_arrays({"x_train": [image(0)] * 5, "y_train": [np.zeros((0, 5))] * 5, "resolution": 4, "classes": ["cat"]})
    assert data.train.targets.shape == (3, 1, 8)


RULES: list[tuple[str, list[float], float, float]] = [
    # rule, (y0, x0, y1, x1) of the box (1, 2, 4, 4) of an image of 8x6 pixels, its area, the pixels of the square
    ("squash", [2 / 6, 1 / 8, 4 / 6, 4 / 8], 6, 48),
    ("crop", [2 / 6, 0, 4 / 6, 3 / 6], 6, 36),
    ("pad", [3 / 8, 1 / 8, 5 / 8, 4 / 8], 6, 64),
    ("squash:0.5", [1 / 3, 0, 1, 2 / 4], 4, 12),
    ("crop:0.5", [1 / 3, 0, 1, 2 / 3], 4, 9),
]


@pytest.mark.parametrize("rule, edges, area, pixels", RULES)
def test_boxes_become_square_as_their_images(rule: str, edges: list[float], area: float, pixels: float) -> None:
    target = _arrays([[(1, 2, 4, 4, 0)]], resize=rule, classes=["a", "b"]).test.targets[0, 0]
    assert _edges(target) == pytest.approx(edges, abs=1e-6)
    assert target[[AREA, PIXELS]].tolist() == pytest.approx([area, pixels])


@pytest.mark.parametrize("rule", ["squash", "crop", "pad", "crop:0.75", "squash:0.75"])
def test_a_marked_region_and_its_box_stay_together(rule: str) -> None:
    """A white region on black, resized by each rule, lies where its box says."""
    shown = np.zeros((60, 80, 3), np.uint8)
    shown[20:40, 30:50] = 255
    data = _arrays([[(30, 20, 50, 40, 0)]], [shown], resolution=120, resize=rule, classes=["a", "b"])
    y0, x0, y1, x1 = np.round(120 * data.test.targets[0, 0, :4]).astype(int)
    bright = np.asarray(data.test.images)[0, ..., 0] > 127
    assert bright[y0:y1, x0:x1].mean() > 0.9
    bright[y0:y1, x0:x1] = False
    assert bright[30:90].mean() < 0.05  # pad adds white above and below


def test_what_is_dropped_and_clipped_is_counted() -> None:
    data = _arrays(
        [[(1, 1, 1, 4, 0), (4, 4, 2, 5, 0), (2, 2, 5, 5, 0)], [(9, 1, 12, 4, 1), (-2, 1, 4, 4, 1), (0, 0, 8.3, 6, 1)]], classes=["a", "b"]
    )
    assert data.test.targets[1, :, :4] == pytest.approx(np.array([[1 / 6, 0, 4 / 6, 0.5], [0, 0, 1, 1]]))
    assert [int((target[:, CLASS] >= 0).sum()) for target in data.test.targets] == [1, 2]
    assert data.left_out == (
        "2 boxes without area: dataset: y_test[0]: object 1 (a): 1, 1, 1, 4; dataset: y_test[0]: object 2 (a): 4, 4, 2, 5",
        "1 box outside its image: dataset: y_test[1]: object 1 (b): 9, 1, 12, 4",
        "1 box beyond the border of its image, clipped: dataset: y_test[1]: object 2 (b): -2, 1, 4, 4",
    )
    assert described(data)[1:3] == [
        "objects: 3 train, 1 valid, 3 test; at most 2 an image; in training b 3, a 0; without one: a",
        "left out: " + data.left_out[0],
    ]  # fmt: skip


def test_a_crop_drops_boxes_by_their_center(tmp_path: Path) -> None:
    """The square of 8x6 pixels is columns 1 to 7. What is ignored is kept wherever it can be seen."""
    for part, name in (("train", "a"), ("train", "b"), ("train", "c"), ("test", "d")):
        boxes = [("cat", 0, 0, 1.5, 6), ("cat", 0, 0, 4, 6), ("cat", 0, 0, 1.5, 6, 1), ("cat", 0, 0, 1, 6, 1)]
        write(tmp_path / part / f"{name}.xml", xml(boxes))
        write(tmp_path / part / f"{name}.png", png(image(0)))
    data = load_dataset({"name": "voc", "path": str(tmp_path), "resolution": 4, "resize": "crop"})
    found = data.test.targets[0]
    assert [_edges(row) for row in found] == [[0, 0, 1, 0.5], [0, 0, 1, pytest.approx(0.5 / 6)]]
    assert found[:, IGNORED].tolist() == [0, 1]
    assert found[:, AREA].tolist() == [18, 3]
    assert data.left_out[0].startswith("8 boxes whose center dataset.resize crops: ")


def test_strict_refuses_what_would_be_dropped_or_clipped(tmp_path: Path) -> None:
    for i, boxes in enumerate([[("cat", 1, 1, 5, 5)]] * 5):
        write(tmp_path / f"{i}.png", png(image(i)))
        write(tmp_path / f"{i}.xml", xml(boxes))
    settings = {"name": "voc", "path": str(tmp_path), "resolution": 4, "strict": True}
    assert load_dataset(settings).left_out == ()
    flat, outside, beyond = (3, 1, 3, 5), (9, 1, 10, 5), (1, 1, 10, 5)
    for box, problem in ((flat, "box without area"), (outside, "box outside its image"), (beyond, "box beyond the border")):
        write(tmp_path / "3.xml", xml([("cat", 1, 1, 5, 5), ("cat", *box)]))
        assert f"3.xml: object 2 (cat): {', '.join(map(str, box))}: {problem}" in error_of(settings)


def test_voc_by_lists(tmp_path: Path) -> None:
    data = load_dataset(make_voc(tmp_path))
    assert data.classes == ("cat", "dog")
    assert [len(part) for part in (data.train, data.valid, data.test)] == [16, 4, 5]
    assert data.test.targets.shape == (5, 2, 8)
    assert _edges(data.test.targets[1, 1]) == pytest.approx([2 / 6, 2 / 6, 5 / 6, 1.0])
    assert [int((target[:, CLASS] >= 0).sum()) for target in data.test.targets[:4]] == [1, 2, 0, 2]
    assert counts_of(data.test.targets, data.classes) == {"cat": 4, "dog": 2}
    assert data.left_out == ()
    named = load_dataset({**make_voc(tmp_path), "classes": ("dog", "bird", "cat"), "one_based": True})
    assert named.test.targets[1, :, CLASS].tolist() == [2, 0]
    assert _edges(named.test.targets[1, 1]) == pytest.approx([1 / 6, 1 / 6, 5 / 6, 1.0])


def test_trainval_is_the_training_part_where_there_is_no_other(tmp_path: Path) -> None:
    settings = make_voc(tmp_path, 8, 3)
    lists = tmp_path / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "trainval.txt")
    write(lists / "cat_train.txt", b"000 1\n001 -1\n")
    write(lists / "val.txt", b"001\n")
    data = load_dataset(settings)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [6, 2, 3]


def test_voc_in_folders(tmp_path: Path) -> None:
    """The same name in two parts, images and annotations side by side or in folders of their own."""
    for part, n in (("train", 4), ("valid", 2), ("test", 1)):
        for i in range(n):
            write(tmp_path / part / "images" / f"{i}.jpg", png(image(i), "JPEG"))
            write(tmp_path / part / "annotations" / f"{i}.xml", xml([(part, 1, 1, 5, 5)]))
    write(tmp_path / "train" / "images" / "9.jpg", png(image(9), "JPEG"))
    data = load_dataset({"name": "voc", "path": str(tmp_path), "resolution": 4, "classes": ("train", "valid", "test")})
    assert [part.targets[0, 0, CLASS] for part in (data.train, data.valid, data.test)] == [0, 1, 2]
    assert data.left_out == ("1 image without an annotation (.jpg 1): 9.jpg",)


def _coco(root: Path, annotations: Sequence[dict[str, Any]], change: Callable[[dict[str, Any]], Any] = lambda data: None) -> dict[str, Any]:
    names = [(i, f"{i}.png") for i in range(1, 6)]
    for i, name in names:
        write(root / "photos" / name, png(image(i)))
    data = coco(names, annotations)
    change(data)
    write(root / "photos.json", json.dumps(data).encode())
    return {"name": "coco", "path": str(root), "resolution": 4}


def test_coco(tmp_path: Path) -> None:
    data = load_dataset(make_coco(tmp_path))
    assert data.classes == ("person", "toothbrush")
    assert [len(part) for part in (data.train, data.valid, data.test)] == [16, 4, 5]
    assert data.test.targets[0].tolist() == [[0, 0, 0, 0, -1, 0, 0, 36]]
    assert data.test.targets[1, 0].tolist() == pytest.approx([2 / 6, 1 / 6, 4.5 / 6, 4 / 6, 0, 0, 7.5, 36])
    assert data.test.targets[2, 0, CLASS] == 1
    assert data.left_out == ()


def test_crowds_and_areas_of_coco(tmp_path: Path) -> None:
    some = [{"image_id": i, "category_id": 90, "bbox": [0, 0, 4, 3], "area": 7.25, "iscrowd": i % 2} for i in range(1, 6)]
    data = load_dataset(_coco(tmp_path, some))
    found = np.concatenate([part.targets for part in (data.train, data.valid, data.test)])
    assert sorted(found[:, 0, IGNORED].tolist()) == [0, 0, 1, 1, 1]
    assert set(found[:, 0, AREA]) == {7.25}
    assert described(data)[1].endswith("without one: person; 3 ignored")


def test_files_of_coco_are_found_by_their_names(tmp_path: Path) -> None:
    settings = make_coco(tmp_path)
    folder = tmp_path / "annotations"
    for name in ("captions_train2017.json", "person_keypoints_train2017.json"):
        write(folder / name, b"{}")
    write(folder / "image_info_val2017.json", json.dumps({"images": [{}, {}], "categories": []}).encode())
    data = load_dataset(settings)
    assert data.left_out == (
        "2 images of the valid part without annotations: image_info_val2017.json",
        "2 files of other kinds (.json 2): captions_train2017.json, person_keypoints_train2017.json",
    )
    (folder / "instances_train2017.json").rename(folder / "mine.json")
    assert "several JSON files of the part train (annotations/captions_train2017.json, " in error_of(settings)
    data = load_dataset({**settings, "annotations": {"train": "annotations/mine.json", "test": "annotations/instances_test2017.json"}})
    assert len(data.test) == 5
    assert "dataset.annotations: train: no file " in error_of({**settings, "annotations": {"train": "x.json"}})
    assert "dataset.annotations: 'trian' is no part; did you mean train?" in error_of({**settings, "annotations": {"trian": "x.json"}})
    assert "dataset.annotations: expected a file for train" in error_of({**settings, "annotations": {"val": "x.json"}})


def test_yolo(tmp_path: Path) -> None:
    data = load_dataset(make_yolo(tmp_path))
    assert data.classes == ("cat", "dog")
    assert [len(part) for part in (data.train, data.valid, data.test)] == [16, 4, 5]
    assert data.test.targets[2].tolist() == [[0.25, 0.25, 0.75, 0.75, 0, 0, 9, 36], [0.625, 0, 0.875, 0.5, 1, 0, 4.5, 36]]
    assert data.left_out == ()
    for path in (tmp_path / "labels" / "test").glob("*0.txt"):
        path.unlink()
    assert np.array_equal(load_dataset(make_yolo(tmp_path)).test.targets, data.test.targets)


def test_yolo_in_parts_with_names_in_a_list(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        for i in range(3):
            write(tmp_path / part / "images" / f"{i}.jpg", png(image(i), "JPEG"))
            write(tmp_path / part / "labels" / f"{i}.txt", b"1 0.5 0.5 1 1\n\n")
    write(tmp_path / "classes.txt", "hat\nCafé\n".encode())
    settings = {"name": "yolo", "path": str(tmp_path), "resolution": 4}
    data = load_dataset(settings)
    assert data.classes == ("hat", "Café")
    assert data.test.targets[0, 0].tolist() == [0, 0, 1, 1, 1, 0, 48, 48]
    write(tmp_path / "data.yaml", b"names: {0: hat, 1: shoe}")
    assert load_dataset(settings).classes == ("hat", "shoe")
    assert load_dataset({**settings, "classes": ("a", "b")}).classes == ("a", "b")
    wrong = {b"names: {0: hat, 2: shoe}": "expected a name for every number", b"names: 3": "expected a list of texts, got int",
             b"names: [a, a]": "the name 'a' appears twice", b"names: [": "not YAML"}  # fmt: skip
    for text, message in wrong.items():
        write(tmp_path / "data.yaml", text)
        assert message in error_of(settings)


def test_an_image_turned_by_its_tags(tmp_path: Path) -> None:
    """Boxes are of the image as people see it; a file that states the sizes of the other way round is refused."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    Image.fromarray(image(0, 6, 8)).save(content, "JPEG", exif=exif)  # 8x6 once it is turned
    for i in range(5):
        write(tmp_path / f"{i}.jpg", content.getvalue())
        write(tmp_path / f"{i}.xml", xml([("cat", 0, 0, 8, 3)]))
    settings = {"name": "voc", "path": str(tmp_path), "resolution": 4}
    assert _edges(load_dataset(settings).test.targets[0, 0]) == [0, 0, 0.5, 1]
    write(tmp_path / "2.xml", xml([("cat", 0, 0, 6, 3)], 6, 8))
    assert "2.xml: states 6x8 pixels, where the image has 8x6" in error_of(settings)


def _table(root: Path, boxes: Any, **more: Any) -> dict[str, Any]:
    write_table(root / "train.parquet", [png(image(i)) for i in range(len(boxes))], boxes=boxes, **more)
    return {"name": "parquet", "path": str(root), "boxes_column": "boxes", "resolution": 4}


def test_parquet_with_boxes(tmp_path: Path) -> None:
    boxes = [[[1, 1, 5, 6]], [[3, 2, 4, 4], [1, 1, 8, 6]], [], None, [[1, 1, 8, 6]] * 3]
    data = load_dataset(_table(tmp_path, boxes))
    assert (data.classes, data.target.shape) == (("object",), (3, 8))
    based = load_dataset({**_table(tmp_path, boxes), "one_based": True, "classes": ("person",)})
    assert based.classes == ("person",)
    both = [np.concatenate([getattr(found, part).targets for part in ("train", "valid", "test")]) for found in (data, based)]
    counts = [sorted((some[..., CLASS] >= 0).sum(1).tolist()) for some in both]
    assert counts == [[0, 0, 1, 2, 3]] * 2
    one = [next(some[row] for row in range(5) if (some[row, :, CLASS] >= 0).sum() == 2)[0] for some in both]
    assert _edges(one[0]) == pytest.approx([2 / 6, 3 / 8, 4 / 6, 4 / 8])
    assert _edges(one[1]) == pytest.approx([1 / 6, 2 / 8, 4 / 6, 4 / 8])
    labeled = _table(tmp_path, [[[1, 1, 5, 6]]] * 5, label=[["dog"], ["cat"], ["cat"], ["dog"], ["cat"]])
    assert load_dataset({**labeled, "label_column": "label"}).classes == ("cat", "dog")
    corner = load_dataset({**_table(tmp_path, [[[1, 1, 5, 5]]] * 5), "box_format": "xywh"})
    assert _edges(corner.test.targets[0, 0]) == pytest.approx([1 / 6, 1 / 8, 1.0, 6 / 8])


def test_structs_of_the_hub(tmp_path: Path) -> None:
    objects = [{"bbox": [[1.0, 1, 4, 3]], "category": [1], "area": [5.0], "iscrowd": [True]}, {"bbox": [], "category": []}] * 3
    settings = {**_table(tmp_path, objects), "classes": ("cat", "dog")}
    data = load_dataset({**settings, "stream": True})
    found = np.concatenate([part.targets for part in (data.train, data.valid, data.test)])
    assert sorted(found[:, 0, CLASS].tolist()) == [-1] * 3 + [1] * 3
    assert _edges(max(found[:, 0], key=lambda row: row[CLASS])) == pytest.approx([1 / 6, 1 / 8, 4 / 6, 5 / 8])
    assert set(found[:, 0, AREA]) == {0, 5}
    several = [[{"bbox": [1.0, 1, 4, 3], "category": "cat"}, {"bbox": [1.0, 1, 4, 3], "category": "dog"}]] * 6
    assert load_dataset(_table(tmp_path, several)).target.shape == (2, 8)


@pytest.mark.parametrize("boxes, more, change, message", [
    ([[[1, 1, 5]]] * 4, {}, {}, "train.parquet: row 0: boxes: object 1: expected four numbers, got [1, 1, 5]"),
    ([[[1, 1, 5, None]]] * 4, {}, {}, "row 0: boxes: object 1: expected four numbers"),
    ([[[1.0, 1, 5, float("nan")]]] * 4, {}, {}, "row 0: object 1 (object): 1, 1, 5, nan; expected numbers of pixels, below 1e+18"),
    ([[[1, 1, 5, 5]]] * 4, {"label": [["a", "b"]] * 4}, {"label_column": "label"}, "row 0: expected 1 labels, as boxes has boxes, got 2"),
    ([[[1, 1, 5, 5]]] * 4, {"label": ["a"] * 4}, {"label_column": "label"}, "row 0: expected 1 labels, as boxes has boxes, got 'a'"),
    ([[[1, 1, 5, 5]]] * 4, {"label": [["cta"]] * 4}, {"label_column": "label", "classes": ("cat", "dog")},
     "row 0: object 1: no class 'cta'; did you mean cat?"),
    ([[[1, 1, 5, 5]]] * 4, {"label": [[2]] * 4}, {"label_column": "label", "classes": ("cat", "dog")}, "object 1: class 2 is out of range"),
    ([[[1, 1, 5, 5]]] * 4, {"label": [[10**9]] * 4}, {"label_column": "label"}, "class 1000000000 is too large without names"),
    ([1, 2, 3, 4], {}, {}, "dataset.boxes_column: column boxes of "),
    ([[[1, 1, 5, 5]]] * 4, {}, {"boxes_column": "box"}, "has no column box; did you mean boxes?"),
    ([[[1, 1, 5, 5]]] * 4, {}, {"label_column": "lable"}, "dataset.label_column: "),
    ([[[1, 1, 5, 5]]] * 4, {}, {"classes": {0: "a"}}, "dataset.classes: expected a list of names for boxes"),
    ([[[1, 1, 5, 5]]] * 4, {}, {"classes": ()}, "dataset.classes: expected one or more names"),
    ([[[1, 1, 5, 5]]] * 4, {}, {"mask_column": "mask"}, "dataset.boxes_column: expected one of mask_column and boxes_column, got both"),
    ([[[1, 1, 5, 5]]] * 4, {}, {"ignore": 1}, "dataset.ignore: needs mask_column"),
    ([[[1, 1, 5, 5]]] * 4, {}, {"box_format": "cxcywh"}, "box_format: expected one of xyxy, xywh, got 'cxcywh'; did you mean xywh?"),
])  # fmt: skip
def test_wrong_boxes_of_parquet(tmp_path: Path, boxes: Any, more: dict[str, Any], change: dict[str, Any], message: str) -> None:
    assert message in error_of({**_table(tmp_path, boxes, **more), **change})


@pytest.mark.parametrize("boxes, message", [
    ([[(1, 1, 5, 5, 2.5)]], r"y_test\[0\]: object 1: class 2.5: expected a whole number from 0 on"),
    ([[(1, 1, 5, 5, 7)]], r"y_test\[0\]: object 1: class 7 is out of range; expected 0 to 1 \(2 classes\)"),
    ([[(1, 1, float("inf"), 5, 1)]], r"y_test\[0\]: object 1 \(1\): 1, 1, inf, 5; expected numbers of pixels"),
])  # fmt: skip
def test_wrong_boxes_of_arrays(boxes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _arrays(boxes)


def test_arrays_of_padded_boxes_are_the_same() -> None:
    images = np.stack([image(i, 6) for i in range(5)])
    padded = np.array([[[1, 2, 3, 4, 1], [0, 0, 0, 0, -1]], [[1, 2, 3, 4, 0], [0, 0, 6, 6, 1]]] * 2 + [[[0, 0, 0, 0, -1]] * 2], float)
    listed = [some[some[:, 4] >= 0] for some in padded]
    one, other = dataset_of_arrays((images, padded)), dataset_of_arrays((images, listed))
    assert one.digest == other.digest
    assert one.classes == ("0", "1")
    with pytest.raises(ValueError, match=r"y_train\[0\]: expected boxes \(k, 5\), x0, y0, x1, y1, class, or a mask as large as its image"):
        dataset_of_arrays((images, [np.zeros((2, 4))] * 5))


def test_a_thousand_objects_are_as_good_as_one_and_ten_thousand_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _arrays([[(0, 0, 4, 4, 1)] * 1000])
    assert data.target.shape == (1000, 8)
    with pytest.raises(ValueError, match=r"y_test\[0\]: 10,001 objects; expected at most 10,000"):
        _arrays([[(0, 0, 4, 4, 1)] * 10_001])
    settings = make_voc(tmp_path, 8, 3)
    monkeypatch.setattr("nas.data.boxes.check_memory", lambda size, what: pytest.fail(f"{size} bytes: {what}"))
    with pytest.raises(pytest.fail.Exception, match="704 bytes: 2 boxes for each of 11 images"):
        load_dataset(settings)


def test_a_part_of_the_training_images_is_taken_without_classes(tmp_path: Path) -> None:
    train = load_dataset(make_voc(tmp_path, 8, 3)).train
    rows = subset(train.strata, np.arange(len(train)), 3, (0,))
    assert len(np.unique(rows)) == 3
    assert np.array_equal(train.take(rows).targets, train.targets[rows])
