"""Features of genomes, in blocks that describe different causes of latency.

    total   every cost (`FEATURES`, `HARDWARE`) summed over the network: what a unit of it takes anywhere
    stage   the same by stem, stages and head, in units of the totals: where a stage differs from the rest
    layer   how often each distinct layer stands in the network, times its size: a table of layers' own corrections
    gene    one-hot genes: what no cost explains
    log     the logarithms of the totals: for smooth bends, such as the floor under small networks
    prior   milliseconds by other predictors (of another device, or sums of measured layers); `log_prior` their logarithms

Every block is centered and scaled by the networks that were measured, such that a typical row has the length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from nas.cost import FEATURES, HARDWARE, Costs, feature_row, hardware_row
from nas.records import JSON
from nas.space import Space
from nas.surrogates.models import one_hot
from nas.surrogates.process import Inputs

NAMES = (*FEATURES, *HARDWARE)
CONSTANT = 1e-9
LAYER_WEIGHT = 3.0  # a layer is about a tenth of a network


class Prior(Protocol):
    """A predictor, as far as another one is learned from it."""

    def predict_many(self, space: Space, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) options -> (n,) milliseconds."""
        ...

    def to_dict(self) -> dict[str, JSON]:
        """Plain data for JSON."""
        ...


class LayerCounts:
    """The layers of a space's genomes, and the costs of each layer, counted once."""

    def __init__(self, space: Space):
        self.space, self.costs = space, Costs(space)
        self.groups = np.array(self.costs.position_groups)
        self._rows: list[list[float]] = []

    def layers(self, genomes: ArrayLike) -> np.ndarray:
        """(n, genes) -> (positions, n) numbers of layers."""
        return self.costs.layers(genomes)

    def table(self, layers: np.ndarray) -> np.ndarray:
        """(layer numbers up to the highest of `layers`, costs): `NAMES` of each layer."""
        for number in range(len(self._rows), int(layers.max(initial=0)) + 1):
            nodes = self.costs.layer_graph(number).nodes
            self._rows.append([*feature_row(nodes), *hardware_row(nodes)])
        return np.array(self._rows)

    def sums(self, layers: np.ndarray) -> np.ndarray:
        """(positions, n) layer numbers -> (n, groups, costs): sums over stem, each stage and head."""
        table = self.table(layers)
        out = np.zeros((layers.shape[1], len(self.costs.groups), len(NAMES)))
        for group, row in zip(self.groups, layers, strict=True):
            out[:, group] += table[row]
        return out


@dataclass(frozen=True)
class _Scaled:
    """The columns of a block that vary, less their mean, over their scale."""

    used: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, scale: np.ndarray | None = None) -> _Scaled:
        std = rows.std(axis=0)
        used = np.flatnonzero(std > CONSTANT * np.maximum(np.abs(rows).max(axis=0), 1.0))
        chosen = std[used] * max(len(used), 1) ** 0.5 if scale is None else scale[used]
        return cls(used, rows.mean(axis=0)[used], chosen)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return (rows[:, self.used] - self.mean) / self.scale


class Features:
    """The blocks of a space, scaled by the `genomes` (n, genes) that were measured; called with other genomes it returns theirs."""

    def __init__(
        self, space: Space, genomes: np.ndarray, priors: Sequence[Prior] = (), counts: LayerCounts | None = None
    ):
        self.space, self.priors, self.counts = space, tuple(priors), counts or LayerCounts(space)
        layers = self.counts.layers(genomes)
        sums = self.counts.sums(layers)
        totals = sums.sum(axis=1)
        self.least, self.most = totals.min(axis=0), totals.max(axis=0)
        std = totals.std(axis=0)
        varies = std > CONSTANT * np.maximum(totals.max(axis=0), 1.0)
        unit = np.where(varies, std, np.inf)
        self._known = np.unique(layers[layers > 0])
        size = (self.counts.table(layers)[self._known] / unit).sum(axis=1) / max(int(varies.sum()), 1)
        occurrences, genes = self._occurrences(layers), self._genes(genomes)
        each = np.tile(unit * max(int(varies.sum()), 1) ** 0.5, sums.shape[1])
        with np.errstate(divide="ignore"):
            weight = 1 / (LAYER_WEIGHT * size)
        self._scales = {
            "total": _Scaled.of(totals),
            "stage": _Scaled.of(_flat(sums), each),
            "layer": _Scaled.of(occurrences, weight),
            "gene": _Scaled.of(genes),
            "log": _Scaled.of(np.log1p(totals)),
        }
        if self.priors:
            known = self._prior(genomes)
            self._scales |= {"prior": _Scaled.of(known), "log_prior": _Scaled.of(np.log(known))}

    def __call__(self, genomes: np.ndarray) -> Inputs:
        """(m, genes) options -> a (m, f) array for each block."""
        layers = self.counts.layers(genomes)
        sums = self.counts.sums(layers)
        totals = sums.sum(axis=1)
        rows = {
            "total": totals,
            "stage": _flat(sums),
            "layer": self._occurrences(layers),
            "gene": self._genes(genomes),
            "log": np.log1p(totals),
        }
        if self.priors:
            known = self._prior(genomes)
            rows |= {"prior": known, "log_prior": np.log(known)}
        return {name: self._scales[name](rows[name]) for name in self._scales}

    def beyond(self, genomes: np.ndarray, margin: float) -> np.ndarray:
        """(m, costs) distance of a network's totals from the range of the measured ones, in ranges, less `margin`; 0 inside."""
        totals = self.counts.sums(self.counts.layers(genomes)).sum(axis=1)
        span = np.maximum(self.most - self.least, CONSTANT * np.maximum(self.most, 1.0))
        over = np.maximum(totals - self.most, self.least - totals) / span
        return np.maximum(over - margin, 0.0)

    def _occurrences(self, layers: np.ndarray) -> np.ndarray:
        column = np.full(int(max(layers.max(initial=0), self._known.max(initial=0))) + 1, len(self._known))
        column[self._known] = np.arange(len(self._known))
        out = np.zeros((layers.shape[1], len(self._known) + 1))
        at = np.arange(layers.shape[1])
        for row in layers:
            out[at, column[row]] += 1
        return out[:, :-1]

    def _genes(self, genomes: np.ndarray) -> np.ndarray:
        return one_hot(np.asarray(genomes), self.space.option_counts)

    def _prior(self, genomes: np.ndarray) -> np.ndarray:
        return np.stack([prior.predict_many(self.space, genomes) for prior in self.priors], axis=1)


def _flat(sums: np.ndarray) -> np.ndarray:
    return sums.reshape(len(sums), sums.shape[1] * sums.shape[2])
