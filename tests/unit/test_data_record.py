"""What a network was trained with stands beside its weights, and changed images are refused with words."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_makers import make_folder, make_npz, make_parquet, make_pixels, png
from nas.core.settings import build
from nas.core.yamlio import dump_yaml
from nas.data import load_dataset
from nas.data.record import KEY, record_from, record_of
from nas.evaluators import Context
from nas.journal import Journal
from nas.nn.weights import save_weights
from nas.workflows.defaults import compose
from nas.workflows.evaluate import evaluate
from nas.workflows.export import run as export_run
from nas.workflows.export import sources
from nas.workflows.export.run import ExportCommand
from nas.workflows.predict import trained_bundle
from nas.workflows.progress import Callback
from nas.workflows.recorded import recorded
from nas.workflows.run_folder import open_run
from nas.workflows.search.plan import SearchCommand, make_plan
from nas.workflows.teacher import find_teacher
from nas.workflows.trained import finished
from small_bundle import ARCH, DATA, WEIGHTS

NET = dataclasses.replace(ARCH, resolution=6, channels=3, classes=2)


def swap_two(root: Path) -> None:
    one, other = (root / "train/cat" / name for name in ("000.png", "002.png"))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def touch_all(root: Path) -> None:
    for file in root.rglob("*.png"):
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)


CHANGES: dict[str, tuple[bool, Callable[[Path], object]]] = {
    "nothing": (True, lambda root: None),
    "times of files": (True, touch_all),
    "one image": (False, lambda root: (root / "train/cat/000.png").write_bytes(png(make_pixels(1, seed=5)[0]))),
    "one image less": (False, lambda root: (root / "train/dog/001.png").unlink()),
    "a test image": (False, lambda root: (root / "test/dog/001.png").write_bytes(png(make_pixels(1, seed=5)[0]))),
    "the name of a class": (False, lambda root: [(root / part / "cat").rename(root / part / "zebra") for part in ("train", "test")]),
    "places of two images": (False, swap_two),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_covers_content(tmp_path: Path, change: str, stream: bool) -> None:
    same, make = CHANGES[change]
    settings = {**make_folder(tmp_path / "a"), "stream": stream}
    before = load_dataset(settings).digest
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    make(tmp_path / "b")
    assert (load_dataset({**settings, "path": str(tmp_path / "b")}).digest == before) is same


def test_the_digest_of_streamed_row_groups(tmp_path: Path) -> None:
    settings = {**make_parquet(tmp_path), "stream": True}
    one, other = load_dataset(settings).digest, load_dataset({**settings, "split_seed": 1}).digest
    assert load_dataset(settings).digest == one != other


@pytest.fixture
def training(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """(the folder of a training that never ran, the settings of its images)."""
    settings, folder = make_folder(tmp_path / "photos"), tmp_path / "net"
    save_weights(folder / "weights.npz", trained_weights())
    (folder / "arch.yaml").write_text(dump_yaml(NET.to_dict()))
    kept = {**record_of(load_dataset(settings)).plain(), "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    scores = {"valid": {"accuracy": 1}, "test": {"accuracy": 1}}
    (folder / "result.json").write_text(json.dumps({**kept, **scores, "dataset": settings, "recipe": {}, "train_s": 1}))
    return folder, settings


def trained_weights() -> Any:
    from nas.arch.blocks import lower
    from networks import settled

    return settled(lower(NET))


def exported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str]]:
    """(what the bundle is made of, messages)."""
    made: dict[str, Any] = {}
    heard: list[str] = []

    def make(folder: Path, arch: object, variables: object, dataset: object, *args: object, **options: Any) -> Any:
        made.update(options, dataset=dataset)
        return sources.Made(folder, {}, 1.0)

    monkeypatch.setattr(sources, "make_bundle", make)
    command = ExportCommand(weights=str(folder / "weights.npz"), formats=("source",))
    export_run.export(command, Callback(lambda event: heard.append(str(event))))
    return made, heard


def test_a_class_renamed_after_training_is_refused_by_export(training: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, settings = training
    for part in ("train", "test"):
        (Path(settings["path"]) / part / "cat").rename(Path(settings["path"]) / part / "zebra")
    with pytest.raises(ValueError, match="dataset: folder has the classes dog, zebra, the network was trained on cat, dog"):
        exported(folder, monkeypatch)


def test_export_uses_what_was_trained(training: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, settings = training
    assert exported(folder, monkeypatch)[1] == []
    (Path(settings["path"]) / "train/cat/000.png").write_bytes(png(make_pixels(1, seed=5)[0]))
    made, heard = exported(folder, monkeypatch)
    assert made["data"].mean == (0.1, 0.2, 0.3)
    assert "other images than the network was trained on" in heard[0]


def test_predict_teacher_and_evaluate_use_what_was_trained(training: tuple[Path, Any]) -> None:
    folder, settings = training
    dataset, data = load_dataset(settings), recorded(folder / "weights.npz")
    assert data is not None
    assert data.normalized(dataset).mean == data.mean == trained_bundle(folder).trained.mean
    for source, weights in ((folder, None), (folder / "arch.yaml", str(folder / "weights.npz"))):
        teacher = find_teacher(str(source), weights, dataset)
        assert (teacher.mean, teacher.std, teacher.classes) == (data.mean, data.std, data.classes)
    renamed = dataclasses.replace(dataset, classes=("cat", "wolf"))
    with pytest.raises(ValueError, match=r"has the classes cat, wolf, the network was trained on cat, dog"):
        evaluate(trained_bundle(folder), renamed)


def test_weights_of_a_run_are_recorded_in_its_journal(tmp_path: Path) -> None:
    weights = tmp_path / "checkpoints" / "trial-000003.npz"
    save_weights(weights, WEIGHTS)
    assert recorded(weights) is None
    Journal.create(tmp_path / "journal.sqlite", {"identity": {}, KEY: record_of(DATA).plain()}).close()
    assert recorded(weights) == record_of(DATA) == record_from(record_of(DATA).plain())


def test_a_run_whose_images_changed_is_refused_with_words(tmp_path: Path, training: tuple[Path, Any]) -> None:
    begun, now = ({"data": {"digest": digest}, "seed": 0} for digest in ("0f", "1f"))
    journal = open_run(tmp_path / "run", begun, {})
    journal.put("preparation", {})
    journal.close()
    open_run(tmp_path / "run", begun, {}).close()
    with pytest.raises(ValueError, match=r"run: the images, labels or class names are not those that .*run began with"):
        open_run(tmp_path / "run", now, {})
    with pytest.raises(ValueError, match=r"run: the images, labels or class names are not those that .*net began with"):
        finished(training[0], {"arch": NET.to_dict(), "digest": "1f"})


def test_the_identity_of_a_search_covers_its_images(tmp_path: Path) -> None:
    def identity() -> dict[str, Any]:
        config = compose("search", {"space": "tiny", "dataset": settings, "device": [], "objective": "params"})
        return make_plan(build(SearchCommand, config, "")).identity

    settings = make_npz(tmp_path)
    before = identity()
    assert identity() == before
    make_npz(tmp_path, x_train=make_pixels(seed=5))
    assert {key for key, value in identity().items() if value != before[key]} == {"data"}


def test_workers_refuse_other_images_than_the_run_began_with(tmp_path: Path) -> None:
    settings = make_npz(tmp_path)
    data = record_of(load_dataset(settings))
    known = {"dataset": settings, KEY: {**data.plain(), "mean": [0.1, 0.2, 0.3]}}
    assert Context(known, tmp_path).dataset.mean == (0.1, 0.2, 0.3)
    make_npz(tmp_path, x_train=np.zeros_like(make_pixels()))
    with pytest.raises(ValueError, match="dataset: the images or labels of npz changed since the run began"):
        _ = Context(known, tmp_path).dataset
