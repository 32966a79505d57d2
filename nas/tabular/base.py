"""What a table of trained networks offers: true metrics of any genome, the noise of one training, a problem to search."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.cost import Costs
from nas.objectives import Objectives, metric_of
from nas.problem import Problem
from nas.space import Genome, Space

Metrics = dict[str, np.ndarray]


@dataclass(frozen=True)
class Table:
    """Published results, or models of them, as functions of (n, genes) genomes.

    `accuracy` gives (n,) fractions, `times` (n,) milliseconds by metric name (`predicted_ms/<device>`), `key` what two genomes
    of one network share. `noise` is the standard deviation of the accuracy from one training seed to the next, and
    `quality` has a line on each model's error on held-out records.
    """

    name: str
    space: Space
    costs: Costs
    accuracy: Callable[[np.ndarray], np.ndarray]
    times: Callable[[np.ndarray], Metrics]
    key: Callable[[Genome], Hashable]
    noise: float
    quality: tuple[str, ...] = ()

    def metrics(self, genomes: Any, noise: float = 0.0, seed: int = 0) -> Metrics:
        """`accuracy` and the device times, (n,) each; `noise` (a fraction) is drawn anew for each (network, seed)."""
        rows = np.asarray(genomes, np.int64).reshape(-1, len(self.space.genes))
        accuracy = self.accuracy(rows)
        if noise:
            draws = [np.random.default_rng([seed, *self._numbers(row)]).normal() for row in rows.tolist()]
            accuracy = accuracy + noise * np.array(draws)
        return {"accuracy": accuracy, **self.times(rows)}

    def problem(self, objectives: Objectives, learned: Sequence[str] = ()) -> Problem:
        """The table's space under `objectives`; device times are known before training except for the objectives in `learned`."""

        hidden = {metric_of(name) for name in learned}

        def costs(genomes: np.ndarray) -> Metrics:
            times = {name: ms for name, ms in self.times(genomes).items() if name not in hidden}
            return {**self.costs(genomes), **times}

        return Problem(self.space, objectives, costs, self.costs.features)

    def _numbers(self, genome: Sequence[int]) -> list[int]:
        key = self.key(tuple(genome))
        return [ord(c) for c in key] if isinstance(key, str) else list(genome)
