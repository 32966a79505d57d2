"""Regularized evolution (Real et al. 2019, arXiv:1802.01548): the oldest dies, the best of a few random ones has a child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.controllers.base import History, fresh
from nas.problem import Problem
from nas.records import Fidelity, Proposal, Trial
from nas.space import Genome


@dataclass(frozen=True)
class Evolution:
    """Settings of regularized evolution. Before there are `population` trials, proposals are random.

    Args:
        population: the last so many trials with a result can be parents.
        sample: random members of which the best by reward becomes the parent.
        genes: active genes that a mutation changes.
        crossover: probability that a child takes half of the genes of a second parent before it mutates.
    """

    fidelities: ClassVar[tuple[Fidelity, ...]] = ()
    population: int = 30
    sample: int = 15
    genes: int = 1
    crossover: float = 0.0

    def __post_init__(self) -> None:
        for key in ("population", "sample", "genes"):
            if not 1 <= getattr(self, key) <= 1_000_000:
                raise ValueError(f"{key}: expected 1 to 1000000, got {getattr(self, key)}")
        if self.sample > self.population:
            raise ValueError(f"sample: expected at most population ({self.population}), got {self.sample}")
        if not 0 <= self.crossover <= 1:
            raise ValueError(f"crossover: expected a probability from 0 to 1, got {self.crossover:g}")

    def init(self, problem: Problem, seed: int) -> History:
        return History(problem)

    def ask(self, state: History, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        space = state.problem.space
        if len(state) + len(pending) < self.population or not len(state.ok):
            return Proposal(fresh(state, pending, lambda n: [space.sample(rng) for _ in range(n)], rng))
        parents = self._winner(state, rng), self._winner(state, rng)
        first, second = (state.genomes[i] for i in parents)
        crossed = rng.random() < self.crossover

        def draw(n: int) -> list[Genome]:
            both = (space.cross(first, second, rng) if crossed else first for _ in range(n))
            return [space.mutate(genome, rng, self.genes) for genome in both]

        return Proposal(fresh(state, pending, draw, rng), parent=state.numbers[parents[0]])

    def tell(self, state: History, trial: Trial, rng: np.random.Generator) -> History:
        return state.add(trial)

    def _winner(self, state: History, rng: np.random.Generator) -> int:
        """Position of the winner of a tournament."""
        population = state.ok[-self.population :]
        entrants = rng.choice(population, size=min(self.sample, len(population)), replace=False)
        return int(max(entrants, key=lambda i: (state.rewards[i], i)))
