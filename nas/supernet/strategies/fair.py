"""FairNAS: every option of every choice is trained equally often, after every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.space import Genome, Space
from nas.supernet.strategies.base import StepContext, Strategy


@dataclass(frozen=True)
class Fair(Strategy):
    """`strategy=fair`: as many candidates a step as the choices have options, whose gradients are summed into one update.

    Options are dealt without replacement, so that each is trained equally often after every step. A choice with fewer options deals
    them again: each comes equally often or once more. Conditions and forbidden combinations can break this, as they leave genes out.

    Source:
        FairNAS: Chu et al. 2021 (arXiv:1907.01845).
    """

    ahead: ClassVar[bool] = True

    def genomes(self, context: StepContext) -> Sequence[Genome]:
        return dealt(context.among.space, context.rng())


def dealt(space: Space, rng: np.random.Generator, held: Mapping[int, int] | None = None) -> list[Genome]:
    """Candidates in which the options of every gene come equally often, or once more; genes in `held` have this option in all."""
    held = held or {}
    counts = space.option_counts.tolist()
    most = max([count for gene, count in enumerate(counts) if gene not in held], default=1)
    columns = []
    for gene, count in enumerate(counts):
        if gene in held:
            columns.append(np.full(most, held[gene]))
            continue
        rounds = [rng.permutation(count) for _ in range(-(-most // count))]
        columns.append(rng.permutation(np.concatenate(rounds)[:most]))
    rows = [space.canonical(row) for row in np.stack(columns, 1).tolist()] if columns else [()]
    return [genome if space.allowed(genome) else space.sample(rng) for genome in rows]
