"""Uniform sampling without repeats: the baseline, and the one that needs no results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.controllers.base import History, fresh
from nas.problem import Problem
from nas.records import Fidelity, Proposal, Trial


@dataclass(frozen=True)
class Random:
    """Every option of every choice equally likely; nothing is learned."""

    fidelities: ClassVar[tuple[Fidelity, ...]] = ()

    def init(self, problem: Problem, seed: int) -> History:
        return History(problem)

    def ask(self, state: History, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        space = state.problem.space
        return Proposal(fresh(state, pending, lambda n: [space.sample(rng) for _ in range(n)], rng))

    def tell(self, state: History, trial: Trial, rng: np.random.Generator) -> History:
        return state.add(trial)
