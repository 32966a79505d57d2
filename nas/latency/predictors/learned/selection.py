"""Active learning: which networks to measure next, and when there are enough.

    while not good_enough(predictor, error=0.05):
        for genome in next_to_measure(space, genomes, ms, rng, count=10): ...

Pure functions of what was measured so far and of the generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from nas.arch import Arch
from nas.core.process import one_thread
from nas.latency.predictors.learned.features import Features, LayerCounts, Prior
from nas.latency.predictors.learned.models import GaussianProcess
from nas.latency.predictors.learned.predictor import LEAST_NETWORKS, LearnedPredictor, checked
from nas.space import Genome, Space
from nas.surrogates.process import JITTER, Inputs

POOL, TRIES = 400, 4
ENOUGH = 20  # networks below which a cross-validation is not trusted
CONFIDENT = 1.645  # standard errors: one side of a normal distribution holds 95 % below it


def next_to_measure(
    space: Space,
    measured: Sequence[Arch] | ArrayLike,
    ms: ArrayLike,
    rng: np.random.Generator,
    count: int,
    priors: Sequence[Prior] = (),
    counts: LayerCounts | None = None,
) -> list[Genome]:
    """Chooses the genomes to measure next.

    With fewer than five measured networks they are spread over the logarithms of the costs. From then on each is the one of
    a sampled pool whose measurement reduces the variance of the whole pool most, the earlier ones taken as measured.

    Args:
        space: The space that genomes are sampled from.
        measured: (n, genes) options, or architectures, that were measured.
        ms: (n,) their latencies in milliseconds.
        rng: Samples the pool.
        count: How many genomes to choose.
        priors: As in `fit_predictor`.
        counts: As in `fit_predictor`.

    Returns:
        Up to `count` genomes, none measured yet, in the order in which to measure them.

    Source: Seo et al. 2000, "Gaussian process regression: active data selection and test point rejection" (their "Cohn").
    """
    genomes, times = checked(space, measured, ms, least=0)
    pool = _pool(space, genomes, rng)
    if not len(pool) or count < 1:
        return []
    with one_thread():
        features = Features(space, np.concatenate([genomes, pool]), priors, counts)
        known, inputs = features(genomes), features(pool)
        if len(genomes) < LEAST_NETWORKS:
            chosen = _spread_out(inputs["log"], known["log"], count)
        else:
            chosen = _informative(GaussianProcess.fit(known, times), inputs, count)
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
    """Indices of the row nearest to the mean, then always of the one farthest from all before it."""
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


def _informative(model: GaussianProcess, inputs: Inputs, count: int) -> list[int]:
    """Indices of the rows that reduce the variance of all rows most, chosen greedily."""
    left, noise = model.process.posterior_covariance(inputs), model.process.hyper.noise + JITTER
    chosen: list[int] = []
    for _ in range(min(count, len(left))):
        gain = (left * left).sum(axis=0) / (np.diag(left) + noise)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + noise)
    return chosen


def good_enough(predictor: LearnedPredictor, error: float = 0.05, least: int = ENOUGH) -> bool:
    """Whether the mean relative error on networks left out of the fit is below `error` with a confidence of 95 %.

    Args:
        predictor: Fitted to the networks measured so far.
        error: A fraction; 0.05 is 5 %.
        least: With fewer networks the answer is always False.

    Raises:
        ValueError: `error` is no fraction.
    """
    if not 0 < error < 1:
        raise ValueError(f"error: expected more than 0 and less than 1 (0.05 is 5 %), got {error:g}")
    held, ms, _ = predictor.held_out
    if len(predictor.record.ms) < least:
        return False
    errors = np.abs(held / ms - 1)
    return bool(errors.mean() + CONFIDENT * errors.std() / len(errors) ** 0.5 <= error)
