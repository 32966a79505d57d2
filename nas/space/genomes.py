"""Genomes over genes with conditions and forbidden combinations: drawn, changed, crossed, listed and counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.space.counting import count
from nas.space.template import Gene, Genome, Rule, holds
from nas.space.vectorized import GenomeArrays

TRIES, VISITS, DEEPEST = 1000, 50_000, 400  # visits: genes looked at before giving up; deepest: of a recursion


@dataclass(frozen=True)
class Genomes:
    """All genomes over some genes. Those handed out are canonical (inactive genes are 0), and no rule of `forbid` holds."""

    name: str
    genes: tuple[Gene, ...]
    forbid: tuple[Rule, ...]

    @cached_property
    def option_counts(self) -> np.ndarray:
        """(genes,) number of options of each gene."""
        return np.array([len(gene.options) for gene in self.genes], np.int64)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Genes so that each comes after those its conditions name."""
        order: list[int] = []
        state = [0] * len(self.genes)

        def visit(i: int) -> None:
            if state[i] == 1:
                raise ValueError(f"{self.name}: the conditions of {self.genes[i].name} lead back to itself")
            if state[i] == 0:
                state[i] = 1
                for rule in self.genes[i].when:
                    for g, _ in rule:
                        visit(g)
                state[i] = 2
                order.append(i)

        for i in range(len(self.genes)):
            visit(i)
        return tuple(order)

    @cached_property
    def arrays(self) -> GenomeArrays:
        """The same operations on (n, genes) arrays."""
        return GenomeArrays(self.genes, self.forbid, self.order)

    def active(self, genome: Sequence[int]) -> list[bool]:
        """Which genes matter in this genome."""
        return self.arrays.active(_row(genome))[0].tolist()

    def canonical(self, genome: Sequence[int]) -> Genome:
        """The genome with inactive genes set to 0. Raises ValueError where it is no genome of this space."""
        return _genome(self.arrays.canonical(self._checked(genome)))

    def _checked(self, genome: Sequence[int]) -> np.ndarray:
        """(1, genes)"""
        if len(genome) != len(self.genes):
            raise ValueError(f"{self.name}: expected a genome of {len(self.genes)} genes, got {len(genome)}")
        for gene, option in zip(self.genes, genome, strict=True):
            if not 0 <= option < len(gene.options):
                raise ValueError(
                    f"{self.name}: gene {gene.name}: expected an option from 0 to {len(gene.options) - 1}, got {option}"
                )
        return _row(genome)

    def allowed(self, genome: Sequence[int]) -> bool:
        """Whether no forbidden combination stands in it."""
        return not self.forbid or bool(self.arrays.allowed(_row(genome))[0])

    def sample(self, rng: np.random.Generator) -> Genome:
        """A genome, every option of every gene equally likely. Raises ValueError where `forbid` leaves nothing to be found."""
        tries = min(TRIES, 1 + VISITS // max(len(self.genes), 1))
        for _ in range(tries):
            row = self.arrays.canonical(self.arrays.draw(1, rng))
            if self.arrays.allowed(row)[0]:
                return _genome(row)
        if len(self.genes) <= DEEPEST:
            for genome in self.enumerate(tries):
                return genome
        raise ValueError(f"{self.name}: forbid leaves no architecture that {tries} samples could find")

    def mutate(self, genome: Sequence[int], rng: np.random.Generator, genes: int = 1) -> Genome:
        """A genome with `genes` active genes changed; the same one where nothing can change."""
        start = self._checked(genome)
        for _ in range(TRIES):
            row = start.copy()
            for _ in range(genes):
                free = np.flatnonzero(self.arrays.active(row)[0] & (self.option_counts > 1))
                if not len(free):
                    return self.canonical(genome)
                i = free[rng.integers(len(free))]
                option = int(rng.integers(int(self.option_counts[i]) - 1))
                row[0, i] = option + (option >= row[0, i])
                row = self.arrays.canonical(row)
            if self.arrays.allowed(row)[0]:
                return _genome(row)
        return self.canonical(genome)

    def cross(self, a: Sequence[int], b: Sequence[int], rng: np.random.Generator) -> Genome:
        """Uniform crossover; one of the parents where no allowed child is found."""
        first, second = self._checked(a), self._checked(b)
        for _ in range(TRIES):
            row = self.arrays.canonical(np.where(rng.integers(2, size=len(self.genes)), second, first))
            if self.arrays.allowed(row)[0]:
                return _genome(row)
        return self.canonical(a)

    def neighbors(self, genome: Sequence[int]) -> Iterator[Genome]:
        """Every allowed genome that differs in the option of one active gene."""
        yield from map(tuple, self.arrays.neighbors(self._checked(genome)[0]).tolist())

    def enumerate(self, tries: int | None = None) -> Iterator[Genome]:
        """Every allowed canonical genome, each once; of the first `tries` canonical ones where that is given."""
        order, tried = self.order, 0

        def extend(values: list[int], on: list[bool], k: int) -> Iterator[Genome]:
            nonlocal tried
            if tries is not None and tried >= tries:
                return
            if k == len(order):
                tried += 1
                if self.allowed(values):
                    yield tuple(values)
                return
            i = order[k]
            on[i] = any(holds(rule, on, values) for rule in self.genes[i].when)
            for option in range(len(self.genes[i].options) if on[i] else 1):
                values[i] = option
                yield from extend(values, on, k + 1)
            values[i], on[i] = 0, False

        yield from extend([0] * len(order), [False] * len(order), 0)

    @cached_property
    def size(self) -> int:
        """Number of allowed canonical genomes, exact."""
        return count(self.genes, self.forbid, self.order)


def _row(genome: Sequence[int]) -> np.ndarray:
    return np.array([genome], np.int64)


def _genome(row: np.ndarray) -> Genome:
    return tuple(row[0].tolist())
