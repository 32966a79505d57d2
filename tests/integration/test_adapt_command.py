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


def started(folder: Path, name: str, *args: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
    with open(folder / f"{name}.txt", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "nas", *command(name, *args)], cwd=folder, env=environment(), stdout=stdout or log, stderr=log,
            stdin=subprocess.DEVNULL, preexec_fn=hear_ctrl_c,
        )  # fmt: skip


def stopped_after(folder: Path, name: str, line: str, how: signal.Signals, *args: str) -> int:
    """Ends it as soon as it says a line that starts so, when the proposals of the next step are in work."""
    process = started(folder, name, *args, stdout=subprocess.PIPE)
    assert process.stdout
    assert any(said.startswith(line.encode()) for said in process.stdout), (folder / f"{name}.txt").read_text()
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


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run, in one process, and beside it what it was given."""
    folder = tmp_path_factory.mktemp("adapt")
    make(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(command("calm", "executor=local")) == 0
    rows = (folder / "calm" / "trajectory.csv").read_text().splitlines()
    assert len(rows) > 3, rows
    return folder


def test_killed_again_and_again_it_ends_as_if_it_had_not_been(calm: Path) -> None:
    for line in ("seed: ", "step 2: "):
        stopped_after(calm, "killed", line, signal.SIGKILL, "executor=processes", "executor.workers=1")
    process = started(calm, "killed", "executor=processes", "executor.workers=2")
    assert process.wait(timeout=300) == 0, (calm / "killed.txt").read_text()
    assert left_by(calm / "killed") == left_by(calm / "calm")


@pytest.mark.ray
def test_with_ray_it_takes_the_same_steps_to_the_same_weights(calm: Path, ray_address: str) -> None:
    process = started(calm, "ray", "executor=ray", f"executor.address={ray_address}", "executor.workers=2")
    assert process.wait(timeout=300) == 0, (calm / "ray.txt").read_text()
    assert left_by(calm / "ray") == left_by(calm / "calm")


def test_ctrl_c_says_how_to_go_on(calm: Path) -> None:
    assert stopped_after(calm, "stopped", "seed: ", signal.SIGINT, "executor=processes", "executor.workers=1") == 130
    said = (calm / "stopped.txt").read_text()
    assert "the same command resumes" in said
    assert "nas adapt weights=net.npz" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "args, words",
    [
        (["evaluator=switched"], "evaluator: expected scratch or layerwise, which train inherited weights, got switched"),
        (["evaluator=inheriting", "plugins=[prepared]"], "evaluator: inheriting needs a preparation, which nas search runs"),
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
