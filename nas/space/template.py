"""What a space is made of: genes, the rules that connect them, and the template of an architecture whose holes they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nas.arch import Block, Knob

Genome = tuple[int, ...]
Rule = tuple[
    tuple[int, frozenset[int]], ...
]  # (gene, options): it holds where each gene is active with one of its options
Pairs: TypeAlias = tuple[tuple[str, "Knob | Hole"], ...]  # the keys of a block with their values or holes


def holds(rule: Rule, on: Sequence[bool], values: Sequence[int]) -> bool:
    """Whether a rule holds of the genes that are on."""
    return all(on[gene] and values[gene] in options for gene, options in rule)


@dataclass(frozen=True)
class Gene:
    """One choice. It is active where any rule of `when` holds."""

    name: str
    options: tuple[Knob, ...]
    when: tuple[Rule, ...] = ((),)


@dataclass(frozen=True)
class Hole:
    """A place in the template that a gene fills, under conditions of its own."""

    gene: int
    when: Rule = ()


@dataclass(frozen=True)
class StageTemplate:
    """Layers as (key, value or Hole) pairs; layer j exists where `repeat` says more than j."""

    stride: Knob | Hole
    repeat: Knob | Hole
    layers: tuple[Pairs, ...]


@dataclass(frozen=True)
class Position:
    """One layer of the template: every block that it can be, and whether the layer can be absent."""

    stage: int
    layer: int
    blocks: tuple[Block, ...]
    optional: bool
