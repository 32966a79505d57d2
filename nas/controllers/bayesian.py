"""Bayesian optimization of a front with few trials: Gaussian processes and expected hypervolume improvement.

Each objective that is known only after training has a Gaussian process over the analytic per-stage costs of a genome;
objectives known before are computed, never learned. A proposal maximizes the expected improvement of hypervolume (Emmerich
et al. 2006, IEEE TEC 10(4)), estimated by draws from the processes, among candidates that an inner NSGA-II finds in the
whole space. Pending networks take part in the draws (Wilson et al. 2018, arXiv:1805.10196).

Every third proposal explores: it maximizes the improvement under optimistic values, the mean less several times
the standard deviation (a confidence bound). The best of billions of genomes is far better than its expectation, so that a search by
expected improvement alone stays in the first good region. Spaces small enough to be listed need no exploration.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.controllers.base import History, fresh
from nas.controllers.encoding import Encoding, encode_problem
from nas.controllers.nsga2 import best_first
from nas.core.process import one_thread
from nas.core.settings import check_ranges
from nas.objectives.pareto import hypervolume_gains, non_dominated, ranks
from nas.problem import Problem
from nas.records import Fidelity, Proposal, Trial
from nas.space import Genome
from nas.surrogates.process import Hyper, Process, Term, choose, standardized

TERMS = (Term("linear", "costs"), Term("pairs", "costs"), Term("matern", "costs"))
FAILING_LENGTH, FAILING_NOISE, FAILING_FLOOR = 2.0, 0.05, 0.05  # squared length; variance beside 1; correlation added
SAFE = 0.75  # candidates have at least this probability of success, where any do
SAMPLED = 256  # genomes considered for a proposal before there are models
GROWTH = 1.2  # hyperparameters are chosen again when there are so many times the trials


@dataclass(frozen=True)
class State:
    """The observed trials, the encoding of the space, and the hyperparameters of each learned objective, chosen when there were
    `fitted` results."""

    history: History
    encoding: Encoding
    hypers: tuple[Hyper, ...] = ()
    fitted: int = 0


@dataclass(frozen=True)
class Bayesian:
    """Settings of the Bayesian controller.

    The first `start` proposals are spread over the range of the first objective that is known before training. With few,
    the models never observe whole regions of a large space and are certain that they are poor.

    Args:
        start: number of first proposals; None: one per gene, from 10 to 30.
        population: genomes that evolve under the models for each proposal.
        generations: generations of that evolution.
        optimism: standard deviations subtracted from the (minimized) mean during the evolution.
        finalists: genomes whose expected improvement is computed.
        draws: joint samples from the models for the expected improvement.
        explore_every: every so many proposals one explores; 0: none.
        exploration: standard deviations subtracted from the mean there.
        points: trials that the models know at most.
    """

    fidelities: ClassVar[tuple[Fidelity, ...]] = ()
    start: int | None = None
    population: int = 100
    generations: int = 20
    optimism: float = 1.0
    finalists: int = 100
    draws: int = 32
    explore_every: int = 3
    exploration: float = 4.0
    points: int = 1000

    def __post_init__(self) -> None:
        counts = {"population": 4, "generations": 1, "finalists": 1, "draws": 1, "explore_every": 0, "points": 10}
        check_ranges(self, start=(1, 100_000), **{key: (low, 100_000) for key, low in counts.items()})
        for key in ("optimism", "exploration"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{key}: expected 0 or more, got {getattr(self, key):g}")

    def init(self, problem: Problem, seed: int) -> State:
        start = min(max(len(problem.space.genes), 10), 30) if self.start is None else self.start
        return State(History(problem), encode_problem(problem, start, np.random.default_rng(seed)))

    def ask(self, state: State, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        n = len(state.history) + len(pending)
        if n < len(state.encoding.design):
            return Proposal(fresh(state.history, pending, lambda k: state.encoding.near(n, k, rng), rng))
        if not state.hypers:
            with one_thread():
                order = self._safest(state, rng)
            return Proposal(fresh(state.history, pending, lambda k: order[:k], rng))
        with one_thread():
            order = Model(self, state, pending).ordered(rng)
        return Proposal(fresh(state.history, pending, lambda k: order[:k], rng))

    def _safest(self, state: State, rng: np.random.Generator) -> list[Genome]:
        """Uniform genomes, the least similar to failed trials first: before there are results to learn from."""
        rows = state.history.problem.space.arrays.sample(SAMPLED, rng)
        if (success := Success.of(state.history, state.encoding, self.points)) is not None:
            rows = rows[np.argsort(-success(state.encoding.inputs(rows)), kind="stable")]
        return [tuple(row) for row in rows.tolist()]

    def tell(self, state: State, trial: Trial, rng: np.random.Generator) -> State:
        state = dataclasses.replace(state, history=state.history.add(trial))
        enough = len(state.history.ok)
        due = enough >= max(GROWTH * state.fitted, min(len(state.encoding.design), 10), 2)
        if not due or len(state.history) < len(state.encoding.design):
            return state
        with one_thread():
            return self._fitted(state)

    def _fitted(self, state: State) -> State:
        history, encoding = state.history, state.encoding
        inputs = {"costs": encoding.inputs(history.rows[history.ok])}
        targets = (standardized(encoding.to_model(k, history.values[history.ok, k]))[0] for k in encoding.costly)
        hypers = tuple(choose(TERMS, inputs, y, np.random.default_rng(len(history))) for y in targets)
        return dataclasses.replace(state, hypers=hypers, fitted=len(history.ok))


@dataclass(frozen=True)
class Success:
    """The probability that a training succeeds: a process through 0 at successful trials and -1 at failed ones, over inputs
    weighted by their correlation with failure, since mostly one or two choices make trainings fail."""

    model: Process
    relevance: np.ndarray

    @classmethod
    def of(cls, history: History, encoding: Encoding, points: int) -> Success | None:
        """From the last `points` trials; None where all succeeded."""
        if len(history.ok) == len(history):
            return None
        last = np.arange(len(history))[-points:]
        inputs, failed = encoding.inputs(history.rows[last]), np.isnan(history.rewards[last]).astype(float)
        centered = inputs - inputs.mean(axis=0)
        scale = np.sqrt((centered**2).sum(axis=0) * max(((failed - failed.mean()) ** 2).sum(), 1e-12))
        relevance = np.abs(centered.T @ (failed - failed.mean())) / np.maximum(scale, 1e-12) + FAILING_FLOOR
        relevance /= np.sqrt((relevance**2).mean())
        terms, hyper = TERMS[-1:], Hyper((1.0,), (FAILING_LENGTH,), FAILING_NOISE)
        return cls(Process(terms, hyper, {"costs": inputs * relevance}, -failed), relevance)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) probabilities, at least 0.01."""
        return np.clip(1 + self.model.mean({"costs": inputs * self.relevance}), 0.01, 1)


class Model:
    """The models of one moment, and the search for the best proposal under them."""

    def __init__(self, settings: Bayesian, state: State, pending: Sequence[Proposal]):
        self.settings, self.history, self.encoding = settings, state.history, state.encoding
        self.arrays = state.history.problem.space.arrays
        ok = self._kept(state.history)
        self.values = state.history.values[state.history.ok]
        self.rows = state.history.rows[state.history.ok]
        inputs = {"costs": self.encoding.inputs(state.history.rows[ok])}
        self.scales, self.models = [], []
        for objective, hyper in zip(self.encoding.costly, state.hypers, strict=True):
            y, mean_y, std_y = standardized(self.encoding.to_model(objective, state.history.values[ok, objective]))
            self.scales.append((mean_y, std_y))
            self.models.append(Process(TERMS, hyper, inputs, y))
        space = self.history.problem.space
        busy = [space.canonical(proposal.genome) for proposal in pending]
        self.pending = np.array(busy, np.int64).reshape(len(busy), len(space.genes))
        self.reference = self.encoding.reference(self.values)
        self.success = Success.of(state.history, state.encoding, settings.points)
        number, every = len(state.history) + len(pending), settings.explore_every
        self.exploring = bool(every) and number % every == every - 1 and state.encoding.everything is None
        self.optimism = settings.exploration if self.exploring else settings.optimism

    def _kept(self, history: History) -> np.ndarray:
        """Positions of the trials in the models; if there are too many, those of the first fronts."""
        if len(history.ok) <= self.settings.points:
            return history.ok
        return np.sort(history.ok[np.argsort(ranks(history.values[history.ok]), kind="stable")[: self.settings.points]])

    def _weighted(self, gains: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Improvements times the probability that the training succeeds."""
        if self.success is None or not len(rows):
            return gains
        return gains * self.success(self.encoding.inputs(rows))

    def assess(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows that satisfy the constraints and are likely to train, and their minimized values (n, objectives): exact, or
        optimistic where learned."""
        rows, values = self.encoding.kept(rows)
        if len(rows) and self.success is not None:
            probability = self.success(self.encoding.inputs(rows))
            likely = probability >= min(SAFE, float(np.median(probability)))
            rows, values = rows[likely], values[likely]
        if self.models and len(rows):
            inputs = {"costs": self.encoding.inputs(rows)}
            for objective, model, (mean_y, std_y) in zip(self.encoding.costly, self.models, self.scales, strict=True):
                mean = model.mean(inputs)
                if self.optimism:
                    mean = mean - self.optimism * model.sd(inputs, noise=False)
                values[:, objective] = self.encoding.from_model(objective, mean_y + std_y * mean)
        return rows, values

    def ordered(self, rng: np.random.Generator) -> list[Genome]:
        """New feasible genomes, the most promising first."""
        rows, values = self._candidates(rng)
        if not len(rows):
            return []
        first = self._finalists(rows, values)
        gains = self._optimistic(rows[first], values[first]) if self.exploring else self._expected(rows[first], rng)
        order = first[np.lexsort((ranks(values[first]), -gains))]
        return [tuple(row) for row in rows[order].tolist()]

    def _candidates(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if self.encoding.everything is not None:
            return self.assess(self.encoding.everything[self._is_new(self.encoding.everything)])
        rows, values = self._evolved(rng)
        new = self._is_new(rows)
        return rows[new], values[new]

    def _evolved(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """All rows that an NSGA-II under the models visits, starting at the best observed genomes, with their values."""
        size = self.settings.population
        best = best_first(self.values, size // 2)
        rows, values = self.assess(self.arrays.settle(np.concatenate([self.rows[best], self.arrays.sample(size, rng)])))
        keep = best_first(values, len(rows))
        rows, values = rows[keep], values[keep]
        seen, codes = [(rows, values)], self.arrays.codes(rows)
        for _ in range(self.settings.generations if len(rows) else 0):
            children = self._children(rows, rng)
            children, found = self.assess(children[~np.isin(self.arrays.codes(children), codes)])
            seen.append((children, found))
            codes = np.concatenate([codes, self.arrays.codes(children)])
            rows, values = np.concatenate([rows, children]), np.concatenate([values, found])
            keep = best_first(values, size)
            rows, values = rows[keep], values[keep]
        return np.concatenate([r for r, _ in seen]), np.concatenate([v for _, v in seen])

    def _children(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Children of rows sorted best first; each parent is the better of two random ones."""
        n = self.settings.population
        first, second = rng.integers(len(rows), size=(2, n, 2)).min(axis=2)
        crossed = np.where(rng.random(n)[:, None] < 0.7, self.arrays.cross(rows[first], rows[second], rng), rows[first])
        return self.arrays.settle(self.arrays.mutate(crossed, 1.0, rng))

    def _is_new(self, rows: np.ndarray) -> np.ndarray:
        known = np.concatenate([self.history.rows, self.pending])
        return ~np.isin(self.arrays.codes(rows), self.arrays.codes(known))

    def _finalists(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Positions of the candidates with the largest improvement under optimistic values, filled up by rank."""
        n = min(self.settings.finalists, len(values))
        rank = ranks(values)
        likely = np.argsort(rank, kind="stable")[: max(4 * n, int((rank == 0).sum()))]
        gains = self._weighted(hypervolume_gains(self.values, self.reference, values[likely]), rows[likely])
        return likely[np.lexsort((rank[likely], -gains))[:n]]

    def _optimistic(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(n,) improvements of hypervolume if candidates and pending genomes have their optimistic values."""
        taken = self.values
        if len(self.pending):
            taken = np.concatenate([taken, self.assess(self.pending)[1]])
        return self._weighted(hypervolume_gains(taken, self.reference, values), rows)

    def _expected(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(n,) improvements of hypervolume, the mean over joint draws of the candidates and the pending genomes."""
        everyone = np.concatenate([rows, self.pending])
        values = np.repeat(self.encoding.cheap_values(everyone)[None], self.settings.draws, axis=0)
        inputs = {"costs": self.encoding.inputs(everyone)}
        for objective, model, (mean_y, std_y) in zip(self.encoding.costly, self.models, self.scales, strict=True):
            drawn = mean_y + std_y * model.sample(inputs, self.settings.draws, rng)
            values[:, :, objective] = self.encoding.from_model(objective, drawn)
        n, front = len(rows), self.values[non_dominated(self.values)]
        gains = [hypervolume_gains(np.concatenate([front, v[n:]]), self.reference, v[:n]) for v in values]
        return self._weighted(np.mean(gains, axis=0), rows)
