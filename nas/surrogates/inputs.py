"""What models know of the genomes of a space: one-hot genes, each gene alone, whole costs, and costs of stages."""

from __future__ import annotations

import numpy as np

from nas.cost import Costs
from nas.space import Space
from nas.surrogates.additive import COSTS, GENE, GENES, STAGES

SAMPLED = 1000


class SpaceInputs:
    """Blocks of columns for `Additive`, centered and scaled by a fixed sample of the space.

    A typical squared distance between two rows of a block is 2, and a typical squared length 1.

    Args:
        space: The space that rows are genomes of.
        costs: Its costs, where they were made before.
    """

    def __init__(self, space: Space, costs: Costs | None = None):
        self.space, self.costs = space, costs or Costs(space)
        sampled = self._raw(space.arrays.sample(SAMPLED, np.random.default_rng(0)))
        self._shift = {name: rows.mean(axis=0) for name, rows in sampled.items()}
        self._std = {name: rows.std(axis=0) for name, rows in sampled.items()}
        ends = np.cumsum(space.option_counts)
        spans = zip(ends - space.option_counts, ends, strict=True)
        self._spans = {i: slice(*span) for i, span in enumerate(spans) if self._std[GENES][slice(*span)].max(initial=0) > 0}

    def __call__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """(n, genes) genomes -> (n, f) a block. Raises ValueError for what is no genome, or cannot be built."""
        raw = self._raw(rows)
        out = {name: _scaled(raw[name] - self._shift[name], self._std[name]) for name in (COSTS, STAGES)}
        hot = raw[GENES] - self._shift[GENES]
        for gene, span in self._spans.items():
            out[f"{GENE}{gene}"] = hot[:, span] / np.sqrt((self._std[GENES][span] ** 2).sum())
        out[GENES] = np.concatenate([out[f"{GENE}{gene}"] for gene in self._spans] or [hot[:, :0]], axis=1)
        out[GENES] /= np.sqrt(max(len(self._spans), 1))
        return out

    def _raw(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        counted = self.costs(rows)
        whole = np.stack([counted["macs"], counted["params"]], axis=1).astype(float)
        stages = self.costs.features(rows).astype(float)
        return {COSTS: np.log1p(whole), STAGES: np.log1p(np.maximum(stages, 0)), GENES: self.space.arrays.one_hot(rows)}


def _scaled(rows: np.ndarray, std: np.ndarray) -> np.ndarray:
    varies = std > 1e-9
    return rows * np.where(varies, 1 / np.where(varies, std, 1), 0) / np.sqrt(max(varies.sum(), 1))
