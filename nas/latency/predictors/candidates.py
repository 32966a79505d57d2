"""`CANDIDATES`: name -> how a model of milliseconds is fitted to the columns of measured networks.

    process      a Gaussian process over all blocks of columns
    bottleneck   the slower of two resources: what pipelines and floors under small networks take
    costs        a ridge on the costs of each stage
    trees        gradient boosting
    calibrated   other predictors' times, scaled and shifted (where there are any, such as sums of measured layers)

A new one is a class with `fit` and `__call__` and a line in `CANDIDATES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from scipy.optimize import nnls

from nas.surrogates.bottleneck import Bottleneck
from nas.surrogates.models import Model, ridge, trees
from nas.surrogates.process import Hyper, Inputs, Process, Term, choose

LINEAR = ("total", "stage", "layer", "gene")
CENTERS = 400  # rows that a Matern term keeps
PRIORS = (Term("linear", "prior"), Term("matern", "log_prior"))
TERMS = (*(Term("linear", block) for block in LINEAR), Term("pairs", "gene"), Term("matern", "log"))
# From so many networks on, a table of layers and one-hot genes do more good than harm to the bottleneck.
MANY = 500


class Candidate(Protocol):
    """A model of milliseconds."""

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray) -> Self: ...

    def __call__(self, inputs: Inputs) -> np.ndarray: ...


@dataclass(frozen=True)
class Smooth:
    """A Gaussian process of the milliseconds less their mean, over their deviation."""

    process: Process
    middle: float
    spread: float

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray, hyper: Hyper | None = None) -> Smooth:
        middle, spread = float(ms.mean()), float(ms.std()) or 1.0
        scaled = (ms - middle) / spread
        terms = [term for term in (*TERMS, *PRIORS) if term.block in inputs]
        found = hyper or choose(terms, inputs, scaled, np.random.default_rng(0))
        return cls(Process(terms, found, inputs, scaled, CENTERS), middle, spread)

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return self.process.mean(inputs) * self.spread + self.middle

    def sd(self, inputs: Inputs) -> np.ndarray:
        """(m,) milliseconds: the standard deviation of a measurement."""
        return self.process.sd(inputs) * self.spread

    def left_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) milliseconds and deviations of each measured network by the others' folds."""
        mean, sd = self.process.left_out(folds)
        return mean * self.spread + self.middle, sd * self.spread


@dataclass(frozen=True)
class Slowest:
    blocks: tuple[str, ...]
    model: Bottleneck

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray) -> Slowest:
        many = len(ms) >= MANY
        blocks = LINEAR if many else LINEAR[:2]
        return cls(blocks, Bottleneck.fit(_side_by_side(inputs, blocks), ms, 1e-3 if many else 1e-2))

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return self.model(_side_by_side(inputs, self.blocks))


@dataclass(frozen=True)
class Ridge:
    coefficients: np.ndarray
    intercept: float

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray) -> Ridge:
        return cls(*ridge(_side_by_side(inputs, LINEAR[:2]), ms, 1e-3))

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return _side_by_side(inputs, LINEAR[:2]) @ self.coefficients + self.intercept


@dataclass(frozen=True)
class Trees:
    blocks: tuple[str, ...]
    model: Model

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray) -> Trees:
        blocks = tuple(block for block in ("total", "stage", "gene", "prior") if block in inputs)
        return cls(blocks, trees(_side_by_side(inputs, blocks), np.log(ms), 400 if len(ms) >= MANY else 150))

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return np.exp(self.model(_side_by_side(inputs, self.blocks)))


@dataclass(frozen=True)
class Calibrated:
    """Weights, not negative, of other predictors' times and of a constant, which fit relative errors best."""

    weights: np.ndarray
    least: np.ndarray
    constant: float

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray) -> Calibrated:
        known = inputs["prior"]
        least = known.min(axis=0, initial=0.0)
        rows = np.concatenate([(known - least), np.ones((len(known), 1))], axis=1) / ms[:, None]
        ridged = np.concatenate([rows, 0.01 * len(ms) ** 0.5 * np.eye(rows.shape[1])])
        weights, _ = nnls(ridged, np.concatenate([np.ones(len(ms)), np.zeros(rows.shape[1])]))
        return cls(weights[:-1], least, float(weights[-1]))

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return (inputs["prior"] - self.least) @ self.weights + self.constant


CANDIDATES: dict[str, type[Candidate]] = {
    "process": Smooth,
    "bottleneck": Slowest,
    "costs": Ridge,
    "trees": Trees,
    "calibrated": Calibrated,
}


def _side_by_side(inputs: Inputs, blocks: tuple[str, ...]) -> np.ndarray:
    return np.concatenate([inputs[block] for block in blocks], axis=1)
