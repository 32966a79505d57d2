"""`nas train`: killed, it ends where it would have, tells when it is done, and says what is wrong in one line."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch import arch_from_dict
from nas.arch.blocks import lower
from nas.cli import run
from nas.core.yamlio import dump_yaml
from nas.nn.network import init
from nas.nn.weights import load_weights, save_weights
from nas.workflows.trained import RESULT
from small_training import equal

NET = {"name": "net", "resolution": 8, "stem": {"op": "conv", "width": 8}, "stages": [{"op": "conv", "width": 8}],
       "head": {"op": "classifier", "dropout": 0.1}}  # fmt: skip
ARGS = [
    "train", "arch=net.yaml", "dataset=npz", "dataset.path=images.npz", "recipe=quick", "recipe.epochs=7", "recipe.schedule=constant",
    "recipe.batch=8", "recipe.augment.policy=randaugment", "recipe.mixup=0.2", "recipe.cutmix=1.0", "recipe.accumulate=2",
    "recipe.ema=0.9", "recipe.validate_every=2",
]  # fmt: skip
TAUGHT = ["teacher=teacher", "recipe.patience=4", "recipe.validate_every=1", "checkpoint_minutes=0"]


@pytest.fixture
def files(here: Path) -> Path:
    """60 images, a network, and a teacher that was never trained, in the working folder."""
    rng = np.random.default_rng(0)
    np.savez("images.npz", x_train=rng.integers(0, 256, (60, 8, 8, 1), np.uint8), y_train=np.arange(60) % 2)
    Path("net.yaml").write_text(dump_yaml(NET))
    arch = arch_from_dict({**NET, "channels": 1, "classes": 2})
    save_weights(Path("teacher/weights.npz"), init(lower(arch), 7))
    Path("teacher/arch.yaml").write_text(dump_yaml(arch.to_dict()))
    return here


def killed(args: Sequence[str], epoch: int) -> None:
    """Runs the command line and kills it as soon as it tells of that epoch."""
    started = subprocess.Popen([sys.executable, "-m", "nas", *args], env=dict(os.environ), stdout=subprocess.PIPE, text=True)
    with started as process:
        assert process.stdout
        assert any(line.startswith(f"epoch {epoch} ") for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    "more, kills",
    [
        pytest.param([], [2], id="alone"),
        pytest.param(TAUGHT, [1, 3], id="with a teacher and an early end", marks=pytest.mark.nightly),
    ],
)
def test_killed_it_ends_where_it_would_have(more: list[str], kills: list[int], files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ARGS, *more, "run=calm"]) == 0, capsys.readouterr().err
    made = {"arch.yaml", "checkpoints", "curve.svg", RESULT, "weights.npz"}
    assert {path.name for path in Path("calm").iterdir()} == made
    result = json.loads(Path("calm", RESULT).read_text())
    seen = [entry.get("accuracy", 0) for entry in result["curve"]]
    assert result["epoch"] == (1 + seen.index(max(seen)) if more else 7)
    for epoch in kills:
        killed([*ARGS, *more, "run=rough"], epoch)
    capsys.readouterr()
    assert run([*ARGS, *more, "run=rough"]) == 0
    assert "\nepoch 1 " not in capsys.readouterr().out
    assert equal(*(load_weights(Path(name, "weights.npz")) for name in ("calm", "rough")))
    again = json.loads(Path("rough", RESULT).read_text())
    assert [again[key] for key in ("curve", "test", "epoch")] == [result[key] for key in ("curve", "test", "epoch")]


def test_a_finished_training_is_told_and_another_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [*ARGS, "recipe.epochs=2", "teacher=net.yaml", "teacher_weights=teacher/weights.npz", "run=a"]
    assert run(short) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "teacher net of net.yaml: " in said
    assert "of the test images as the teacher has them" in said
    before = Path("a/weights.npz").stat().st_mtime_ns
    assert run(short) == 0
    assert "this training is finished" in capsys.readouterr().out
    assert Path("a/weights.npz").stat().st_mtime_ns == before
    for change, key in (("recipe.lr=0.5", "recipe.lr"), ("teacher=teacher", "teacher")):
        args = [arg for arg in short if not (change.startswith("teacher=") and arg.startswith("teacher"))]
        assert run([*args, change]) == 2
        assert f"holds a training with another {key}" in capsys.readouterr().err


def test_a_frozen_backbone_is_that_of_the_weights(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [*ARGS[:4], "recipe=quick", "recipe.epochs=1", "recipe.schedule_epochs=3", "weights=teacher/weights.npz", "run=frozen"]
    more = ["recipe.freeze=[stem, stages.0-0]", "recipe.freeze_epochs=2", "recipe.lr_scale={head: 2, stages: .1}"]
    assert run([*args, *more]) == 0, capsys.readouterr().err
    output = capsys.readouterr().out
    assert "frozen for 1 of 1 epochs: stem, stages.0-0, 680 of 698 params" in output
    given, frozen = (load_weights(Path(name, "weights.npz")) for name in ("teacher", "frozen"))
    for kind in ("params", "stats"):
        for node in given[kind]:
            assert equal(given[kind][node], frozen[kind][node]) == (not node.startswith("head")), node


def test_ctrl_c_says_how_to_resume(files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: Any, report: Any, **options: Any) -> None:
        report(3, 12, {"step": 3, "train_loss": 1.0})
        report(6, 12, {"step": 6, "epoch": 1, "train_loss": 1.0})
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("nas.train"), "fit", stopped)
    assert run([*ARGS, "run=a"]) == 130
    captured = capsys.readouterr()
    assert "epoch 1  50%  train_loss 1.0000, about 0 s left" in captured.out
    assert "stopped after epoch 1; the same command resumes:\n  nas train arch=net.yaml" in captured.err


@pytest.mark.parametrize(
    "args, message",
    [
        (["recipe.patience=1", "recipe.validate_every=0"], "recipe.patience: needs validations on the way"),
        (["recipe.distill=2"], "recipe.distill: expected more than 0 and at most 1, got 2"),
        (["recipe.temperature=0"], "recipe.temperature: expected a number above 0, got 0"),
        (["recipe.freeze=backbone"], "recipe.freeze: expected a list, got 'backbone'"),
        (["recipe.freeze=[backbone]"], "recipe.freeze: stem/conv, stem/norm, stages.0.0/conv, stages.0.0/norm would stay at initial"),
        (["recipe.freeze=[stages.1-3]", "weights=teacher/weights.npz"], "recipe.freeze: no part 'stages.1'; did you mean stages.0?"),
        (["recipe.freeze_epochs=1"], "recipe.freeze_epochs: needs freeze"),
        (["recipe.lr_scale={hed: 10}"], "recipe.lr_scale: no part 'hed'; did you mean head?"),
        (["recipe.epochs=none"], "recipe.epochs: expected a whole number, got 'none'"),
        (["recipe.temprature=2"], "recipe.temprature: no such key; did you mean recipe.temperature?"),
        (["checkpoint_minutes=-1"], "checkpoint_minutes: expected 0 to 1000000, got -1"),
        (["devices=0"], "devices: expected 1 to 4096, got 0"),
        (["devices=3"], "devices: expected 3, this machine has "),
        (["teacher=nowhere"], "teacher: nowhere: no trained network; expected a bundle"),
        (["teacher=nowhere", "teacher_weights=w.npz"], "teacher: unknown space or architecture 'nowhere'"),
        (["teacher_weights=teacher/weights.npz"], "teacher_weights: needs teacher="),
        (["teacher=lenet5", "teacher_weights=teacher/weights.npz"], "teacher: weights: teacher/weights.npz: "),
        (["teacher=teacher", "dataset=digits"], "teacher: net knows 2 classes, digits has 10"),
        (["teacher=broken"], "teacher: broken/result.json: not a result of nas train"),
        (["weights=none.npz"], "weights: none.npz: no such file"),
        (["executor=processes"], "executor: a training runs in this process (local) or on ray, not in processes"),
        (["restarts=-1"], "restarts: expected 0 to 1000000, got -1"),
        (["run=net.yaml"], "run: cannot make the folder net.yaml: "),
    ],
)
def test_a_mistake_is_one_line(args: list[str], message: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken").mkdir()
    for name in ("arch.yaml", "weights.npz"):
        Path("broken", name).write_bytes(Path("teacher", name).read_bytes())
    Path("broken/result.json").write_text("{")
    given = [key.partition("=")[0] for key in args]
    kept = [arg for arg in ARGS if arg.partition("=")[0] not in (*given, *(["dataset.path"] if "dataset" in given else []))]
    assert run([*kept, *args]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"nas: {message}")
    assert captured.err.count("\n") == 1
    assert not Path("runs").exists()
