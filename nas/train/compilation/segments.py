"""A network cut into segments of one tensor in and one out, and how its tree of arrays is packed segment by segment.

    segmented = cut(lower(arch))                     # stem, layers and head: each hands one tensor on

Segments that compute the same on the same shapes are equal values wherever they stand, so that programs can be kept by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import jax.numpy as jnp
import numpy as np

from nas.arch.graph import Graph, Node, Shape, param_shapes
from nas.nn.network import RANDOM
from nas.nn.weights import Arrays
from nas.train.optim import A, Layout, Packed

STATS = ("mean", "var")


@dataclass(frozen=True)
class Segment:
    """Layers with one tensor in and one out, named and numbered from 1 on by place, so that equal segments are equal values.

    `outputs`: of the last one, which nodes the network gives, by name; empty where that is the last node alone. What a node states of
    its output, such as default boxes, is part of the value.
    """

    nodes: tuple[Node, ...]
    in_shape: Shape
    first: bool = False
    last: bool = False
    outputs: tuple[tuple[str, int], ...] = ()

    @cached_property
    def params(self) -> Layout:
        shapes = [self.in_shape, *(node.shape for node in self.nodes)]
        entries = [
            (node.name, name, shape)
            for node in self.nodes
            for name, shape in param_shapes(node, [shapes[i] for i in node.inputs]).items()
        ]
        return Layout(tuple(entries))

    @cached_property
    def stats(self) -> Layout:
        norms = [node for node in self.nodes if node.op == "norm"]
        return Layout(tuple((node.name, name, (node.shape[2],)) for node in norms for name in STATS))

    @cached_property
    def momentum(self) -> Packed:
        norms = [node for node in self.nodes if node.op == "norm"]
        full = {node.name: np.full(node.shape[2], node.attr["momentum"], np.float32) for node in norms}
        return self.stats.pack({name: dict.fromkeys(STATS, array) for name, array in full.items()}, np)


@dataclass(frozen=True)
class SegmentedGraph:
    """A network cut into segments. random: for each segment the (number, rate) of its nodes that need random numbers."""

    segments: tuple[Segment, ...]
    names: tuple[tuple[str, ...], ...]
    random: tuple[tuple[tuple[int, float], ...], ...]


def cut(graph: Graph) -> SegmentedGraph:
    """Cuts after the last node of every layer of which all that follows, outputs too, needs that node alone."""
    nodes, ends = graph.nodes, []
    for last in range(1, len(nodes) - 1):
        alone = all(i >= last for node in nodes[last + 1 :] for i in node.inputs) and all(i > last for i in graph.outputs.values())
        if alone and nodes[last].scope != nodes[last + 1].scope:
            ends.append(last)
    ends.append(len(nodes) - 1)
    segments, names, random, start = [], [], [], 0
    for end in ends:
        part = nodes[start + 1 : end + 1]
        last = end == len(nodes) - 1
        outputs = tuple((name, i - start) for name, i in graph.named) if last else ()
        segments.append(_segment(part, start, nodes[start].shape, start == 0, last, outputs))
        names.append(tuple(node.name for node in part))
        random.append(tuple((start + 1 + i, _rate(node)) for i, node in enumerate(part) if node.op in RANDOM))
        start = end
    return SegmentedGraph(tuple(segments), tuple(names), tuple(random))


def _rate(node: Node) -> float:
    return float(node.attr["rate"])


def _segment(nodes: Sequence[Node], start: int, shape: Shape, first: bool, last: bool, outputs: tuple[tuple[str, int], ...]) -> Segment:
    def placed(i: int, node: Node) -> Node:
        attrs = () if node.op in RANDOM else node.attrs  # a rate depends on the depth of the candidate
        return Node(node.op, str(i), tuple(j - start for j in node.inputs), node.shape, attrs)

    return Segment(tuple(placed(i, node) for i, node in enumerate(nodes, 1)), shape, first, last, outputs)


@dataclass(frozen=True)
class SegmentLayouts:
    """Packs a network's tree segment by segment, each with its own names."""

    layouts: tuple[Layout, ...]

    @classmethod
    def of(cls, segmented: SegmentedGraph, kind: str) -> SegmentLayouts:
        layouts = []
        for segment, names in zip(segmented.segments, segmented.names, strict=True):
            entries = getattr(segment, kind).entries
            layouts.append(Layout(tuple((names[int(node) - 1], name, shape) for node, name, shape in entries)))
        return cls(tuple(layouts))

    def pack(self, tree: Arrays, xp: ModuleType = jnp) -> tuple[Packed, ...]:
        return tuple(layout.pack(tree, xp) for layout in self.layouts)

    def unpack(self, packed: Sequence[Mapping[str, A]]) -> dict[str, dict[str, A]]:
        return {k: v for layout, one in zip(self.layouts, packed, strict=True) for k, v in layout.unpack(one).items()}
