"""`search.stratified`: the first trials reach from the cheapest architecture to the most expensive."""

from dataclasses import replace

import numpy as np
import pytest

from nas.objectives import Objectives
from nas.workflows.search.stratified import stratified_by_cost
from search_fakes import AXES, TINY, problem

FREE = Objectives((("accuracy", "max"), ("loss", "min")), reward="first")


@pytest.mark.parametrize("count", [2, 5, 12])
def test_costs_are_in_equal_ratios(count: int) -> None:
    made = problem(TINY, AXES)
    found = stratified_by_cost(made, count, seed=3)
    assert len(set(found)) == count
    costs = np.sort(made.costs(np.array(found))["params"].astype(float))
    rng = np.random.default_rng(0)
    sampled = made.costs(np.array([TINY.sample(rng) for _ in range(300)]))["params"]
    assert costs[0] <= np.quantile(sampled, 0.02)
    assert costs[-1] >= np.quantile(sampled, 0.98)
    np.testing.assert_allclose(np.diff(np.log(costs)), np.log(costs[-1] / costs[0]) / (count - 1), atol=0.1)


def test_constraints_seeds_and_unknown_costs() -> None:
    limited = replace(AXES, constraints=(("params", 20_000.0),))
    made = problem(TINY, limited)
    found = stratified_by_cost(made, 6, seed=0)
    assert made.feasible(found).all()
    assert found == stratified_by_cost(made, 6, seed=0) != stratified_by_cost(made, 6, seed=1)
    assert stratified_by_cost(made, 0, seed=0) == []
    assert stratified_by_cost(problem(TINY, FREE), 6, seed=0) == []
