"""BigNAS: the ends of the space in every step, random candidates between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.space import Genome
from nas.supernet.strategies.base import StepContext, Strategy


@dataclass(frozen=True)
class Sandwich(Strategy):
    """`strategy=sandwich`: the largest, some random ones and the smallest candidate a step, gradients summed into one update.

    The largest learns from the labels, the others from what it answers. Norms at the end of residual blocks start from 0.

    Args:
        random: How many random candidates a step has.

    Source:
        BigNAS: Yu et al. 2020 (arXiv:2003.11142).
    """

    ahead: ClassVar[bool] = True
    distills: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]] = ("largest", "random", "smallest")

    random: int = 2

    def __post_init__(self) -> None:
        if self.random < 0:
            raise ValueError(f"random: expected 0 or more candidates, got {self.random}")

    def genomes(self, context: StepContext) -> Sequence[Genome]:
        among = context.among
        return [among.largest, *self.between(context), among.smallest]

    def role(self, number: int, candidates: int) -> int:
        return 0 if number == 0 else 2 if number == candidates - 1 else 1

    def between(self, context: StepContext) -> Sequence[Genome]:
        """The candidates between both ends."""
        rng = context.rng()
        return [context.among.space.sample(rng) for _ in range(self.random)]
