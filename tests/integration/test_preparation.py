"""The jobs that an evaluator needs before the first trial run once, whatever dies, and every trial has their results."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import nas
from commands import environment
from nas.cli import run
from nas.journal import Journal, diff
from nas.records import Job, Outcome
from nas.testing import check_evaluator
from nas.workflows.progress import SILENT
from nas.workflows.search.preparation import prepare, prepared
from nas.workflows.search.result import SearchResult
from search_fakes import Killed, Shuffled

COMMON: dict[str, Any] = {
    "objective": "params",
    "controller": "random",
    "device": [],
    "plugins": ["prepared"],
    "space": "tiny",
}


def search(evaluator: dict[str, Any] | None = None, trials: int = 3, executor: Any = "local") -> SearchResult:
    chosen = {"name": "prepared", **(evaluator or {})}
    return nas.search(evaluator=chosen, trials=trials, executor=executor, run="r", **COMMON)


def starts(folder: Path) -> list[str]:
    return (folder / "starts.txt").read_text().split()


def journal(folder: Path) -> Journal:
    return Journal.open(folder / "journal.sqlite", read_only=True)


def test_a_preparation_runs_once_before_the_first_trial(here: Path) -> None:
    result = search()
    assert [trial["outcome"] for trial in result.trials] == ["ok"] * 3
    assert len(search(trials=5).trials) == 5
    assert starts(here / "r") == ["0", "1"]
    with journal(here / "r") as found:
        kept = found.get("preparation")
        assert len({entry["job"]["seed"] for entry in kept}) == 2
        assert [Path(entry["result"]["path"]).parent.name for entry in kept] == ["00", "01"]
        summary = search(trials=5).summary
        assert len(found.evaluations("test")) == len([*summary.front, *summary.alike]) > 0


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_a_preparation_of_any_number_of_jobs(here: Path, parts: int) -> None:
    assert len(search({"parts": parts}).trials) == 3
    with journal(here / "r") as found:
        assert len(found.get("preparation", [])) == parts


def command(folder: Path, *args: str) -> int:
    settings = [
        "evaluator=prepared",
        "plugins=[prepared]",
        "objective=params",
        "controller=random",
        "device=[]",
        "trials=3",
    ]
    with open(f"{folder}.txt", "ab") as log:
        return subprocess.run(
            [sys.executable, "-m", "nas", "search", f"run={folder}", "executor=local", *settings, *args],
            cwd=folder.parent, env=environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False,
        ).returncode  # fmt: skip


@pytest.mark.parametrize(
    "dies, expected",
    [("evaluator.kill=1", ["0", "1", "1"]), pytest.param("evaluator.kill_trial=1", ["0", "1"], marks=pytest.mark.nightly)],
)
def test_a_driver_that_is_killed_resumes_and_repeats_no_finished_job(
    tmp_path: Path, dies: str, expected: list[str]
) -> None:
    """In one process, so that what kills a job kills the driver."""
    assert command(tmp_path / "calm") == 0, Path(f"{tmp_path / 'calm'}.txt").read_text()
    assert command(tmp_path / "killed", dies) == -signal.SIGKILL
    assert command(tmp_path / "killed", dies) == 0, Path(f"{tmp_path / 'killed'}.txt").read_text()
    assert starts(tmp_path / "killed") == expected
    with journal(tmp_path / "calm") as calm, journal(tmp_path / "killed") as killed:
        assert diff(calm, killed) == []
        seeds = [[entry["job"]["seed"] for entry in one.get("preparation")] for one in (calm, killed)]
        assert seeds[0] == seeds[1]


def test_a_job_whose_worker_died_runs_again(here: Path) -> None:
    search({"kill": 0}, executor={"name": "processes", "workers": 1})
    assert sorted(starts(here / "r")) == ["0", "0", "1"]
    with journal(here / "r") as found:
        assert [event.data["number"] for event in found.events("prepare_retry")] == [0]
        assert [entry["attempts"] for entry in found.get("preparation")] == [1, 0]


def test_a_failure_ends_the_search_in_one_line_and_the_same_call_tries_again(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = r"^evaluator: its preparation failed \(error\): ValueError: made up \(.*prepared.py, line \d+\); log.txt of the run has more"
    for _ in range(2):
        with pytest.raises(ValueError, match=line):
            search({"fail": 1})
    assert run(["status", "run=r"]) == 0
    assert "preparation: 1 of 2 jobs done" in capsys.readouterr().out
    (here / "r" / "mended").touch()
    assert len(search({"fail": 1}).trials) == 3
    assert starts(here / "r") == ["0", "1", "1", "1"]


def test_jobs_that_are_lost_and_drivers_that_are_killed_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    jobs, kills = [Job(i, "prepare", seed=i) for i in range(6)], 0
    done: list[int] = []
    lost: list[int] = []
    make = partial(finished, done)
    for kill in range(100):
        executor = Shuffled(kill, 2, lose=0.3, polls=3, make=make)
        with Journal.open(tmp_path / "j") if kill else Journal.create(tmp_path / "j") as found:
            try:
                prepare(jobs, found, executor, retries=99, progress=SILENT)
            except Killed:
                kills += 1
                continue
            assert [one["seed"] for one in prepared(found)] == list(range(6))
            lost = [event.data["number"] for event in found.events("prepare_retry")]
            assert [entry["attempts"] for entry in found.get("preparation")] == [lost.count(i) for i in range(6)]
            break
    assert sorted(done) == list(range(6))
    assert kills > 1
    assert lost


def finished(done: list[int], job: Job) -> Outcome:
    done.append(job.number)
    return Outcome(job.number, "ok", data={"seed": job.seed})


def test_a_job_that_is_lost_too_often_ends_the_search(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j") as found:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"^evaluator: its preparation failed \(lost\): made up \(3 times\)"):
                prepare([Job(0, "prepare")], found, Shuffled(0, 1, lose=1.1), retries=2, progress=SILENT)


def test_another_preparation_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are compared as those of every run; a change of the code shows in the jobs."""
    search({"parts": 2})
    with pytest.raises(ValueError, match=r"^evaluator.parts: the run in .* began with 2, this command has 3"):
        search({"parts": 3})
    monkeypatch.setattr("prepared.Prepared.preparation", lambda settings, context: ())
    with pytest.raises(ValueError, match=r"^evaluator: its preparation is not the one that the run began with"):
        search({"parts": 2}, trials=5)


def test_a_run_that_prepared_and_tried_nothing_does_not_start_over(here: Path) -> None:
    with pytest.raises(ValueError, match="made up"):
        search({"fail": 1})
    with pytest.raises(ValueError, match=r"^evaluator.fail: the run in .* began with 1"):
        search({"fail": -1})


def test_results_that_are_no_plain_data_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search({"parts": 0}, trials=1)  # which imports the plugin
    monkeypatch.setattr("prepared._Prepared._prepare", lambda self, job, report: nas_outcome(job.number))
    with pytest.raises(ValueError, match=r"^evaluator: expected plain data from its preparation"):
        nas.search(evaluator={"name": "prepared"}, trials=1, executor="local", run="other", **COMMON)


def nas_outcome(number: int) -> Any:
    return Outcome(number, "ok", data={"path": Path("x")})


def test_the_conformance_suite_prepares(here: Path) -> None:
    search(trials=1)
    check_evaluator({"name": "prepared"})
