"""The slowest of several resources, each a linear function of the inputs: what a pipelined device takes.

    y = log(sum_k exp(sharpness (w_k . x + c_k))) / sharpness

a smooth maximum (a softened form of max-affine regression, Magnani and Boyd 2009). Fitted to relative errors under a
pseudo-Huber loss, so that single measurements that went wrong do not bend it, with a ridge on the w_k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

RESOURCES, SHARPNESS, HUBER = 2, 20.0, 0.05
STEPS = 300


@dataclass(frozen=True)
class Bottleneck:
    """`unit` is the mean of y; weights (resources, f) and intercepts (resources,) are in it."""

    weights: np.ndarray
    intercepts: np.ndarray
    sharpness: float
    unit: float

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray, penalty: float) -> Bottleneck:
        """From rows (n, f), scaled alike, and positive `y` (n,)."""
        unit, features = float(y.mean()), x.shape[1]
        target = y / unit

        def split(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
            weights = theta[: RESOURCES * features].reshape(RESOURCES, features)
            return weights, theta[RESOURCES * features : -1], float(np.exp(theta[-1]))

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            weights, intercepts, sharpness = split(theta)
            each = x @ weights.T + intercepts
            highest = np.asarray(logsumexp(sharpness * each, axis=1)) / sharpness
            weight = softmax(sharpness * each, axis=1)
            error = (highest - target) / target
            root = np.sqrt(1 + (error / HUBER) ** 2)
            slope = error / root / target
            pulled = theta[-1] - np.log(SHARPNESS)
            value = HUBER**2 * float((root - 1).sum()) + 0.5 * penalty * float((weights**2).sum()) + 0.005 * pulled**2
            toward = (slope[:, None] * weight).T
            sharper = slope @ ((weight * each).sum(axis=1) - highest) + 0.01 * pulled
            gradient = [(toward @ x + penalty * weights).ravel(), toward.sum(axis=1), [sharper]]
            return value, np.concatenate(gradient)

        found = minimize(loss, _start(x, target), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        return cls(*split(found.x), unit)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(m, f) rows -> (m,) predictions."""
        each = x @ self.weights.T + self.intercepts
        return self.unit * np.asarray(logsumexp(self.sharpness * each, axis=1)) / self.sharpness


def _start(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One resource takes a ridge's solution, the others the time of the fastest tenth."""
    gram = x.T @ x + 0.01 * np.eye(x.shape[1])
    weights = np.zeros((RESOURCES, x.shape[1]))
    weights[0] = np.linalg.solve(gram, x.T @ (target - target.mean()))
    intercepts = np.full(RESOURCES, np.quantile(target, 0.1))
    intercepts[0] = target.mean()
    return np.concatenate([weights.ravel(), intercepts, [np.log(SHARPNESS)]])
