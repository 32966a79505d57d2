"""Local search along the front: a front member with one gene changed, again and again (White et al. 2021, arXiv:2005.02960)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.controllers.base import History, fresh
from nas.objectives.pareto import non_dominated
from nas.problem import Problem
from nas.records import Fidelity, Proposal, Trial
from nas.space import Genome


@dataclass(frozen=True)
class State:
    """The observed trials, and the positions of the front's members among them."""

    history: History
    front: tuple[int, ...] = ()


@dataclass(frozen=True)
class Local:
    """Settings of local search: untried neighbors of random front members.

    Around a front whose neighbors were all tried, genomes that differ in two or more genes are proposed.

    Args:
        start: random proposals before the search.
        reward: True: climb by the reward alone, from the trial with the best one.
    """

    fidelities: ClassVar[tuple[Fidelity, ...]] = ()
    start: int = 30
    reward: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.start <= 1_000_000:
            raise ValueError(f"start: expected 1 to 1000000, got {self.start}")

    def init(self, problem: Problem, seed: int) -> State:
        return State(History(problem))

    def ask(self, state: State, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        history, space = state.history, state.history.problem.space
        if len(history) + len(pending) < self.start or not state.front:
            return Proposal(fresh(history, pending, lambda n: [space.sample(rng) for _ in range(n)], rng))

        def draw(n: int) -> list[Genome]:
            members = history.rows[rng.choice(state.front, size=n)].tolist()
            return [space.mutate(member, rng, 1 if n <= 8 else 2) for member in members]

        return Proposal(fresh(history, pending, draw, rng))

    def tell(self, state: State, trial: Trial, rng: np.random.Generator) -> State:
        history = state.history.add(trial)
        state = dataclasses.replace(state, history=history)
        if np.isnan(history.rewards[-1]):
            return state
        members = np.array([*state.front, len(history) - 1])
        values = -history.rewards[members, None] if self.reward else history.values[members]
        return dataclasses.replace(state, front=tuple(members[non_dominated(values)].tolist()))
