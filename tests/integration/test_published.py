"""Searches over published tables, from small made-up files in the published formats."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from nas.cli import run
from nas.evaluators import evaluator_settings
from nas.evaluators.tabular import TabularSettings
from nas.journal import Journal, diff
from nas.objectives import Direction, build_objectives
from nas.space import load_space
from places import HELPERS
from table_makers import write_accel, write_macro


@pytest.fixture(scope="module")
def accel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_accel(tmp_path_factory.mktemp("accel"))


@pytest.fixture
def search(accel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["nas"])
    common = ["space=accel_nasbench", "evaluator=accel_nasbench", f"evaluator.path={accel}", "controller=nsga2", "track=[]"]
    return lambda folder, *args: run(["search", *common, f"run={folder}", *args])


def test_published_times_are_axes_limits_and_targets(search, accel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = 13.0
    devices = "evaluator.devices=[zcu102,3090]"
    assert search("run", devices, f"objective.constraints.latency_ms={limit}", "objective.target_ms=10", "trials=12") == 0
    said = capsys.readouterr().out
    assert "published results" in said
    assert "extrapolations" in said
    settings = evaluator_settings({"name": "accel_nasbench", "path": str(accel), "devices": ["zcu102", 3090]})
    assert isinstance(settings, TabularSettings)
    with Journal.open(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        trials, objectives = journal.trials(), journal.get("objectives")
        assert (journal.get("task")["name"], journal.get("task")["primary"]) == ("classification", "accuracy")
        assert not journal.measurements()
    assert [name for name, _ in objectives["metrics"]] == ["accuracy", "latency_ms/zcu102", "latency_ms/3090"]
    assert (objectives["cost"], objectives["target"]) == ("latency_ms/zcu102", 10)
    table = settings.table()
    for trial in trials:
        true = {name: float(ms[0]) for name, ms in table.times(np.array([trial.genome])).items()}
        assert {k: v for k, v in trial.metrics.items() if k.startswith("predicted")} == {
            name: pytest.approx(true[name]) for name in ("predicted_ms/zcu102", "predicted_ms/3090")
        }
        assert not any(name.startswith("latency_ms") for name in trial.metrics)
        assert (trial.outcome == "infeasible") == (true["predicted_ms/zcu102"] > limit)
        if trial.ok:
            assert trial.metrics["accuracy"] == pytest.approx(float(table.accuracy(np.array([trial.genome]))[0]))
    assert trials[0].metrics["macs"] > 5e7, "costs are those of the published networks, whatever the dataset"
    with (tmp_path / "run" / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(float(row["predicted_ms/zcu102"]) <= limit for row in rows)


def test_a_resumed_run_is_that_of_one_go(search, tmp_path: Path) -> None:
    assert search("parts", "trials=4") == search("parts", "trials=9") == search("whole", "trials=9") == 0
    paths = [tmp_path / name / "journal.sqlite" for name in ("parts", "whole")]
    with Journal.open(paths[0], read_only=True) as parts, Journal.open(paths[1], read_only=True) as whole:
        assert diff(parts, whole) == []
        assert [name for name, _ in whole.get("objectives")["metrics"]] == ["accuracy", "latency_ms/a100"]


def test_the_target_is_the_median_of_published_times(search, tmp_path: Path) -> None:
    assert search("run", "trials=1") == 0
    with Journal.open(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        assert 7 < journal.get("target") < 21  # milliseconds, as many as layers in the made-up records


@pytest.mark.parametrize(
    "args, line",
    [
        (["evaluator.devices=[a10]"], "evaluator.devices[0]: unknown 'a10'; did you mean a100? (known: a100, 3090, "),
        (["evaluator.devices=[a100,a100]"], "evaluator.devices[1]: a100 is there twice"),
        (["evaluator.devices=[]"], "objective.metrics.latency_ms: latency_ms needs a device, and there is none"),
        (["objective.cost=latency_ms/zcu102"], "objective.cost: unknown metric 'latency_ms/zcu102'; did you mean latency_ms/a100?"),
        (["space=tiny"], "space: expected accel_nasbench, whose networks evaluator=accel_nasbench knows, got tiny"),
        (["resolution=96"], "resolution: the networks of accel_nasbench were trained as they are"),
        (["controller=asha"], "evaluator: knows trainings of one length only"),
        (["evaluator.path=/nowhere"], "evaluator.path: no file /nowhere"),
    ],
)
def test_mistakes_are_one_line(search, tmp_path: Path, args: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert search("run", *args) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"nas: {line}")
    assert "\n" not in said
    assert not (tmp_path / "run").exists()


def test_another_device_is_another_run(search, capsys: pytest.CaptureFixture[str]) -> None:
    assert search("run", "trials=1") == 0
    assert search("run", "trials=1", "evaluator.devices=[vck190]") == 2
    assert "evaluator.devices: the run in" in capsys.readouterr().err


def test_a_table_without_times_takes_other_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["nas"])
    table = ["evaluator=nas_bench_macro", f"evaluator.path={write_macro(tmp_path)}", "device=[]", "executor=local"]
    assert run(["search", "space=nas_bench_macro", *table, "objective=macs", "controller=random", "trials=3", "run=run", "track=[]"]) == 0
    with Journal.open(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        (first, *_) = journal.trials()
    space = load_space("nas_bench_macro")
    assert first.arch_id
    assert space.decode(first.genome).resolution == 32


def test_a_plugins_own_metric_is_an_axis_and_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(HELPERS))
    monkeypatch.setattr("sys.argv", ["nas"])
    axes = ["+objective.metrics.margin=max", "+objective.constraints.margin=0.01", "objective=macs", "device=[]"]
    common = ["plugins=[made_up]", "evaluator=formula", "executor=local", "controller=nsga2", "track=[]", "run=run"]
    assert run(["search", *common, *axes, "trials=8"]) == 0
    with Journal.open(tmp_path / "run" / "journal.sqlite", read_only=True) as journal:
        objectives, trials = journal.get("objectives"), journal.trials()
    assert ["margin", "max"] in objectives["metrics"]
    assert objectives["trained"] == [["accuracy", "max"], ["loss", "min"], ["balanced_accuracy", "max"], ["margin", "max"]]
    best = max(trials, key=lambda trial: trial.metrics.get("margin", 0))
    with (tmp_path / "run" / "front.csv").open() as file:
        assert str(best.number) in [row["number"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "own, settings, message",
    [
        ({"f1": "max"}, {"f1": "min"}, "objective.metrics.f1: expected max, got min"),
        ({"f1": "max"}, {"f11": "max"}, "objective.metrics.f11: unknown metric 'f11'; did you mean f1?"),
        ({"params": "max"}, {}, "evaluator: declares the metric params, which is known already"),
        ({"f1": "up"}, {}, "evaluator: declares the metric f1 as 'up'; expected max or min"),
    ],
)
def test_mistakes_with_own_metrics_are_one_line(own: dict[str, Direction], settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build_objectives({"metrics": {"accuracy": "max", **settings}, "reward": "first"}, [], extra=own)


def test_a_limit_on_an_own_metric_knows_the_better_way() -> None:
    settings = {"metrics": {"accuracy": "max"}, "constraints": {"f1": 0.5, "energy_mj": 2.0}, "reward": "first"}
    objectives = build_objectives(settings, [], extra={"f1": "max", "energy_mj": "min"})
    assert objectives.violations({"f1": 0.6, "energy_mj": 1.0}) == []
    assert [line.split()[0] for line in objectives.violations({"f1": 0.4, "energy_mj": 3.0})] == ["f1", "energy_mj"]
