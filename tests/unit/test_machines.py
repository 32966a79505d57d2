"""Unlike machines: named where they differ, and refused or kept apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import nas
import nas.nn.network  # a process that trains
from boards import INFO, Board, score
from nas.controllers import make_controller
from nas.journal import Journal
from nas.latency import DEVICES
from nas.nn import native
from nas.records import Job, Measurement, Outcome
from nas.runtime.machines import Alike, training_machine, unlike
from nas.workflows.search.loop import Search, SearchSettings
from search_fakes import TINY, Shuffled, Silent, problem, result

A, B = {"processor": "A", "threads": 1}, {"processor": "B", "threads": 1}


@pytest.mark.parametrize(
    "before, now, text",
    [
        (A, A, ""),
        (A, B, "processor A, now B"),
        (A, {"processor": "A"}, "threads 1, now unknown"),
        ({}, {"native kernels": False}, "native kernels unknown, now False"),
        ({**A, "machine": "X on A"}, {**B, "machine": "X on B"}, "processor A, now B"),
    ],
)
def test_what_differs_is_named(before: dict[str, Any], now: dict[str, Any], text: str) -> None:
    assert unlike(before, now) == text


def measurement(arch_id: str, info: dict[str, Any]) -> Measurement:
    return Measurement(arch_id, "board", info["processor"] * 12, 1.0, 1.0, 1.0, 1, {**info, "repeatability": 0.1})


@pytest.mark.parametrize(
    "fingerprint, rows, kept, reasons",
    [
        ("", [A, A], ["0", "1"], []),
        ("", [A, B, A], ["0", "2"], ["1: measured on an unlike machine (processor A, now B); device=remote names a node"]),
        ("B" * 12, [A, B], ["1"], ["0: measured on an unlike machine (processor B, now A); device=remote names a node"]),
    ],
)
def test_measurements_of_an_unlike_machine_are_not_kept(
    fingerprint: str, rows: list[dict[str, Any]], kept: list[str], reasons: list[str]
) -> None:
    found: list[str] = []
    failures: list[str] = []
    alike = Alike(lambda m: found.append(m.arch_id), lambda i, text: failures.append(text), fingerprint, B if fingerprint else None)
    for number, info in enumerate(rows):
        alike(measurement(str(number), info))
    assert (found, failures) == (kept, reasons)


def search(run: Path, trials: int, progress: Any = None) -> nas.SearchResult:
    return nas.search(
        "tiny", evaluate=score, device={"board": {"name": "board"}}, trials=trials, run=run, executor="local", resolution=8,
        objectives={"accuracy": "max", "latency_ms/board": "min"}, progress=progress,
    )  # fmt: skip


def test_a_run_is_not_resumed_on_an_unlike_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "board", Board)
    search(tmp_path / "run", 2)
    monkeypatch.setitem(INFO, "processor", "B")
    with pytest.raises(ValueError, match=r"device.board: the run's latencies are of an unlike machine \(processor A, now B\)"):
        search(tmp_path / "run", 3)
    monkeypatch.setitem(INFO, "processor", "A")
    assert len(search(tmp_path / "run", 3).trials) >= 3


def test_a_front_is_not_measured_on_another_machine_than_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "board", Board)
    measure = Board.measure

    def elsewhere(self: Board, *args: Any) -> list[Measurement]:
        monkeypatch.setitem(INFO, "processor", "B")
        return measure(self, *args)

    monkeypatch.setattr(Board, "measure", elsewhere)
    found = search(tmp_path / "run", 2)
    assert not found.summary.measured
    assert all(not member.measured_ms for member in found.front)
    failures = [event.data["error"] for event in found.summary.events if event.kind == "measure_failed"]
    assert failures
    assert all("measured on an unlike machine (processor A, now B)" in str(error) for error in failures)


def test_outcomes_say_what_they_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "available", lambda: True)
    machine = training_machine()
    assert {"backend", "native kernels", "jax", "jaxlib"} <= set(machine)

    def made(job: Job) -> Outcome:
        return dataclasses.replace(result(job), machine={**machine, "native kernels": job.number < 3}, worker="node2/7")

    with Journal.create(tmp_path / "journal.sqlite", {}) as journal:
        settings = SearchSettings(in_flight=1)
        loop = Search(problem(TINY), make_controller({"name": "random"}), journal, Shuffled(0, 1, make=made), settings, 0, Silent())
        with pytest.raises(ValueError, match=r"node2/7: a machine unlike that of .* \(native kernels True, now False\)"):
            loop.run(9)
        assert journal.get("machine")["native kernels"] is True
        assert all(trial.number < 3 for trial in journal.trials() if trial.done and not trial.error)
