"""What `nas profile` measures, and how well the fitted predictor agrees with networks held out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.arch.blocks import lower
from nas.latency.predictors.learned.predictor import LearnedPredictor
from nas.records import JSON
from nas.space import Space

TRIES = 200  # samples for each network expected, before a small space is taken to have no more


@dataclass(frozen=True)
class Drawn:
    """Genomes of distinct networks by the ids of their graphs: those to fit a predictor to, and those held out."""

    samples: Mapping[str, tuple[int, ...]]
    holdout: Mapping[str, tuple[int, ...]]


def draw(space: Space, seed: int, samples: int, holdout: int) -> Drawn:
    """Samples distinct networks of a space, those held out first, so that a larger `samples` keeps them.

    Args:
        space: The space.
        seed: Of the sample.
        samples, holdout: How many networks to fit to, and to hold out.

    Raises:
        ValueError: The space has too few different networks.
    """
    rng = np.random.default_rng([seed, 0x9A0F])
    found: dict[str, tuple[int, ...]] = {}
    for _ in range(TRIES * (samples + holdout)):
        if len(found) == samples + holdout:
            break
        genome = space.canonical(space.sample(rng))
        found.setdefault(lower(space.decode(genome)).id, genome)
    if len(found) < samples + holdout:
        raise ValueError(
            f"samples: expected {samples} networks and {holdout} held out, {space.name} has {len(found)} different ones"
        )
    rows = list(found.items())
    return Drawn(dict(rows[holdout:]), dict(rows[:holdout]))


@dataclass(frozen=True)
class Accuracy:
    """How well one list of latencies agrees with another.

    tau, spearman: rank correlations (Kendall's tau-b, Spearman's rho).
    mape: mean relative error.
    within_5, within_10: fractions of networks with an error of at most 5 and 10 %.
    """

    tau: float
    spearman: float
    mape: float
    within_5: float
    within_10: float

    def text(self) -> str:
        """One line."""
        return (
            f"tau {self.tau:.3f}, Spearman {self.spearman:.3f}, mean error {self.mape:.1%},"
            f" {self.within_5:.0%} within 5 %, {self.within_10:.0%} within 10 %"
        )


def accuracy(predicted: Sequence[float], measured: Sequence[float]) -> Accuracy:
    """How well (n,) predictions, or earlier measurements, agree with (n,) measurements; errors are relative to the latter."""
    from scipy.stats import kendalltau, spearmanr

    a, b = np.asarray(predicted, float), np.asarray(measured, float)
    errors = np.abs(a - b) / b
    tau, rho = (float(np.asarray(f(a, b))[0]) if len(a) > 1 else math.nan for f in (kendalltau, spearmanr))
    return Accuracy(tau, rho, float(errors.mean()), float((errors <= 0.05).mean()), float((errors <= 0.10).mean()))


@dataclass(frozen=True)
class Row:
    """A network held out: milliseconds predicted, measured, and measured again with its 95th percentile."""

    arch_id: str
    predicted_ms: float
    first_ms: float
    again_ms: float
    again_p95_ms: float


@dataclass(frozen=True)
class Profile:
    """The result of profiling one device.

    device, info: the device, and what its latencies hold for.
    predictor: fitted to `samples` networks.
    rows: the networks held out.
    seconds: spent compiling and measuring.
    predicted, repeated: agreement of predictions, and of the first measurements, with the second measurements.
    failures: errors of networks that could not be measured, by architecture id.
    """

    device: str
    info: Mapping[str, JSON]
    predictor: LearnedPredictor
    rows: tuple[Row, ...]
    samples: int
    seconds: float
    predicted: Accuracy
    repeated: Accuracy
    failures: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON, without the predictor."""
        return {
            "device": self.device, "info": dict(self.info), "samples": self.samples, "holdout": len(self.rows),
            "minutes": self.seconds / 60, "predicted": dataclasses.asdict(self.predicted),
            "repeated": dataclasses.asdict(self.repeated), "failures": dict(self.failures),
            "networks": [dataclasses.asdict(row) for row in self.rows],
        }  # fmt: skip
