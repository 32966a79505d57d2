"""What the models of a run would try next, and what they expect of it.

Candidates are what an NSGA-II under optimistic values of the models visits, from the best networks that were tried and from
random ones; all networks of a small space. Of these, those are taken one after the other that add most to the front in expectation, given
those before: expected improvement of hypervolume (Emmerich et al. 2006, IEEE TEC 10(4)) over joint draws from the
models, with the drawn values of earlier picks on the front (Wilson et al. 2018, arXiv:1805.10196). With one objective that is expected
improvement (Jones et al. 1998).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.controllers.nsga2 import best_first
from nas.estimates.quantities import Learned
from nas.estimates.run import RunModels
from nas.objectives import metric_of
from nas.objectives.pareto import hypervolume, hypervolume_gains, non_dominated, ranks
from nas.space import Genome

LISTED = 4096  # spaces up to this size are looked at whole
POPULATION, GENERATIONS = 100, 12
OPTIMISM = 1.0  # standard deviations in favor of a candidate while it evolves
FINALISTS, DRAWS = 150, 64


@dataclass(frozen=True)
class Suggested:
    """A network that was not tried.

    Attributes:
        predicted: value, low and high end of the 90 % interval, by metric.
        gain: what it is expected to add, given the suggestions before it: a fraction of the hypervolume of the front, or,
            with one objective, of that metric.
        chance: the probability that it stands on the front, of the tried networks and the suggestions before it.
        like: number of the member of the front that it differs least from.
        changes: (gene, option there, option here) where it differs.
    """

    genome: Genome
    arch: Arch
    id: str
    predicted: Mapping[str, tuple[float, float, float]]
    gain: float
    chance: float
    like: int
    changes: tuple[tuple[str, object, object], ...]


def suggest(models: RunModels, n: int, seed: int = 0) -> list[Suggested]:
    """The networks that the models would try next, the most promising first; deterministic by `seed`.

    Args:
        models: Of the run, which is not changed.
        n: How many; fewer where the space has no more that satisfy the constraints.
        seed: Of candidates and draws.
    """
    rng = np.random.default_rng([seed, 0x5A6E])
    tried = _means(models, models.rows)
    rows = _candidates(models, tried, rng)
    if not len(rows):
        return []
    reference = _reference(tried)
    gains = hypervolume_gains(tried, reference, _optimistic(models, rows))
    finalists = rows[np.lexsort((ranks(_means(models, rows)), -gains))[: max(FINALISTS, 3 * n)]]
    drawn = _drawn(models, finalists, rng)
    return _picked(models, finalists, drawn, tried, reference, n)


def _picked(
    models: RunModels, rows: np.ndarray, drawn: np.ndarray, tried: np.ndarray, reference: np.ndarray, n: int
) -> list[Suggested]:
    """drawn: (draws, rows, objectives) minimized values."""
    front = tried[non_dominated(tried)]
    whole = hypervolume(front, reference) if front.shape[1] > 1 else 1.0
    known, taken, out = {trial.arch_id for trial in models.trials}, list[int](), list[Suggested]()
    left = np.ones(len(rows), bool)
    while len(out) < n and left.any():
        gains = np.stack([hypervolume_gains(np.concatenate([front, v[taken]]), reference, v) for v in drawn])
        expected = gains.mean(axis=0)
        at = int(np.argmax(np.where(left, expected, -np.inf)))
        left[at] = False
        genome = tuple(rows[at].tolist())
        arch = models.space.decode(genome)
        if (key := arch_id(arch)) in known:  # another genome of a network that is known
            continue
        known.add(key)
        taken.append(at)
        like, changes = _nearest(models, rows[at], tried)
        found = {name: quantity.predict(rows[at : at + 1]) for name, quantity in models.quantities.items()}
        predicted = {name: (float(p.value[0]), float(p.low[0]), float(p.high[0])) for name, p in found.items()}
        gain = float(expected[at]) / whole if whole > 0 else 0.0
        out.append(Suggested(genome, arch, key, predicted, gain, float((gains[:, at] > 0).mean()), like, changes))
    return out


def _nearest(models: RunModels, row: np.ndarray, tried: np.ndarray) -> tuple[int, tuple[tuple[str, object, object], ...]]:
    members = np.flatnonzero(non_dominated(tried))
    at = int(members[np.argmin((models.rows[members] != row).sum(axis=1))])
    genes, there = models.space.genes, models.rows[at]
    changes = [(genes[i].name, genes[i].options[there[i]], genes[i].options[row[i]]) for i in np.flatnonzero(there != row)]
    return models.trials[at].number, tuple(changes)


def _candidates(models: RunModels, tried: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(m, genes) genomes that were not tried and satisfy the constraints."""
    arrays, space = models.space.arrays, models.space
    if space.size <= LISTED:
        seen = _feasible(models, np.array([*space.enumerate()], np.int64))
    else:
        best = models.rows[best_first(tried, POPULATION // 2)]
        rows = _feasible(models, arrays.settle(np.concatenate([best, arrays.sample(POPULATION, rng)])))
        found = [rows]
        for _ in range(GENERATIONS if len(rows) else 0):
            rows = rows[best_first(_optimistic(models, rows), POPULATION)]
            first, second = rng.integers(len(rows), size=(2, POPULATION, 2)).min(axis=2)
            crossed = np.where(rng.random(POPULATION)[:, None] < 0.7, arrays.cross(rows[first], rows[second], rng), rows[first])
            found.append(_feasible(models, arrays.settle(arrays.mutate(crossed, 1.0, rng))))
            rows = arrays.settle(np.concatenate([rows, found[-1]]))
        seen = arrays.settle(np.concatenate(found))
    return seen[~np.isin(arrays.codes(seen), arrays.codes(models.rows))]


def _feasible(models: RunModels, rows: np.ndarray) -> np.ndarray:
    """Those that satisfy the constraints by what is known before a training, and by what is predicted of latency."""
    if not models.objectives.constraints or not len(rows):
        return rows
    values = models.values(rows)
    for name, _ in models.objectives.constraints:
        metric = metric_of(name)
        if metric not in values and metric in models.quantities and metric != models.main:
            values[metric] = models[metric].mean(rows)
    return rows[models.objectives.feasible_mask(values)]


def _signed(way: str, values: np.ndarray) -> np.ndarray:
    return -values if way == "max" else values


def _means(models: RunModels, rows: np.ndarray) -> np.ndarray:
    """(n, objectives) minimized values: known, or the means of the models."""
    metrics = models.objectives.metrics
    return np.stack([_signed(way, models[metric_of(name)].mean(rows)) for name, way in metrics], axis=1)


def _optimistic(models: RunModels, rows: np.ndarray) -> np.ndarray:
    out = []
    for name, way in models.objectives.metrics:
        quantity = models[metric_of(name)]
        if isinstance(quantity, Learned):
            values = quantity.optimistic(rows, OPTIMISM if way == "max" else -OPTIMISM)
        else:
            values = quantity.mean(rows)
        out.append(_signed(way, values))
    return np.stack(out, axis=1)


def _drawn(models: RunModels, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(draws, n, objectives) minimized values."""
    out = []
    for name, way in models.objectives.metrics:
        quantity = models[metric_of(name)]
        if isinstance(quantity, Learned):
            values = quantity.sample(rows, DRAWS, rng)
        else:
            values = np.repeat(quantity.mean(rows)[None], DRAWS, axis=0)
        out.append(_signed(way, values))
    return np.stack(out, axis=2)


def _reference(tried: np.ndarray) -> np.ndarray:
    """(objectives,) a tenth beyond the worst values of the front, so that its ends count."""
    front = tried[non_dominated(tried)]
    worst, best = front.max(axis=0), front.min(axis=0)
    return worst + 0.1 * np.where(worst > best, worst - best, np.maximum(np.abs(worst), 1e-9))
