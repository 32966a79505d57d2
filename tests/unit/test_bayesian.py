"""The parts of the bayesian controller: genomes as arrays, the Gaussian process, the first design, what it takes into account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from nas.controllers import History, make_controller
from nas.controllers.encoding import encode_problem
from nas.cost import Costs
from nas.objectives import Objectives
from nas.problem import Problem
from nas.records import Proposal, Trial
from nas.space import Genome
from nas.surrogates.process import Process, Term, choose, standardized
from nas.testing.searching import problem_of, search, space_of


def observed(number: int, genome: Genome, accuracy: float = 0.5) -> Trial:
    return Trial(number, genome, "a", outcome="ok", metrics={"accuracy": accuracy, "params": 1.0})


@pytest.mark.parametrize("kind", ["conditional", "forbidding", "large"])
def test_arrays_of_genomes_agree_with_the_space(kind: str) -> None:
    space, rng = space_of(kind), np.random.default_rng(0)
    genes = space.arrays
    rows = rng.integers(genes.counts, size=(300, len(genes.counts)))
    canonical = [space.canonical(row) for row in rows.tolist()]
    assert [*map(tuple, genes.settle(rows).tolist())] == [*dict.fromkeys(g for g in canonical if space.allowed(g))]
    assert genes.active(rows).tolist() == [space.active(row) for row in rows.tolist()]


def test_mutants_differ_and_stay_in_the_space() -> None:
    genes, rng = space_of("large").arrays, np.random.default_rng(0)
    rows = genes.sample(200, rng)
    mutants = genes.mutate(rows, 1.0, rng)
    assert ((mutants >= 0) & (mutants < genes.counts)).all()
    assert (mutants != rows).any(axis=1).all()
    assert 1 <= (mutants != rows).sum(axis=1).mean() < 2


def test_one_hot_has_nothing_for_inactive_genes() -> None:
    space, rng = space_of("conditional"), np.random.default_rng(0)
    rows = space.arrays.sample(50, rng)
    assert space.arrays.one_hot(rows).sum(axis=1).tolist() == [sum(space.active(row)) for row in rows.tolist()]


def process_of(x: np.ndarray, y: np.ndarray) -> Process:
    terms = (Term("linear", "x"), Term("pairs", "x"), Term("matern", "x"))
    return Process(terms, choose(terms, {"x": x}, y, np.random.default_rng(0)), {"x": x}, y)


def test_the_process_learns_a_smooth_function() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6)) / np.sqrt(6)
    y, _, _ = standardized(x[:, 0] + x[:, 1] * x[:, 2])
    model = process_of(x[:80], y[:80])
    mean, sd = model.mean({"x": x}), model.sd({"x": x}, noise=False)
    assert np.corrcoef(mean[80:], y[80:])[0, 1] > 0.95
    assert sd[:80].mean() < sd[80:].mean()
    assert np.mean(np.abs(mean - y)[80:] < 3 * sd[80:] + 0.05) > 0.9


def test_draws_have_the_mean_and_deviation_of_the_process() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4)) / 2
    model = process_of(x[:20], x[:20, 0] ** 2 + x[:20, 1])
    mean, sd = model.mean({"x": x[20:]}), model.sd({"x": x[20:]}, noise=False)
    drawn = model.sample({"x": x[20:]}, 4000, rng)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=5 * sd.max() / np.sqrt(4000) + 1e-6)
    assert drawn.std(axis=0) == pytest.approx(sd, rel=0.1, abs=1e-4)


def test_the_design_covers_the_range_of_the_cheap_cost() -> None:
    space = space_of("large")
    costs = Costs(space)
    objectives = Objectives((("accuracy", "max"), ("macs", "min")), reward="first")
    encoding = encode_problem(Problem(space, objectives, costs, costs.features), 10, np.random.default_rng(0))
    macs = np.log(costs(encoding.design)["macs"])
    uniform = np.log(costs(space.arrays.sample(1000, np.random.default_rng(1)))["macs"])
    assert (encoding.cheap, encoding.costly) == ((1,), (0,))
    assert macs.min() < np.percentile(uniform, 1) < np.percentile(uniform, 99) < macs.max()
    assert np.diff(np.sort(macs)).max() < 0.25 * np.ptp(macs)


def test_pending_ones_count() -> None:
    """Of two equal moments, the one that waits for the best proposal makes another."""
    controller = make_controller({"name": "bayesian", "population": 30, "generations": 4})
    problem, rng = problem_of("large"), np.random.default_rng(0)
    state = controller.init(problem, 0)
    for number in range(15):
        genome = problem.space.sample(rng)
        state = controller.tell(state, observed(number, genome, 0.01 * sum(genome)), np.random.default_rng([0, number, 1]))
    first = controller.ask(state, [], np.random.default_rng(5))
    second = controller.ask(state, [Proposal(first.genome)], np.random.default_rng(5))
    assert first.genome != second.genome


def test_histories_that_part_share_only_their_past() -> None:
    problem, rng = problem_of("large"), np.random.default_rng(0)
    genomes = [problem.space.sample(rng) for _ in range(100)]
    start = History(problem)
    for number, genome in enumerate(genomes[:70]):
        start = start.add(observed(number, genome, 0.01 * number))
    one, other = start.add(observed(70, genomes[70], 0.9)), start.add(observed(70, genomes[71], 0.1))
    assert (len(start), len(one), len(other)) == (70, 71, 71)
    assert one.genomes[-1] != other.genomes[-1]
    assert one.genomes[:70] == other.genomes[:70] == start.genomes == genomes[:70]
    assert (one.rewards[-1], other.rewards[-1]) == (0.9, 0.1)
    assert not start.saw(genomes[70])
    assert one.saw(genomes[70])
    assert not other.saw(genomes[70])


def test_regions_that_always_fail_are_left() -> None:
    """Eight in nine genomes never give a result, among them all of the best; without learning it, 4 in 10 proposals fail."""
    controller = make_controller(
        {"name": "bayesian", "start": 12, "population": 30, "generations": 6, "finalists": 30, "draws": 8}
    )

    def outcome(number: int, genome: Genome) -> Mapping[str, Any]:
        if genome[0] or genome[6]:
            return {"outcome": "oom", "metrics": {}}
        return {"outcome": "ok", "metrics": {"accuracy": 0.5 + 0.01 * sum(genome), "params": 1.0}}

    trials = search(controller, problem_of("large"), 60, outcome=outcome)
    assert np.mean([trial.outcome != "ok" for trial in trials][30:]) <= 0.2
