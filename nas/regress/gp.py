"""A Gaussian process with a Matern kernel (Rasmussen and Williams 2006, eq. 4.17 and algorithm 2.1), in numpy.

Inputs are (n, f) rows whose features are standardised and divided by the root of their number, so that a typical squared
distance is 2 and one grid of lengths fits all spaces.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from threadpoolctl import ThreadpoolController

LENGTHS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # squared
NOISES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # over the amplitude times the length, as longer ones also rise slower
JITTER = 1e-8


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager:
    """Linear algebra in one thread: sums in one order on every machine, and no threads that wait for busy trainings."""
    return _pools().limit(limits=1, user_api="blas")


@dataclass(frozen=True)
class Hyper:
    """Squared length; variance of the process and of the noise."""

    length: float
    amplitude: float
    noise: float


def matern(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """(n, m) correlations of smoothness 5/2 between rows."""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2 * (a @ b.T)
    ratio = np.maximum(squares, 0) * (5 / length)
    root = np.sqrt(ratio)
    return (1 + root + ratio / 3) * np.exp(-root)


def best_hyper(x: np.ndarray, y: np.ndarray) -> Hyper:
    """The length and noise of the grid with the largest marginal likelihood, the amplitude in closed form."""
    n, found = len(y), []
    for length in LENGTHS:
        correlations = matern(x, x, length)
        for noise in NOISES:
            ratio = noise / length
            lower = cholesky(correlations + (ratio + JITTER) * np.eye(n), lower=True, check_finite=False)
            white = solve_triangular(lower, y, lower=True, check_finite=False)
            amplitude = max(float(white @ white) / n, 1e-9)
            likelihood = -0.5 * n * np.log(amplitude) - np.log(np.diag(lower)).sum()
            found.append((likelihood, Hyper(length, amplitude, ratio * amplitude)))
    return max(found, key=lambda pair: pair[0])[1]


class Posterior:
    """The process after n observations. `y` (n,) should have the mean 0."""

    def __init__(self, hyper: Hyper, x: np.ndarray, y: np.ndarray):
        self.hyper, self.x = hyper, x
        covariance = hyper.amplitude * matern(x, x, hyper.length)
        covariance[np.diag_indices_from(covariance)] += hyper.noise + JITTER * hyper.amplitude
        self.lower = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        white = solve_triangular(self.lower, y, lower=True, check_finite=False)
        self.weights = solve_triangular(self.lower, white, lower=True, trans=1, check_finite=False)

    def cross(self, rows: np.ndarray) -> np.ndarray:
        return self.hyper.amplitude * matern(rows, self.x, self.hyper.length)

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """(m,) expectations."""
        return self.cross(rows) @ self.weights

    def mean_sd(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(m,) expectations and standard deviations of the process, without the noise."""
        cross = self.cross(rows)
        white = solve_triangular(self.lower, cross.T, lower=True, check_finite=False)
        return cross @ self.weights, np.sqrt(np.maximum(self.hyper.amplitude - (white * white).sum(axis=0), 0))

    def sample(self, rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, m) joint draws."""
        cross = self.cross(rows)
        white = solve_triangular(self.lower, cross.T, lower=True, check_finite=False)
        covariance = self.hyper.amplitude * matern(rows, rows, self.hyper.length) - white.T @ white
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        return cross @ self.weights + rng.normal(size=(n, len(rows))) @ root.T


def standardised(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(values - mean) / deviation, with mean and deviation; the deviation of a constant is 1."""
    middle, spread = float(values.mean()), float(values.std())
    spread = spread if spread > 1e-12 else 1.0
    return (values - middle) / spread, middle, spread
