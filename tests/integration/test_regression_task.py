"""A regression task that one plugin file defines goes through search, training, export and prediction."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.cli import run
from nas.core.plugins import load_plugins
from nas.data import load_dataset
from nas.journal import Journal
from nas.recipe import Recipe
from nas.tasks import TASKS, check_recipe
from places import HELPERS

SPACE = """
name: numbers
resolution: 8
stem: {op: conv, kernel: 3, width: 6}
stages:
  - {op: sepconv, kernel: 3, width: {one_of: [6, 8]}, stride: 2}
head: {op: regressor}
"""
DATA = ["dataset=digits", "dataset.name=ink", "dataset.train_size=160", "dataset.test_size=40"]
RECIPE = ["recipe=quick", "recipe.batch=32", "recipe.augment.flip=false"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HELPERS))
    monkeypatch.setattr("sys.argv", ["nas"])
    (tmp_path / "numbers.yaml").write_text(SPACE)
    return tmp_path


def test_a_regression_task_goes_through_every_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["plugins=[regression_task]", *DATA, *RECIPE, "executor=local"]
    objective = ["objective=params", "+objective.metrics.rmse=min", "objective.metrics.accuracy=null", "objective.reward=first"]
    search = ["search", "space=numbers.yaml", *common, *objective, "controller=random", "device=[]", "track=[]"]
    assert run([*search, "recipe.epochs=1", "trials=2", "run=found"]) == 0
    with Journal.open(folder / "found" / "journal.sqlite", read_only=True) as journal:
        trials, task = journal.trials(), journal.get("task")
    assert task == {"name": "regression", "metrics": {"rmse": "min", "mae": "min"}, "primary": "rmse"}
    assert all(0 < trial.metrics["rmse"] < 1 for trial in trials)
    with (folder / "found" / "front.csv").open() as file:
        assert float(next(csv.DictReader(file))["rmse"]) == pytest.approx(min(t.metrics["rmse"] for t in trials), abs=1e-5)

    train = ["train", "arch=found/best.yaml", *common, "recipe.epochs=3", "recipe.validate_every=1", "recipe.patience=2"]
    capsys.readouterr()
    assert run([*train, "run=trained"]) == 0
    assert re.search(r"validation rmse 0\.\d{4}, test rmse 0\.\d{4}", capsys.readouterr().out)
    record = json.loads((folder / "trained" / "result.json").read_text())
    assert record["valid"]["rmse"] == min(entry["rmse"] for entry in record["curve"])

    plugin = "plugins=[regression_task]"
    assert run(["export", "weights=trained/weights.npz", plugin, *DATA, "formats=[stablehlo,source]", "out=bundle"]) == 0
    assert "test rmse" in capsys.readouterr().out
    card = (folder / "bundle" / "README.md").read_text()
    assert "| test rmse | 0." in card
    assert "accuracy" not in card
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save("full.png")
    assert run(["predict", plugin, "weights=bundle", "image=full.png"]) == 0
    assert re.search(r"full\.png +value -?\d+\.\d+", capsys.readouterr().out)
    assert run(["explain", plugin, "weights=bundle", "image=full.png"]) == 2
    assert "weights: the network is no classifier" in capsys.readouterr().err
    assert run(["predict", plugin, "weights=bundle", "image=full.png", "calibrated=true"]) == 2
    assert "calibrated: bundle holds no temperature" in capsys.readouterr().err


def test_targets_are_checked_when_a_dataset_is_read(folder: Path) -> None:
    load_plugins(["regression_task"], [str(folder)])
    data = load_dataset({"name": "ink", "train_size": 50, "test_size": 20})
    assert (data.train.targets.dtype, data.train.targets.shape, data.classes) == (np.float32, (40,), ())
    with pytest.raises(ValueError, match=r"dataset\.split: ink has no class labels; expected images"):
        load_dataset({"name": "ink", "split": "classes"})
    with pytest.raises(ValueError, match="ink: has numbers; the task classification expects class labels"):
        TASKS["classification"].targets(data)


def test_a_recipe_without_meaning_for_the_task_is_refused(folder: Path) -> None:
    load_plugins(["regression_task"], [str(folder)])
    with pytest.raises(ValueError, match=re.escape("recipe.mixup: has no meaning for the task regression")):
        check_recipe(TASKS["regression"], Recipe(mixup=0.2))
