"""The first trials of a search, stratified by cost."""

from __future__ import annotations

import numpy as np

from nas.objectives import metric_of
from nas.problem import Problem
from nas.space import Genome

SAMPLES = 1000


def stratified_by_cost(problem: Problem, count: int, seed: int) -> list[Genome]:
    """Architectures whose costs are in equal ratios from the cheapest of a sample to the most expensive, in random order.

    A controller that learns begins at random, and random architectures are alike in cost: few are cheap or expensive, so that the
    ends of the front are left to luck. The idea is that of sampling the smallest and the largest network with random ones
    between (the sandwich rule, Yu and Huang 2019, arXiv:1903.05134).

    Args:
        problem: With all its costs. Architectures that violate a constraint on a cost are left out.
        count: How many; 0: none.
        seed: Of the sample and the order.

    Returns:
        At most `count` different genomes; none where no cost is known before a training.
    """
    if not count:
        return []
    rng = np.random.default_rng([seed, 2**31 + 3])
    sample = list(dict.fromkeys(problem.space.sample(rng) for _ in range(SAMPLES)))
    sample = [genome for genome, fits in zip(sample, problem.feasible(sample), strict=True) if fits]
    costs = problem.costs(np.array(sample)) if sample else {}
    named = (metric_of(name) for name in (problem.objectives.cost, *problem.objectives.names) if name)
    cost = next((np.asarray(costs[name], float) for name in named if name in costs), None)
    if cost is None or cost.min() <= 0:
        return []
    left = np.log(cost)
    found: list[Genome] = []
    for target in np.linspace(left.min(), left.max(), min(count, len(sample))):
        nearest = int(np.abs(left - target).argmin())
        found.append(sample[nearest])
        left[nearest] = np.inf
    return [found[i] for i in rng.permutation(len(found))]
