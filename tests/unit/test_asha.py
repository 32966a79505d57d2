"""Multi-fidelity: promotions by rank on the completed prefix, trainings that resume from checkpoints, and the proxy report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.controllers import make_controller
from nas.evaluators import Context, evaluator_settings
from nas.journal import Journal
from nas.records import Fidelity, Job, Training, Trial, scored, training_of
from nas.report.proxy import proxy_rows, proxy_text
from nas.space import Genome, load_space
from nas.testing.searching import problem_of, search
from nas.workflows.search.loop import Search, SearchSettings, root_of
from search_fakes import Killed, Shuffled, Silent, problem

ASHA = {"name": "asha", "epochs": [1, 2, 4], "eta": 3}


def accuracy(number: int, genome: Genome) -> Mapping[str, Any]:
    """Better for larger genomes, and a pure function of them."""
    return {"outcome": "ok", "metrics": {"accuracy": 0.5 + 0.01 * sum(genome), "params": 1.0}}


def test_a_third_of_each_rung_is_promoted() -> None:
    trials = search(make_controller(ASHA), problem_of("large"), 90, in_flight=2, outcome=accuracy)
    fidelities = [[t for t in trials if t.fidelity == k] for k in range(3)]
    assert len(fidelities[0]) > 55
    assert len(fidelities[0]) // 3 - 2 <= len(fidelities[1]) <= len(fidelities[0]) // 3
    assert len(fidelities[1]) // 3 - 1 <= len(fidelities[2]) <= len(fidelities[1]) // 3
    for trial in [*fidelities[1], *fidelities[2]]:
        assert trial.parent is not None
        parent = trials[trial.parent]
        assert (parent.genome, parent.fidelity) == (trial.genome, trial.fidelity - 1)
    assert len({t.parent for t in fidelities[1]}) == len(fidelities[1])
    mean = [np.mean([sum(t.genome) for t in fidelity]) for fidelity in fidelities]
    assert mean[0] < mean[1] < mean[2]


def test_failed_trials_are_not_promoted() -> None:
    def outcome(number: int, genome: Genome) -> Mapping[str, Any]:
        return {"outcome": "nan", "metrics": {}} if sum(genome) % 2 else accuracy(number, genome)

    trials = search(make_controller(ASHA), problem_of("large"), 60, outcome=outcome)
    assert {sum(t.genome) % 2 for t in trials if t.fidelity} == {0}


def test_promotions_go_by_front_not_by_one_axis() -> None:
    """A cheap trial on the front is promoted beside the most accurate one."""
    controller = make_controller(ASHA)
    given = problem_of("large")
    state, rng = controller.init(given, 0), np.random.default_rng(0)
    for number, (quality, params) in enumerate([(0.9, 50.0), (0.8, 60.0), (0.85, 55.0), (0.5, 1.0), (0.8, 70.0), (0.7, 80.0)]):
        metrics = {"accuracy": quality, "params": params}
        trial = Trial(number, given.space.sample(rng), str(number), outcome="ok", metrics=metrics)
        state = controller.tell(state, trial, rng)
    first = controller.ask(state, [], rng)
    second = controller.ask(state, [first], rng)
    assert {first.parent, second.parent} == {0, 3}
    assert controller.ask(state, [first, second], rng).fidelity == 0


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": [3]}, "controller.epochs: expected two fidelities or more"),
        ({"epochs": [3, 1]}, "controller.epochs: expected no fidelity shorter"),
        ({"fractions": [0.5]}, "controller.fractions: expected none or 3, one a fidelity, got 1"),
        ({"fractions": [0.5, 1, 2]}, "controller.fractions: expected fractions above 0 up to 1, got 2"),
        ({"eta": 1}, "controller.eta: expected 2 to 1000, got 1"),
        ({"base": "asha"}, "controller.base: asha cannot be its own base"),
        ({"base": "bayesan"}, "controller.base_settings.name: unknown 'bayesan'; did you mean bayesian?"),
        ({"base": "local", "base_settings": {"strat": 1}}, "controller.base_settings.strat: unknown key; did you mean start?"),
    ],
)
def test_mistakes_are_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="controller") as caught:
        make_controller({"name": "asha", **settings})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_killed_search_proposes_the_same(tmp_path: Path) -> None:
    """Promotions look at the ordered prefix: other workers, another order of results, and a kill change nothing."""
    given = problem(load_space("tiny"))

    def trials_of(name: str, workers: int, seed: int, polls: tuple[int | None, ...]) -> list[Trial]:
        for i, limit in enumerate(polls):
            path = tmp_path / f"{name}.sqlite"
            with Journal.open(path) if i else Journal.create(path, {}) as journal:
                executor = Shuffled(seed + i, workers, polls=limit)
                loop = Search(given, make_controller(ASHA), journal, executor, SearchSettings(), 5, Silent())
                try:
                    loop.run(40)
                except Killed:
                    continue
                return journal.trials()
        raise AssertionError

    whole, killed = trials_of("a", 1, 0, (None,)), trials_of("b", 5, 9, (13, 20, None))
    observed = [(t.genome, t.fidelity, t.parent, t.outcome, dict(t.metrics)) for t in whole]
    assert observed == [(t.genome, t.fidelity, t.parent, t.outcome, dict(t.metrics)) for t in killed]
    assert {t.fidelity for t in whole} == {0, 1, 2}


def test_a_repeat_resumes_the_training_that_answered_it() -> None:
    trials = [Trial(0, (1,), "a"), Trial(1, (2,), "a", repeat_of=0), Trial(2, (2,), "a", 1, 1), Trial(3, (2,), "a", 2, 2)]
    assert [root_of(trials, trial) for trial in trials] == [0, 1, 0, 0]


def test_only_the_longest_trainings_are_compared() -> None:
    trials = [Trial(i, (i,), str(i), fidelity, outcome=o) for i, (fidelity, o) in enumerate([(0, "ok"), (1, "ok"), (2, "nan"), (1, "ok")])]
    assert [t.number for t in scored(trials)] == [1, 3]


def test_jobs_say_what_their_rung_is() -> None:
    fidelities = (Fidelity(1, 0.5), Fidelity(1), Fidelity(4))
    found = [Training.of(training_of(fidelities, k, 7)) for k in range(3)]
    assert [(t.fidelity, t.horizon, t.root, t.more) for t in found if t] == [
        (fidelities[0], 4, 7, False), (fidelities[1], 4, 7, True), (fidelities[2], 4, 7, False)
    ]  # fmt: skip
    assert Training.of(training_of((), 0, 7)) is None


def test_a_promoted_trial_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    """Its result is that of the whole training, and its first epochs are not trained again."""
    settings = {
        "dataset": {"name": "digits", "train_size": 260, "valid_size": 60}, "recipe": {"epochs": 5, "batch": 50},
        "evaluator": {"name": "scratch"},
    }  # fmt: skip
    space = load_space("tiny").fit(8, 1, 10)
    arch = space.decode(space.canonical((0,) * len(space.genes))).to_dict()
    fidelities = (Fidelity(1, 0.5), Fidelity(2), Fidelity(3))
    steps: list[tuple[int, int]] = []

    def run(folder: str, number: int, fidelity: int, root: int) -> dict[str, float]:
        evaluator = evaluator_settings(settings["evaluator"]).make(Context(settings, tmp_path / folder))
        (outcome,) = evaluator([Job(number, "train", arch, "a", fidelity, 3, training_of(fidelities, fidelity, root))],
                               lambda n, step, total, metrics: steps.append((n, step)))  # fmt: skip
        assert outcome.outcome == "ok", outcome.error
        return dict(outcome.metrics)

    run("chain", 0, 0, 0)
    assert max(step for n, step in steps if n == 0) == 2  # an epoch of half the images
    run("chain", 4, 1, 0)
    continued = run("chain", 9, 2, 0)
    assert min(step for n, step in steps if n == 9) == 8  # two epochs of four steps stand already
    assert continued == run("whole", 9, 2, 9)
    assert not list((tmp_path / "chain").rglob("epoch-*"))


def ladder(pairs: list[tuple[float, float]]) -> list[Trial]:
    short = [Trial(i, (i,), str(i), 0, outcome="ok", metrics={"accuracy": a}) for i, (a, _) in enumerate(pairs)]
    return short + [Trial(100 + i, (i,), str(i), 1, i, outcome="ok", metrics={"accuracy": b}) for i, (_, b) in enumerate(pairs)]


def test_the_proxy_report_correlates_short_with_long() -> None:
    (same,) = proxy_rows(ladder([(0.1, 0.5), (0.2, 0.6), (0.3, 0.7), (0.4, 0.8)]))
    assert (same.tau, same.rho, same.kept, same.count) == (pytest.approx(1), pytest.approx(1), 1, 4)
    (other,) = proxy_rows(ladder([(0.1, 0.8), (0.2, 0.7), (0.3, 0.6), (0.4, 0.5)]))
    assert (other.tau, other.kept) == (pytest.approx(-1), 0)
    assert proxy_rows(ladder([(0.1, 0.8)])[:1]) == ()
    words = "1 epoch ranks 9 epochs with Kendall tau 1.00 (4 architectures, too few to tell)"
    assert proxy_text([same], [{"epochs": 1}, {"epochs": 9}]) == [words]
