"""Layouts of images that people have: each is read, or the error says what was found and what would fit."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from data_makers import error_of, make_folder, make_labels, make_npz, make_pixels, png, write_parquet
from nas.arch.blocks import lower
from nas.cli import run
from nas.data import Dataset, load_dataset
from nas.data.described import described
from nas.data.pixels import SUFFIXES
from nas.data.record import record_of
from nas.workflows.export.formats import Trained
from nas.workflows.export.loading import Bundle
from nas.workflows.predict import Prediction, predict
from nas.workflows.progress import Callback
from small_bundle import ARCH, DATA, WEIGHTS

PICTURE = png(make_pixels(1)[0])
NFD = unicodedata.normalize("NFD", "café")
NFC = unicodedata.normalize("NFC", "café")


def write(root: Path, *names: str, content: bytes = PICTURE) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def classes(root: Path, part: str, count: int = 10, names: Sequence[str] = ("cat", "dog")) -> None:
    write(root, *(f"{part}/{name}/{i}.png" for name in names for i in range(count)))


def read(root: Path, name: str = "folder", **more: Any) -> Dataset:
    return load_dataset({"name": name, "path": str(root), **more})


def sizes(data: Dataset) -> list[int]:
    return [len(part) for part in (data.train, data.valid, data.test)]


PARTS = [
    (("train", "val", "test"), [20, 20, 20]), (("training", "testing"), [16, 4, 20]), (("Train", "Val", "Test"), [20, 20, 20]),
    (("TRAIN", "Dev"), [16, 20, 4]), (("train", "validation"), [16, 20, 4]),
]  # fmt: skip


@pytest.mark.parametrize("parts, expected", PARTS, ids=lambda value: "-".join(map(str, value)))
def test_names_of_parts(tmp_path: Path, parts: Sequence[str], expected: list[int]) -> None:
    for part in parts:
        classes(tmp_path, part)
    assert sizes(read(tmp_path)) == expected


def test_an_unlabeled_test_part_is_left_out(tmp_path: Path) -> None:
    classes(tmp_path, "train")
    write(tmp_path, "test/1.jpg", "test/2.jpg", content=b"not looked at")
    data = read(tmp_path)
    assert sizes(data) == [13, 3, 4]
    assert data.left_out == ("2 images of test/ without labels (.jpg 2): 1.jpg, 2.jpg",)


def test_every_kind_of_file_and_folders_in_folders_are_read(tmp_path: Path) -> None:
    """Eighteen of 72 images were used once, without a word."""
    image = Image.fromarray(make_pixels(1)[0])
    for kind in ("cat", "dog"):
        for suffix in SUFFIXES:
            for place in ("", "2024/may/"):
                path = tmp_path / kind / f"{place}x{suffix.upper() if place else suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
    assert sum(sizes(read(tmp_path))) == 2 * 2 * len(SUFFIXES)


def messy(root: Path) -> None:
    write(root, ".DS_Store", "cat/.DS_Store", "cat/._1.png", "__MACOSX/cat/._1.png", ".git/objects/1.png", content=b"hidden")
    write(root, "readme.txt", "cat/notes.txt", "dog/1.heic", "Thumbs.db", content=b"other")


def test_hidden_and_other_files_are_counted(tmp_path: Path) -> None:
    classes(tmp_path, ".")
    messy(tmp_path)
    write(tmp_path, "loose.png")
    hidden, others, loose = read(tmp_path, train_size=12).left_out[:3]
    assert hidden.startswith("5 hidden files (")
    assert others == "4 files of other kinds (.txt 2, .db 1, .heic 1): Thumbs.db, notes.txt, 1.heic, .."
    assert loose == "1 image beside the class folders (.png 1): loose.png"
    shown = described(read(tmp_path, train_size=12))
    assert shown[0] == "images: 10 train, 2 valid, 4 test; 6x6, color; 2 classes: cat, dog"
    assert shown[-1] == "left out: 4 of 20 images of the train part by dataset.train_size"


def test_broken_files_are_listed_together(tmp_path: Path) -> None:
    settings = make_folder(tmp_path)
    write(tmp_path, "train/cat/000.png", "train/dog/001.png", content=b"broken")
    write(tmp_path, "train/cat/002.png", content=PICTURE[:-30])
    message = error_of(settings)
    for words in ("3 images cannot be read: ", "000.png: corrupt", "001.png: corrupt", "002.png: corrupt"):
        assert words in message
    for i in range(0, 40, 2):
        write(tmp_path, f"train/cat/{i:03}.png", content=PICTURE[:-30])
    assert "; and 13 more" in error_of(settings)


def test_a_folder_is_predicted_past_broken_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def thirds(bundle: Bundle, images: np.ndarray, temperature: float) -> dict[str, np.ndarray]:
        return {"probability": np.full((len(images), 3), 1 / 3)}

    monkeypatch.setattr("nas.workflows.predict.answers", thirds)
    write(tmp_path, "a.png", "deep/c.png")
    write(tmp_path, "b.jpg", content=b"broken")
    messy(tmp_path)
    heard: list[str] = []
    bundle = Bundle(tmp_path, ARCH, Trained("net", lower(ARCH), WEIGHTS, DATA.classes, DATA.mean, DATA.std), record_of(DATA))
    found = predict(bundle, tmp_path, Callback(lambda update: heard.append(update.text)))
    assert [(Path(one.image).name, bool(one.error)) for one in found] == [("a.png", False), ("b.jpg", True), ("c.png", False)]
    assert "b.jpg: corrupt image" in found[1].error
    assert [line[:20] for line in heard] == ["left out: 5 hidden f", "left out: 4 files of"]
    with pytest.raises(ValueError, match="corrupt image"):
        _ = found[1].label
    with pytest.raises(ValueError, match=r"b\.jpg: corrupt image"):
        predict(bundle, tmp_path / "b.jpg")


def test_the_command_tells_of_broken_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fake(*args: object, **options: object) -> list[Prediction]:
        return [Prediction("a.png", {"cat": 0.7, "dog": 0.3}), Prediction("b.png", {}, error="image: b.png: corrupt image")]

    monkeypatch.setattr("nas.cli.predict.run_predict", fake)
    monkeypatch.setattr("nas.cli.predict.find_bundle", lambda weights, arch: None)
    assert run(["predict", "weights=x", "image=y", "json=true"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["error"] == "image: b.png: corrupt image"
    assert run(["predict", "weights=x", "image=y"]) == 0
    captured = capsys.readouterr()
    assert "a.png  cat 70.0%" in captured.out
    assert "b.png: corrupt image" in captured.err


def test_composed_and_decomposed_names_are_one(tmp_path: Path) -> None:
    classes(tmp_path, "train", names=(NFD, "tea"))
    classes(tmp_path, "test", names=(NFC, "tea"))
    data = read(tmp_path)
    assert data.classes == (NFC, "tea")
    assert sizes(data) == [16, 4, 20]


def csv_of(root: Path, name: str, head: str, row: str, images: str, count: int = 10) -> None:
    """A CSV of `count` rows, whose labels take turns, and the images of the pattern `images`."""
    write(root, *(images.format(i=i) for i in range(count)))
    lines = [head, *(row.format(i=i, label=("cat", "dog")[i % 2]) for i in range(count))]
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def csv_of_parts(root: Path) -> None:
    for part in ("train", "test"):
        csv_of(root, f"{part}/metadata.csv", "file_name,label", "{i}.png,{label}", f"{part}/{{i}}.png", 20)


def csv_at_the_root(root: Path) -> None:
    for part in ("Train", "Val"):
        csv_of(root, f"{part}.csv", "file,x,label", f"{part}/{{i}}.png,0,{{label}}", f"{part}/{{i}}.png", 20)


def csv_without_labels(root: Path) -> None:
    csv_of(root, "train.csv", "file,label", "tr{i},{label}", "train/tr{i}.png", 20)
    csv_of(root, "test.csv", "file", "te{i}", "test/te{i}.png")


CSV: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "names": (lambda r: csv_of(r, "labels.csv", "file,label", "{i}.png,{label}", "{i}.png", 20), [13, 3, 4]),
    "paths": (lambda r: csv_of(r, "a.csv", "image;class", "images/{i}.png;{label}", "images/{i}.png", 20), [13, 3, 4]),
    "without suffixes": (lambda r: csv_of(r, "train.csv", "id,diagnosis", "{i},{label}", "train_images/{i}.png", 20), [13, 3, 4]),
    "of each part": (csv_of_parts, [16, 4, 20]), "at the root": (csv_at_the_root, [16, 20, 4]),
    "without labels of the test part": (csv_without_labels, [13, 3, 4]),
}  # fmt: skip


@pytest.mark.parametrize("layout", CSV)
def test_a_csv_of_files_and_labels(tmp_path: Path, layout: str) -> None:
    make, expected = CSV[layout]
    make(tmp_path)
    data = read(tmp_path)
    assert data.classes == ("cat", "dog")
    assert sizes(data) == expected
    if layout.startswith("without labels"):
        assert data.left_out[0] == "test.csv: has no labels"
        assert data.left_out[1].startswith("10 images without labels")


CSV_ERRORS: list[tuple[str, str]] = [
    ("file,label\n1.png,cat\n3.png,dog\n", "labels.csv: line 3: no image '3.png'"),
    ("file,label\n1.png,\n", "line 2: 1.png has no label"),
    ("file,a,b\n1.png,x,y\n", "labels.csv: has several columns that could be labels (a, b)"),
    ("file,label\n9,x\n", "has no column of files"),
    ("file,label\n1.png\n", "line 2: 1 columns, fewer than the first line names"), ("file,label\n", "labels.csv: has no rows"),
    ("file,label,split\n1.png,cat,tarin\n", "line 2: 'tarin' is no part"),
]  # fmt: skip


@pytest.mark.parametrize("text, message", CSV_ERRORS)
def test_a_csv_that_does_not_fit(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "1.png", "2.png")
    (tmp_path / "labels.csv").write_text(text)
    assert message in error_of({"name": "folder", "path": str(tmp_path)})


@pytest.mark.parametrize(
    "names, found",
    [(["a.png", "b.png"], "found 2 .png"), (["x/train-0.parquet"], "found 1 .parquet; folders x; dataset=parquet reads such files"),
     (["images.npz"], "dataset=npz reads such files"), ([], "found nothing")],
)  # fmt: skip
def test_what_is_no_layout_is_listed(tmp_path: Path, names: list[str], found: str) -> None:
    (tmp_path / "x").mkdir(exist_ok=True) if any("/" in name for name in names) else None
    write(tmp_path, *names)
    message = error_of({"name": "folder", "path": str(tmp_path)})
    assert found in message
    assert "expected a folder with a folder of images a class" in message


def rows(path: Path, count: int, names: list[str] | None = None, labels: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, [png(one) for one in make_pixels(count)], make_labels(count) if labels is None else labels, names)


def arrow(path: Path, count: int) -> None:
    """As `save_to_disk` writes it: a stream of record batches."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pa.array([{"bytes": png(one), "path": None} for one in make_pixels(count)])
    features = {"img": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table({"img": images, "label": make_labels(count)})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    (path.parent / "state.json").write_text("{}")


ROWS: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "converted by the hub": (
        lambda r: [rows(r / f"default/{part}/0000.parquet", 20) for part in ("train", "validation", "test")], [20, 20, 20]),
    "converted in parts": (lambda r: [rows(r / f"default/partial-train/{i:04}.parquet", 20) for i in range(2)], [26, 6, 8]),
    "save_to_disk": (lambda r: [arrow(r / f"{part}/data-00000-of-00001.arrow", 20) for part in ("train", "test")], [16, 4, 20]),
    "save_to_disk of one part": (lambda r: [arrow(r / f"data-0000{i}-of-00002.arrow", 20) for i in range(2)], [26, 6, 8]),
    "another part of a similar name": (lambda r: (rows(r / "train-0.parquet", 20), rows(r / "train_noisy-0.parquet", 20)), [13, 3, 4]),
    "labels of -1": (lambda r: (rows(r / "train.parquet", 20), rows(r / "test.parquet", 5, labels=[-1] * 5)), [13, 3, 4]),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("layout", ROWS)
def test_files_of_rows(tmp_path: Path, layout: str, stream: bool) -> None:
    make, expected = ROWS[layout]
    make(tmp_path)
    data = read(tmp_path, "parquet", stream=stream)
    assert sizes(data) == expected
    known = {pixels.tobytes(): i % 2 for i, pixels in enumerate(make_pixels(20))}
    assert [known[image.tobytes()] for image in data.train.images[:]] == data.train.targets.tolist()
    if layout.startswith(("another", "labels")):
        assert data.left_out[0] in (
            "1 file that is of no part (.parquet 1): train_noisy-0.parquet", "5 images of the test part without labels",
        )  # fmt: skip


def test_parts_join_by_the_names_of_classes(tmp_path: Path) -> None:
    rows(tmp_path / "train.parquet", 20, ["cat", "dog"])
    rows(tmp_path / "test.parquet", 10, ["dog", "cat"])
    data = read(tmp_path, "parquet")
    assert data.classes == ("cat", "dog")
    assert data.test.targets.tolist() == [1, 0] * 5
    rows(tmp_path / "test.parquet", 10, ["dog", "wolf"])
    assert "no class wolf in the training part" in error_of({"name": "parquet", "path": str(tmp_path)})


def test_texts_of_any_composition_are_one(tmp_path: Path) -> None:
    rows(tmp_path / "train.parquet", 20, labels=[NFD, "tea"] * 10)
    rows(tmp_path / "test.parquet", 10, labels=[NFC, "tea"] * 5)
    assert read(tmp_path, "parquet").classes == (NFC, "tea")


@pytest.mark.parametrize("name", ["parquet", "npz"])
def test_names_without_rows_are_dropped_and_told(tmp_path: Path, name: str) -> None:
    if name == "npz":
        settings = make_npz(tmp_path, y_train=make_labels() * 2, y_test=make_labels(10) * 2, classes=np.array(["ant", "bee", "cat"]))
    else:
        rows(tmp_path / "train.parquet", 20, ["ant", "bee", "cat"], labels=make_labels(20) * 2)
        settings = {"name": "parquet", "path": str(tmp_path)}
    data = load_dataset(settings)
    assert data.classes == ("ant", "cat")
    assert sorted(set(data.train.targets.tolist())) == [0, 1]
    assert data.left_out == ("1 names of classes without images: bee",)


def test_what_is_no_part_is_listed(tmp_path: Path) -> None:
    rows(tmp_path / "noisy.parquet", 4)
    message = error_of({"name": "parquet", "path": str(tmp_path)})
    assert "has no train*.parquet; expected train*.parquet and" in message
    assert message.endswith("found noisy.parquet")
    for config in ("small", "large"):
        rows(tmp_path / config / "train" / "0000.parquet", 4)
    message = error_of({"name": "parquet", "path": str(tmp_path)})
    assert "has the part train in several folders (large/train, small/train); expected the path of one of them" in message
