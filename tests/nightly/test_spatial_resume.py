"""Searches of segmenters and detectors on Ray, killed and resumed: their journals are those of searches left in peace."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from commands import environment
from nas.journal import Journal, diff
from spatial_makers import SPATIAL

pytestmark = pytest.mark.ray
HEADS = {
    "masks": "{op: lr_aspp, width: 8, finer: 2}",
    "voc": "{op: ssdlite, widths: [], boxes: 4, finest: 2, scales: auto}",
}
TRIALS, KILLED_AFTER = 4, 2


def command(folder: Path, kind: str, *args: str) -> list[str]:
    (folder.parent / "small.yaml").write_text(
        "name: small\nresolution: 12\nstem: {op: conv, width: {one_of: [4, 6, 8]}, stride: 2}\n"
        f"stages: [{{op: conv, width: {{one_of: [6, 8]}}, stride: 2}}]\nhead: {HEADS[kind]}\n"
    )
    return [
        sys.executable, "-m", "nas", "search", f"run={folder}", "space=small.yaml", f"dataset={kind}",
        f"dataset.path={folder.parent / 'data'}", "dataset.resolution=12", "objective=params", "device=[]", "seed=4", f"trials={TRIALS}",
        "search.in_flight=2", "controller=random", "evaluator=scratch", "recipe.epochs=1", "recipe.batch=8", "recipe.dtype=float32", *args,
    ]  # fmt: skip


def run(folder: Path, kind: str, *args: str) -> None:
    done = subprocess.run(
        command(folder, kind, *args), cwd=folder.parent, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def kill(folder: Path, kind: str, *args: str) -> None:
    """kill -9 of the driver when so many trials are done."""
    with (
        open(f"{folder}.txt", "ab") as log,
        subprocess.Popen(command(folder, kind, *args), cwd=folder.parent, env=environment(), stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout
        for line in process.stdout:
            if (shown := re.match(rb"\[(\d+)/", line)) and int(shown[1]) >= KILLED_AFTER:
                process.kill()
                return
    raise AssertionError(Path(f"{folder}.txt").read_text())


@pytest.mark.parametrize("kind", HEADS)
def test_the_driver_is_killed_and_the_same_command_resumes(kind: str, tmp_path: Path, ray_address: str) -> None:
    settings = SPATIAL[kind](tmp_path / "data")
    more = [f"dataset.classes=[{','.join(settings['classes'])}]"] if "classes" in settings else []
    ray = ["executor=ray", f"executor.address={ray_address}", "executor.workers=2", *more]
    run(tmp_path / "calm", kind, "executor=local", *more)
    kill(tmp_path / "killed", kind, *ray)
    run(tmp_path / "killed", kind, *ray)
    calm, killed = (Journal.open(tmp_path / name / "journal.sqlite", read_only=True) for name in ("calm", "killed"))
    with calm as one, killed as other:
        assert [trial.outcome for trial in one.trials()] == ["ok"] * TRIALS
        assert diff(one, other) == []
        assert len(other.evaluations("search")) == sum(trial.repeat_of is None for trial in other.trials())
    assert (tmp_path / "killed" / "report.html").is_file()
