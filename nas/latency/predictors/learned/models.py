"""`MODELS`: name -> how a model of milliseconds is fitted to the features of measured networks.

    process      a Gaussian process over all blocks of features
    bottleneck   the slower of two resources: what pipelines and floors under small networks take
    costs        a ridge on the costs of each stage
    trees        gradient boosting
    calibrated   other predictors' milliseconds, scaled and shifted (where there are any, such as sums of measured layers)

A new one is a class with `fit` and `__call__` and a line in `MODELS`.
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


class LatencyModel(Protocol):
    """A model of milliseconds. `inputs` maps a block's name to (n, f) features."""

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray) -> Self:
        """Fits to the (n,) milliseconds of n networks."""
        ...

    def __call__(self, inputs: Inputs) -> np.ndarray:
        """(m,) milliseconds of m networks."""
        ...


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process of standardized milliseconds; `mean_ms` and `std_ms` undo it."""

    process: Process
    mean_ms: float
    std_ms: float

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray, hyper: Hyper | None = None) -> GaussianProcess:
        mean, std = float(ms.mean()), float(ms.std()) or 1.0
        scaled = (ms - mean) / std
        terms = [term for term in (*TERMS, *PRIORS) if term.block in inputs]
        found = hyper or choose(terms, inputs, scaled, np.random.default_rng(0))
        return cls(Process(terms, found, inputs, scaled, CENTERS), mean, std)

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return self.process.mean(inputs) * self.std_ms + self.mean_ms

    def sd(self, inputs: Inputs) -> np.ndarray:
        """(m,) milliseconds: the standard deviation of a measurement."""
        return self.process.sd(inputs) * self.std_ms

    def left_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) means and (n,) standard deviations, in ms, of each measured network by a fit to the other folds."""
        mean, sd = self.process.left_out(folds)
        return mean * self.std_ms + self.mean_ms, sd * self.std_ms


@dataclass(frozen=True)
class SlowerOfTwo:
    """The slower of two resources, each linear in the features (`nas.surrogates.bottleneck`)."""

    blocks: tuple[str, ...]
    model: Bottleneck

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray) -> SlowerOfTwo:
        many = len(ms) >= MANY
        blocks = LINEAR if many else LINEAR[:2]
        return cls(blocks, Bottleneck.fit(_side_by_side(inputs, blocks), ms, 1e-3 if many else 1e-2))

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return self.model(_side_by_side(inputs, self.blocks))


@dataclass(frozen=True)
class Ridge:
    """A ridge regression on the costs of the network and of each stage."""

    coefficients: np.ndarray
    intercept: float

    @classmethod
    def fit(cls, inputs: Inputs, ms: np.ndarray) -> Ridge:
        return cls(*ridge(_side_by_side(inputs, LINEAR[:2]), ms, 1e-3))

    def __call__(self, inputs: Inputs) -> np.ndarray:
        return _side_by_side(inputs, LINEAR[:2]) @ self.coefficients + self.intercept


@dataclass(frozen=True)
class Trees:
    """Gradient boosting of the logarithm of the milliseconds."""

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
    """Non-negative weights of other predictors' milliseconds and of a constant, with the least squared relative error."""

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


MODELS: dict[str, type[LatencyModel]] = {
    "process": GaussianProcess,
    "bottleneck": SlowerOfTwo,
    "costs": Ridge,
    "trees": Trees,
    "calibrated": Calibrated,
}


def _side_by_side(inputs: Inputs, blocks: tuple[str, ...]) -> np.ndarray:
    return np.concatenate([inputs[block] for block in blocks], axis=1)
