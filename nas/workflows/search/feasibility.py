"""Whether a space has an architecture within the constraints, looked for before anything is trained."""

from __future__ import annotations

import numpy as np

from nas.objectives import metric_of
from nas.problem import Problem
from nas.report.format import label, show


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


def fitting(problem: Problem, seed: int, samples: int = 500) -> str:
    """What fraction of the space satisfies the constraints, and the range of what they bound, in words.

    Args:
        problem: With all its costs.
        seed: Of the sample; a small space is looked at as a whole.
        samples: Architectures of a sample.

    Returns:
        A line; empty without a constraint on a cost.
    """
    rng = np.random.default_rng([seed, 2**31 + 2])
    listed = problem.listed[0] if problem.listed is not None else None
    genomes = np.array(listed or [problem.space.sample(rng) for _ in range(samples)])
    costs = problem.costs(genomes)
    bounded = [metric_of(name) for name, _ in problem.objectives.constraints if metric_of(name) in costs]
    if not bounded:
        return ""
    fits = np.asarray(problem.objectives.feasible_mask(costs))
    count = percent(float(fits.mean())) if fits.any() else f"fewer than 1 in {len(genomes)}"
    ranges = [f"{label(name)} {show(name, float(np.min(costs[name])))} to {show(name, float(np.max(costs[name])))}" for name in bounded]
    return f"{count} of architectures fit the constraints; {', '.join(ranges)}"


def percent(fraction: float) -> str:
    """`5 %`, `0.2 %`: one digit where it is small."""
    return f"{100 * fraction:.0f} %" if fraction >= 0.095 else f"{100 * fraction:.1g} %"


def _excess(problem: Problem, genomes: np.ndarray) -> np.ndarray:
    """(n,) summed relative excess over the constraints on costs, 0 where all hold."""
    costs = problem.costs(genomes)
    total = np.zeros(len(genomes))
    for name, bound in problem.objectives.constraints:
        if (column := costs.get(metric_of(name))) is not None:
            total += np.maximum(np.asarray(column) / bound - 1, 0)
    return total
