"""Whether a space has an architecture within the constraints, looked for before anything is trained."""

from __future__ import annotations

import numpy as np

from nas.objectives import metric_of
from nas.problem import Problem


def check_feasible(problem: Problem, seed: int, samples: int = 500, steps: int = 60) -> None:
    """Looks for one architecture within the constraints: random ones, then descent on what is over.

    Constraints on metrics that the problem does not know yet, such as a latency before its predictor is fitted, are left out.
    Raises ValueError naming the constraint that even the best one found violates.
    """
    if not problem.objectives.constraints:
        return
    rng = np.random.default_rng([seed, 2**31])
    genomes = np.array([problem.space.sample(rng) for _ in range(samples)])
    over = _excess(problem, genomes)
    if (over == 0).any():
        return
    best, excess = tuple(genomes[over.argmin()].tolist()), over.min()
    for _ in range(steps):
        near = list(problem.space.neighbors(best))
        scores = _excess(problem, np.array(near)) if near else np.array([np.inf])
        if scores.min() >= excess:
            break
        best, excess = near[int(scores.argmin())], scores.min()
        if excess == 0:
            return
    costs = {k: np.asarray(v)[0].item() for k, v in problem.costs(np.array([best])).items()}
    broken = "; ".join(problem.objectives.violations(costs))
    raise ValueError(f"objective.constraints: no architecture of {problem.space.name} was found within them; the nearest: {broken}")


def _excess(problem: Problem, genomes: np.ndarray) -> np.ndarray:
    """(n,) summed relative excess over the constraints on costs, 0 where all hold."""
    costs = problem.costs(genomes)
    total = np.zeros(len(genomes))
    for name, bound in problem.objectives.constraints:
        if (column := costs.get(metric_of(name))) is not None:
            total += np.maximum(np.asarray(column) / bound - 1, 0)
    return total
