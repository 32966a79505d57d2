"""Embeddings go through search, training, export and prediction: two images are compared, one is looked up in a gallery."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import nas
from nas.cli import run
from nas.journal import Journal
from nas.workflows.export.formats import run_onnx

SPACE = """
name: faces
resolution: 8
stem: {op: conv, kernel: 3, width: 4}
stages:
  - {op: conv, kernel: 3, width: {one_of: [4, 6]}, stride: 2}
head: {op: embedding, size: 4, pool: false}
"""
DATA = ["dataset=folder", "dataset.path=faces", "dataset.split=classes"]
RECIPE = ["recipe=quick", "recipe.batch=8", "recipe.epochs=1", "executor=local"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight people with six photographs each: a bright row, at a place of their own, in noise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["nas"])
    rng = np.random.default_rng(0)
    for person, name in enumerate("abcdefgh"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 90, (8, 8), np.uint8)
            pixels[person] = 250
            Image.fromarray(pixels).save(tmp_path / "faces" / name / f"{i}.png")
    (tmp_path / "faces.yaml").write_text(SPACE)
    return tmp_path


def test_embeddings_go_through_every_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objective = ["objective=params", "+objective.metrics.auc=max", "objective.metrics.accuracy=null", "objective.reward=first"]
    search = ["search", "space=faces.yaml", *DATA, *RECIPE, *objective, "controller=random", "device=[]", "track=[]"]
    assert run([*search, "trials=1", "run=found"]) == 0
    with Journal.open(folder / "found" / "journal.sqlite", read_only=True) as journal:
        [trial] = journal.trials()
        assert "inspect_failed" not in {event.kind for event in journal.events()}  # there are no classes to look at
    assert {"auc", "one_shot", "active_triplets", "mean_distance"} <= trial.metrics.keys()

    assert run(["train", "arch=found/best.yaml", *DATA, *RECIPE, "run=trained"]) == 0
    said = capsys.readouterr().out
    assert "classes that no other part has: 4 train, 2 valid, 2 test" in said
    assert re.search(r"validation auc [01]\.\d{4}, test auc [01]\.\d{4}", said)
    assert run(["export", "weights=trained/weights.npz", "formats=[source,onnx]", "out=bundle"]) == 0
    outputs = run_onnx(folder / "bundle" / "model.onnx", np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32))
    assert isinstance(outputs, np.ndarray)
    np.testing.assert_allclose((outputs**2).sum(1), 1, rtol=1e-5)
    properties = onnx.load(folder / "bundle" / "model.onnx").metadata_props
    assert json.loads({one.key: one.value for one in properties}["output"]) == "embedding of length 1"
    capsys.readouterr()
    assert run(["export", "weights=trained/weights.npz", "formats=[onnx]", "preprocess=true", "out=whole"]) != 0
    assert "preprocess: gives probabilities of classes, and the task embedding has none" in capsys.readouterr().err

    shutil.copy(folder / "faces" / "a" / "0.png", folder / "same.png")
    predict = ["predict", "weights=bundle"]
    assert run([*predict, "image=same.png", "compare=faces/a/0.png"]) == 0
    assert capsys.readouterr().out.startswith("distance 0.000: ")
    assert run([*predict, "image=same.png", "gallery=faces", "top=2"]) == 0
    assert re.fullmatch(r"same\.png +a 0\.000 +[b-h] \d\.\d{3}\n", capsys.readouterr().out)
    shutil.copytree(folder / "faces" / "a", folder / "few" / "a", ignore=lambda _, names: names[2:])
    shutil.copytree(folder / "faces" / "b", folder / "few" / "b", ignore=lambda _, names: names[1:])
    assert run([*predict, "image=few", "gallery=few"]) == 0
    assert [len(re.findall(r"\b[ab] \d", line)) for line in capsys.readouterr().out.splitlines()] == [2, 2, 1]
    assert run([*predict, "image=faces/a/0.png", "gallery=faces", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["nearest"]) == 3
    assert all(Path(one["image"]) != Path("faces/a/0.png") for one in found["nearest"])
    assert run([*predict, "image=same.png", "json=true"]) == 0
    assert np.square(json.loads(capsys.readouterr().out)["embedding"]).sum() == pytest.approx(1, rel=1e-5)
    assert len(nas.predict("trained", "same.png")[0].values["embedding"]) == 4
    assert nas.compare("trained", "same.png", "faces/a/0.png") == 0
    [known] = nas.look_up("trained", ["same.png"], "faces")
    assert {one.label for one in known.nearest} == set("abcdefgh")
    assert [one.distance for one in known.nearest] == sorted(one.distance for one in known.nearest)

    for words, message in (
        (["image=same.png"], "image: an embedding is a list of numbers: json=true prints it"),
        (["image=same.png", "gallery=nowhere"], "gallery: nowhere: no such folder"),
        (["image=same.png", "compare=nowhere.png"], "nowhere.png"),
        (["image=same.png", "compare=same.png", "gallery=faces"], "compare: leave it out where images are looked up"),
        (["image=same.png", "gallery=faces", "threshold=0.5"], "threshold: is of probabilities"),
    ):
        assert run([*predict, *words]) != 0
        assert message in capsys.readouterr().err
