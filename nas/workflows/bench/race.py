"""One search by one controller over a table, as fast as the controller thinks: what a benchmark is made of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.controllers import Controller
from nas.objectives import Objectives
from nas.objectives.pareto import hypervolume
from nas.problem import Problem
from nas.records import Trial
from nas.tabular import Table

REPEATS = 10  # proposals an evaluation, after which a controller that only repeats itself is stopped


@dataclass(frozen=True)
class Race:
    """`values` (evaluations, objectives) are true and minimized, in the order of the networks' first proposal; `asked` counts all
    proposals, `seconds` the processor time of the controller for them."""

    values: np.ndarray
    asked: int
    seconds: float


def race(
    table: Table, problem: Problem, controller: Controller, evaluations: int, seed: int, noise: float = 0.0, in_flight: int = 0
) -> Race:
    """Searches until `evaluations` different networks were tried, by the rules of a search: observed in order, `in_flight`
    behind. The controller observes accuracies with the `noise` of one training, the values are without.

    As in a search, a network that was tried is answered for free, at most REPEATS times the evaluations in all.

    Args:
        table: The published results.
        problem: Space, objectives and costs of the table.
        controller: What proposes.
        evaluations: Different networks to try.
        seed: Of the controller and of the noise.
        noise: Std of the noise on the accuracy that the controller observes.
        in_flight: Proposals ahead of results.

    Returns:
        The true values of the networks in order, and what the controller took.
    """
    axes, clock = problem.objectives.columns, time.process_time
    began = clock()
    state = controller.init(problem, seed)
    seconds, observed = clock() - began, 0
    done: list[Trial] = []
    values: list[np.ndarray] = []
    known: set[object] = set()
    while len(values) < evaluations and len(done) < REPEATS * evaluations:
        number, began = len(done), clock()
        while observed < number - in_flight:
            state = controller.tell(state, done[observed], np.random.default_rng([seed, observed, 1]))
            observed += 1
        proposal = controller.ask(state, [t.proposal for t in done[observed:]], np.random.default_rng([seed, number]))
        seconds += clock() - began
        shown = _metrics(table, proposal.genome, axes, noise, seed)
        done.append(Trial.of(number, proposal, "", outcome="ok", metrics=shown))
        if (key := table.key(proposal.genome)) not in known:
            known.add(key)
            values.append(problem.objectives.values(_metrics(table, proposal.genome, axes) if noise else shown))
    return Race(np.array(values).reshape(len(values), len(axes)), len(done), seconds)


def _metrics(
    table: Table, genome: tuple[int, ...], axes: Sequence[str], noise: float = 0.0, seed: int = 0
) -> dict[str, float]:
    found = table.metrics([genome], noise, seed)
    if not found.keys() >= {*axes}:
        found |= table.costs(np.array([genome]))
    return {name: float(found[name][0]) for name in axes}


def hypervolume_fractions(values: np.ndarray, reference: Sequence[float], volume: float, budgets: Sequence[int]) -> list[float]:
    """Returns the hypervolume after each budget, measured from `reference`, as a fraction of `volume`."""
    return [hypervolume(values[:n], reference) / volume for n in budgets]


def best_within(values: np.ndarray, objectives: Objectives, limit: float | None, budgets: Sequence[int]) -> list[float]:
    """Returns the best first objective after each budget, in its own sign, where the second objective is at most `limit`."""
    sign = -1 if objectives.metrics[0][1] == "max" else 1
    kept = values[:, 0] if limit is None else np.where(values[:, 1] <= limit, values[:, 0], np.inf)
    return [sign * float(kept[:n].min(initial=np.inf)) for n in budgets]


def grid(evaluations: int, expected: Sequence[int] = (), points: int = 24) -> list[int]:
    """Returns budgets at which a curve is drawn: evenly spaced logarithms, and those `expected`."""
    even = np.geomspace(min(10, evaluations), evaluations, points).round().astype(int).tolist()
    return sorted({*even, *(n for n in expected if n <= evaluations)})
