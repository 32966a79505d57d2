"""What is searched: a space, objectives, and what is known of a genome before any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.objectives import Objectives
from nas.space import Genome, Space

CostsOf = Callable[[np.ndarray], dict[str, np.ndarray]]  # (n, genes) genomes -> (n,) values by metric name
LISTED = 4096  # spaces up to this size are written out once, so that their last new genome is found without luck


@dataclass(frozen=True)
class Problem:
    """What is searched, and what is known of a genome before any training.

    `costs` maps (n, genes) integers to (n,) arrays by metric name: `params`, `macs`, `memory_bytes` and a frozen
    prediction `predicted_ms/<device>` for each device. `features` gives (n, f) costs of the parts, for models of the space.
    """

    space: Space
    objectives: Objectives
    costs: CostsOf
    features: Callable[[np.ndarray], np.ndarray] | None = None

    def feasible(self, genomes: Sequence[Genome]) -> np.ndarray:
        """Which genomes satisfy the constraints by their costs.

        Args:
            genomes: n genomes of the space.

        Returns:
            (n,) mask.
        """
        if not genomes or not self.objectives.constraints:
            return np.ones(len(genomes), bool)
        rows = np.array(genomes, np.int64).reshape(len(genomes), len(self.space.genes))
        return np.asarray(self.objectives.feasible_mask(self.costs(rows)), bool)

    @cached_property
    def listed(self) -> tuple[tuple[Genome, ...], np.ndarray] | None:
        """Every genome of a space of up to LISTED with its mask of feasible ones; None for larger spaces."""
        if self.space.size > LISTED:
            return None
        genomes = tuple(self.space.enumerate())
        return genomes, self.feasible(genomes)
