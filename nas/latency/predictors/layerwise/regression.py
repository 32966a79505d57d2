"""The arithmetic of sums of layers: layers that were measured, a regression that smooths and extends them, a calibration.

A network takes `offset_ms + scale * sum over its layers`. A layer takes non-negative coefficients times its analytic features
(`nas.cost.FEATURES`), fitted to layers and networks; one that was measured alone moves from there a part of the way to its
own latency. Offset and scale are fitted to the networks measured whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear, nnls

from nas.arch.graph import Graph
from nas.cost import FEATURES, layer_features

# The weight, in units of relative error, of the prior that a network takes as long as its layers together.
PRIOR, RIDGE = 0.1, 1e-3
LEAST_SCALE, LEAST_MS = 0.1, 1e-6
# How far a layer goes from the regression to its own measurement. Compiled alone it is fused and cached unlike in a network:
# on held-out networks of two spaces a quarter of the way lost up to 0.04 of Kendall's tau, all of the way up to 0.2.
TRUST = 0.25
STARTS = 16


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
    """`table`: milliseconds that measured layers add, by id; `coefficients`: milliseconds per unit of each of `FEATURES`."""

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


Blocks = Sequence[tuple[Layer, float]]
Networks = Sequence[tuple[Sequence[Layer], float]]


def fit_model(blocks: Blocks, networks: Networks, dispatch_ms: float) -> Model:
    """A model from layers and whole networks with their milliseconds, `dispatch_ms` being those of an empty program.

    A layer alone pays for a start that a network pays once; this start is at least the dispatch, and such that networks
    come closest to a start and their layers.
    """
    longest = float(np.quantile([ms for _, ms in blocks], 0.25)) if blocks else dispatch_ms
    best: tuple[float, float, Model] | None = None
    for start in np.linspace(dispatch_ms, max(dispatch_ms, longest), STARTS if longest > dispatch_ms else 1).tolist():
        model = _layers(blocks, networks, start)
        error = sum(((model.network_ms(layers) - ms) / ms) ** 2 for layers, ms in networks)
        if best is None or error < best[0]:
            best = (error, start, model)
    assert best is not None
    _, start, model = best
    sums = np.array([model.network_ms(layers) - start for layers, _ in networks])
    scale, offset = _calibration(sums, np.array([ms for _, ms in networks]), start)
    return Model(model.table, model.coefficients, scale, offset)


def _layers(blocks: Blocks, networks: Networks, start_ms: float) -> Model:
    """The model whose layers lose the start, but keep a tenth of their time: noise may not make them free."""
    alone = [max(ms - start_ms, 0.1 * ms) for _, ms in blocks]
    whole = [max(ms - start_ms, 0.1 * ms) for _, ms in networks]
    rows = [np.array(layer.features, np.float64) for layer, _ in blocks]
    rows += [np.array([layer.features for layer in layers], np.float64).sum(axis=0) for layers, _ in networks]
    coefficients = _regression(np.array(rows), np.array([*alone, *whole]))
    smooth = [float(coefficients @ row) for row in rows[: len(blocks)]]
    table = {layer.id: r + TRUST * (ms - r) for (layer, _), ms, r in zip(blocks, alone, smooth, strict=True)}
    return Model(table, tuple(coefficients.tolist()), 1.0, start_ms)


def _regression(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Non-negative ridge of relative errors: (n, features), (n,) -> (features,)."""
    if not len(times):
        raise ValueError("no measured layer or network to fit a predictor to")
    weighted = rows / np.maximum(times, LEAST_MS)[:, None]
    size = np.linalg.norm(weighted, axis=0)
    size[size == 0] = 1.0
    ridge = np.sqrt(RIDGE * len(times)) * np.eye(rows.shape[1])
    expected = np.concatenate([np.ones(len(times)), np.zeros(len(ridge))])
    solution, _ = nnls(np.concatenate([weighted / size, ridge]), expected)
    return solution / size


def _calibration(sums: np.ndarray, times: np.ndarray, start_ms: float) -> tuple[float, float]:
    """(scale, offset in ms) with the least relative error, drawn to (1, start) where there are few networks."""
    if not len(times):
        return 1.0, start_ms
    unit = float(np.mean(times))
    rows = np.stack([sums / times, unit / times], axis=1)
    expected = np.concatenate([np.ones(len(times)), [PRIOR, PRIOR * start_ms / unit]])
    found = lsq_linear(np.concatenate([rows, PRIOR * np.eye(2)]), expected, ([LEAST_SCALE, 0.0], [np.inf, np.inf]))
    return float(found.x[0]), float(found.x[1]) * unit


def held_out(blocks: Blocks, networks: Networks, dispatch_ms: float) -> list[float]:
    """Milliseconds predicted for each network by the model of all the others; an empty list for a single network."""
    if len(networks) < 2:
        return []
    out = []
    for i, (layers, _) in enumerate(networks):
        rest = [*networks[:i], *networks[i + 1 :]]
        out.append(fit_model(blocks, rest, dispatch_ms).network_ms(layers))
    return out


def relative_errors(predicted: Sequence[float], measured: Sequence[float]) -> float | None:
    """Mean of |predicted - measured| / measured; None of empty lists."""
    pairs = list(zip(predicted, measured, strict=True))
    return float(np.mean([abs(p - m) / m for p, m in pairs])) if pairs else None
