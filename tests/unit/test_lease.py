"""Who may write a journal: a second driver is refused, a dead one replaced, one that was replaced ends; and a full disk."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nas.journal.lease as lease_module
from nas.journal import Journal, JournalError
from nas.records import Trial
from places import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Journal.create(tmp_path / "journal.sqlite").close()
    return tmp_path / "journal.sqlite"


def write_lease(path: Path, **changed: Any) -> None:
    """A lease as a driver on another machine would hold it."""
    lease = {"host": "elsewhere", "pid": 7, "token": "theirs", "since": 0.0, "time": time.time(), **changed}
    with sqlite3.connect(path) as database:
        database.execute("INSERT OR REPLACE INTO meta VALUES ('lease', ?)", [json.dumps(lease)])
    database.close()


def test_a_driver_on_another_machine_whose_heart_beats_is_not_disturbed(path: Path) -> None:
    write_lease(path)
    with pytest.raises(JournalError, match=r"being written by another process \(pid 7 on elsewhere, heartbeat \d+ s ago\)"):
        Journal.open(path)
    with Journal.open(path, read_only=True) as reader:
        lease = reader.lease()
        assert lease
        assert (lease.host, lease.alive) == ("elsewhere", True)


def test_a_dead_one_on_another_machine_is_replaced_and_its_end_recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.01)
    last = time.time() - 100
    write_lease(path, time=last)
    with Journal.open(path) as journal:
        (killed,) = journal.events("killed")
        assert (killed.time, killed.data) == (last, {"pid": 7, "host": "elsewhere"})


def test_a_clock_that_is_wrong_does_not_make_a_living_driver_dead(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lease(path, time=time.time() - 100)
    monkeypatch.setattr(lease_module.time, "sleep", lambda seconds: write_lease(path, time=time.time() - 99))
    with pytest.raises(JournalError, match="being written by another process"):
        Journal.open(path)


def test_a_driver_that_was_replaced_writes_nothing_more(path: Path) -> None:
    with Journal.open(path) as first:
        first.begin(Trial(0, (1,), "a"))
        write_lease(path)
        with pytest.raises(JournalError, match="another process took this run over"):
            first.finish(Trial(0, (1,), "a", outcome="ok"))
    with Journal.open(path, read_only=True) as reader:
        assert not reader.trial(0).done
        assert (lease := reader.lease())
        assert lease.token == "theirs"  # and it does not give back what is not its own


def test_the_heart_beats_and_tells_the_status(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.01)
    with Journal.open(path) as journal:
        before = journal.lease()
        assert before
        journal.show(lambda: {"running": [3]})
        while journal.get("status") != {"running": [3]} or (lease := journal.lease()) == before:
            pass
        assert lease == replace(before, time=lease.time)  # type: ignore[union-attr]
    with Journal.open(path, read_only=True) as journal:
        assert journal.lease() is None
        assert journal.events("killed") == []


FILL = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from nas.journal import Journal, JournalError
from nas.records import Trial
folder = Path(sys.argv[1])
done = 0
try:
    with Journal.create(folder / "journal.sqlite") as journal:
        (folder / "ballast").write_bytes(bytes(200_000))
        for number in range(10_000):
            trial = journal.begin(Trial(number, (number,), "id", note={"why": "x" * 1000}))
            journal.finish(replace(trial, outcome="ok"))
            done = number + 1
except JournalError as error:
    said = str(error)
(folder / "ballast").unlink()
with Journal.open(folder / "journal.sqlite") as journal:
    trials = journal.trials()
    pending = [trial for trial in trials if not trial.done]
    for trial in pending:
        journal.finish(replace(trial, outcome="ok"))
    journal.begin(Trial(len(trials), (0,), "id"))
print(json.dumps([said, done, sum(trial.done for trial in trials), len(pending)]))
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs a file system of its own",
)
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    command = f'mount -t tmpfs -o size=900k tmpfs {tmp_path} && exec {sys.executable} -c "$FILL" {tmp_path}'
    environment = {**os.environ, "FILL": FILL, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(["unshare", "-rm", "sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said, acknowledged, kept, pending = json.loads(ran.stdout)
    assert said.endswith("journal.sqlite: the disk is full")
    assert acknowledged > 10
    assert kept == acknowledged  # what was acknowledged is there, and nothing else counts as done
    assert pending <= 1
