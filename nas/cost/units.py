"""Layers of a space's architectures, each lowered and counted once, by numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from nas.arch import Arch, Block
from nas.arch.blocks import TapShapes, lower_alone, reads_taps
from nas.arch.blocks.taps import expansion_of
from nas.arch.graph import Graph, Node, Shape, Sides, node_macs
from nas.cost.count import alive_bytes, node_params
from nas.cost.features import FEATURES, feature_row
from nas.cost.tapped import NONE, Used, peaks_of, used_by

LARGEST = 2**53
Move: TypeAlias = tuple[int, int]  # stride and dilation
Key: TypeAlias = tuple[str, Block, Move, Shape | TapShapes]  # place, block, move and what feeds it


@dataclass(frozen=True)
class Unit:
    """One layer fed with one shape: the number of its output shape, its costs and features, and for heads with taps more.

    peaks: as `nas.cost.tapped.peaks_of` has them. expansion: the number of its shape. used: the taps that a head reads.
    """

    out: int
    costs: tuple[int, int, int]
    features: tuple[int, ...]
    peaks: tuple[int, int, int, int] = (0, 0, 0, 0)
    expansion: int = NONE
    used: Used = frozenset()


class Tables(NamedTuple):
    """Of all layers, by their numbers: output shapes (units,), costs (units, 3), features (units, f), peaks (units, 4), expansions."""

    out: np.ndarray
    costs: np.ndarray
    features: np.ndarray
    peaks: np.ndarray
    expansion: np.ndarray


class Units:
    """All layers that were asked for so far; 0 is a layer that there is not.

    Args:
        base: The architecture that padding, norms, defaults and classes are those of.
        name: Of the space, for errors.
        tapped: Whether heads read several feature maps.
    """

    def __init__(self, base: Arch, name: str, tapped: bool):
        self.base, self.name, self.tapped = base, name, tapped
        self.shapes: list[Shape] = []
        self._units: list[Unit] = [Unit(0, (0, 0, 0), (0,) * len(FEATURES))]
        self._known: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._graphs: dict[int, Graph] = {}
        self._reads: dict[tuple[Block, Sides, tuple[tuple[int, bool], ...]], Used] = {}
        self._shape_ids: dict[Shape, int] = {}
        empty = np.zeros(0, np.int64)
        self._tables = Tables(empty, empty.reshape(0, 3), empty.reshape(0, len(FEATURES)), empty.reshape(0, 4), empty)

    def __len__(self) -> int:
        return len(self._units)

    def __getitem__(self, number: int) -> Unit:
        return self._units[number]

    def number(self, where: str, block: Block, move: Move, given: Shape | TapShapes) -> int:
        """Of a layer, lowered if it is new. Raises ValueError naming its place where it cannot be built."""
        kind = where if where in ("stem", "head") else "layer"
        key = (kind, block, move, given)
        if key not in self._known:
            unit = self._lowered(where, block, move, given)
            self._known[key] = len(self._units)
            self._keys.append((where, block, move, given))
            self._units.append(unit)
        return self._known[key]

    def reads(self, block: Block, taps: TapShapes) -> Used:
        """The taps that a head reads, by the strides of all and by which have expansions: the same whatever their widths."""
        strides = tuple((stride, inner is not None) for stride, _, inner in taps.levels)
        key = (block, taps.image, strides)
        if key not in self._reads:
            known = reads_taps(block.op)
            self._reads[key] = used_by(self._nodes("head", block, (1, 1), taps)[0], taps) if known else frozenset()
        return self._reads[key]

    def graph(self, number: int) -> Graph:
        """A layer as a network of its own, of a head with taps with an input for each: the input alone for 0 and for an identity."""
        if number not in self._graphs:
            nodes, outputs = self._nodes(*self._keys[number - 1]) if number else ([Node("input", "input", (), (1, 1, 1))], {})
            self._graphs[number] = Graph(tuple(nodes), named=tuple(outputs.items()) if len(outputs) > 1 else ())
        return self._graphs[number]

    def tables(self) -> Tables:
        """What is known of all layers, grown by what was lowered since."""
        known = len(self._tables.out)
        if known < len(self._units):
            new = self._units[known:]
            grown = [[getattr(unit, name) for unit in new] for name in Tables._fields]
            pairs = zip(self._tables, grown, strict=True)
            self._tables = Tables(*(np.concatenate([old, np.array(rows, np.int64)]) for old, rows in pairs))
        return self._tables

    def _lowered(self, where: str, block: Block, move: Move, given: Shape | TapShapes) -> Unit:
        nodes, outputs = self._nodes(where, block, move, given)
        shapes = [[nodes[j].shape for j in node.inputs] for node in nodes]
        params, macs = sum(map(node_params, nodes, shapes)), sum(map(node_macs, nodes, shapes))
        inputs, last = sum(node.op == "input" for node in nodes), max(outputs.values())
        peak = max(alive_bytes(nodes, outputs.values())[inputs:], default=0)
        features = feature_row(nodes)
        if max(params, macs, peak, *features) > LARGEST:
            raise ValueError(f"{self.name}: {where}: costs over {LARGEST:.0e} are not counted")
        counted = (self._shape_id(nodes[last].shape), (params, macs, peak), tuple(features))
        if not self.tapped or where == "head" or move[0] == 1:  # taps lie before and within layers with strides
            used = used_by(nodes, given) if isinstance(given, TapShapes) else frozenset()
            return Unit(*counted, (peak, peak, peak, peak), used=used)
        inner = expansion_of(nodes, 0)
        return Unit(*counted, peaks_of(nodes, last, inner), NONE if inner is None else self._shape_id(nodes[inner].shape))

    def _nodes(self, where: str, block: Block, move: Move, given: Shape | TapShapes) -> tuple[Sequence[Node], Mapping[str, int]]:
        """The primitives of one layer, what it reads first, and which of them are its outputs, by name."""
        scope, (stride, dilation) = "head" if where == "head" else "stem", move  # names are not read
        taps, shape = (given, given.levels[-1][1]) if isinstance(given, TapShapes) else (None, given)
        return lower_alone(self.base, scope, block, stride, shape, f"{self.name}: {where}", dilation=dilation, taps=taps)

    def _shape_id(self, shape: Shape) -> int:
        if shape not in self._shape_ids:
            self._shape_ids[shape] = len(self.shapes)
            self.shapes.append(shape)
        return self._shape_ids[shape]
