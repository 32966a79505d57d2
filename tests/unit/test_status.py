"""What `nas status` says of a driver: running, killed, not responding, failed, stopped or finished; and the list of all trials."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nas.cli import run
from nas.journal import Journal
from nas.report import summarize, write_outputs
from nas.report.html import page
from nas.workflows.status import status_of
from report_makers import HOST, add, new_journal


@pytest.fixture(scope="module")
def ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def lease(path: Path, **changed: Any) -> None:
    held = {"host": socket.gethostname(), "pid": os.getpid(), "token": "t", "since": time.time(), "time": time.time(), **changed}
    with sqlite3.connect(path) as database:
        database.execute("INSERT OR REPLACE INTO meta VALUES ('lease', ?)", [json.dumps(held)])
    database.close()


@pytest.mark.parametrize(
    "changed, state",
    [
        ({}, "running"),
        ({"pid": "ended"}, "killed"),
        ({"since": 1.0}, "killed"),  # this process began later: the number was used again
        ({"time": 1.0}, "not responding"),
        ({"time": 1.0, "pid": "ended"}, "killed"),
        ({"host": "elsewhere", "pid": 1}, "running"),
        ({"host": "elsewhere", "pid": 1, "time": 1.0}, "killed"),
    ],
)
def test_the_state_of_a_run_with_a_lease(changed: dict[str, Any], state: str, ended: int, memory_path: Path) -> None:
    new_journal(memory_path).close()
    lease(memory_path / "journal.sqlite", **{key: ended if value == "ended" else value for key, value in changed.items()})
    with Journal.open(memory_path / "journal.sqlite", read_only=True) as journal:
        assert status_of(journal)["state"] == state


@pytest.mark.parametrize(
    "events, finished, state", [(["interrupted"], None, "stopped"), (["failed"], None, "failed"), (["failed", "finish"], 24, "finished")]
)
def test_the_state_of_a_run_without_one(events: list[str], finished: int | None, state: str, memory_path: Path) -> None:
    with new_journal(memory_path) as journal:
        journal.add_event("start", trials=24)
        for kind in events:
            journal.add_event(kind, **({"error": "ValueError: no room"} if kind == "failed" else {}))
        journal.put("finished", finished)
    with Journal.open(memory_path / "journal.sqlite", read_only=True) as journal:
        found = status_of(journal)
    assert (found["state"], found["error"]) == (state, "ValueError: no room" if state == "failed" else "")


def test_a_search_that_fails_is_named_so(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("device: made up")

    monkeypatch.setattr("nas.workflows.search.run.make_problem", broken)
    args = ["evaluator=formula", "plugins=[made_up]", "device=[]", "objective=params", "controller=random", "executor=local"]
    assert run(["search", *args, "run=my run"]) == 2
    capsys.readouterr()
    assert run(["status", "run=my run"]) == 0
    said = capsys.readouterr().out
    assert "my run: failed: ValueError: device: made up; nas search run=" in said
    assert "my run' resumes" in said


def test_all_trials_stand_in_a_file_with_their_seconds(memory_path: Path) -> None:
    with new_journal(memory_path) as journal:
        add(journal, {"accuracy": 0.9, HOST: 8.0, "loss": 0.1})
        add(journal, {HOST: 9.0}, "oom", "no\nmemory")
        add(journal, {HOST: 9.0}, "infeasible", "params 9 > constraint 8")
        write_outputs(memory_path, journal)
        html = page(summarize(journal))
    with (memory_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["outcome"] for row in rows] == ["ok", "oom", "infeasible"]
    assert [(row["compile_s"], row["train_s"]) for row in rows] == [("2.0", "3.0"), ("2.0", "3.0"), ("0.0", "0.0")]
    assert (rows[0]["accuracy"], rows[1]["accuracy"], rows[1]["error"]) == ("0.9", "", "no memory")
    assert "and 4 s of compilation</span>" in html


def test_the_report_says_how_busy_workers_were_and_what_compilation_nobody_waited_for(memory_path: Path) -> None:
    with new_journal(memory_path) as journal:
        add(journal, {"accuracy": 0.9, HOST: 8.0, "loss": 0.1})
        found = summarize(journal)
    assert (found.workers, found.hidden_s, math.isnan(found.busy)) == (0, 0.0, True)
    first = dataclasses.replace(found.trials[0], train_s=30.0, compile_s=12.0, hidden_s=7.0)
    found = dataclasses.replace(found, trials=(first,), workers=2, wall_s=60.0)
    assert found.busy == 0.25
    assert "25 % of the 2 workers&#x27; time, and 12 s of compilation (7 s of it behind trainings)" in page(found)
