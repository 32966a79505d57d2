"""The arithmetic of the latency predictor: layers that were measured, a regression for the others, a calibration.

A network takes `offset_ms + scale * sum over its layers`. A layer takes what was measured of it alone, else a sum of
non-negative coefficients times its analytic features (`nas.cost.FEATURES`). Offset and scale are fitted to networks measured
whole: layers measured alone pay for their own start, and none of them finds its input in a warm cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear, nnls

from nas.cost import FEATURES, layer_features
from nas.layers import Graph

# The weight, in units of relative error, of the prior that a network takes as long as its layers together.
PRIOR, RIDGE = 0.1, 1e-3
LEAST_SCALE, LEAST_MS = 0.1, 1e-6


@dataclass(frozen=True)
class Layer:
    """A layer by the id of its graph, with its features."""

    id: str
    features: tuple[int, ...]

    @classmethod
    def of(cls, graph: Graph) -> Layer:
        rows = layer_features(graph)
        return cls(graph.id, tuple(next(iter(rows.values()))) if rows else (0,) * len(FEATURES))


@dataclass(frozen=True)
class Model:
    """`table`: milliseconds of measured layers by id; `coefficients`: milliseconds per unit of each of `FEATURES`."""

    table: Mapping[str, float]
    coefficients: tuple[float, ...]
    scale: float
    offset_ms: float

    def layer_ms(self, layer: Layer) -> float:
        """Milliseconds that the layer adds to a network, scale included; never negative."""
        alone = self.table.get(layer.id)
        if alone is None:
            alone = sum(c * f for c, f in zip(self.coefficients, layer.features, strict=True))
        return self.scale * alone

    def network_ms(self, layers: Sequence[Layer]) -> float:
        """Milliseconds of a network: the offset, then its layers in the order data meets them."""
        total = self.offset_ms
        for layer in layers:
            total += self.layer_ms(layer)
        return max(total, LEAST_MS)


def fit_model(
    blocks: Sequence[tuple[Layer, float]], networks: Sequence[tuple[Sequence[Layer], float]], dispatch_ms: float
) -> Model:
    """A model from layers and whole networks with their milliseconds, `dispatch_ms` being those of an empty program.

    Layers lose the dispatch, which a network pays once, but keep a tenth of their time: noise may not make them free.
    """
    table = {layer.id: max(ms - dispatch_ms, 0.1 * ms) for layer, ms in blocks}
    rows = [np.array(layer.features, np.float64) for layer, _ in blocks]
    times = [table[layer.id] for layer, _ in blocks]
    for layers, ms in networks:
        rows.append(np.array([layer.features for layer in layers], np.float64).sum(axis=0))
        times.append(max(ms - dispatch_ms, 0.1 * ms))
    coefficients = tuple(_regression(np.array(rows), np.array(times)).tolist())
    raw = Model(table, coefficients, 1.0, 0.0)
    sums = np.array([raw.network_ms(layers) for layers, _ in networks])
    scale, offset = _calibration(sums, np.array([ms for _, ms in networks]), dispatch_ms)
    return Model(table, coefficients, scale, offset)


def _regression(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Non-negative ridge of relative errors: (n, features), (n,) -> (features,)."""
    if not len(times):
        raise ValueError("no measured layer or network to fit a predictor to")
    weighted = rows / np.maximum(times, LEAST_MS)[:, None]
    size = np.linalg.norm(weighted, axis=0)
    size[size == 0] = 1.0
    ridge = np.sqrt(RIDGE * len(times)) * np.eye(rows.shape[1])
    solution, _ = nnls(np.concatenate([weighted / size, ridge]), np.concatenate([np.ones(len(times)), np.zeros(len(ridge))]))
    return solution / size


def _calibration(sums: np.ndarray, times: np.ndarray, dispatch_ms: float) -> tuple[float, float]:
    """(scale, offset in ms) with the least relative error, drawn to (1, dispatch) where few networks say little."""
    if not len(times):
        return 1.0, dispatch_ms
    unit = float(np.mean(times))
    rows = np.stack([sums / times, unit / times], axis=1)
    wanted = np.concatenate([np.ones(len(times)), [PRIOR, PRIOR * dispatch_ms / unit]])
    found = lsq_linear(np.concatenate([rows, PRIOR * np.eye(2)]), wanted, ([LEAST_SCALE, 0.0], [np.inf, np.inf]))
    return float(found.x[0]), float(found.x[1]) * unit


def held_out(
    blocks: Sequence[tuple[Layer, float]], networks: Sequence[tuple[Sequence[Layer], float]], dispatch_ms: float
) -> list[float]:
    """Milliseconds predicted for each network by the model of all the others; nothing for a single network."""
    if len(networks) < 2:
        return []
    out = []
    for i, (layers, _) in enumerate(networks):
        rest = [*networks[:i], *networks[i + 1 :]]
        out.append(fit_model(blocks, rest, dispatch_ms).network_ms(layers))
    return out


def relative_errors(predicted: Sequence[float], measured: Sequence[float]) -> float | None:
    """Mean of |predicted - measured| / measured; None of nothing."""
    pairs = list(zip(predicted, measured, strict=True))
    return float(np.mean([abs(p - m) / m for p, m in pairs])) if pairs else None
