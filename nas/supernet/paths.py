"""A candidate as a row of units, each of which runs by programs that candidates share.

A unit is a layer: one tensor in, one out, with primitives of the candidate's own shapes and views of the slots that they take
their arrays from. Layers that compute the same from equal views are equal units, wherever they stand.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nas.arch.graph import Node, Shape
from nas.nn.network import RANDOM
from nas.nn.ops import Array
from nas.nn.weights import AnyArray, Arrays
from nas.space import Genome, Space
from nas.supernet.kernels import materialized
from nas.supernet.layers import Layer, Layers, LoweredLayer
from nas.supernet.masked import inputs_of, widened
from nas.supernet.store import Store, View, home_of, store_of, weighted
from nas.train.optim import Layout, Packed

STATS = ("mean", "var")
MOST_UNITS = 300  # with shapes of their own; more would take an hour to compile
Viewed = tuple[str, str, View]  # (node of the unit, array, its part of the slot's)


@dataclass(frozen=True)
class Unit:
    """Layers with one tensor in and one out, named and numbered from 1 on, so that equal units are equal values.

    slots: what it takes of each slot, in the order of the slot's arrays. widest: channels of each primitive that draws random
    numbers where it is widest, so that a narrower candidate draws the first of the same numbers. masks: channels of each mask, where
    the candidate's widths are masks; residual: channels of its input as it is added to its output, where that is another width.
    kernels: (node, side) of the convolutions whose kernels are made by matrices.
    """

    nodes: tuple[Node, ...]
    in_shape: Shape
    slots: tuple[tuple[Viewed, ...], ...]
    widest: tuple[int, ...] = ()
    first: bool = False
    last: bool = False
    masks: tuple[int, ...] = ()
    residual: int = 0
    kernels: tuple[tuple[str, int], ...] = ()

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        own = self.masks, self.residual, self.kernels
        return hash((self.nodes, self.in_shape, self.slots, self.widest, self.first, self.last, *own))

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

    def values(self, x: Array, widths: Array) -> list[Array]:
        """What stands before the first primitive: the input, and what masks need."""
        return inputs_of(x, widths, self.masks, self.in_shape[2], self.residual) if self.masks or self.residual else [x]

    def tree(self, packed: Sequence[Packed]) -> dict[str, dict[str, AnyArray]]:
        """The unit's own arrays, by node and name, cut from those of its slots, small kernels made by matrices."""
        out: dict[str, dict[str, AnyArray]] = {}
        for slot, layout, arrays in zip(self.slots, self.layouts, packed, strict=True):
            full = layout.unpack(arrays)
            for node, name, view in slot:
                out.setdefault(node, {})[name] = cut(full[node][name], view)
        return {**out, **{node: materialized(out[node], side) for node, side in self.kernels}}


def cut(array: AnyArray, view: View) -> AnyArray:
    """The part that a view shows."""
    if view.sizes == view.full:
        return array
    return array[view.place]


@dataclass(frozen=True)
class Placed:
    """A unit in a candidate: the slots that it takes, the names of its primitives, and what each random one draws.

    numbers: folded into a step's key; rates: of dropout and stochastic depth; drop_paths: which are of the latter. widths: the
    candidate's own, where they are masks. norms: channels of its norms, as its own network has them. scope: the layer's.
    """

    unit: Unit
    slots: tuple[str, ...]
    names: tuple[str, ...]
    numbers: np.ndarray
    rates: np.ndarray
    drop_paths: np.ndarray
    widths: np.ndarray
    norms: Mapping[str, int]
    scope: str = ""

    def at_rate(self, drop_path: float) -> Placed:
        """The same with this rate of stochastic depth, which depends on the candidate's depth."""
        return (
            replace(self, rates=np.where(self.drop_paths, np.float32(drop_path), self.rates))
            if self.drop_paths.any()
            else self
        )

    @property
    def draws(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.numbers, self.rates, self.widths

    def named(self, tree: Arrays) -> dict[str, Mapping[str, AnyArray]]:
        """The statistics of a unit as those of the network: by its names, at its widths, without those of norms that it has not."""
        return {
            self.names[int(node) - 1]: {name: array[: self.norms[node]] for name, array in arrays.items()}
            for node, arrays in tree.items()
            if node in self.norms
        }


@dataclass(frozen=True)
class Path:
    """A candidate: its genome, its units in the order data meets them, and the size of the images that it takes."""

    genome: Genome
    placed: tuple[Placed, ...]
    side: int


@dataclass(frozen=True, eq=False)
class Paths:
    """The candidates of a space over one store. masked: whether widths are masks, or units have the candidate's own shapes."""

    layers: Layers
    store: Store
    masked: bool = False

    @classmethod
    def of(cls, space: Space, masked: bool | None = None, most: int = MOST_UNITS, matrices: bool = False) -> Paths:
        """`masked`: None where units of the candidates' own shapes would be more than `most`. matrices: as `store_of` has it.

        Raises ValueError naming the gene for what cannot be shared.
        """
        layers = Layers(space)
        exact = cls(layers, store_of(layers, matrices))
        if masked is None:
            masked = len(exact.all_units()) > most
        if not masked:
            return exact
        wide = cls(layers, exact.store, masked)
        wide.all_units()  # every layer has its masks, or its fault is known before anything is trained
        return wide

    @cached_property
    def exact(self) -> Paths:
        """The same candidates in their own shapes."""
        return Paths(self.layers, self.store) if self.masked else self

    @cached_property
    def _known(self) -> dict[Layer, Placed | None]:
        return {}

    @cached_property
    def _equal(self) -> dict[Unit, Unit]:
        """Equal units are one object, so that programs are found by it quickly."""
        return {}

    def path(self, genome: Genome) -> Path:
        layers = self.layers.of(genome)
        depth, drop_path = len(layers) - 1, self.layers.space.base.drop_path
        found = [(self.placed(layer), drop_path * max(i - 1, 0) / max(depth - 1, 1)) for i, layer in enumerate(layers)]
        placed = tuple(one.at_rate(rate) for one, rate in found if one)
        return Path(tuple(genome), placed, layers[0].in_shape[0])

    def all_units(self) -> dict[Unit, None]:
        """Every unit of the space, each once."""
        found = (self.placed(layer) for layer in self.layers.all())
        return {placed.unit: None for placed in found if placed}

    def placed(self, layer: Layer) -> Placed | None:
        """The unit of a layer; None where the layer does nothing."""
        if layer not in self._known:
            lowered = self.layers.lowered(layer)
            self._known[layer] = self._made(layer, lowered) if len(lowered.nodes) > 1 else None
        return self._known[layer]

    def _made(self, layer: Layer, lowered: LoweredLayer) -> Placed:
        store, home, nodes = self.store, home_of(layer, lowered), lowered.nodes
        numbers = {node.name: str(i) for i, node in enumerate(nodes)}
        shapes = {node.name: arrays for node, arrays in weighted(lowered)}
        slots = dict.fromkeys(store.slot_of[home, name] for name in shapes)
        views = tuple(
            tuple(
                (numbers[name], array, store.shared[home, name].view(array, shapes[name].get(array), self.masked))
                for name, array, _ in store.slots[slot].entries
            )
            for slot in slots
        )
        ranges = store.channels_of(home, lowered)
        widest = tuple(high for node, (_, high) in zip(nodes, ranges, strict=True) if node.op in RANDOM)
        unit = Unit(
            tuple(_local(numbers, node) for node in nodes[1:]),
            layer.in_shape,
            views,
            widest,
            layer.scope == "stem",
            layer.scope == "head",
            kernels=tuple(
                (numbers[name], arrays["kernel"][0]) for name, arrays in shapes.items() if store.shared[home, name].has_matrices
            ),
        )
        widths = np.zeros(0, np.int32)
        if self.masked:
            wide, masks, residual = widened(lowered, ranges)
            unit = replace(
                unit, nodes=tuple(_local(numbers, node) for node in wide), in_shape=(*layer.in_shape[:2], ranges[0][1]),
                masks=tuple(masks.values()), residual=residual,
            )  # fmt: skip
            widths = np.array([nodes[i].shape[2] for i in masks], np.int32)
        random = [node for node in nodes if node.op in RANDOM]
        return Placed(
            self._equal.setdefault(unit, unit), tuple(slots), tuple(node.name for node in nodes[1:]),
            numbers=np.array([zlib.crc32(node.name.encode()) & 0x7FFFFFFF for node in random], np.int32),
            rates=np.array([node.attr["rate"] for node in random], np.float32),
            drop_paths=np.array([node.op == "drop_path" for node in random], bool),
            widths=widths,
            norms={str(i): node.shape[2] for i, node in enumerate(nodes) if node.op == "norm"},
            scope=layer.scope,
        )  # fmt: skip


def _local(numbers: Mapping[str, str], node: Node) -> Node:
    """A primitive by its number in its layer; a mask is not among them."""
    attrs = () if node.op in RANDOM else node.attrs  # rates are given to the program
    return Node(node.op, numbers.get(node.name, "mask"), node.inputs, node.shape, attrs)
