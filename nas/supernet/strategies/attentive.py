"""AttentiveNAS: of several candidates of one size, the one that the front cares about is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nas.space import Genome
from nas.supernet.strategies.base import Candidates, StepContext
from nas.supernet.strategies.sandwich import Sandwich

POOL = 512  # random candidates that those of one size are found among


@dataclass(frozen=True)
class Attentive(Sandwich):
    """`strategy=attentive`: a sandwich whose random candidates are chosen by size and loss (BestUp, WorstUp).

    For each of them a target is drawn, uniform over bins of multiply-adds from the smallest to the largest candidate. Of some random
    candidates of that size, the nearest where too few are, the one with the lowest or highest loss on the step's batch is trained.

    Args:
        random: How many chosen candidates a step has.
        draws: Candidates of one size that one is chosen among.
        keep: Whether that of the lowest loss is trained, `best`, or of the highest, `worst`.
        bins: Sizes that targets are drawn from.

    Source:
        AttentiveNAS: Wang et al. 2021 (arXiv:2011.09011), BestUp-k and WorstUp-k with the loss of the batch.
    """

    ahead: ClassVar[bool] = False

    draws: int = 3
    keep: Literal["best", "worst"] = "best"
    bins: int = 24

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("draws", "bins"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}: expected 1 or more, got {getattr(self, key)}")

    def between(self, context: StepContext) -> Sequence[Genome]:
        rng = context.rng()
        pool = _pool(context.among, rng)
        return [self._chosen(context, self.sized(context.among, pool, rng)) for _ in range(self.random)]

    def sized(self, among: Candidates, pool: Sequence[Genome], rng: np.random.Generator) -> list[Genome]:
        """Different candidates of the pool whose multiply-adds are in one bin, or else nearest to it."""
        low, high = among.macs([among.smallest, among.largest]).tolist()
        width = (high - low) / self.bins
        start = low + width * int(rng.integers(self.bins))
        macs = among.macs(pool)
        away = np.maximum(np.maximum(start - macs, macs - (start + width)), 0)
        return [pool[row] for row in np.argsort(away, kind="stable")[: self.draws].tolist()]

    def _chosen(self, context: StepContext, near: Sequence[Genome]) -> Genome:
        if len(near) == 1:
            return near[0]
        losses = [context.loss(genome) for genome in near]
        return near[int(np.argmin(losses) if self.keep == "best" else np.argmax(losses))]


def _pool(among: Candidates, rng: np.random.Generator) -> list[Genome]:
    """Different random candidates in the order they were drawn; the smallest and the largest are at the end."""
    arrays = among.space.arrays
    rows = arrays.canonical(arrays.draw(POOL, rng))
    drawn = rows[arrays.allowed(rows)].tolist()
    return list(dict.fromkeys([*map(tuple, drawn), among.smallest, among.largest]))
