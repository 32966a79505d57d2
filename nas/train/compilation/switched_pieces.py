"""The pieces that blocks are cut into, and how blocks whose pieces have equal names and shapes become one group."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nas.arch.graph import Node, Shape, param_shapes

PARTS: tuple[str, ...] = ("kernels", "others", "stats")
Sizes = dict[str, int]


@dataclass(frozen=True)
class Piece:
    """Nodes with one tensor in and one out. An input is 0, the position's; 1, what the piece before gives; or 2 + own node."""

    nodes: tuple[Node, ...]
    in_shape: Shape
    position_shape: Shape

    @property
    def label(self) -> str:
        return self.nodes[-1].name

    @property
    def shape(self) -> Shape:
        return self.nodes[-1].shape

    def arrays(self) -> Iterator[tuple[str, str, str, tuple[int, ...]]]:
        """(part, node, array, shape) in the order in which they are kept."""
        known = [self.position_shape, self.in_shape]
        for node in self.nodes:
            for name, shape in param_shapes(node, [known[i] for i in node.inputs]).items():
                yield "kernels" if name == "kernel" else "others", node.name, name, shape
            if node.op == "norm":
                yield from (("stats", node.name, name, (node.shape[2],)) for name in ("mean", "var"))
            known.append(node.shape)

    @cached_property
    def sizes(self) -> Sizes:
        out = dict.fromkeys(PARTS, 0)
        for part, _, _, shape in self.arrays():
            out[part] += math.prod(shape)
        return out


@dataclass
class Step:
    """A step within a group: its variants, None being nothing at all."""

    label: str
    variants: list[Piece | None] = field(default_factory=list)

    @property
    def sizes(self) -> Sizes:
        return {part: max((p.sizes[part] for p in self.variants if p), default=0) for part in PARTS}


@dataclass
class Group:
    steps: list[Step]

    @property
    def sizes(self) -> Sizes:
        return {part: sum(step.sizes[part] for step in self.steps) for part in PARTS}


Chosen = dict[tuple[Piece, ...], tuple[int, ...]]


def grouped(options: Mapping[tuple[Piece, ...], None]) -> dict[Hashable, list[tuple[Piece, ...]]]:
    """Options by the names and shapes of their pieces; a piece that keeps its shape and is absent elsewhere does not count."""
    labels = [{p.label for p in option} for option in options if option]
    everywhere = set.intersection(*labels) if labels else set()
    groups: dict[Hashable, list[tuple[Piece, ...]]] = {}
    for option in options:
        kept = tuple((p.label, p.in_shape, p.shape) for p in option if p.label in everywhere or p.in_shape != p.shape)
        groups.setdefault(kept, []).append(option)
    return groups


def merged(options: Sequence[tuple[Piece, ...]]) -> list[tuple[Group, Chosen]]:
    """One group where the pieces of all options come in one order; else a group each."""
    order = _common_order([[p.label for p in option] for option in options])
    if order is None:
        return [pair for option in options for pair in merged([option])]
    steps = []
    for label in order:
        found = [next((p for p in option if p.label == label), None) for option in options]
        steps.append(Step(label, list(dict.fromkeys(found))))
    chosen = {}
    for option in options:
        own = {p.label: p for p in option}
        chosen[option] = tuple(step.variants.index(own.get(step.label)) for step in steps)
    return [(Group(steps), chosen)]


def _common_order(rows: Sequence[Sequence[str]]) -> list[str] | None:
    order: list[str] = []
    for row in rows:
        at = 0
        for label in row:
            if label in order:
                if order.index(label) < at:
                    return None
                at = order.index(label) + 1
            else:
                order.insert(at, label)
                at += 1
    return order
