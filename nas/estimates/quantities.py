"""Where the number of a network comes from: counted, a frozen predictor of latency, or learned from a run's trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nas.latency.predictors.base import Predictor
from nas.latency.predictors.layerwise.predictor import LayerwisePredictor
from nas.latency.predictors.learned.predictor import LearnedPredictor
from nas.objectives import FRACTIONS
from nas.space import Space
from nas.surrogates.additive import LEVEL, Additive, conformal_quantile
from nas.surrogates.inputs import SpaceInputs


@dataclass(frozen=True)
class Predicted:
    """(n,) values, and the ends between which nine new results of ten lie: equal where the value is exact, nan where nothing is
    known of the error."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Quantity(Protocol):
    """A metric of any genome (n, genes) of a space."""

    @property
    def name(self) -> str: ...

    def predict(self, rows: np.ndarray) -> Predicted:
        """Values with intervals."""
        ...

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """(n,) values alone, which cost less."""
        ...


@dataclass(frozen=True)
class Counted:
    """A cost that is counted exactly."""

    name: str
    counted: Callable[[np.ndarray], np.ndarray]

    def predict(self, rows: np.ndarray) -> Predicted:
        value = self.mean(rows)
        return Predicted(value, value, value)

    def mean(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.counted(rows), float)


@dataclass(frozen=True)
class Timed:
    """A latency by the run's frozen predictor. `measured`: (m,) relative errors of predictions for networks that were measured."""

    name: str
    space: Space
    predictor: Predictor
    measured: np.ndarray

    def predict(self, rows: np.ndarray) -> Predicted:
        ms = self.mean(rows)
        if isinstance(self.predictor, LearnedPredictor):
            return Predicted(ms, *self.predictor.interval(rows, LEVEL))
        errors = np.concatenate([held_out_errors(self.predictor), self.measured])
        if not len(errors):
            nothing = np.full(len(ms), np.nan)
            return Predicted(ms, nothing, nothing)
        unit = max(float(np.sqrt((errors**2).mean())), 1e-9)
        half = conformal_quantile(np.abs(errors) / unit, LEVEL) * unit
        return Predicted(ms, ms * max(1 - half, 0.0), ms * (1 + half))

    def mean(self, rows: np.ndarray) -> np.ndarray:
        return self.predictor.predict_many(self.space, rows)


def held_out_errors(predictor: Predictor) -> np.ndarray:
    """(n,) relative errors of a predictor that sums layers, on whole networks that were left out of its fit; none for others."""
    networks = predictor.networks if isinstance(predictor, LayerwisePredictor) else ()
    return np.array([one.ms / one.held_out_ms - 1 for one in networks if one.held_out_ms], float)


@dataclass(frozen=True)
class Learned:
    """A metric learned from the trials; of a latency, its logarithm. The ends of intervals of fractions stay within 0 and 1."""

    name: str
    inputs: SpaceInputs
    model: Additive
    logarithm: bool

    def predict(self, rows: np.ndarray) -> Predicted:
        inputs = self.inputs(rows)
        value, *ends = (self.back(values) for values in (self.model.mean(inputs), *self.model.interval(inputs)))
        low, high = (np.clip(end, 0, 1) if self.name in FRACTIONS else end for end in ends)
        return Predicted(value, low, high)

    def mean(self, rows: np.ndarray) -> np.ndarray:
        return self.back(self.model.mean(self.inputs(rows)))

    def optimistic(self, rows: np.ndarray, sds: float) -> np.ndarray:
        """(n,) values `sds` standard deviations above the mean, below it where that is negative; without noise."""
        mean, sd = self.model.predict(self.inputs(rows), noise=False)
        return self.back(mean + sds * sd)

    def sample(self, rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, m) joint draws, without noise."""
        return self.back(self.model.sample(self.inputs(rows), n, rng))

    def back(self, values: np.ndarray) -> np.ndarray:
        """Values in the metric's own unit."""
        return np.exp(np.minimum(values, 700)) if self.logarithm else values
