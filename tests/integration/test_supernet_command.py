"""`nas supernet`, and the searches that take its weights: interrupted, resumed, on Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from commands import environment
from nas.cli import run
from nas.cli.console import Console
from nas.core.yamlio import dump_yaml, write_text
from nas.evaluators import supernet_worker as evaluator
from nas.journal import Journal, diff
from nas.supernet.file import load_supernet
from small_supernet import FEW

DATA = {"name": "digits", "resolution": 8, "train_size": 100}
SEARCH: dict[str, Any] = {"objectives": {"loss": "min", "macs": "min"}, "controller": "random", "device": [], "dataset": DATA,
                          "space": FEW, "trials": 4}  # fmt: skip
COMMON = ["space=few.yaml", "dataset.resolution=8", "dataset.train_size=100"]
TRAINED = [*COMMON, "recipe.epochs=2", "executor=local", "strategy=fair"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> nas.SupernetResult:
    folder = tmp_path_factory.mktemp("shared")
    return nas.supernet(FEW, DATA, recipe={"epochs": 2}, executor="local", strategy="fair", run=folder / "calm")


def journal(folder: Path) -> Journal:
    return Journal.open(folder / "journal.sqlite", read_only=True)


def same(a: Path, b: Path) -> bool:
    ours, theirs = (load_supernet(one).params for one in (a, b))
    return all(
        np.array_equal(array, theirs[node][name]) for node, arrays in ours.items() for name, array in arrays.items()
    )


def test_ctrl_c_tells_how_to_resume_and_the_weights_are_those_of_a_calm_run(
    here: Path, trained: nas.SupernetResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(here / "few.yaml", dump_yaml(FEW))
    monkeypatch.setattr(evaluator, "CHECKPOINT_PAUSE_S", 0.0)

    class Stopped(Console):
        def step(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
            if metrics.get("epoch") == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("nas.cli.supernet.Console", Stopped)
        assert run(["supernet", *TRAINED, "run=super"]) == 130
    assert "stopped; the same command resumes:\n  nas supernet space=few.yaml" in capsys.readouterr().err
    assert run(["status", "run=super"]) == 0
    assert run(["supernet", *TRAINED, "run=super"]) == 0
    said = capsys.readouterr().out
    assert f"super: stopped; nas supernet {' '.join(TRAINED)} run=super resumes" in said
    assert "preparation: 0 of 1 jobs done" in said
    assert "layers in shapes of their own; compiled when a step first has them" in said
    assert "epoch 1  50%" in said
    assert (
        "nas search space=few.yaml dataset.resolution=8 dataset.train_size=100 evaluator=supernet evaluator.weights=super"
        in said
    )
    assert same(here / "super", trained.run)


def test_a_strategy_that_chooses_leaves_its_network(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(here / "few.yaml", dump_yaml(FEW))
    assert run(["supernet", *COMMON, "recipe.epochs=1", "executor=local", "strategy=rl", "run=super"]) == 0
    assert "best    super/best.yaml   (nas train arch=super/best.yaml weights=supernet:super)" in capsys.readouterr().out
    found = load_supernet("super")
    assert found.chosen is not None
    assert found.space.encode(nas.load_arch(here / "super" / "best.yaml")) == tuple(found.record["chosen"])


@pytest.mark.nightly
def test_killed_with_its_workers_it_resumes_to_the_same_weights(here: Path) -> None:
    write_text(here / "few.yaml", dump_yaml(FEW))
    command = [sys.executable, "-m", "nas", "supernet", *COMMON, "recipe.epochs=20", "executor.workers=1", "threads=1"]
    with subprocess.Popen([*command, "run=killed"], stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        assert any(line.startswith("epoch 2 ") for line in process.stdout)
        process.kill()
    for folder in ("killed", "calm"):
        subprocess.run([*command, f"run={folder}"], check=True, env=environment(), stdout=subprocess.DEVNULL)
    assert same(here / "killed", here / "calm")


def test_networks_trained_alone_have_no_teacher_whose_features_they_could_match(here: Path) -> None:
    recipe, strategy = {"epochs": 1, "match_features": 1.0}, {"name": "sandwich", "random": 0}
    found = nas.supernet(FEW, DATA, recipe=recipe, strategy=strategy, executor="local", fidelity=3, run=here / "matched")
    assert found.record["fidelity"]["networks"] == 3


def test_more_networks_are_trained_alone_by_the_same_command(trained: nas.SupernetResult) -> None:
    more: dict[str, Any] = {"recipe": {"epochs": 2}, "executor": "local", "strategy": "fair", "run": trained.run}
    assert not nas.supernet(FEW, DATA, **more).fidelity
    heard: list[str] = []
    few = nas.supernet(FEW, DATA, fidelity=2, progress=lambda update: heard.append(update.text), **more)
    assert "fidelity: three networks at least are needed to rank" in heard
    found = nas.supernet(FEW, DATA, fidelity=4, **more)
    with pytest.raises(ValueError, match=r"fidelity_epochs: networks were compared with 1, this command has 2; run="):
        nas.supernet(FEW, DATA, fidelity=4, fidelity_epochs=2, **more)
    assert [row["by"] for row in found.fidelity] == ["accuracy", "loss", "balanced_accuracy", "macs"]
    assert found.record["fidelity"]["networks"] == 4
    assert json.loads((trained.run / "result.json").read_text())["fidelity"] == found.record["fidelity"]
    assert few.record["fidelity"]["networks"] == 2
    with Journal.open(trained.run / "journal.sqlite", read_only=True) as journal:
        assert len({trial.arch_id for trial in journal.trials()}) == 4
        assert all(
            {"accuracy", "inherited_accuracy", "inherited_loss"} <= trial.metrics.keys() for trial in journal.trials()
        )


def test_a_search_that_trains_them_first_is_one_that_takes_them(here: Path) -> None:
    own = nas.search(evaluator="supernet", recipe={"epochs": 1}, executor="local", run="own", **SEARCH)
    assert [trial["outcome"] for trial in own.trials] == ["ok"] * 4
    taken = {"name": "supernet", "weights": "own"}
    given = nas.search(evaluator=taken, recipe={"epochs": 1}, executor="local", run="given", **SEARCH)
    with journal(here / "own") as a, journal(here / "given") as b:
        assert diff(a, b) == []
        assert [e.metrics for e in a.evaluations("test")] == [e.metrics for e in b.evaluations("test")]
    assert given.best is not None


def test_members_of_the_front_have_three_figures_and_are_trained_further(
    here: Path, trained: nas.SupernetResult, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: dict[str, Any] = {"evaluator": {"name": "supernet", "weights": str(trained.run)}, "executor": "local", "run": "found",
                             "recipe": {"epochs": 2}, **SEARCH}  # fmt: skip
    nas.search(**taken)
    asked = {"finetune_epochs": 1, "finetune_lr": 0.01, "finetune_distill": True, "scratch_epochs": 1}
    heard: list[str] = []
    found = nas.search(**taken, search=asked, progress=lambda update: heard.append(update.text))
    whats = ("finetuned", "scratch")
    for row in found.summary.front:
        assert {f"{what}_{name}" for what in whats for name in ("loss", "test_accuracy")} <= row.later.keys()
        for what in whats:
            left = here / "found" / what / row.id
            assert nas.evaluate(left, split="test")["accuracy"] == pytest.approx(row.later[f"{what}_test_accuracy"])
            assert {path.name for path in left.iterdir()} == {"weights.npz", "arch.yaml", "result.json"}
    assert sum("with shared weights" in line for line in heard) == 2 * len(found.summary.front)
    assert "fine-tuned  from scratch" in str(found)
    head = (here / "found" / "front.csv").read_text().splitlines()[0]
    assert "finetuned_loss" in head
    assert "scratch_test_accuracy" in head
    assert "accuracy, fine-tuned" in (here / "found" / "report.html").read_text()
    again: list[str] = []
    nas.search(**taken, search=asked, progress=lambda update: again.append(update.text))
    assert any("this run is finished" in line for line in again)
    common = ["arch=found/best.yaml", *COMMON[1:], "recipe=quick", "recipe.epochs=1", "run=net"]
    assert run(["train", *common, f"weights=supernet:{trained.run}"]) == 0
    assert f"weights of supernet:{trained.run}" in capsys.readouterr().out


def test_images_are_made_ready_as_the_weights_know_them(here: Path) -> None:
    """Those of the network that the shared weights start from, in every search that takes them."""
    largest = {**FEW, "stages": [{"op": "conv", "width": 6, "kernel": 3, "stride": 2}]}
    first = nas.train(nas.load_arch(largest), DATA, recipe="quick", epochs=1, run="first", normalization={"mean": [0.1], "std": [0.7]})
    shared = nas.supernet(FEW, DATA, recipe={"epochs": 1}, executor="local", start=first.run, run="super")
    heard: list[str] = []
    taken: Any = {"evaluator": {"name": "supernet", "weights": "super"}, "progress": lambda update: heard.append(update.text)}
    found = nas.search(executor="local", run="found", **{**SEARCH, **taken, "trials": 1})
    assert (shared.record["mean"], shared.record["std"]) == ([0.1], [0.7])
    assert any(line.startswith("images: mean 0.1, std 0.7") for line in heard)
    with journal(here / "found") as kept:
        assert (kept.get("data")["mean"], kept.get("data")["std"]) == ([0.1], [0.7])
    assert found.trials[0]["outcome"] == "ok"


def test_members_that_are_trained_already_are_not_trained_further(here: Path) -> None:
    with pytest.raises(ValueError, match=r"search.finetune_epochs: evaluator=auto trains candidates by itself; expected"):
        nas.search(**SEARCH, search={"finetune_epochs": 1})
    with pytest.raises(ValueError, match=r"search.finetune_distill: has no effect with search.finetune_epochs=0; leave it out"):
        nas.search(**SEARCH, search={"finetune_distill": True})


@pytest.mark.ray
@pytest.mark.nightly
def test_workers_on_ray_use_the_one_file(here: Path, trained: nas.SupernetResult, ray_address: str) -> None:
    taken: Any = {"evaluator": {"name": "supernet", "weights": str(trained.run)}, "search": {"in_flight": 4}, **SEARCH}
    nas.search(executor="local", run="local", **taken)
    nas.search(executor={"name": "ray", "address": ray_address, "workers": 2}, run="ray", **taken)
    with journal(here / "local") as a, journal(here / "ray") as b:
        assert diff(a, b) == []


def test_faults_of_the_command_are_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {**FEW, "stages": [{"op": "conv", "width": 8, "kernel": {"one_of": [2, 3]}}]}
    write_text(here / "few.yaml", dump_yaml(FEW))
    write_text(here / "odd.yaml", dump_yaml(odd))
    for args, message in (
        (["space=odd.yaml"], "stages[0].kernel: has kernels of odd and even sides"),
        (
            ["space=few.yaml", "strategy=sandwich", "strategy.random=-1"],
            "random: expected 0 or more candidates, got -1",
        ),
        (["space=few.yaml", "strategy=fare"], "strategy"),
        (["space=few.yaml", "recipe.accumulate=2"], "recipe.accumulate: a supernet makes an update every step, got 2"),
        (["space=few.yaml", "fidelity=-1"], "fidelity: expected 0 to 10000, got -1"),
        (["space=few.yaml", "fidelity_table=."], "fidelity_table: has no effect with fidelity=0"),
        (["space=few.yaml", "fidelity=3", "fidelity_epochs=1", "fidelity_table=."], "fidelity_epochs: nothing is trained alone"),
        (["space=few.yaml", "fidelity=3", "fidelity_table=."], "fidelity_table: no published results of the space few; there are"),
        (["space=nas_bench_macro", "fidelity=3", "fidelity_table=."], "fidelity_table: path: "),
        (["space=few.yaml", "calibration_images=0"], "calibration_images: expected 1 or more images, got 0"),
    ):
        assert run(["supernet", "dataset.resolution=8", "run=r", *args]) == 2, args
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1, said
    assert not list(here.glob("r/preparation/*/*.npz"))
