"""NSGA-II (Deb et al. 2002, IEEE TEC 6(2)), one child at a time: results are used as they come, without generations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.controllers.base import History, fresh
from nas.objectives.pareto import crowding, ranks
from nas.problem import Problem
from nas.records import Fidelity, Proposal, Trial
from nas.space import Genome


@dataclass(frozen=True)
class State:
    """The observed trials, and the positions of the population among them, the best first."""

    history: History
    population: tuple[int, ...] = ()


@dataclass(frozen=True)
class Nsga2:
    """Settings of steady-state NSGA-II. The population is the best trials by non-dominated rank, then by crowding distance.

    The first parent is the better of two random members; the second is, of `mates` found like that, the one with the nearest
    objectives, as distant members of a front share little (Ishibuchi and Shibata 2003). Where both are the same trial, the
    child is its mutant.

    Args:
        population: trials kept as possible parents; the first so many proposals are random.
        crossover: probability of a uniform crossover; else the child starts as the first parent.
        genes: genes that a mutation changes on average, at least one where there was no crossover.
        mates: candidates for the second parent; 1: any.
    """

    fidelities: ClassVar[tuple[Fidelity, ...]] = ()
    population: int = 30
    crossover: float = 0.9
    genes: float = 1.0
    mates: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.population <= 100_000:
            raise ValueError(f"population: expected 2 to 100000, got {self.population}")
        if not 0 <= self.crossover <= 1:
            raise ValueError(f"crossover: expected a probability from 0 to 1, got {self.crossover:g}")
        if not 0 <= self.genes <= 1000:
            raise ValueError(f"genes: expected 0 to 1000, got {self.genes:g}")
        if not 1 <= self.mates <= 1000:
            raise ValueError(f"mates: expected 1 to 1000, got {self.mates}")

    def init(self, problem: Problem, seed: int) -> State:
        return State(History(problem))

    def ask(self, state: State, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        history, space = state.history, state.history.problem.space
        if len(history) + len(pending) < self.population or not state.population:
            return Proposal(fresh(history, pending, lambda n: [space.sample(rng) for _ in range(n)], rng))
        parent = self._winner(state, rng)
        first, second = (tuple(history.rows[i].tolist()) for i in (parent, self._mate(state, parent, rng)))

        def draw(n: int) -> list[Genome]:
            return [self._child(history.problem, first, second, rng) for _ in range(n)]

        return Proposal(fresh(history, pending, draw, rng), parent=history.numbers[parent])

    def tell(self, state: State, trial: Trial, rng: np.random.Generator) -> State:
        history = state.history.add(trial)
        state = dataclasses.replace(state, history=history)
        if np.isnan(history.rewards[-1]):
            return state
        members = np.array([*state.population, len(history) - 1])
        members = members[best_first(history.values[members], self.population)]
        return dataclasses.replace(state, population=tuple(members.tolist()))

    def _winner(self, state: State, rng: np.random.Generator) -> int:
        """Position of the better of two random members; they are sorted."""
        return state.population[int(rng.integers(len(state.population), size=2).min())]

    def _mate(self, state: State, parent: int, rng: np.random.Generator) -> int:
        """Position of the winner, of `mates`, with the values nearest to the parent's, relative to the population's ranges."""
        others = [self._winner(state, rng) for _ in range(self.mates)]
        values = np.nan_to_num(state.history.values[[parent, *others, *state.population]], posinf=0.0)
        ranges = np.ptp(values, axis=0)
        gaps = (values[1 : self.mates + 1] - values[0]) / np.where(ranges > 0, ranges, 1)
        return others[int(np.square(gaps).sum(axis=1).argmin())]

    def _child(self, problem: Problem, first: Genome, second: Genome, rng: np.random.Generator) -> Genome:
        crossed = rng.random() < self.crossover
        child = problem.space.cross(first, second, rng) if crossed else first
        changes = int(rng.poisson(self.genes))
        return problem.space.mutate(child, rng, changes if crossed else max(changes, 1))


def best_first(values: np.ndarray, n: int) -> np.ndarray:
    """Positions of the n best of (rows, objectives) minimized values: by non-dominated rank, then by crowding distance."""
    rank = ranks(values)
    distance = np.zeros(len(values))
    sizes = np.cumsum(np.bincount(rank, minlength=1))
    for front in range(min(int(np.searchsorted(sizes, n)) + 1, len(sizes))):
        members = np.flatnonzero(rank == front)
        distance[members] = crowding(values[members])
    return np.lexsort((-distance, rank))[:n]
