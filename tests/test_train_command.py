"""`nas train`: the same command goes on after a kill, tells when it is done, and refuses another training's folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.cli import run
from nas.cli.trained import RESULT
from nas.weights import load_weights
from nas.yamlio import dump_yaml
from test_cli import here
from test_train import equal

__all__ = ["here"]

NET = {"name": "net", "resolution": 8, "stem": {"op": "conv", "width": 8}, "stages": [{"op": "conv", "width": 8}],
       "head": {"op": "classifier", "dropout": 0.1}}  # fmt: skip
ARGS = [
    "train", "arch=net.yaml", "dataset=npz", "dataset.path=images.npz", "recipe=quick", "recipe.epochs=4", "recipe.schedule=constant",
    "recipe.batch=8", "recipe.augment.policy=randaugment", "recipe.mixup=0.2", "recipe.cutmix=1.0", "recipe.accumulate=2",
    "recipe.ema=0.9", "recipe.validate_every=2", "checkpoint_keep=9",
]  # fmt: skip


def test_it_goes_on_where_it_was_killed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez("images.npz", x_train=rng.integers(0, 256, (60, 8, 8, 1), np.uint8), y_train=np.arange(60) % 2)
    Path("net.yaml").write_text(dump_yaml(NET))
    assert run([*ARGS, "run=a"]) == 0, capsys.readouterr().err
    assert {path.name for path in Path("a").iterdir()} == {"arch.yaml", "checkpoints", "curve.svg", RESULT, "weights.npz"}
    Path("b/checkpoints").mkdir(parents=True)  # what a kill after the second epoch leaves
    shutil.copy("a/checkpoints/epoch-000002.npz", "b/checkpoints")
    capsys.readouterr()
    assert run([*ARGS, "run=b"]) == 0
    assert "epoch 1 " not in capsys.readouterr().out
    a, b = load_weights(Path("a/weights.npz")), load_weights(Path("b/weights.npz"))
    assert equal(a, b)
    told = [json.loads(Path(name, RESULT).read_text()) for name in "ab"]
    assert told[0]["curve"] == told[1]["curve"]
    assert told[0]["test"] == told[1]["test"]
    before = Path("a/weights.npz").stat().st_mtime_ns
    assert run([*ARGS, "run=a"]) == 0
    assert "this training is finished" in capsys.readouterr().out
    assert Path("a/weights.npz").stat().st_mtime_ns == before
    assert run([*ARGS, "recipe.lr=0.5", "run=a"]) == 2
    assert "holds a training with another recipe.lr" in capsys.readouterr().err
    assert run([*ARGS, "recipe.patience=1", "recipe.validate_every=0", "run=c"]) == 2
    assert "patience: needs validations on the way" in capsys.readouterr().err
