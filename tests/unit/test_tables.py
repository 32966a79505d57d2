"""Published tables, from small made-up files in the published formats."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.controllers import make_controller
from nas.evaluators import Context, evaluator_settings
from nas.objectives import Objectives
from nas.records import Job, Trial
from nas.space import load_space
from nas.tabular import Table, load_table
from nas.tabular.nas_bench_macro import canonical
from table_makers import write_accel, write_macro


@pytest.fixture(scope="module")
def accel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_accel(tmp_path_factory.mktemp("accel"))


@pytest.fixture(scope="module")
def macro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_macro(tmp_path_factory.mktemp("macro"))


@pytest.fixture(scope="module")
def table(accel: Path) -> Table:
    return load_table("accel_nasbench", accel, held_out=True)


@pytest.mark.parametrize(
    "genome, key",
    [((0, 1, 2, 0, 1, 0, 0, 2), "01210020"), ((1, 0, 0, 0, 2, 2, 2, 0), "10020220"), ((0,) * 8, "00000000")],
)
def test_identities_that_do_nothing_stand_last(genome: tuple[int, ...], key: str) -> None:
    assert canonical(genome) == key


def test_there_are_as_many_networks_as_published() -> None:
    assert len({canonical(genome) for genome in itertools.product(range(3), repeat=8)}) == 3969


def test_the_exact_table_gives_the_mean_over_seeds(macro: Path) -> None:
    found = load_table("nas_bench_macro", macro)
    assert found.metrics([(2,) * 8, (0, 2, 0, 0, 1, 0, 0, 0)])["accuracy"] == pytest.approx([0.96, 0.83])
    assert found.noise == pytest.approx(0.002)


def test_models_learn_the_records(table: Table) -> None:
    space, rng = table.space, np.random.default_rng(1)
    genomes = np.array([space.sample(rng) for _ in range(50)])
    depth = np.array([sum(stage.repeat for stage in space.decode(tuple(g)).stages) for g in genomes.tolist()])
    inside = genomes[:, [gene.name for gene in space.genes].index("stages[5].repeat")] < 3
    found = table.metrics(genomes)
    assert found["accuracy"][inside] == pytest.approx(0.5 + depth[inside] / 100, abs=0.01)
    assert found["predicted_ms/zcu102"][inside] == pytest.approx(depth[inside], rel=0.05)
    assert found["predicted_ms/a100"][inside] == pytest.approx(depth[inside], rel=0.05)
    assert [line.split(":")[0] for line in table.quality] == [
        "accuracy",
        "a100",
        "3090",
        "tpuv2",
        "tpuv3",
        "zcu102",
        "vck190",
    ]


def test_trees_are_another_model(accel: Path) -> None:
    trees = load_table("accel_nasbench", accel, surrogate="trees")
    genomes = np.array([trees.space.sample(np.random.default_rng(seed)) for seed in range(20)])
    first, again = trees.accuracy(genomes), trees.accuracy(genomes)
    assert (first == again).all()
    assert first.std() > 0.005
    assert [trees.accuracy(genome[None])[0] for genome in genomes] == first.tolist()


def test_noise_belongs_to_network_and_seed(table: Table) -> None:
    genome = table.space.sample(np.random.default_rng(0))
    true = table.metrics([genome])["accuracy"][0]
    drawn = [table.metrics([genome], noise=0.01, seed=seed)["accuracy"][0] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 0 < np.std([table.metrics([genome], 0.01, seed)["accuracy"][0] - true for seed in range(200)]) < 0.02


def test_a_problem_knows_times_but_for_those_to_learn(table: Table) -> None:
    objectives = Objectives((("accuracy", "max"), ("latency_ms/a100", "min")), reward="first")
    genomes = np.array([table.space.sample(np.random.default_rng(0))])
    assert "predicted_ms/a100" in table.problem(objectives).costs(genomes)
    assert "predicted_ms/a100" not in table.problem(objectives, learned=["latency_ms/a100"]).costs(genomes)


def test_guided_finds_the_best_of_the_exact_table(macro: Path) -> None:
    found = load_table("nas_bench_macro", macro)
    problem = found.problem(Objectives((("accuracy", "max"),), reward="first"))
    controller = make_controller({"name": "bayesian", "start": 10})
    state, best = controller.init(problem, 0), 0.0
    for number in range(25):
        proposal = controller.ask(state, [], np.random.default_rng([0, number]))
        accuracy = float(found.metrics([proposal.genome])["accuracy"][0])
        trial = Trial.of(number, proposal, "a", outcome="ok", metrics={"accuracy": accuracy})
        state = controller.tell(state, trial, np.random.default_rng([0, number, 1]))
        best = max(best, accuracy)
    assert best == pytest.approx(0.96)


@pytest.mark.parametrize("resolution, classes", [(None, None), (8, 10)])
def test_an_evaluator_answers_networks_fitted_to_a_dataset(
    macro: Path, tmp_path: Path, resolution: int | None, classes: int | None
) -> None:
    evaluator = evaluator_settings({"name": "nas_bench_macro", "path": str(macro)}).make(Context({}, tmp_path))
    arch = load_space("nas_bench_macro").fit(resolution, None, classes).decode((2, 2, 1, 0, 0, 0, 0, 0))
    outcomes = evaluator([Job(7, "train", arch.to_dict(), seed=3)], lambda *_: None)
    assert [(o.number, o.outcome, dict(o.metrics)) for o in outcomes] == [(7, "ok", {"accuracy": pytest.approx(0.85)})]


def test_a_network_outside_the_table_is_an_error(macro: Path, tmp_path: Path) -> None:
    evaluator = evaluator_settings({"name": "nas_bench_macro", "path": str(macro)}).make(Context({}, tmp_path))
    arch = load_space("tiny").decode(load_space("tiny").sample(np.random.default_rng(0)))
    (outcome,) = evaluator([Job(0, "train", arch.to_dict())], lambda *_: None)
    assert outcome.outcome == "error"
    assert "not in the space nas_bench_macro" in outcome.error


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("accel_nasbnch", {}, "table: unknown 'accel_nasbnch'; did you mean accel_nasbench?"),
        ("accel_nasbench", {"surrogate": "tree"}, "surrogate: expected pairs or trees, got 'tree'"),
        ("accel_nasbench", {}, "path: no file"),
        ("nas_bench_macro", {}, "path: no file"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, name: str, settings: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("?", r"\?")) as caught:
        load_table(name, tmp_path, **settings)
    assert "\n" not in str(caught.value)
