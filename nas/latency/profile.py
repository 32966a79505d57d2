"""What `nas profile` measures and how well the predictor made of it does: samples, accuracy on networks held out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nas.arch.blocks import lower
from nas.latency.predictors.learned.predictor import LearnedPredictor
from nas.space import Space

TRIES = 200  # draws for each network expected, before a small space is taken to have no more


@dataclass(frozen=True)
class Drawn:
    """Distinct networks by the ids of their graphs: those to fit to, and those held out."""

    samples: Mapping[str, tuple[int, ...]]
    holdout: Mapping[str, tuple[int, ...]]


def draw(space: Space, seed: int, samples: int, holdout: int) -> Drawn:
    """Networks drawn from the space, the held out ones first, so that more samples later leave these as they are.

    Raises ValueError where the space has too few different networks.
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
            f"samples: {space.name} gave {len(found)} different networks, expected {samples} and {holdout} held out"
        )
    rows = list(found.items())
    return Drawn(dict(rows[holdout:]), dict(rows[:holdout]))


@dataclass(frozen=True)
class Accuracy:
    """How well one list of times agrees with another: `tau` (Kendall's, tau-b), `spearman`, `mape`, shares within 5 and 10 %."""

    tau: float
    spearman: float
    mape: float
    within_5: float
    within_10: float

    def words(self) -> str:
        return (
            f"tau {self.tau:.3f}, Spearman {self.spearman:.3f}, mean error {self.mape:.1%},"
            f" {self.within_5:.0%} within 5 %, {self.within_10:.0%} within 10 %"
        )


def accuracy(said: Sequence[float], measured: Sequence[float]) -> Accuracy:
    """Of predictions, or of earlier measurements; errors are relative to `measured`."""
    from scipy.stats import kendalltau, spearmanr

    a, b = np.asarray(said, float), np.asarray(measured, float)
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
    """What became of one device. `predicted` and `repeated` compare with the second measurement; `seconds` were spent measuring."""

    device: str
    info: Mapping[str, Any]
    predictor: LearnedPredictor
    rows: tuple[Row, ...]
    samples: int
    seconds: float
    predicted: Accuracy
    repeated: Accuracy
    failures: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "device": self.device, "info": dict(self.info), "samples": self.samples, "holdout": len(self.rows),
            "minutes": self.seconds / 60, "predicted": dataclasses.asdict(self.predicted),
            "repeated": dataclasses.asdict(self.repeated), "failures": dict(self.failures),
            "networks": [dataclasses.asdict(row) for row in self.rows],
        }  # fmt: skip
