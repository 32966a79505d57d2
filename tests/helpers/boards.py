"""A device on a bench with a clock of its own, and an evaluator without training, for searches that measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import nas
from fake_bench import FakeBench, additive_ms
from nas.arch import Arch
from nas.latency import Budget, DeviceDefaults, Predictor, fit_layerwise
from nas.latency.devices.measure import Failed, measure_networks
from nas.latency.predictors.base import Progress
from nas.records import JSON, Measurement

INFO: dict[str, JSON] = {"device": "board", "processor": "A", "batch": 1}
SPEED = {"now": 1.0}  # how much slower the board is when it measures than when its predictor was fitted


@dataclass(frozen=True)
class Board(DeviceDefaults):
    timeout_s: float = 60.0
    predictor: str | None = None

    def info(self) -> dict[str, JSON]:
        return dict(INFO)

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        return measure_networks(FakeBench(lambda graph: SPEED["now"] * additive_ms(graph)), archs, "board", self.info(), failed)

    def fit(self, space: nas.Space, seed: int, progress: Progress | None = None) -> Predictor:
        return fit_layerwise(space, seed, FakeBench(), Budget(0, 2, 0), "board", self.fingerprint(), self.info())


def score(arch: Arch) -> Mapping[str, float]:
    return {"accuracy": 1 - 1 / math.log(nas.cost(arch).params)}
