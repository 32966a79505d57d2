"""Many genomes at once as an integer array (n, genes): canonical forms, draws, children, one-hot codes.

`Space` does the same for one genome; here it is numpy all through, for searches inside a controller that look at
thousands of genomes a proposal.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from nas.space import Space

Rules = tuple[tuple[int, frozenset[int]], ...]


class Genes:
    """The operations of one space."""

    def __init__(self, space: Space):
        self.space = space
        self.counts = space.option_counts
        self._bound = [i for i in space.order if () not in space.genes[i].when]
        self._masks = {
            rule: np.isin(np.arange(self.counts[rule[0]]), list(rule[1]))
            for rules in [*space.forbid, *(when for gene in space.genes for when in gene.when)]
            for rule in rules
        }

    def active(self, rows: np.ndarray) -> np.ndarray:
        """(n, genes) mask of the genes that matter."""
        on = np.ones(rows.shape, bool)
        for i in self._bound:
            on[:, i] = np.any([self._holds(when, rows, on) for when in self.space.genes[i].when], axis=0)
        return on

    def _holds(self, rules: Rules, rows: np.ndarray, on: np.ndarray) -> np.ndarray:
        out = np.ones(len(rows), bool)
        for rule in rules:
            out &= on[:, rule[0]] & self._masks[rule][rows[:, rule[0]]]
        return out

    def settle(self, rows: np.ndarray) -> np.ndarray:
        """The canonical forms of those rows that are allowed, each once, in the order of their first appearance."""
        if self._bound or self.space.forbid:
            on = self.active(rows)
            rows = np.where(on, rows, 0)
            if self.space.forbid:
                rows = rows[~np.any([self._holds(rule, rows, on) for rule in self.space.forbid], axis=0)]
        return rows[first_of(self.codes(rows))]

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """(n,) integers or bytes that are equal for equal rows."""
        if len(self.counts) and float(np.prod(self.counts.astype(float))) < 2.0**62:
            return rows @ self._radix
        return np.ascontiguousarray(rows).view(np.dtype((np.void, max(rows.itemsize * rows.shape[1], 1)))).reshape(-1)

    @cached_property
    def _radix(self) -> np.ndarray:
        return np.concatenate([[1], np.cumprod(self.counts)[:-1]]).astype(np.int64)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Up to n rows: uniform draws, less the forbidden and the repeated."""
        return self.settle(rng.integers(self.counts, size=(n, len(self.counts))))

    def mutate(self, rows: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
        """Rows with `rate` genes changed on average, at least one where there is a choice; not canonical yet."""
        n, genes = rows.shape
        if not (free := np.flatnonzero(self.counts > 1)).size:
            return rows
        hit = rng.random((n, genes)) < rate / len(free)
        hit[np.arange(n), rng.choice(free, size=n)] |= ~hit[:, free].any(axis=1)
        step = 1 + np.floor(rng.random((n, genes)) * np.maximum(self.counts - 1, 1)).astype(np.int64)
        return np.where(hit, (rows + step) % self.counts, rows)

    def cross(self, first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Uniform crossover, row by row; not canonical yet."""
        return np.where(rng.random(first.shape) < 0.5, first, second)

    def one_hot(self, rows: np.ndarray) -> np.ndarray:
        """(n, sum of options) zeros and ones; an inactive gene has none."""
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)
        out = np.zeros((len(rows), int(self.counts.sum())))
        out[np.arange(len(rows))[:, None], rows + starts] = self.active(rows) if self._bound else 1.0
        return out


def first_of(codes: np.ndarray) -> np.ndarray:
    """Positions of the first appearance of each code, in order."""
    return np.sort(np.unique(codes, return_index=True)[1])
