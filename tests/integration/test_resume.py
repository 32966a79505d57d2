"""kill -9 of the driver in the middle of a search, then the same command: the journal equals that of an undisturbed run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import environment, hear_ctrl_c
from nas.cli import run
from nas.journal import Journal, diff

COMMON = [
    "plugins=[made_up]", "evaluator=formula", "evaluator.fail=0.1", "device=[]", "objective=params",
    "search.in_flight=3", "seed=4", "trials=24",
]  # fmt: skip


def search(folder: Path, *args: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nas", "search", f"run={folder}", *COMMON, *args]
    with open(f"{folder}.txt", "ab") as log:
        return subprocess.Popen(
            command, cwd=folder.parent, env=environment(), stdout=stdout or log, stderr=log, stdin=subprocess.DEVNULL,
            preexec_fn=hear_ctrl_c,
        )  # fmt: skip


def until(folder: Path, trials: int, *args: str) -> subprocess.Popen[bytes]:
    """A search that has just said how its trial of that count went."""
    process = search(folder, *args, stdout=subprocess.PIPE)
    assert process.stdout
    for line in process.stdout:
        if (shown := re.match(rb"\[(\d+)/", line)) and int(shown[1]) >= trials:
            return process
    raise AssertionError(Path(f"{folder}.txt").read_text())


def kill_after(folder: Path, trials: int, *args: str) -> None:
    with until(folder, trials, *args) as process:
        process.kill()


def run_to_the_end(folder: Path, *args: str) -> None:
    """In this process: only one that is killed or has another executor needs its own."""
    assert run(["search", f"run={folder}", *COMMON, *args]) == 0


def same(a: Path, b: Path) -> list[str]:
    with Journal.open(a / "journal.sqlite", read_only=True) as one, Journal.open(b / "journal.sqlite", read_only=True) as other:
        assert any(trial.outcome == "nan" for trial in one.trials())
        assert len(other.evaluations("search")) == sum(t.repeat_of is None and t.outcome != "infeasible" for t in other.trials())
        return diff(one, other)


TWO_WORKERS = ["executor=processes", "executor.workers=2"]


def test_a_driver_killed_twice(tmp_path: Path) -> None:
    """Trainings of several lengths; killed in one process, then with two workers, and ended in one."""
    run_to_the_end(tmp_path / "calm", "controller=asha", "executor=local")
    kill_after(tmp_path / "killed", 4, "controller=asha", "executor=local")
    kill_after(tmp_path / "killed", 13, "controller=asha", *TWO_WORKERS)
    run_to_the_end(tmp_path / "killed", "controller=asha", "executor=local")
    assert same(tmp_path / "calm", tmp_path / "killed") == []
    with Journal.open(tmp_path / "calm" / "journal.sqlite", read_only=True) as journal:
        assert {trial.fidelity for trial in journal.trials()} != {0}


@pytest.mark.parametrize("controller", ["reinforce", pytest.param("mnasnet", marks=pytest.mark.nightly)])
def test_a_driver_whose_controller_learns_is_killed(controller: str, tmp_path: Path) -> None:
    """The weights of its policy are those that the journal gives."""
    run_to_the_end(tmp_path / "calm", f"controller={controller}", "executor=local")
    kill_after(tmp_path / "killed", 13, f"controller={controller}", "executor=local")
    run_to_the_end(tmp_path / "killed", f"controller={controller}", "executor=local")
    assert same(tmp_path / "calm", tmp_path / "killed") == []


@pytest.mark.ray
@pytest.mark.nightly
def test_the_driver_killed_with_ray_and_another_number_of_workers(tmp_path: Path, ray_address: str) -> None:
    ray = ["executor=ray", f"executor.address={ray_address}"]
    run_to_the_end(tmp_path / "calm", "executor=local")
    kill_after(tmp_path / "killed", 7, *ray, "executor.workers=1")
    run_to_the_end(tmp_path / "killed", *ray, "executor.workers=2")
    assert same(tmp_path / "calm", tmp_path / "killed") == []


def test_ctrl_c_says_how_to_resume(tmp_path: Path) -> None:
    with until(tmp_path / "run", 2, "executor=processes", "executor.workers=1", "evaluator.seconds=1000", "evaluator.quick=2") as process:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=300)[0].decode() + (tmp_path / "run.txt").read_text()
    assert process.returncode == 130
    assert "the same command resumes" in said
    assert "nas search" in said
    assert "trials=24" in said
    assert "Traceback" not in said
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.ray
def test_own_block_dataset_and_controller_in_a_search_with_ray(tmp_path: Path) -> None:
    """On a local cluster that the command itself starts and ends."""
    (tmp_path / "twins.yaml").write_text(
        "name: twins\nresolution: 8\nstem: {op: conv, width: 8}\n"
        "stages: [{op: twin_conv, width: {one_of: [4, 8]}, kernel: {one_of: [3, 5]}}]\nhead: {op: classifier}\n"
    )
    command: list[Any] = [sys.executable, "-m", "nas", "search", "run=own", "plugins=[made_up]", "space=twins.yaml"]
    command += ["dataset=stripes", "dataset.images=120", "controller=first_new", "executor=ray", "executor.workers=1"]
    command += ["trials=2", "recipe.epochs=2", "recipe.batch=16", "recipe.augment.crop_padding=0", "device=[]"]
    command += ["objective=macs", "search.in_flight=1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with Journal.open(tmp_path / "own" / "journal.sqlite", read_only=True) as journal:
        assert [trial.outcome for trial in journal.trials()] == ["ok"] * 2
        assert max(trial.metrics["accuracy"] for trial in journal.trials()) > 0.8
        assert len({trial.arch_id for trial in journal.trials()}) == 2
        assert journal.evaluations("test")
