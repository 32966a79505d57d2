"""Runs that differ in their seed alone are compared by means and standard deviations, found by a sweep's folder or a pattern."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path

import pytest

from nas.cli import run
from nas.report.seeds import mean_text
from nas.workflows.report import run_folders
from report_makers import HOST, add, new_journal

ACCURACIES = {"a": (0.9, 0.92), "b": (0.8, 0.86)}


@pytest.fixture
def sweep(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """seeds/controller=<a or b>,seed=<0 or 1>: the second of each has a run of its own below."""
    for name, values in ACCURACIES.items():
        for seed, accuracy in enumerate(values):
            folder = memory_path / "seeds" / f"controller={name},seed={seed}" / ("deep" if seed else "")
            settings = {"controller": {"name": name}, "seed": seed, "trials": 3 + seed}
            with new_journal(folder, settings=settings) as journal:
                costs = {"params": 1e4, "macs": 1e6, "memory_bytes": 1e5}
                add(journal, {"accuracy": accuracy, "loss": 0.1, HOST: 2.0, **costs})
                add(journal, {"accuracy": accuracy - 0.1, "loss": 0.2, HOST: 1.0, **costs})
    monkeypatch.chdir(memory_path)
    return memory_path


@pytest.mark.parametrize(
    "name, runs",
    [
        ("seeds", ["a,seed=0", "a,seed=1/deep", "b,seed=0", "b,seed=1/deep"]),
        ("seeds/controller=b*", ["b,seed=0", "b,seed=1/deep"]),
        ("seeds/*seed=1", ["a,seed=1/deep", "b,seed=1/deep"]),
        ("seeds/controller=a,seed=0", ["a,seed=0"]),
    ],
)
def test_folders_and_patterns_stand_for_runs(name: str, runs: list[str], sweep: Path) -> None:
    assert run_folders(name) == [f"seeds/controller={run}" for run in runs]


@pytest.mark.parametrize("name", ["none", "none*", "seeds/controller=c*"])
def test_a_name_without_runs_is_an_error(name: str, sweep: Path) -> None:
    with pytest.raises(ValueError, match=r"^run: no journal.sqlite in"):
        run_folders(name)


@pytest.mark.parametrize("given", ["runs=seeds", "runs=[seeds/controller=a*,seeds/controller=b*]", "runs=seeds/*"])
def test_means_and_deviations_over_seeds(given: str, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", given.replace("[", "['").replace(",seeds", "','seeds").replace("]", "']")]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert [line[:5] for line in lines[1:3]] == [
        ["controller=a", "2", "91.00", "%", "+-"], ["controller=b", "2", "83.00", "%", "+-"],
    ]  # fmt: skip
    assert "1.41" in out
    assert "4.24" in out
    page = (sweep / "compare.html").read_text()
    assert "Over seeds" in page
    assert "91.00 % \u00b1 1.41" in page


def test_json_has_each_run_and_the_means_over_seeds(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "runs=seeds", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["runs"]) == 4
    assert [group["name"] for group in found["groups"]] == ["controller=a", "controller=b"]
    assert [run for group in found["groups"] for run in group["runs"]] == list(found["runs"])
    accuracy = found["groups"][0]["figures"]["accuracy"]
    assert accuracy == pytest.approx({"mean": 0.91, "std": 0.02 / 2**0.5})
    tested = [figure for name, figure in found["groups"][0]["figures"].items() if name.startswith("test")]
    assert tested == [{"mean": None, "std": None}]
    assert run(["report", "runs=seeds/controller=a,seed=0", "json=true"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["groups"]
    assert alone["figures"]["accuracy"] == {"mean": 0.9, "std": None}


@pytest.mark.parametrize(
    "name, found, text",
    [("accuracy", (0.9, 0.0141), "90.00 % +- 1.41"), ("accuracy", (0.9, nan), "90.00 %"), ("reward", (0.5, 0.25), "0.5000 +- 0.2500")],
)
def test_a_single_run_has_no_deviation(name: str, found: tuple[float, float], text: str) -> None:
    assert mean_text(name, found) == text
