"""The protocol of controllers, and their common parts: the history of trials, and proposals that are new.

A controller is a frozen settings dataclass with three pure methods:

    state = controller.init(problem, seed)
    proposal = controller.ask(state, pending, np.random.default_rng([seed, number]))
    state = controller.tell(state, trial, np.random.default_rng([seed, trial.number, 1]))

All randomness comes from these generators and from `seed`, so a state can be rebuilt by observing the same trials again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from nas.core.settings import named
from nas.objectives import Objectives
from nas.problem import Problem
from nas.records import Fidelity, Proposal, Trial
from nas.space import Genome

ROUNDS = (1, 8, 56, 192)  # genomes drawn at a time while nothing new and feasible has turned up
Draw = Callable[[int], Iterable[Genome]]
S = TypeVar("S")


class Controller(Protocol[S]):
    """Proposes genomes and learns from results. `S` is the type of its states.

    States are values: `tell` returns a new one, and the old one still holds. Proposals depend on the arguments alone.
    """

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """What the numbers in `Proposal.fidelity` mean; empty where every training is a full one."""
        ...

    def init(self, problem: Problem, seed: int) -> S:
        """The state before any trial."""
        ...

    def ask(self, state: S, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        """The next proposal.

        Args:
            state: what was observed so far.
            pending: proposals without a result yet, in order of their numbers.
            rng: the source of all randomness of this proposal.
        """
        ...

    def tell(self, state: S, trial: Trial, rng: np.random.Generator) -> S:
        """The state after one more trial, whatever its outcome. Trials come in order of their numbers."""
        ...


MEMBERS = ("fidelities", "init", "ask", "tell")
CONTROLLERS: dict[str, type] = {}


def make_controller(settings: Mapping[str, Any], where: str = "controller") -> Controller[Any]:
    """The controller that `settings["name"]` names.

    Args:
        settings: `name` and the controller's settings; those left out have their defaults.
        where: opens the messages of errors.

    Raises:
        ValueError: naming the key of an unknown name or setting, or a wrong value.

    Example:
        >>> make_controller({"name": "evolution", "population": 50})
        Evolution(population=50, sample=15, genes=1, crossover=0.0)
    """
    controller = named(CONTROLLERS, settings, where)
    if missing := [member for member in MEMBERS if not hasattr(controller, member)]:
        raise ValueError(f"{where}.name: {type(controller).__name__} is no controller: missing {', '.join(missing)}")
    return controller


class _Log:
    """The log common to the histories of one search: it only grows, and a history sees a beginning of it."""

    def __init__(self, objectives: int):
        self.numbers: list[int] = []
        self.genomes: list[Genome] = []
        self.first: dict[Genome, int] = {}
        self.rewards = np.zeros(64)
        self.values = np.zeros((64, objectives))
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
    """All trials observed so far, in order. A trial without a usable result has the reward nan and values of inf.

    A value like any other: `add` returns a new one and leaves this one as it is, in constant time, because histories of one
    search share a log of which each sees the first `length` trials. Do not write to the arrays.
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
        """The log, where it ends with what this history sees; else a copy of what it sees."""
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
        """(trials, objectives) minimized values, inf without a result."""
        return self.log.values[: self.length] if self.log else np.zeros((0, len(self.problem.objectives.names)))

    @property
    def rows(self) -> np.ndarray:
        """(trials, genes) genomes."""
        return self.log.rows[: self.length] if self.log else np.zeros((0, len(self.problem.space.genes)), np.int64)

    def saw(self, genome: Genome) -> bool:
        """Whether a trial of this (canonical) genome was observed."""
        return self.log is not None and self.log.first.get(genome, self.length) < self.length

    @cached_property
    def ok(self) -> np.ndarray:
        """Positions of the trials that have a result."""
        return np.flatnonzero(~np.isnan(self.rewards))


def results_of(objectives: Objectives, trial: Trial) -> tuple[float, tuple[float, ...]]:
    """Reward and minimized values of a trial; nan and infs where it failed or a metric is missing."""
    nothing = (math.nan, (math.inf,) * len(objectives.names))
    if trial.outcome != "ok":
        return nothing
    values = tuple(float(v) for v in objectives.values(trial.metrics))
    reward = float(objectives.reward_of(trial.metrics))
    return (reward, values) if math.isfinite(reward) else nothing


def fresh(history: History, pending: Sequence[Proposal], draw: Draw, rng: np.random.Generator) -> Genome:
    """A genome that is neither pending nor observed and satisfies the constraints, as close to `draw` as possible.

    Where draws bring nothing new after a bounded number, their mutants are tried, then all genomes of a small space or
    uniform samples of a large one. Of what is left, a new genome that violates a constraint is preferred to a repeat, and a
    repeat to a genome that is pending.

    Args:
        history: the trials observed so far.
        pending: proposals without a result yet.
        draw: `draw(n)` returns n genomes that the controller prefers, canonical or not.
        rng: the source of randomness for everything else.
    """
    problem = history.problem
    busy = {problem.space.canonical(proposal.genome) for proposal in pending}
    untried = problem.listed and [g not in busy and not history.saw(g) for g in problem.listed[0]]
    if untried is not None and not any(untried):
        return _repeat(history, busy, problem.space.sample(rng))
    spare: list[Genome] = []
    for genomes in _offers(problem, draw, rng):
        new = [g for g in dict.fromkeys(genomes) if g not in busy and not history.saw(g) and problem.space.allowed(g)]
        feasible = problem.feasible(new)
        if feasible.any():
            return new[int(feasible.argmax())]
        spare = spare or new
    if problem.listed is not None and untried is not None:
        genomes, feasible = problem.listed
        mask = np.array(untried) & feasible
        return genomes[rng.choice(np.flatnonzero(mask if mask.any() else untried))]
    return spare[0] if spare else _repeat(history, busy, problem.space.sample(rng))


def _offers(problem: Problem, draw: Draw, rng: np.random.Generator) -> Iterator[list[Genome]]:
    preferred: list[Genome] = []
    for n in ROUNDS:
        preferred = list(draw(n))
        yield preferred
    for genes in (1, 2, 4):
        yield [problem.space.mutate(genome, rng, genes) for genome in preferred[: ROUNDS[2]]]
    for n in ROUNDS if problem.listed is None else ():
        yield [problem.space.sample(rng) for _ in range(n)]


def _repeat(history: History, busy: set[Genome], last: Genome) -> Genome:
    """The best observed genome that is not pending."""
    order = np.argsort(-np.nan_to_num(history.rewards, nan=-np.inf), kind="stable")
    genomes = history.genomes
    return next((genomes[i] for i in order if genomes[i] not in busy), last)
