"""Which candidates a step of a supernet's training runs. A strategy draws from the seed and the step's number alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from nas.core.settings import build, nearest
from nas.cost import Costs
from nas.space import Genome, Space

DRAWS = 4  # of a seed: which stream of random numbers is the strategy's
CLIMB_FROM = 64


class Strategy(Protocol):
    """Settings, and the candidates of each step. `distills`: whether the first one teaches the others of its step."""

    distills: ClassVar[bool]
    zero_gamma: ClassVar[bool]

    def genomes(self, among: Candidates, seed: int, step: int) -> Sequence[Genome]: ...


@dataclass(frozen=True)
class Uniform:
    """`strategy=uniform`: one candidate a step, every option of every choice equally likely.

    Source:
        Single Path One-Shot: Guo et al. 2020 (arXiv:1904.00420).
    """

    distills: ClassVar[bool] = False
    zero_gamma: ClassVar[bool] = False

    def genomes(self, among: Candidates, seed: int, step: int) -> Sequence[Genome]:
        return [among.space.sample(_rng(seed, step))]


@dataclass(frozen=True)
class Fair:
    """`strategy=fair`: as many candidates a step as the choices have options, whose gradients are summed into one update.

    Options are dealt without replacement, so that each is trained equally often after every step. A choice with fewer options deals
    them again: each comes equally often or once more. Conditions and forbidden combinations can break this, as they leave genes out.

    Source:
        FairNAS: Chu et al. 2021 (arXiv:1907.01845).
    """

    distills: ClassVar[bool] = False
    zero_gamma: ClassVar[bool] = False

    def genomes(self, among: Candidates, seed: int, step: int) -> Sequence[Genome]:
        space, rng = among.space, _rng(seed, step)
        counts = space.option_counts
        most = int(counts.max(initial=1))
        columns = []
        for count in counts.tolist():
            rounds = [rng.permutation(count) for _ in range(-(-most // count))]
            columns.append(rng.permutation(np.concatenate(rounds)[:most]))
        dealt = [space.canonical(row) for row in np.stack(columns, 1).tolist()] if columns else [()]
        return [genome if space.allowed(genome) else space.sample(rng) for genome in dealt]


@dataclass(frozen=True)
class Sandwich:
    """`strategy=sandwich`: the largest, some random ones and the smallest candidate a step, gradients summed into one update.

    The largest learns from the labels, the others from what it answers. Norms at the end of residual blocks start from 0.

    Args:
        random: How many random candidates a step has.

    Source:
        BigNAS: Yu et al. 2020 (arXiv:2003.11142).
    """

    distills: ClassVar[bool] = True
    zero_gamma: ClassVar[bool] = True

    random: int = 2

    def __post_init__(self) -> None:
        if self.random < 0:
            raise ValueError(f"random: expected 0 or more candidates, got {self.random}")

    def genomes(self, among: Candidates, seed: int, step: int) -> Sequence[Genome]:
        rng = _rng(seed, step)
        return [among.largest, *(among.space.sample(rng) for _ in range(self.random)), among.smallest]


STRATEGIES: dict[str, type[Any]] = {"uniform": Uniform, "fair": Fair, "sandwich": Sandwich}


def strategy_from(data: Mapping[str, Any]) -> Strategy:
    """The strategy of settings such as `{"name": "fair"}`. Raises ValueError naming the key, and the nearest name."""
    settings = dict(data)
    name = settings.pop("name", None)
    if name not in STRATEGIES:
        close = nearest(name, STRATEGIES)
        raise ValueError(
            f"strategy: no {name!r}; " + (f"did you mean {close!r}?" if close else f"expected {', '.join(STRATEGIES)}")
        )
    return build(STRATEGIES[name], settings, "strategy")


@dataclass(frozen=True, eq=False)
class Candidates:
    """A space to draw from, and the candidates at its ends."""

    space: Space

    @cached_property
    def smallest(self) -> Genome:
        """The genome of fewest multiply-adds, from the best of some random ones by one gene at a time."""
        return _climbed(self.space, -1)

    @cached_property
    def largest(self) -> Genome:
        """The genome of most multiply-adds, found in the same way."""
        return _climbed(self.space, 1)


def _climbed(space: Space, sign: int) -> Genome:
    costs, rng = Costs(space), np.random.default_rng(0)

    def of(genomes: Sequence[Genome]) -> np.ndarray:
        found = costs(np.array(genomes, np.int64))
        return sign * np.stack([found["macs"], found["params"]], 1)

    best = [space.sample(rng) for _ in range(CLIMB_FROM)]
    here = max(zip(map(tuple, of(best).tolist()), best, strict=True))
    while near := list(space.neighbors(here[1])):
        there = max(zip(map(tuple, of(near).tolist()), near, strict=True))
        if there[0] <= here[0]:
            break
        here = there
    return here[1]


def _rng(seed: int, step: int) -> np.random.Generator:
    return np.random.default_rng([seed, DRAWS, step])
