"""`nas adapt` as a command: killed at any moment, on any executor, it ends with the same steps and the same weights."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adapt_maker import command, make
from commands import environment, hear_ctrl_c
from nas.cli import run


def stopped_after(folder: Path, line: str, how: signal.Signals) -> int:
    """Ends it as soon as it says a line that starts so, when the proposals of the next step are in work."""
    args = command("disturbed", "executor=processes", "executor.workers=1")
    with open(folder / "disturbed.txt", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "nas", *args], cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=log,
            stdin=subprocess.DEVNULL, preexec_fn=hear_ctrl_c,
        )  # fmt: skip
    assert process.stdout
    assert any(said.startswith(line.encode()) for said in process.stdout), (folder / "disturbed.txt").read_text()
    process.send_signal(how)
    process.communicate(timeout=300)
    return process.returncode


def left_by(folder: Path) -> dict[str, bytes]:
    """What a run leaves that must not depend on what happened to it; its weights array by array."""
    with np.load(folder / "weights.npz") as arrays:
        kept = {name: arrays[name].tobytes() for name in arrays.files}
    for path in sorted((folder / "steps").iterdir()):
        kept[path.name] = path.read_bytes()
    return {**kept, "trajectory.csv": (folder / "trajectory.csv").read_bytes(), "arch.yaml": (folder / "arch.yaml").read_bytes()}


@pytest.mark.parametrize("executor", ["processes", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.nightly])])
def test_interrupted_killed_and_resumed_it_ends_as_if_left_in_peace(
    here: Path, executor: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in the first step, kill -9 in the second, and the rest by two workers, on Ray too."""
    if executor == "ray":
        request.getfixturevalue("ray_cluster")
    make(here)
    assert run(command("calm", "executor=local")) == 0, capsys.readouterr().err
    assert len((here / "calm" / "trajectory.csv").read_text().splitlines()) > 4
    assert stopped_after(here, "seed: ", signal.SIGINT) == 130
    said = (here / "disturbed.txt").read_text()
    assert "the same command resumes" in said
    assert "nas adapt weights=net.npz" in said
    assert "Traceback" not in said
    assert stopped_after(here, "step 1: ", signal.SIGKILL) == -signal.SIGKILL
    assert run(command("disturbed", f"executor={executor}", "executor.workers=2")) == 0, capsys.readouterr().err
    assert left_by(here / "disturbed") == left_by(here / "calm")


@pytest.mark.parametrize(
    "args, words",
    [
        (["evaluator=switched"], "evaluator: expected scratch or layerwise, which train inherited weights, got switched"),
        (["evaluator=inheriting", "plugins=[prepared]"], "evaluator: inheriting needs a preparation, which nas search runs"),
        (["recipe.freeze=[backbone]"], "recipe.freeze: evaluator=layerwise trains all parts of a network alike; take evaluator=scratch"),
        (["evaluator=scratch", "recipe.freeze=[hed]"], "recipe.freeze: no part 'hed'; did you mean head?"),
        (["adapt.final_distill=true"], "adapt.final_distill: evaluator=layerwise knows no teachers; take evaluator=scratch"),
        (["recipe.match_features=1"], "recipe.match_features: needs a teacher"),
        (["executor=processes", "executor.ahead=true"], "executor.ahead: evaluator=layerwise compiles nothing ahead"),
        (["adapt.final_recipe={match_features: 1}"], "adapt.final_recipe.match_features: needs a teacher"),
        (["evaluator=scratch", "adapt.final_distill=true", "adapt.final_recipe={match_features: 1}", "adapt.kinds=[bottleneck]"],
         "would narrow the last feature map"),
        (["adapt.final_lr=0"], "adapt.final_lr: expected a number above 0"),
        (["adapt.final_recipe={label_smoothin: 0.1}"], "adapt.final_recipe.label_smoothin: unknown key; did you mean label_smoothing?"),
        (["adapt.final_recipe={freeze: [head]}"], "adapt.final_recipe.freeze: evaluator=layerwise trains all parts of a network alike"),
        (["evaluator=scratch", "adapt.final_recipe={freeze: [hed]}"], "adapt.final_recipe.freeze: no part 'hed'; did you mean head?"),
        (["adapt.final_recipe={ema: 0.9}", "adapt.final_epochs=0"], "adapt.final_recipe: has no effect with adapt.final_epochs=0"),
        (["evaluator.keep_weights=false"], "evaluator.keep_weights: expected true"),
        (["device.table.path=none.csv"], "none.csv: No such file"),
        (["device=[host,table]", "device.host.seconds=0"], "device: expected one device"),
        (["device=host", "device.host.predictor=table.csv"], "device.host.predictor: table.csv: no file of nas profile"),
        (["adapt.kinds=[]"], "adapt.kinds: expected one or more"),
        (["target=1.5"], "target: expected a fraction between 0 and 1"),
        (["arch=other.yaml"], "other.yaml"),
        (["weights=broken.npz"], "broken.npz: no weights file"),
        (["dataset.path=none.npz"], "none.npz"),
    ],
)
def test_wrong_commands_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:  # fmt: skip
    make(here)
    Path("broken.npz").write_bytes(Path("net.npz").read_bytes()[:-40])
    given = {**dict(arg.split("=", 1) for arg in command("wrong", "executor=local")[1:])}
    given |= dict(arg.split("=", 1) for arg in args)
    if given["device"] == "host":
        del given["device.table.path"]
    assert run(["adapt", *(f"{key}={value}" for key, value in given.items())]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said, said
    assert "\n" not in said
