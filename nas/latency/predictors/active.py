"""Few measurements that say much: which networks to measure next, and when there are enough.

    while not good_enough(predictor, error=0.05):
        for genome in next_to_measure(space, genomes, ms, rng, count=10): ...

Pure functions of what was measured so far and of the generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.core.machine import one_thread
from nas.latency.predictors.candidates import Smooth
from nas.latency.predictors.columns import Columns, Prior, Walk
from nas.latency.predictors.learned import LEAST_NETWORKS, LatencyPredictor, checked
from nas.space import Genome, Space
from nas.surrogates.process import JITTER, Inputs

POOL, TRIES = 400, 4
ENOUGH = 20  # networks below which a cross-validation is not believed
CONFIDENT = 1.645  # standard errors: one held-out error of twenty is larger than that says


def next_to_measure(
    space: Space,
    measured: Any,
    ms: Any,
    rng: np.random.Generator,
    count: int,
    priors: Sequence[Prior] = (),
    walk: Walk | None = None,
) -> list[Genome]:
    """Up to `count` genomes of the space, none measured yet, in the order they are to be measured; fewer where there are none.

    With fewer than five measured networks they are spread over the logarithms of the costs. From then on each is the one of
    the pool whose measurement takes most variance from the whole pool (Seo et al. 2000, "active learning Cohn"), the earlier
    ones taken as measured.
    """
    genomes, times = checked(space, measured, ms, least=0)
    pool = _pool(space, genomes, rng)
    if not len(pool) or count < 1:
        return []
    with one_thread():
        columns = Columns(space, np.concatenate([genomes, pool]), priors, walk)
        known, inputs = columns(genomes), columns(pool)
        if len(genomes) < LEAST_NETWORKS:
            chosen = _spread_out(inputs["log"], known["log"], count)
        else:
            chosen = _informative(Smooth.fit(known, times), inputs, count)
    return [tuple(row) for row in pool[chosen].tolist()]


def _pool(space: Space, measured: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Distinct genomes that were not measured."""
    known, found = set(map(tuple, measured.tolist())), {}
    for _ in range(TRIES * POOL):
        genome = space.sample(rng)
        if genome not in known:
            found[genome] = None
        if len(found) == POOL:
            break
    return np.array([*found], np.int64).reshape(len(found), len(space.genes))


def _spread_out(rows: np.ndarray, known: np.ndarray, count: int) -> list[int]:
    """The row nearest to the middle, then always the one farthest from all before it."""
    chosen: list[int] = []
    far = np.full(len(rows), np.inf)
    for row in known:
        far = np.minimum(far, ((rows - row) ** 2).sum(axis=1))
    for _ in range(min(count, len(rows))):
        first = not len(known) and not chosen
        best = int(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).argmin()) if first else int(far.argmax())
        chosen.append(best)
        far = np.minimum(far, ((rows - rows[best]) ** 2).sum(axis=1))
        far[chosen] = -1.0
    return chosen


def _informative(smooth: Smooth, inputs: Inputs, count: int) -> list[int]:
    """Greedily the rows that take most variance from all rows."""
    left, noise = smooth.process.posterior_covariance(inputs), smooth.process.hyper.noise + JITTER
    chosen: list[int] = []
    for _ in range(min(count, len(left))):
        gain = (left * left).sum(axis=0) / (np.diag(left) + noise)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + noise)
    return chosen


def good_enough(predictor: LatencyPredictor, error: float = 0.05, least: int = ENOUGH) -> bool:
    """Whether the mean relative error on networks left out of the fit is under `error`, with a confidence of 95 %.

    Never with fewer than `least` networks. Raises ValueError for an error that is no share.
    """
    if not 0 < error < 1:
        raise ValueError(f"error: expected more than 0 and less than 1 (0.05 is 5 %), got {error:g}")
    held, ms, _ = predictor.held_out
    if len(predictor.record.ms) < least:
        return False
    errors = np.abs(held / ms - 1)
    return bool(errors.mean() + CONFIDENT * errors.std() / len(errors) ** 0.5 <= error)
