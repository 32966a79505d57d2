"""A candidate as a row of units, each of which runs by programs that candidates share.

A unit is a layer: one tensor in, one out, with primitives of the candidate's own shapes and views of the slots that they take
their arrays from. Layers that compute the same from equal views are equal units, wherever they stand.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.arch.graph import Node, Shape
from nas.nn.network import RANDOM
from nas.nn.weights import AnyArray, Arrays
from nas.space import Genome, Space
from nas.supernet.layers import Layer, Layers
from nas.supernet.store import Store, View, home_of, store_of, weighted
from nas.train.optim import Layout, Packed

STATS = ("mean", "var")
Viewed = tuple[str, str, View]  # (node of the unit, array, its part of the slot's)


@dataclass(frozen=True)
class Unit:
    """Layers with one tensor in and one out, named and numbered from 1 on, so that equal units are equal values.

    slots: what it takes of each slot, in the order of the slot's arrays. widest: channels of each primitive that draws random
    numbers where it is widest, so that a narrower candidate draws the first of the same numbers.
    """

    nodes: tuple[Node, ...]
    in_shape: Shape
    slots: tuple[tuple[Viewed, ...], ...]
    widest: tuple[int, ...] = ()
    first: bool = False
    last: bool = False

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.nodes, self.in_shape, self.slots, self.widest, self.first, self.last))

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """Of each slot, at the largest shapes."""
        return tuple(Layout(tuple((node, name, view.full) for node, name, view in slot)) for slot in self.slots)

    @cached_property
    def stats(self) -> Layout:
        norms = [node for node in self.nodes if node.op == "norm"]
        return Layout(tuple((node.name, name, (node.shape[2],)) for node in norms for name in STATS))

    @cached_property
    def random(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes if node.op in RANDOM)

    def tree(self, packed: tuple[Packed, ...]) -> dict[str, dict[str, AnyArray]]:
        """The unit's own arrays, by node and name, cut from those of its slots."""
        out: dict[str, dict[str, AnyArray]] = {}
        for slot, layout, arrays in zip(self.slots, self.layouts, packed, strict=True):
            full = layout.unpack(arrays)
            for node, name, view in slot:
                out.setdefault(node, {})[name] = cut(full[node][name], view)
        return out


def cut(array: AnyArray, view: View) -> AnyArray:
    """The part that a view shows."""
    if view.sizes == view.full:
        return array
    return array[tuple(slice(start, start + size) for start, size in zip(view.starts, view.sizes, strict=True))]


@dataclass(frozen=True)
class Placed:
    """A unit in a candidate: the slots that it takes, the names of its primitives, and what each random one draws.

    numbers: folded into a step's key; rates: of dropout and stochastic depth, which may depend on the candidate's depth.
    """

    unit: Unit
    slots: tuple[str, ...]
    names: tuple[str, ...]
    numbers: np.ndarray
    rates: np.ndarray

    @property
    def draws(self) -> tuple[np.ndarray, np.ndarray]:
        return self.numbers, self.rates

    def named(self, tree: Arrays) -> dict[str, Mapping[str, AnyArray]]:
        """A tree by the names of the unit as one by those of the network."""
        return {self.names[int(node) - 1]: arrays for node, arrays in tree.items()}


@dataclass(frozen=True)
class Path:
    """A candidate: its genome, its units in the order data meets them, and the size of the images that it takes."""

    genome: Genome
    placed: tuple[Placed, ...]
    side: int


@dataclass(frozen=True, eq=False)
class Paths:
    """The candidates of a space over one store."""

    layers: Layers
    store: Store

    @classmethod
    def of(cls, space: Space) -> Paths:
        """Raises ValueError naming the gene for what cannot be shared."""
        layers = Layers(space)
        return cls(layers, store_of(layers))

    @cached_property
    def _units(self) -> dict[Layer, tuple[Unit, tuple[str, ...], tuple[str, ...]] | None]:
        return {}

    @cached_property
    def _equal(self) -> dict[Unit, Unit]:
        """Equal units are one object, so that programs are found by it quickly."""
        return {}

    def path(self, genome: Genome) -> Path:
        layers = self.layers.of(genome)
        depth, drop_path = len(layers) - 1, self.layers.space.base.drop_path
        placed = []
        for i, layer in enumerate(layers):
            if layer not in self._units:
                self._units[layer] = self._unit(layer)
            found = self._units[layer]
            if found is None:
                continue
            unit, slots, names = found
            random = [(node, names[int(node.name) - 1]) for node in unit.nodes if node.op in RANDOM]
            numbers = np.array([zlib.crc32(name.encode()) & 0x7FFFFFFF for _, name in random], np.int32)
            own = drop_path * max(i - 1, 0) / max(depth - 1, 1)
            rates = np.array(
                [own if node.op == "drop_path" else _rate(layer, name, self.layers) for node, name in random],
                np.float32,
            )
            placed.append(Placed(unit, slots, names, numbers, rates))
        return Path(tuple(genome), tuple(placed), layers[0].in_shape[0])

    def all_units(self) -> dict[Unit, None]:
        """Every unit of the space, each once."""
        found: dict[Unit, None] = {}
        for layer in self.layers.all():
            one = self._unit(layer)
            if one is not None:
                found[one[0]] = None
        return found

    def _unit(self, layer: Layer) -> tuple[Unit, tuple[str, ...], tuple[str, ...]] | None:
        """(unit, its slots, names of its primitives); None where the layer does nothing."""
        lowered, store = self.layers.lowered(layer), self.store
        if len(lowered.nodes) == 1:
            return None
        home, numbers = home_of(layer, lowered), {node.name: str(i) for i, node in enumerate(lowered.nodes)}
        shapes = {node.name: arrays for node, arrays in weighted(lowered)}
        slots = dict.fromkeys(store.slot_of[home, name] for name in shapes)
        views = tuple(
            tuple(
                (numbers[name], array, store.shared[home, name].view(array, shapes[name][array]))
                for name, array, _ in store.slots[slot].entries
            )
            for slot in slots
        )
        nodes = tuple(_placed(i, node) for i, node in enumerate(lowered.nodes[1:], 1))
        widest = tuple(store.widest[home, node.name] for node in lowered.nodes[1:] if node.op in RANDOM)
        unit = Unit(nodes, layer.in_shape, views, widest, layer.scope == "stem", layer.scope == "head")
        return self._equal.setdefault(unit, unit), tuple(slots), tuple(node.name for node in lowered.nodes[1:])


def _placed(i: int, node: Node) -> Node:
    return Node(node.op, str(i), node.inputs, node.shape, () if node.op in RANDOM else node.attrs)


def _rate(layer: Layer, name: str, layers: Layers) -> float:
    return float(next(node for node in layers.lowered(layer).nodes if node.name == name).attr["rate"])
