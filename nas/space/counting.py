"""How many genomes a space has, without going through them all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas.space.template import Gene, Rule, holds


def count(genes: Sequence[Gene], forbid: Sequence[Rule], order: Sequence[int]) -> int:
    """Canonical genomes that no rule forbids, counted part by part: genes that nothing connects multiply.

    order: the genes so that each comes after those its conditions name.
    """
    connections = [*(rule for gene in genes for rule in gene.when), *forbid]
    control = {g for rule in connections for g, _ in rule}
    parts = _connected(genes, forbid, order)
    return math.prod(_count_part(genes, [r for r in forbid if r[0][0] in part], part, control) for part in parts)


def _connected(genes: Sequence[Gene], forbid: Sequence[Rule], order: Sequence[int]) -> list[list[int]]:
    parent = list(range(len(genes)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, gene in enumerate(genes):
        for rule in gene.when:
            for g, _ in rule:
                parent[root(i)] = root(g)
    for rule in forbid:
        for g, _ in rule:
            parent[root(g)] = root(rule[0][0])
    parts: dict[int, list[int]] = {}
    for i in order:
        parts.setdefault(root(i), []).append(i)
    return list(parts.values())


def _count_part(genes: Sequence[Gene], forbid: Sequence[Rule], part: Sequence[int], control: set[int]) -> int:
    """control: genes that a rule names; the others of the part only multiply."""
    ruled = [i for i in part if i in control]
    rest = [i for i in part if i not in control]
    values, on = [0] * len(genes), [False] * len(genes)

    def is_on(i: int) -> bool:
        return any(holds(rule, on, values) for rule in genes[i].when)

    def count(k: int) -> int:
        if k == len(ruled):
            if any(holds(rule, on, values) for rule in forbid):
                return 0
            return math.prod(len(genes[i].options) for i in rest if is_on(i))
        i, total = ruled[k], 0
        on[i] = is_on(i)
        for option in range(len(genes[i].options) if on[i] else 1):
            values[i] = option
            total += count(k + 1)
        values[i], on[i] = 0, False
        return total

    return count(0)
