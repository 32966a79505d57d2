"""What the trials of a run say of its space: the model and its intervals, predictions, suggestions, effects of genes, and mistakes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.arch.blocks import arch_id
from nas.cli import run
from nas.cost import FEATURES
from nas.estimates import RunModels, effects, read_models, suggest
from nas.estimates.quantities import Timed
from nas.estimates.run import SPACE
from nas.journal import Journal
from nas.latency.predictors.layerwise.predictor import LayerwisePredictor, MeasuredNetwork
from nas.objectives import Objectives
from nas.records import Trial
from nas.report import summarize
from nas.report.asked import asked_section
from nas.space import Space
from nas.surrogates.additive import Additive, conformal_quantile
from nas.surrogates.inputs import SpaceInputs
from nas.surrogates.process import Hyper, Term, choose
from report_makers import LATENCY, new_journal

KERNELS = {"one_of": [3, 5, 7]}
DATA = {
    "name": "asked", "resolution": 16, "stem": {"op": "conv", "width": 8, "stride": 2},
    "stages": [{"op": "mbconv", "repeat": 1, "width": {"one_of": [8, 16, 24]}, "expand": {"one_of": [2, 4, 6]}, "kernel": KERNELS,
                "act": {"one_of": ["relu", "hswish"]}, "stride": 2} for _ in range(2)],
    "head": {"op": "classifier"},
}  # fmt: skip
TIME = "predicted_ms/host"
LIMIT = 14000.0  # parameters


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.from_dict(DATA)


@pytest.fixture(scope="module")
def inputs(space: Space) -> SpaceInputs:
    return SpaceInputs(space)


def genomes(space: Space, n: int, seed: int = 0) -> np.ndarray:
    return space.arrays.sample(2 * n, np.random.default_rng(seed))[:n]


def additive(space: Space, rows: np.ndarray) -> np.ndarray:
    """A sum over the options of all genes, of large and of small effects; the last gene has none."""
    sizes = np.repeat(np.r_[np.linspace(2, 0.2, len(space.genes) - 1), 0], space.option_counts)
    weights = sizes * np.random.default_rng(5).normal(size=len(sizes))
    return space.arrays.one_hot(rows) @ weights


@pytest.mark.parametrize("form", ["linear", "relevance"])
def test_a_sum_over_genes_is_recovered(space: Space, inputs: SpaceInputs, form: str) -> None:
    rows, others = genomes(space, 60), genomes(space, 200, seed=1)
    model = Additive.fit(inputs(rows), additive(space, rows), forms=[form])
    truth = additive(space, others)
    assert np.abs(model.mean(inputs(others)) - truth).max() < 0.02 * truth.std()
    assert model.form == form
    assert model.tau > 0.97


def test_intervals_cover_new_trainings(space: Space, inputs: SpaceInputs) -> None:
    """Of 8 draws of 24 noisy networks each; the width of single intervals is mostly noise."""
    inside, others = [], genomes(space, 250, seed=99)
    truth = additive(space, others)
    for seed in range(8):
        rng, rows = np.random.default_rng(seed), genomes(space, 24, seed)
        model = Additive.fit(inputs(rows), additive(space, rows) + 0.5 * rng.normal(size=24), forms=["linear"])
        low, high = model.interval(inputs(others))
        new = truth + 0.5 * rng.normal(size=len(truth))
        inside.append(((low <= new) & (new <= high)).mean())
        assert 0.75 <= model.coverage <= 1
    assert 0.85 <= np.mean(inside) <= 0.95


def test_many_trials_are_held_out_without_new_fits_and_repeats_together(space: Space, inputs: SpaceInputs) -> None:
    rows = np.repeat(genomes(space, 90), 2, axis=0)
    y = additive(space, rows) + 0.3 * np.random.default_rng(0).normal(size=180)
    model = Additive.fit(inputs(rows), y, np.repeat(np.arange(90), 2), forms=["linear"])
    lone = Additive.fit(inputs(rows), y, forms=["linear"])
    error, less = (np.abs(m.held_out - additive(space, rows)).mean() for m in (model, lone))
    assert error > less  # the other training of the same network would tell
    rest = np.arange(180) >= 2
    again = Additive.fit({k: v[rest] for k, v in inputs(rows).items()}, y[rest], np.repeat(np.arange(89), 2), forms=["linear"])
    assert again.mean(inputs(rows[:1])) == pytest.approx(model.held_out[:1], abs=0.05)


def test_a_conformal_quantile_is_that_of_many_scores_and_near_the_normal_one_of_few() -> None:
    assert conformal_quantile(np.linspace(0, 1, 10_001), 0.9) == pytest.approx(0.9, abs=0.01)
    assert 1.2 < conformal_quantile(np.zeros(0), 0.9) < 2.0


def test_a_prior_of_hyperparameters_holds_where_data_say_nothing() -> None:
    terms, inputs = (Term("linear", "a"), Term("linear", "b")), {"a": np.ones((4, 1)), "b": np.zeros((4, 1))}
    found = choose(terms, inputs, np.array([-1.0, 1, -1, 1]), np.random.default_rng(0), Hyper((1.0, 0.3), (1.0, 1.0), 0.5), [1.0, 0.5])
    assert found.amplitudes[1] == pytest.approx(0.3, rel=1e-3)


def test_what_cannot_be_learned_from_is_refused(inputs: SpaceInputs, space: Space) -> None:
    rows = genomes(space, 4)
    with pytest.raises(ValueError, match="two networks or more"):
        Additive.fit(inputs(rows[:1]), np.ones(1))
    with pytest.raises(ValueError, match="finite"):
        Additive.fit(inputs(rows), np.array([1.0, 2, math.nan, 3]))
    constant = Additive.fit(inputs(rows), np.ones(4))
    assert math.isnan(constant.tau)
    assert constant.mean(inputs(rows)) == pytest.approx(np.ones(4))


MACS = {"metrics": [["accuracy", "max"], ["macs", "min"]], "constraints": [], "reward": "mnas_soft", "cost": "macs", "target": 1e5}


def fill_run(folder: Path, space: Space, trials: int = 20, failed: int = 2, timed: bool = False) -> None:
    """A journal as a search leaves it: accuracies by genes, where `timed` latencies by multiply-adds, without a predictor."""
    rows = genomes(space, trials + failed)
    costs = SpaceInputs(space).costs(rows)
    values = additive(space, rows)
    with new_journal(folder, **({} if timed else {"objectives": MACS})) as journal:
        journal.put(SPACE, space.to_plain())
        for i, row in enumerate(rows.tolist()):
            arch = space.decode(tuple(row))
            counted = {name: float(costs[name][i]) for name in costs} | ({TIME: float(costs["macs"][i]) / 1e5} if timed else {})
            trial = Trial(i, tuple(row), arch_id(arch), metrics=counted)
            journal.put(f"arch/{trial.arch_id}", arch.to_dict())
            done = replace(trial, outcome="oom", error="memory") if i < failed else replace(trial, outcome="ok")
            scored = {} if i < failed else {"accuracy": 0.7 + 0.03 * float(values[i])}
            journal.settle(replace(done, metrics={**counted, **scored}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, space: Space) -> Path:
    folder = tmp_path_factory.mktemp("estimates") / "asked"
    fill_run(folder, space)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, space: Space) -> RunModels:
    folder = tmp_path_factory.mktemp("models") / "timed"
    fill_run(folder, space, trials=24, timed=True)
    with Journal.open(folder / "journal.sqlite", read_only=True) as journal:
        return read_models(journal, Objectives((("accuracy", "max"), (LATENCY, "min")), cost=LATENCY, target=4.0))


def after(models: RunModels, objectives: Objectives) -> RunModels:
    """The same models, which are not fitted again, of a run that is after something else."""
    other = replace(models, objectives=objectives)
    other.__dict__.update(quantities=models.quantities, inputs=models.inputs)
    return other


def test_a_run_knows_its_space(models: RunModels, space: Space) -> None:
    assert (len(models.trials), models.failed, models.names) == (24, 2, ("accuracy", TIME))
    assert models.space.fingerprint == space.fingerprint
    rows = genomes(space, 100, seed=3)
    accuracy, time = models["accuracy"].predict(rows), models[TIME].predict(rows)
    truth = 0.7 + 0.03 * additive(space, rows)
    assert ((accuracy.low <= truth) & (truth <= accuracy.high)).mean() > 0.8
    assert np.abs(time.value / (models.costs(rows)["macs"] / 1e5) - 1).mean() < 0.05
    assert (time.low > 0).all()
    assert (accuracy.high <= 1).all()


def test_effects_name_the_genes_that_matter(models: RunModels, space: Space) -> None:
    found = effects(models, "accuracy")
    assert {effect.gene for effect in found} == {gene.name for gene in space.genes}
    assert found[0].importance > 0.2 > found[-1].importance
    assert 0.6 < sum(effect.importance for effect in found) < 1.2
    first = next(effect for effect in found if effect.gene == space.genes[0].name)
    weights = np.linspace(2, 0.2, len(space.genes) - 1)[0] * np.random.default_rng(5).normal(size=len(first.options))
    assert np.argmax(first.changes) == np.argmax(weights)


def test_suggestions_are_new_differ_and_repeat_by_seed(models: RunModels) -> None:
    found = suggest(models, 4, seed=3)
    ids = [one.id for one in found]
    assert len({*ids} - {trial.arch_id for trial in models.trials}) == 4
    assert ids == [one.id for one in suggest(models, 4, seed=3)]
    assert found[0].gain > 0
    assert all(0 <= one.chance <= 1 and one.changes for one in found)
    limited = after(models, replace(models.objectives, constraints=(("params", LIMIT),)))
    costs = [nas.cost(one.arch).params for one in suggest(limited, 3)]
    assert costs
    assert max(costs) <= LIMIT


def test_one_objective_has_an_expected_improvement(models: RunModels) -> None:
    single = after(models, Objectives((("accuracy", "max"),), reward="first"))
    best, predicted = max(single.observed("accuracy")), [one.predicted["accuracy"][0] for one in suggest(single, 2)]
    assert predicted[0] > best - 0.02


def test_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = (folder / "journal.sqlite").read_bytes()
    assert run(["suggest", f"run={folder}", "n=2", "out=next"]) == 0
    shown = capsys.readouterr().out.splitlines()
    files = sorted(tmp_path.glob("next/*.yaml"))
    assert len(files) == 2
    assert "as trial" in shown[1]
    assert shown[-2:]
    assert "2 failed and left out" in "\n".join(shown)
    assert run(["estimate", f"run={folder}", f"arch={files[0].relative_to(tmp_path)},front,5", "json=true"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == 20
    assert found["networks"][-1]["trial"] == 5
    interval = found["networks"][0]["predicted"]["accuracy"]
    assert interval["low"] <= interval["value"] <= interval["high"]
    assert (folder / "journal.sqlite").read_bytes() == before


def test_python(folder: Path, space: Space) -> None:
    arch = space.decode(tuple(genomes(space, 1, seed=77)[0].tolist()))
    found = nas.estimate(folder, [arch, "best,3"])
    shown = str(found).splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["asked", "best,", "trial", "from"]
    assert "90 % intervals hold" in shown[-1]
    assert shown[-1].startswith("from 20 trials (2 failed and left out); of those held out: tau")
    assert found[0].trial is None
    assert found[1].trial is not None
    assert found[0].arch == arch
    assert set(found.table.columns) >= {"name", "accuracy", "accuracy low", "macs"}
    suggested = nas.suggest(folder, 1)
    assert [one.id for one in suggested] == [suggested.table[0]["id"]]


@pytest.mark.parametrize(
    "command, line",
    [
        (["estimate", "arch=mobilenet_v2"], "arch: mobilenet_v2: not in the space asked: it has 7 stages, the space 2"),
        (["estimate", "arch=999"], "arch: trial 999 has no result"),
        (["estimate", "arch=nothing_like_it"], "arch: "),
        (["suggest", "n=0"], "n: expected"),
    ],
)
def test_mistakes_are_one_line(folder: Path, command: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command[0], f"run={folder}", *command[1:]]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith(f"nas: {line}")


def test_too_few_trials_and_no_space_are_one_line(tmp_path: Path, space: Space, capsys: pytest.CaptureFixture[str]) -> None:
    fill_run(tmp_path / "few", space, trials=4, failed=1)
    assert run(["estimate", f"run={tmp_path / 'few'}", "arch=best"]) == 2
    assert capsys.readouterr().err == "nas: run: few has 4 trained networks (1 failed); expected 5 or more to learn from\n"
    fill_run(tmp_path / "old", space, trials=6)
    with Journal.open(tmp_path / "old" / "journal.sqlite") as journal:
        journal.put(SPACE, None)
    assert run(["suggest", f"run={tmp_path / 'old'}"]) == 2
    assert "has no space" in capsys.readouterr().err


def test_the_report_shows_predictions_and_effects(folder: Path, tmp_path: Path, space: Space) -> None:
    with Journal.open(folder / "journal.sqlite", read_only=True) as journal:
        title, markup = asked_section(summarize(journal), journal)
    assert title == "What the trials say of accuracy"
    assert markup.count("<circle") == 20
    assert "from 20 trials (2 failed and left out)" in markup
    assert space.genes[0].name in markup
    fill_run(tmp_path / "few", space, trials=8)
    with Journal.open(tmp_path / "few" / "journal.sqlite", read_only=True) as journal:
        assert asked_section(summarize(journal), journal) == ("", "")


def test_a_report_is_written_where_blocks_are_not_at_hand(tmp_path: Path, space: Space) -> None:
    fill_run(tmp_path / "r", space, trials=12)
    with Journal.open(tmp_path / "r" / "journal.sqlite") as journal:
        plain = space.to_plain()
        journal.put(SPACE, {**plain, "source": plain["source"].replace("mbconv", "of_a_plugin")})
        title, markup = asked_section(summarize(journal), journal)
    assert title
    assert "of_a_plugin" in markup


def test_a_predicted_latency_has_the_errors_of_its_predictor(space: Space) -> None:
    networks = [MeasuredNetwork(f"{i}", 1 + error, 1.0, 1.0, 0.01) for i, error in enumerate(np.linspace(-0.1, 0.1, 21))]
    coefficients = dict.fromkeys(FEATURES, 1e-6)
    predictor = LayerwisePredictor("host", "f", {}, space.fingerprint, 0, (), tuple(networks), coefficients, 1.0, 0.1, 0.0, 1.0)
    rows = genomes(space, 5)
    found = Timed(TIME, space, predictor, np.array([0.05])).predict(rows)
    assert found.value == pytest.approx(predictor.predict_many(space, rows))
    assert found.low / found.value == pytest.approx(np.full(5, 0.9), abs=0.02)
    assert found.high / found.value == pytest.approx(np.full(5, 1.1), abs=0.02)
    unknown = Timed(TIME, space, replace(predictor, networks=()), np.zeros(0)).predict(rows)
    assert np.isnan(unknown.low).all()
