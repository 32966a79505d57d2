"""Single Path One-Shot: one random candidate a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nas.space import Genome
from nas.supernet.strategies.base import StepContext, Strategy


@dataclass(frozen=True)
class Uniform(Strategy):
    """`strategy=uniform`: one candidate a step, every option of every choice equally likely.

    Source:
        Single Path One-Shot: Guo et al. 2020 (arXiv:1904.00420).
    """

    ahead: ClassVar[bool] = True

    def genomes(self, context: StepContext) -> Sequence[Genome]:
        return [context.among.space.sample(context.rng())]
