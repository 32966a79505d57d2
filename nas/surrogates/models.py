"""A ridge on one-hot genes and all their pairs, gradient boosting, a ridge on per-stage costs, and blends of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls

from nas.core.process import SKLEARN_SETS, environment_kept, one_pool_thread

Model = Callable[[np.ndarray], np.ndarray]
FEW = 8  # rows for which walking all trees at once is faster


def one_hot(genomes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n, genes) options -> (n, sum of counts) zeros and ones."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    out = np.zeros((len(genomes), int(counts.sum())))
    out[np.arange(len(genomes))[:, None], genomes + starts] = 1.0
    return out


def ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Coefficients (f,) and intercept that minimize the squared error plus `penalty` times the squared coefficients."""
    mean_x, mean_y = x.mean(axis=0), float(y.mean())
    centered = x - mean_x
    gram = centered.T @ centered
    gram[np.diag_indices_from(gram)] += penalty
    coefficients = cho_solve(cho_factor(gram, overwrite_a=True), centered.T @ (y - mean_y))
    return coefficients, mean_y - float(mean_x @ coefficients)


@dataclass(frozen=True)
class Pairs:
    """A quadratic form of one-hot genes: its upper triangle has the coefficients of pairs, its diagonal those of genes."""

    counts: np.ndarray
    weights: np.ndarray
    intercept: float

    @classmethod
    def fit(cls, genomes: np.ndarray, y: np.ndarray, counts: np.ndarray, penalty: float = 10.0) -> Pairs:
        x = one_hot(genomes, counts)
        gene = np.repeat(np.arange(len(counts)), counts)
        rows, columns = np.triu_indices(x.shape[1])
        used = (gene[rows] != gene[columns]) | (rows == columns)
        rows, columns = rows[used], columns[used]
        coefficients, intercept = ridge(x[:, rows] * x[:, columns], y, penalty)
        weights = np.zeros((x.shape[1], x.shape[1]))
        weights[rows, columns] = coefficients
        return cls(counts, weights, intercept)

    def __call__(self, genomes: np.ndarray) -> np.ndarray:
        x = one_hot(genomes, self.counts)
        return np.einsum("ij,ij->i", x @ self.weights, x) + self.intercept


def trees(rows: np.ndarray, y: np.ndarray, rounds: int = 800) -> Model:
    """Gradient boosting on (n, f) rows; options of genomes do as numbers where all choices are ordered."""
    with environment_kept(*SKLEARN_SETS):
        from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        learning_rate=0.05,
        max_iter=rounds,
        max_leaf_nodes=12,
        min_samples_leaf=10,
        l2_regularization=1.0,
        early_stopping=False,  # type: ignore[arg-type]
        random_state=0,
    )
    with one_pool_thread():  # a team of threads for each of 800 small trees costs more than it brings, far more on busy cores
        model.fit(rows, y)

    forest = _Forest.of(model)

    def predict(rows: np.ndarray) -> np.ndarray:
        if len(rows) <= FEW:
            return forest(rows)
        with one_pool_thread():
            return model.predict(rows)

    return predict


@dataclass(frozen=True)
class _Forest:
    """Boosted trees as arrays of all their nodes: scikit-learn walks one tree at a time, 5 ms for a single row.

    Predictions are scikit-learn's to the last bit. A leaf's branches lead to itself.
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    branches: np.ndarray
    value: np.ndarray
    depth: int
    base: float

    @classmethod
    def of(cls, model: Any) -> _Forest:
        trees = [tree.nodes for (tree,) in model._predictors]
        roots = np.cumsum([0, *map(len, trees)])[:-1]
        nodes, at = np.concatenate(trees), np.repeat(roots, [len(tree) for tree in trees])
        leaf = nodes["is_leaf"].astype(bool)
        own = np.arange(len(nodes))
        branches = np.stack([np.where(leaf, own, at + nodes[side].astype(np.int64)) for side in ("right", "left")], axis=1)
        feature = nodes["feature_idx"].astype(np.int64)
        base = float(np.asarray(model._baseline_prediction).item())
        return cls(roots, feature, nodes["num_threshold"], branches.ravel(), nodes["value"], int(nodes["depth"].max()), base)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return np.array([self._one(np.asarray(row, float)) for row in rows])

    def _one(self, row: np.ndarray) -> float:
        at = self.roots
        for _ in range(self.depth):
            at = self.branches[2 * at + (row[self.feature[at]] <= self.threshold[at])]
        return float(np.cumsum(np.concatenate([[self.base], self.value[at]]))[-1])


@dataclass(frozen=True)
class StageCosts:
    """Milliseconds as a linear function of the per-stage costs, each over its standard deviation."""

    features: Callable[[np.ndarray], np.ndarray]
    coefficients: np.ndarray
    intercept: float
    least: float

    @classmethod
    def fit(
        cls, features: Callable[[np.ndarray], np.ndarray], genomes: np.ndarray, y: np.ndarray, penalty: float = 0.01
    ) -> StageCosts:
        x = features(genomes).astype(float)
        scale = x.std(axis=0)
        weights = 1 / np.where(scale > 0, scale, np.inf)
        coefficients, intercept = ridge(x * weights, y, penalty)
        return cls(features, coefficients * weights, intercept, 0.5 * float(y.min()))

    def __call__(self, genomes: np.ndarray) -> np.ndarray:
        return self.of(self.features(genomes))

    def of(self, features: np.ndarray) -> np.ndarray:
        """(n, f) per-stage costs -> (n,) milliseconds, never under half of the fastest record's."""
        return np.maximum(features @ self.coefficients + self.intercept, self.least)


def blend(predictions: np.ndarray, y: np.ndarray, doubt: float = 5.0) -> np.ndarray:
    """(c,) weights, not negative and of sum 1, of the models whose held-out `predictions` are (n, c); `y` (n,) is positive.

    Stacking (Breiman 1996) of relative errors, drawn to the best model alone as by `doubt` further observations, and that
    model alone where the blend's mean error is no smaller.
    """
    relative = predictions / y[:, None]
    errors = np.abs(relative - 1).mean(axis=0)
    best = np.eye(len(errors))[int(errors.argmin())]
    pull = np.sqrt(doubt * max(float(np.mean((relative @ best - 1) ** 2)), 1e-12))
    sides = np.concatenate([relative, pull / 0.3 * np.eye(len(errors)), np.full((1, len(errors)), 1e3)])
    weights, _ = nnls(sides, np.concatenate([np.ones(len(y)), pull / 0.3 * best, [1e3]]))
    weights /= weights.sum()
    weights = np.where(weights < 0.02, 0.0, weights)
    weights /= weights.sum()
    return weights if np.abs(relative @ weights - 1).mean() < errors.min() else best
