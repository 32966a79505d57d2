"""Search bayesian by models of the trials so far: the fewest trainings for a front, a few dozen milliseconds a proposal.

Each costly objective has a Gaussian process over the analytic per-stage costs of a genome; cheap objectives are computed,
never learned. A proposal is the genome with the largest expected gain of hypervolume (Emmerich et al. 2006), by draws from
the processes over candidates that an inner NSGA-II finds in the whole space; networks still in training take part in the
draws (Wilson et al. 2018, arXiv:1805.10196). Every third proposal is bold: the largest gain if the models underestimate
everything by several deviations (upper confidence bound). The best of billions of genomes lies far above what a model
expects of it, so that a search by expected gains alone settles in the first good region and never tries another. A space
that is small enough to be looked at whole needs none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.controllers.base import History, fresh
from nas.controllers.encoding import Encoding, encode_problem
from nas.controllers.nsga2 import best_first
from nas.core.machine import one_thread
from nas.core.settings import check_ranges
from nas.objectives.pareto import hypervolume_gains, non_dominated, ranks
from nas.problem import Problem
from nas.records import Proposal, Trial
from nas.space import Genome
from nas.surrogates.process import Hyper, Process, Term, choose, standardized

TERMS = (Term("linear", "costs"), Term("pairs", "costs"), Term("matern", "costs"))
FAILING_LENGTH, FAILING_NOISE, FAILING_FLOOR = 2.0, 0.05, 0.05  # squared length; variance beside 1; correlation added
SAFE = 0.75  # chance of a result that candidates have at least, where any do
SAMPLED = 256  # genomes looked at for a proposal before the models
GROWTH = 1.2  # they are chosen again when there are so many times the trials


@dataclass(frozen=True)
class State:
    """What was told, what is known of the space, and each costly axis' hyperparameters with the length they are from."""

    history: History
    encoding: Encoding
    hypers: tuple[Hyper, ...] = ()
    fitted: int = 0


@dataclass(frozen=True)
class Bayesian:
    """The first `start` proposals are spread over the range of the first cheap objective; None: as many as there are genes,
    from 10 to 30. With fewer, the models never see whole regions of a large space and are sure that they are poor.

    Then `population` genomes evolve for `generations` under the models' optimistic values, the mean less `optimism`
    standard deviations; the best `finalists` are compared by `draws` from the models. Models know at most `points` trials.
    Every `bold_every`-th proposal (0: none) is the largest gain under the mean less `boldness` deviations.
    """

    start: int | None = None
    population: int = 100
    generations: int = 20
    optimism: float = 1.0
    finalists: int = 100
    draws: int = 32
    bold_every: int = 3
    boldness: float = 4.0
    points: int = 1000

    def __post_init__(self) -> None:
        counts = {"population": 4, "generations": 1, "finalists": 1, "draws": 1, "bold_every": 0, "points": 10}
        check_ranges(self, start=(1, 100_000), **{key: (low, 100_000) for key, low in counts.items()})
        for key in ("optimism", "boldness"):
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
        """Uniform genomes, those first that are least like the trials that failed: before there are results to learn from."""
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
    """The chance that a training gives a result: a process through 0 at trials that did and -1 at those that did not, over
    inputs weighed by their correlation with that, since what makes trainings fail is mostly one or two choices."""

    model: Process
    relevance: np.ndarray

    @classmethod
    def of(cls, history: History, encoding: Encoding, points: int) -> Success | None:
        """From the last trials; None where all have a result."""
        if len(history.ok) == len(history):
            return None
        last = np.arange(len(history))[-points:]
        inputs, failed = encoding.inputs(history.rows[last]), np.isnan(history.rewards[last]).astype(float)
        centered = inputs - inputs.mean(axis=0)
        spread = np.sqrt((centered**2).sum(axis=0) * max(((failed - failed.mean()) ** 2).sum(), 1e-12))
        relevance = np.abs(centered.T @ (failed - failed.mean())) / np.maximum(spread, 1e-12) + FAILING_FLOOR
        relevance /= np.sqrt((relevance**2).mean())
        terms, hyper = TERMS[-1:], Hyper((1.0,), (FAILING_LENGTH,), FAILING_NOISE)
        return cls(Process(terms, hyper, {"costs": inputs * relevance}, -failed), relevance)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """(n,) chances, never quite 0."""
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
        for axis, hyper in zip(self.encoding.costly, state.hypers, strict=True):
            y, middle, spread = standardized(self.encoding.to_model(axis, state.history.values[ok, axis]))
            self.scales.append((middle, spread))
            self.models.append(Process(TERMS, hyper, inputs, y))
        space = self.history.problem.space
        busy = [space.canonical(proposal.genome) for proposal in pending]
        self.pending = np.array(busy, np.int64).reshape(len(busy), len(space.genes))
        self.reference = self.encoding.reference(self.values)
        self.success = Success.of(state.history, state.encoding, settings.points)
        number, every = len(state.history) + len(pending), settings.bold_every
        self.bold = bool(every) and number % every == every - 1 and state.encoding.everything is None
        self.optimism = settings.boldness if self.bold else settings.optimism

    def _kept(self, history: History) -> np.ndarray:
        """Positions of the trials in the models: of too many, those of the first fronts."""
        if len(history.ok) <= self.settings.points:
            return history.ok
        return np.sort(history.ok[np.argsort(ranks(history.values[history.ok]), kind="stable")[: self.settings.points]])

    def _weighed(self, gains: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Gains times the chance that the training gives a result at all."""
        if self.success is None or not len(rows):
            return gains
        return gains * self.success(self.encoding.inputs(rows))

    def assess(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of (n, genes) rows those that keep the limits and will hardly fail, and their minimized values: exact, or optimistic
        where learned."""
        rows, values = self.encoding.kept(rows)
        if len(rows) and self.success is not None:
            chance = self.success(self.encoding.inputs(rows))
            likely = chance >= min(SAFE, float(np.median(chance)))
            rows, values = rows[likely], values[likely]
        if self.models and len(rows):
            inputs = {"costs": self.encoding.inputs(rows)}
            for axis, model, (middle, spread) in zip(self.encoding.costly, self.models, self.scales, strict=True):
                mean = model.mean(inputs)
                if self.optimism:
                    mean = mean - self.optimism * model.sd(inputs, noise=False)
                values[:, axis] = self.encoding.from_model(axis, middle + spread * mean)
        return rows, values

    def ordered(self, rng: np.random.Generator) -> list[Genome]:
        """New genomes that keep the limits, the most promising first."""
        rows, values = self._candidates(rng)
        if not len(rows):
            return []
        first = self._finalists(rows, values)
        gains = self._hoped(rows[first], values[first]) if self.bold else self._expected(rows[first], rng)
        order = first[np.lexsort((ranks(values[first]), -gains))]
        return [tuple(row) for row in rows[order].tolist()]

    def _candidates(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if self.encoding.everything is not None:
            return self.assess(self.encoding.everything[self._is_new(self.encoding.everything)])
        rows, values = self._evolved(rng)
        new = self._is_new(rows)
        return rows[new], values[new]

    def _evolved(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """All that an NSGA-II under the models has looked at, from the best told genomes on."""
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
        """Children of rows that stand best first: parents are the better of two."""
        n = self.settings.population
        first, second = rng.integers(len(rows), size=(2, n, 2)).min(axis=2)
        crossed = np.where(rng.random(n)[:, None] < 0.7, self.arrays.cross(rows[first], rows[second], rng), rows[first])
        return self.arrays.settle(self.arrays.mutate(crossed, 1.0, rng))

    def _is_new(self, rows: np.ndarray) -> np.ndarray:
        known = np.concatenate([self.history.rows, self.pending])
        return ~np.isin(self.arrays.codes(rows), self.arrays.codes(known))

    def _finalists(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Positions of the candidates that gain most under optimistic values, filled up by rank."""
        n = min(self.settings.finalists, len(values))
        rank = ranks(values)
        likely = np.argsort(rank, kind="stable")[: max(4 * n, int((rank == 0).sum()))]
        gains = self._weighed(hypervolume_gains(self.values, self.reference, values[likely]), rows[likely])
        return likely[np.lexsort((rank[likely], -gains))[:n]]

    def _hoped(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(n,) gains of hypervolume if candidates and pending ones are as good as hoped."""
        taken = self.values
        if len(self.pending):
            taken = np.concatenate([taken, self.assess(self.pending)[1]])
        return self._weighed(hypervolume_gains(taken, self.reference, values), rows)

    def _expected(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(n,) gains of hypervolume, on average over joint draws of the candidates and the pending ones."""
        everyone = np.concatenate([rows, self.pending])
        values = np.repeat(self.encoding.cheap_values(everyone)[None], self.settings.draws, axis=0)
        inputs = {"costs": self.encoding.inputs(everyone)}
        for axis, model, (middle, spread) in zip(self.encoding.costly, self.models, self.scales, strict=True):
            drawn = middle + spread * model.sample(inputs, self.settings.draws, rng)
            values[:, :, axis] = self.encoding.from_model(axis, drawn)
        n, front = len(rows), self.values[non_dominated(self.values)]
        gains = [hypervolume_gains(np.concatenate([front, v[n:]]), self.reference, v[:n]) for v in values]
        return self._weighed(np.mean(gains, axis=0), rows)
