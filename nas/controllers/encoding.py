"""How model-based controllers see a problem: model inputs of genomes, objectives known before training, a first design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.objectives import LATENCY
from nas.objectives.pareto import non_dominated
from nas.problem import Problem
from nas.space import Genome

LISTED = 20_000  # spaces up to this size are enumerated
POOL = 1000
WIDENING = 12


@dataclass(frozen=True)
class Encoding:
    """The encoding of one problem.

    Attributes:
        cheap, costly: positions of the objectives known before training, and of the others.
        shift, scale: (f,) standardize the inputs.
        blind: (one-hot columns,) mask of genes that the analytic costs do not show; only those are inputs besides the costs.
        design: (start, genes) first genomes to try.
        pool: (n, genes) genomes to choose among instead.
        corner: (objectives,) the worst values that count, nan for costly objectives.
        everything: (size, genes) all genomes of a small space, else None.
    """

    problem: Problem
    cheap: tuple[int, ...]
    costly: tuple[int, ...]
    shift: np.ndarray
    scale: np.ndarray
    blind: np.ndarray
    design: np.ndarray
    pool: np.ndarray
    corner: np.ndarray
    everything: np.ndarray | None = None

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """(n, f) standardized inputs."""
        return (_raw(self.problem, rows, self.blind) - self.shift) * self.scale

    def kept(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows that satisfy the constraints, and their (n, objectives) minimized values: 0 for the costly ones."""
        if not len(rows):
            return rows, np.zeros((0, len(self.problem.objectives.names)))
        costs = self.problem.costs(rows)
        mask = self.problem.objectives.feasible_mask(costs)
        return rows[mask], _signed(self.problem, costs, len(rows))[mask]

    def cheap_values(self, rows: np.ndarray) -> np.ndarray:
        """(n, objectives) minimized values of the cheap objectives, 0 for the others."""
        return _cheap(self.problem, rows)

    def to_model(self, objective: int, values: np.ndarray) -> np.ndarray:
        """The target of the model of an objective: the logarithm of a latency, other values as they are."""
        return np.log(np.maximum(values, 1e-12)) if self._is_latency(objective) else values

    def from_model(self, objective: int, values: np.ndarray) -> np.ndarray:
        """The inverse of `to_model`."""
        return np.exp(np.minimum(values, 700)) if self._is_latency(objective) else values

    def _is_latency(self, objective: int) -> bool:
        name, way = self.problem.objectives.metrics[objective]
        return way == "min" and name.partition("/")[0] == LATENCY

    def reference(self, values: np.ndarray) -> np.ndarray:
        """(objectives,) the reference point of the hypervolume, given the (n, objectives) values so far."""
        front = values[non_dominated(values)]
        worst, best = front.max(axis=0), front.min(axis=0)
        nadir = worst + 0.1 * np.where(worst > best, worst - best, np.maximum(np.abs(worst), 1e-9))
        return np.where(np.isfinite(self.corner), np.maximum(self.corner, nadir), nadir)

    def near(self, n: int, k: int, rng: np.random.Generator) -> list[Genome]:
        """The n-th genome of the design, then others of the pool."""
        others = self.pool[rng.integers(len(self.pool), size=k)] if len(self.pool) else self.pool
        return [tuple(row) for row in np.concatenate([self.design[n : n + 1], others]).tolist()]


def encode_problem(problem: Problem, start: int, rng: np.random.Generator) -> Encoding:
    """The encoding, from about a thousand random genomes, widened toward both ends of the first cheap objective."""
    arrays = problem.space.arrays
    small = problem.space.size <= LISTED
    everything = np.array([*problem.space.enumerate()], np.int64) if small else None
    sampled = everything if everything is not None else arrays.sample(POOL, rng)
    blind = _blind(problem, sampled, rng)
    raw = _raw(problem, sampled, blind)
    std = raw.std(axis=0)
    varies = std > 1e-9
    scale = np.where(varies, 1 / np.where(varies, std, 1), 0) / max(float(np.sqrt(varies.sum())), 1.0)
    names = problem.costs(sampled[:1]).keys()
    cheap = tuple(i for i, name in enumerate(problem.objectives.columns) if name in names)
    costly = tuple(i for i in range(len(problem.objectives.names)) if i not in cheap)
    values = _cheap(problem, sampled)
    corner = np.where(np.isin(np.arange(values.shape[1]), cheap), np.percentile(values, 99, axis=0), np.nan)
    pool = _widened(problem, sampled, cheap[0], rng) if cheap and not small else sampled
    pool = pool[problem.objectives.feasible_mask(problem.costs(pool))]
    design = _spread(_cheap(problem, pool)[:, cheap[0]] if cheap else None, pool, start, rng)
    return Encoding(problem, cheap, costly, raw.mean(axis=0), scale, blind, design, pool, corner, everything)


def _raw(problem: Problem, rows: np.ndarray, blind: np.ndarray) -> np.ndarray:
    hot = problem.space.arrays.one_hot(rows)[:, blind]
    if problem.features is None:
        return hot
    return np.concatenate([np.log1p(np.maximum(problem.features(rows), 0).astype(float)), hot], axis=1)


def _cheap(problem: Problem, rows: np.ndarray) -> np.ndarray:
    return _signed(problem, problem.costs(rows), len(rows))


def _signed(problem: Problem, costs: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    objectives = problem.objectives
    signed = [
        np.asarray(costs[column], float) * (-1 if way == "max" else 1) if column in costs else np.zeros(n)
        for column, (_, way) in zip(objectives.columns, objectives.metrics, strict=True)
    ]
    return np.stack(signed, axis=1)


def _blind(problem: Problem, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(one-hot columns,) those of genes that can change while the features stay the same."""
    counts = problem.space.option_counts
    if problem.features is None:
        return np.ones(int(counts.sum()), bool)
    hidden = np.zeros(len(counts), bool)
    some = rows[rng.integers(len(rows), size=min(len(rows), 32))]
    base, active = np.asarray(problem.features(some)), problem.space.arrays.active(some)
    for gene, count in enumerate(counts.tolist()):
        for step in range(1, count):
            changed = some.copy()
            changed[:, gene] = (changed[:, gene] + step) % count
            same = np.all(np.asarray(problem.features(changed)) == base, axis=1)
            hidden[gene] |= bool(same[active[:, gene]].mean() > 0.9) if active[:, gene].any() else False
    return np.repeat(hidden, counts)


def _widened(problem: Problem, rows: np.ndarray, objective: int, rng: np.random.Generator) -> np.ndarray:
    """The rows with mutants of their lowest and highest members of one objective, repeatedly, so that the ends are reached."""
    arrays, found, n = problem.space.arrays, rows, max(len(rows) // 20, 1)
    for _ in range(WIDENING):
        order = np.argsort(_cheap(problem, found)[:, objective], kind="stable")
        ends = np.concatenate([found[order[:n]], found[order[-n:]]])
        found = arrays.settle(np.concatenate([found, arrays.mutate(ends, 1.5, rng)]))
    return found


def _spread(cost: np.ndarray | None, pool: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n rows at even steps of the logarithm of the cost, in an order whose every beginning is spread over the range."""
    n = min(n, len(pool))
    if cost is None or not n or cost.min() <= 0:
        return pool[rng.permutation(len(pool))[:n]]
    log = np.log(cost)
    unused = np.ones(len(pool), bool)
    chosen = []
    for target in np.linspace(log.min(), log.max(), n)[_van_der_corput(n)]:
        rest = np.flatnonzero(unused)
        close = rest[np.argsort(np.abs(log[rest] - target), kind="stable")[:5]]
        chosen.append(int(rng.choice(close)))
        unused[chosen[-1]] = False
    return pool[chosen]


def _van_der_corput(n: int) -> Sequence[int]:
    """0 .. n - 1 in the order of the van der Corput sequence: each prefix covers the range evenly."""
    keys = [int(f"{i:020b}"[::-1], 2) for i in range(n)]
    return [int(k) for k in np.argsort(np.argsort(keys))]
