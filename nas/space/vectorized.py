"""The algebra of genomes on integer arrays (n, genes): conditions, canonical forms, forbidden combinations, draws, children.

Genomes one at a time (`Space.canonical` and its kin), the searches inside controllers and the exact costs of many genomes
all go through this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.space.template import Gene, Rule


class Rules:
    """Rules that are evaluated together: each literal (gene, options) once, as a lookup in one table for all of them."""

    def __init__(self, rules: Sequence[Rule], counts: np.ndarray):
        literals = list(dict.fromkeys(literal for rule in rules for literal in rule))
        at = {literal: i for i, literal in enumerate(literals)}
        self.genes = np.array([gene for gene, _ in literals], np.int64)
        sizes = counts[self.genes] if literals else np.zeros(0, np.int64)
        self._offsets = (np.cumsum(sizes) - sizes)[:, None]
        allowed = [np.isin(np.arange(int(counts[gene])), list(options)) for gene, options in literals]
        self._table = np.concatenate(allowed) if allowed else np.zeros(0, bool)
        self._members = np.array([at[literal] for rule in rules for literal in rule], np.int64)
        lengths = [len(rule) for rule in rules]
        assert all(lengths), "an empty rule always holds; it needs no evaluation"
        self._starts = np.cumsum([0, *lengths])[:-1]
        self._single = len(self._members) == len(rules)

    def __call__(self, columns: np.ndarray, on: np.ndarray) -> np.ndarray:
        """Where each rule holds.

        Args:
            columns: (genes, n) options.
            on: (genes, n) mask of active genes; those that the rules name must be known.

        Returns:
            (rules, n) mask.
        """
        if not len(self._members):
            return np.zeros((0, columns.shape[1]), bool)
        met = self._table[columns[self.genes] + self._offsets] & on[self.genes]
        met = met[self._members]
        return met if self._single else np.logical_and.reduceat(met, self._starts, axis=0)


@dataclass(frozen=True)
class _Level:
    """Conditional genes whose conditions name earlier levels only; `starts` split the alternatives among them."""

    genes: np.ndarray
    alternatives: np.ndarray
    starts: np.ndarray
    rules: Rules

    def __call__(self, columns: np.ndarray, on: np.ndarray) -> np.ndarray:
        met = self.rules(columns, on)[self.alternatives]
        return met if len(met) == len(self.genes) else np.logical_or.reduceat(met, self.starts, axis=0)


class GenomeArrays:
    """Operations on many genomes of one space at once. Rows are (n, genes) arrays of option indices.

    Example:
        >>> from nas.space import load_space
        >>> arrays = load_space("tiny").arrays
        >>> rows = arrays.sample(100, np.random.default_rng(0))
        >>> children = arrays.settle(arrays.mutate(rows, 1.0, np.random.default_rng(1)))
    """

    def __init__(self, genes: Sequence[Gene], forbid: Sequence[Rule], order: Sequence[int]):
        self.counts = np.array([len(gene.options) for gene in genes], np.int64)
        self._genes = genes
        self._conditional = [i for i in order if () not in genes[i].when]
        self._forbidden = Rules(forbid, self.counts)
        self._any_forbidden = len(forbid) > 0

    @cached_property
    def _levels(self) -> list[_Level]:
        depth: dict[int, int] = {}
        for i in self._conditional:
            depth[i] = max(depth.get(g, -1) for rule in self._genes[i].when for g, _ in rule) + 1
        deepest = max(depth.values(), default=-1)
        return [self._level([i for i in self._conditional if depth[i] == level]) for level in range(deepest + 1)]

    def _level(self, genes: Sequence[int]) -> _Level:
        whens = [self._genes[i].when for i in genes]
        rules = list(dict.fromkeys(rule for when in whens for rule in when))
        at = {rule: i for i, rule in enumerate(rules)}
        alternatives = np.array([at[rule] for when in whens for rule in when], np.int64)
        starts = np.cumsum([0, *map(len, whens)])[:-1]
        return _Level(np.array(genes, np.int64), alternatives, starts, Rules(rules, self.counts))

    def rules(self, rules: Sequence[Rule]) -> Rules:
        """Rules over these genes, to be evaluated together."""
        return Rules(rules, self.counts)

    def active(self, rows: np.ndarray) -> np.ndarray:
        """(n, genes) mask of the genes that matter."""
        return self.active_columns(rows.T).T

    def active_columns(self, columns: np.ndarray) -> np.ndarray:
        """(genes, n) mask of the genes that matter, from (genes, n) options."""
        on = np.ones(columns.shape, bool)
        for level in self._levels:
            on[level.genes] = level(columns, on)
        return on

    def active_gene(self, gene: int, columns: np.ndarray, on: np.ndarray) -> np.ndarray:
        """(n,) mask of one gene, where only the genes before it in `order` are known in `columns` and `on`, both (genes, n)."""
        level = self._alone.get(gene)
        return level(columns, on)[0] if level else np.ones(int(columns.shape[1]), bool)

    @cached_property
    def _alone(self) -> dict[int, _Level]:
        return {i: self._level([i]) for i in self._conditional}

    def canonical(self, rows: np.ndarray) -> np.ndarray:
        """Rows with the option 0 for genes that do not matter."""
        return np.where(self.active(rows), rows, 0) if self._conditional else rows

    def allowed(self, rows: np.ndarray) -> np.ndarray:
        """(n,) mask of the rows that no forbidden combination stands in."""
        if not self._any_forbidden:
            return np.ones(len(rows), bool)
        return ~np.any(self._forbidden(rows.T, self.active_columns(rows.T)), axis=0)

    def settle(self, rows: np.ndarray) -> np.ndarray:
        """The canonical forms of those rows that are allowed, each once, in the order of their first appearance."""
        if self._conditional or self._any_forbidden:
            on = self.active(rows)
            rows = np.where(on, rows, 0)
            if self._any_forbidden:
                rows = rows[~np.any(self._forbidden(rows.T, on.T), axis=0)]
        return rows[first_of(self.codes(rows))]

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """(n,) integers or bytes that are equal for equal rows."""
        if len(self.counts) and float(np.prod(self.counts.astype(float))) < 2.0**62:
            return rows @ self._radix
        return np.ascontiguousarray(rows).view(np.dtype((np.void, max(rows.itemsize * rows.shape[1], 1)))).reshape(-1)

    @cached_property
    def _radix(self) -> np.ndarray:
        return np.concatenate([[1], np.cumprod(self.counts)[:-1]]).astype(np.int64)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n rows, every option of every gene equally likely; neither canonical nor checked against `forbid`."""
        return rng.integers(self.counts, size=(n, len(self.counts)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Up to n rows: uniform draws, without the forbidden and the repeated."""
        return self.settle(self.draw(n, rng))

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

    def neighbors(self, row: np.ndarray) -> np.ndarray:
        """Every allowed canonical row that differs from a (genes,) row in the option of one active gene, in order."""
        on = self.active(row[None])[0]
        genes = np.repeat(np.arange(len(row)), np.where(on, self.counts, 0))
        options = np.concatenate([np.arange(int(n)) for n in self.counts[on]] or [np.zeros(0, np.int64)])
        genes, options = genes[options != row[genes]], options[options != row[genes]]
        rows = np.repeat(row[None], len(genes), axis=0)
        rows[np.arange(len(genes)), genes] = options
        rows = self.canonical(rows)
        return rows[self.allowed(rows)]

    def one_hot(self, rows: np.ndarray) -> np.ndarray:
        """(n, sum of options) zeros and ones; an inactive gene has none."""
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)
        out = np.zeros((len(rows), int(self.counts.sum())))
        out[np.arange(len(rows))[:, None], rows + starts] = self.active(rows) if self._conditional else 1.0
        return out


def first_of(codes: np.ndarray) -> np.ndarray:
    """Positions of the first appearance of each code, in order."""
    return np.sort(np.unique(codes, return_index=True)[1])
