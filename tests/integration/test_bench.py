"""`nas bench`: races over made-up tables, records that survive a kill, statistics, and the page."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.cli import run
from nas.controllers import make_controller
from nas.objectives import Objectives
from nas.objectives.pareto import hypervolume
from nas.tabular import load_table
from nas.workflows.bench import Store, best_within, grid, race, run_all
from nas.workflows.bench.contest import Contest, Yardstick
from nas.workflows.bench.statistics import differences, quartiles
from table_makers import write_accel, write_macro

OBJECTIVES = Objectives((("accuracy", "max"), ("macs", "min")), reward="first")


@pytest.fixture(scope="module")
def macro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_macro(tmp_path_factory.mktemp("macro"))


def test_a_race_counts_networks_not_proposals(macro: Path) -> None:
    """An identity that is not first in its stage does nothing, so that genomes outnumber networks."""
    table = load_table("nas_bench_macro", macro)
    found = race(table, table.problem(OBJECTIVES), make_controller({"name": "random"}), 200, seed=0)
    assert found.values.shape == (200, 2)
    assert found.asked > 200


def test_noise_is_told_and_not_scored(macro: Path) -> None:
    table = load_table("nas_bench_macro", macro)
    controller = make_controller({"name": "random"})
    exact = race(table, table.problem(OBJECTIVES), controller, 20, seed=0)
    noisy = race(table, table.problem(OBJECTIVES), controller, 20, seed=0, noise=0.1)
    assert np.array_equal(exact.values, noisy.values)


@pytest.mark.parametrize("in_flight", [0, 3])
def test_a_race_is_the_same_again(macro: Path, in_flight: int) -> None:
    table = load_table("nas_bench_macro", macro)
    first, second = (
        race(table, table.problem(OBJECTIVES), make_controller({"name": "evolution", "population": 5, "sample": 3}), 40, 3, 0.0, in_flight)
        for _ in range(2)
    )
    assert np.array_equal(first.values, second.values)


def test_the_best_within_a_limit() -> None:
    values = np.array([[-0.7, 5.0], [-0.9, 20.0], [-0.8, 9.0]])
    assert best_within(values, OBJECTIVES, 10, [1, 2, 3]) == [0.7, 0.7, 0.8]
    assert best_within(values, OBJECTIVES, None, [1, 2, 3]) == [0.7, 0.9, 0.9]
    assert best_within(values, OBJECTIVES, 1, [3]) == [-np.inf]


def test_grids_hold_what_is_wanted_and_the_end() -> None:
    assert {100, 300, 1000} <= set(grid(1000, (100, 300, 1000, 3000)))
    assert grid(5) == [5]
    assert grid(1000)[0] == 10


def test_records_survive_a_kill(tmp_path: Path) -> None:
    """What is whole is not done again; a line cut short is."""
    calls: list[int] = []

    def work(task: Mapping[str, Any]) -> dict[str, Any]:
        calls.append(task["n"])
        return {"square": task["n"] ** 2}

    store = Store(tmp_path / "deep" / "results.jsonl")
    tasks = [{"n": n} for n in range(4)]
    assert [r["square"] for r in run_all(tasks[:3], work, store)] == [0, 1, 4]
    assert store.path is not None
    text = store.path.read_text()
    store.path.write_text(text[: text.rindex("{") + 5])
    assert sorted(r["square"] for r in run_all(tasks, work, store)) == [0, 1, 4, 9]
    assert calls == [0, 1, 2, 2, 3]
    assert sorted(r["square"] for r in run_all(tasks, work, store)) == [0, 1, 4, 9]
    assert calls == [0, 1, 2, 2, 3]


def test_quartiles_of_what_was_never_reached_are_nan() -> None:
    assert quartiles([1.0, 2.0, 3.0]).median == 2.0
    assert np.isnan(quartiles([1.0, None]).median)


def test_differences_are_found_where_there_are_any() -> None:
    rng = np.random.default_rng(0)
    finals = {"bad": rng.normal(0, 1, 12), "good": rng.normal(3, 1, 12), "like good": rng.normal(3, 1, 12)}
    best, found = differences({name: values.tolist() for name, values in finals.items()})
    other = ({"good", "like good"} - {best}).pop()
    assert best != "bad"
    assert found["bad"].p < 0.01
    assert found["bad"].wins < 0.1
    assert found[other].p > 0.05
    assert differences({"a": [1.0, 1.0], "b": [1.0, 1.0]})[1]["b"].p == 1


def test_the_yardstick_of_a_small_space_is_exact(macro: Path) -> None:
    contest = Contest("nas_bench_macro", str(macro), cost="macs")
    found = Yardstick.of(contest)
    table = contest.table()
    rows = np.array([*table.space.enumerate()])
    values = np.stack([-table.metrics(rows)["accuracy"], table.costs(rows)["macs"]], axis=1)
    assert found.best == pytest.approx(0.96)
    assert found.volume == pytest.approx(hypervolume(values, found.reference))
    assert found.limit is not None
    assert found.within == pytest.approx(-values[values[:, 1] <= found.limit, 0].min())


def bench(macro: Path, *more: str) -> list[str]:
    return ["bench", f"path={macro}", "controllers=[random,{name: local, start: 5}]", "evaluations=20", "seeds=2", "workers=1", *more]


def test_bench_writes_its_page_and_resumes(macro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "b"
    assert run(bench(macro, f"run={folder}")) == 0
    text = capsys.readouterr().out
    assert "best by fraction of the best known hypervolume" in text
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert {row["controller"] for row in rows} == {"random", "local start=5"}
    assert {row["seed"] for row in rows} == {"0", "1"}
    assert all(0 <= float(row["hypervolume"]) <= 1 and float(row["regret"]) >= 0 for row in rows)
    html = (folder / "report.html").read_text()
    assert "Mann-Whitney" in html
    assert html.count("<polygon") == 4
    assert (folder / "hypervolume.svg").read_text().startswith("<svg")
    before = (folder / "results.jsonl").read_text()
    assert run(bench(macro, f"run={folder}", "seeds=3")) == 0
    after = (folder / "results.jsonl").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 6


def test_bench_in_two_processes_on_accuracy_alone(macro: Path, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    assert run(bench(macro, f"run={folder}", "workers=2", "cost=null", "controllers=[random]")) == 0
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert sorted(record["seed"] for record in records) == [0, 1]
    assert all("hypervolume" not in record for record in records)


def test_bench_of_models_with_a_latency(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["benchmark=accel_nasbench", "cost=latency_ms/a100", "learn_cost=true", "noise=true", "front_evaluations=300"]
    args = [*bench(write_accel(tmp_path), f"run={tmp_path / 'b'}", *settings), "controllers=[random,mnasnet]", "seeds=1"]
    assert run([arg for arg in args if "local" not in arg and arg != "seeds=2"]) == 0
    assert "extrapolations" in (tmp_path / "b" / "report.html").read_text()


@pytest.mark.parametrize(
    "more, words",
    [
        (["controllers=[randm]"], "controllers[0]: unknown 'randm'; did you mean random?"),
        (["controllers=[]"], "controllers: empty"),
        (["controllers=[{name: local, strat: 3}]"], "controllers[0].strat: unknown key; did you mean start?"),
        (["cost=latency_ms/a100"], "cost: latency_ms/a100 is not in this table"),
        (["cost=mac"], "did you mean macs?"),
        (["limit=-1"], "limit: expected a positive number"),
        (["cost=null", "limit=3"], "limit: a limit of the cost, and cost is null"),
        (["seeds=0"], "seeds: expected 1 to 10000, got 0"),
        (["path=nowhere"], "path: no file"),
    ],
)
def test_mistakes_are_one_line(
    macro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    keys = {word.partition("=")[0] for word in more}
    args = [arg for arg in bench(macro, f"run={tmp_path / 'b'}") if arg.partition("=")[0] not in keys]
    assert run([*args, *more]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_another_contest_needs_another_folder(macro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bench(macro, f"run={tmp_path / 'b'}", "cost=null")) == 0
    assert run(bench(macro, f"run={tmp_path / 'b'}", "cost=params")) == 2
    assert "cost: the results in" in capsys.readouterr().err
