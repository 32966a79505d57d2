"""What a controller is told and asked, and the pieces that all of them share: the history, and draws that are new.

A controller is a frozen settings dataclass with three pure methods:

    state = controller.init(problem, seed)
    proposal = controller.ask(state, pending, np.random.default_rng([seed, number]))
    state = controller.tell(state, trial, np.random.default_rng([seed, trial.number, 1]))

All chance comes from these generators and from `seed`, so a state can be rebuilt by telling the same trials again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from nas.core.settings import named
from nas.objectives import Objectives
from nas.problem import Problem
from nas.records import Proposal, Trial
from nas.space import Genome

ROUNDS = (1, 8, 56, 192)  # genomes drawn at a time while nothing new and within the limits has turned up
Draw = Callable[[int], Iterable[Genome]]


class Controller(Protocol):
    """Proposes genomes and learns from results. States are values: `tell` returns a new one, the old one still holds."""

    def init(self, problem: Problem, seed: int) -> Any: ...
    def ask(self, state: Any, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal: ...
    def tell(self, state: Any, trial: Trial, rng: np.random.Generator) -> Any: ...


CONTROLLERS: dict[str, type] = {}


def make_controller(settings: Mapping[str, Any], where: str = "controller") -> Controller:
    """The controller that `settings["name"]` names, with the other settings. Raises ValueError naming the key."""
    return named(CONTROLLERS, settings, where)


class _Log:
    """What histories of one search share: it only ever grows, and a history sees its beginning."""

    def __init__(self, axes: int):
        self.numbers: list[int] = []
        self.genomes: list[Genome] = []
        self.first: dict[Genome, int] = {}
        self.rewards = np.zeros(64)
        self.values = np.zeros((64, axes))
        self.rows = np.zeros((64, 0), np.int64)

    def append(self, number: int, genome: Genome, reward: float, values: Sequence[float]) -> None:
        n = len(self.genomes)
        if n == 0:
            self.rows = np.zeros((64, len(genome)), np.int64)
        if n == len(self.rewards):
            self.rewards, self.values, self.rows = (
                np.concatenate([array, np.zeros_like(array)]) for array in (self.rewards, self.values, self.rows)
            )
        self.rewards[n], self.values[n], self.rows[n] = reward, values, genome
        self.numbers.append(number)
        self.genomes.append(genome)
        self.first.setdefault(genome, n)


@dataclass(frozen=True)
class History:
    """All trials told so far, in order. A trial without a usable result has the reward nan and values of inf.

    A value like any other: `add` gives a new one and leaves this one as it is, in constant time, because histories of one
    search share a log of which each sees the first `length` trials. Arrays are to be read only.
    """

    problem: Problem
    length: int = 0
    log: _Log | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.length

    def add(self, trial: Trial) -> History:
        """A history with one more trial; this one stays as it is."""
        genome = self.problem.space.canonical(trial.genome)
        reward, values = results_of(self.problem.objectives, trial)
        log = self._own_log()
        log.append(trial.number, genome, reward, values)
        return History(self.problem, self.length + 1, log)

    def _own_log(self) -> _Log:
        """The log, where nothing stands behind what this history sees; else a copy of what it sees."""
        if self.log is not None and len(self.log.genomes) == self.length:
            return self.log
        log = _Log(len(self.problem.objectives.names))
        for row in zip(self.numbers, self.genomes, self.rewards, self.values, strict=True):
            log.append(*row)
        return log

    @property
    def numbers(self) -> list[int]:
        return self.log.numbers[: self.length] if self.log else []

    @property
    def genomes(self) -> list[Genome]:
        return self.log.genomes[: self.length] if self.log else []

    @property
    def rewards(self) -> np.ndarray:
        """(trials,) rewards, nan without a result."""
        return self.log.rewards[: self.length] if self.log else np.zeros(0)

    @property
    def values(self) -> np.ndarray:
        """(trials, axes) minimized values, inf without a result."""
        return self.log.values[: self.length] if self.log else np.zeros((0, len(self.problem.objectives.names)))

    @property
    def rows(self) -> np.ndarray:
        """(trials, genes) genomes."""
        return self.log.rows[: self.length] if self.log else np.zeros((0, len(self.problem.space.genes)), np.int64)

    def saw(self, genome: Genome) -> bool:
        """Whether a trial of this (canonical) genome was told."""
        return self.log is not None and self.log.first.get(genome, self.length) < self.length

    @cached_property
    def ok(self) -> np.ndarray:
        """Positions of the trials that have a result."""
        return np.flatnonzero(~np.isnan(self.rewards))


def results_of(objectives: Objectives, trial: Trial) -> tuple[float, tuple[float, ...]]:
    """Reward and minimized values of a trial; nan and infs where it failed or misses a metric."""
    nothing = (math.nan, (math.inf,) * len(objectives.names))
    if trial.outcome != "ok":
        return nothing
    values = tuple(float(v) for v in objectives.values(trial.metrics))
    reward = float(objectives.reward_of(trial.metrics))
    return (reward, values) if math.isfinite(reward) else nothing


def fresh(history: History, pending: Sequence[Proposal], draw: Draw, rng: np.random.Generator) -> Genome:
    """A genome that is neither pending nor told and keeps the constraints, as like the `draw` as can be had.

    `draw(n)` gives n genomes of the controller's liking. Where they bring nothing after a bounded number, their
    mutants are looked through, then all genomes of a small space or uniform samples of a large one. Of what is left,
    a new genome that breaks a limit goes before a repeat, and a repeat before one that is pending.
    """
    problem = history.problem
    busy = {problem.space.canonical(proposal.genome) for proposal in pending}
    left = problem.listed and [g not in busy and not history.saw(g) for g in problem.listed[0]]
    if left is not None and not any(left):
        return _repeat(history, busy, problem.space.sample(rng))
    spare: list[Genome] = []
    for genomes in _offers(problem, draw, rng):
        new = [g for g in dict.fromkeys(genomes) if g not in busy and not history.saw(g) and problem.space.allowed(g)]
        feasible = problem.feasible(new)
        if feasible.any():
            return new[int(feasible.argmax())]
        spare = spare or new
    if problem.listed is not None and left is not None:
        genomes, feasible = problem.listed
        mask = np.array(left) & feasible
        return genomes[rng.choice(np.flatnonzero(mask if mask.any() else left))]
    return spare[0] if spare else _repeat(history, busy, problem.space.sample(rng))


def _offers(problem: Problem, draw: Draw, rng: np.random.Generator) -> Iterator[list[Genome]]:
    liked: list[Genome] = []
    for n in ROUNDS:
        liked = list(draw(n))
        yield liked
    for genes in (1, 2, 4):
        yield [problem.space.mutate(genome, rng, genes) for genome in liked[: ROUNDS[2]]]
    for n in ROUNDS if problem.listed is None else ():
        yield [problem.space.sample(rng) for _ in range(n)]


def _repeat(history: History, busy: set[Genome], last: Genome) -> Genome:
    """The best told genome that is not pending: nothing new was found."""
    order = np.argsort(-np.nan_to_num(history.rewards, nan=-np.inf), kind="stable")
    genomes = history.genomes
    return next((genomes[i] for i in order if genomes[i] not in busy), last)
