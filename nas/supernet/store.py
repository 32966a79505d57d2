"""Where the arrays of every candidate of a space stand in the weights that all of them share.

Arrays are kept at their largest shapes. A candidate takes the first channels of each, the center of kernels, the first layers of a
stage. Blocks chosen as a whole (`block`, `op`) have weights of their own, and so has a layer that consists of other convolutions,
such as an inverted residual without its expansion. Arrays that are always used together make a slot, which a training step changes
as a whole or leaves alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, TypeAlias

import numpy as np

from nas.arch.graph import Node, param_shapes
from nas.nn.network import initial
from nas.nn.weights import HostArrays
from nas.space import Hole, Pairs, Space
from nas.supernet.kernels import MATRIX, identity, matrix_shapes, takes_matrices
from nas.supernet.layers import ORDERED, Choice, Layer, Layers, LoweredLayer
from nas.train.optim import Layout

Home: TypeAlias = tuple[
    str, Choice, tuple[str, ...]
]  # scope, options of its block, convolutions on the way to the output


class View(NamedTuple):
    """A part of an array at its largest shape: `sizes` values of each axis from `starts` on."""

    full: tuple[int, ...]
    starts: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def place(self) -> tuple[slice, ...]:
        """The part as slices."""
        return tuple(slice(start, start + size) for start, size in zip(self.starts, self.sizes, strict=True))


@dataclass(frozen=True)
class Shared:
    """A primitive with weights as all candidates know it, at its largest shapes; `node` is that of the widest.

    within: the weighted primitives of each kind of layer that has it. closes_residual: whether it is a norm whose output is added
    to the layer's input, answers: whether it is a dense layer whose output is the network's, both in every layer that has it.
    """

    node: Node
    shapes: Mapping[str, tuple[int, ...]]
    within: frozenset[tuple[str, ...]] = frozenset()
    closes_residual: bool = True
    answers: bool = True

    @property
    def has_matrices(self) -> bool:
        """Whether smaller kernels are made of the larger ones by matrices."""
        return any(name.startswith(MATRIX) for name in self.shapes)

    def view(self, name: str, shape: tuple[int, ...] | None, wide: bool = False) -> View:
        """Where an array of this shape stands: its first channels (`wide`: all), the center of its kernel; None: the whole array.

        Of a kernel that a matrix makes smaller, all that the matrices read.
        """
        full = self.shapes[name]
        shape = full if shape is None else (*full[:2], *shape[2:]) if name == "kernel" and self.has_matrices else shape
        spatial = 2 if len(full) == 4 else 0
        shape = (*shape[:spatial], *full[spatial:]) if wide else shape
        starts = tuple(
            (large - small) // 2 if axis < spatial else 0
            for axis, (large, small) in enumerate(zip(full, shape, strict=True))
        )
        return View(full, starts, shape)


@dataclass(frozen=True)
class Store:
    """The slots of a space.

    slots: the arrays of each by name, at their largest shapes. shared: each weighted primitive. slot_of: where its arrays are.
    channels: of each primitive, and under "" of the layer's input, where it is narrowest and where it is widest.
    """

    slots: Mapping[str, Layout]
    shared: Mapping[tuple[Home, str], Shared]
    slot_of: Mapping[tuple[Home, str], str]
    channels: Mapping[tuple[Home, str], tuple[int, int]]

    def initial(self, seed: int, zero_gamma: bool = False) -> dict[str, HostArrays]:
        """Initial values of every slot by node and array. Those of a node depend on the seed and its name alone.

        zero_gamma: Norms at the end of blocks that always have a residual start from a scale of 0.
        """
        out: dict[str, HostArrays] = {slot: {} for slot in self.slots}
        for at, one in self.shared.items():
            slot = self.slot_of[at]
            named = dataclasses.replace(one.node, name=f"{slot}:{one.node.name}")
            arrays = {
                name: identity(shape) if name.startswith(MATRIX) else initial(named, name, shape, seed)
                for name, shape in one.shapes.items()
            }
            if one.answers:
                arrays["kernel"] = np.zeros_like(arrays["kernel"])  # so that all candidates begin with the same answers
            if zero_gamma and one.closes_residual:
                arrays["scale"] = np.zeros_like(arrays["scale"])
            out[slot][one.node.name] = arrays
        return out

    def channels_of(self, home: Home, lowered: LoweredLayer) -> list[tuple[int, int]]:
        """Of each primitive of a layer, its input first: channels where it is narrowest, and where it is widest."""
        return [self.channels[home, node.name if i else ""] for i, node in enumerate(lowered.nodes)]


def home_of(layer: Layer, lowered: LoweredLayer) -> Home:
    return layer.scope, layer.choice, lowered.trunk


def weighted(lowered: LoweredLayer) -> Iterable[tuple[Node, dict[str, tuple[int, ...]]]]:
    """The primitives with weights of a layer and the shapes of their arrays."""
    for node in lowered.nodes[1:]:
        if shapes := param_shapes(node, [lowered.nodes[i].shape for i in node.inputs]):
            yield node, shapes


def store_of(layers: Layers, matrices: bool = False) -> Store:
    """The weights that a space's candidates share; `matrices`: with those that make smaller depthwise kernels of larger ones.

    Raises ValueError naming the gene for what cannot be shared.
    """
    shared: dict[tuple[Home, str], Shared] = {}
    ordered: dict[tuple[Home, str], Node] = {}
    channels: dict[tuple[Home, str], tuple[int, int]] = {}
    sides: dict[tuple[Home, str], set[int]] = {}
    for layer in layers.all():
        lowered = layers.lowered(layer)
        home, names = home_of(layer, lowered), tuple(node.name for node, _ in weighted(lowered))
        closing = _closing(lowered)
        refuse = _Refusal(layers.space, layer, layers.template(layer.scope))
        for node, name in zip(lowered.nodes, ("", *(node.name for node in lowered.nodes[1:])), strict=True):
            low, high = channels.get((home, name), (node.shape[2], node.shape[2]))
            channels[home, name] = min(low, node.shape[2]), max(high, node.shape[2])
        for node in lowered.nodes[1:]:
            if _is_ordered(node, lowered) and _channels(ordered.setdefault((home, node.name), node)) != _channels(node):
                refuse(
                    f"changes what {node.name} reads, after which the first channels are no longer the first",
                    ("width", "resolution"),
                )
        for node, shapes in weighted(lowered):
            if matrices and takes_matrices(node, shapes.get("kernel", (0,) * 4)):
                sides.setdefault((home, node.name), set()).add(shapes["kernel"][0])
            found = shared.setdefault((home, node.name), Shared(node, shapes))
            _check_alike(found, node, shapes, refuse)
            shapes = {name: tuple(map(max, shape, found.shapes[name])) for name, shape in shapes.items()}
            wider = max(found.node, node, key=lambda one: one.shape[2])
            closes = found.closes_residual and node.name in closing
            ends = layer.scope == "head" and node.op == "dense" and node is lowered.nodes[-1]
            shared[home, node.name] = Shared(wider, shapes, found.within | {names}, closes, found.answers and ends)
    for at, found in sides.items():
        shared[at] = dataclasses.replace(shared[at], shapes={**shared[at].shapes, **matrix_shapes(found)})
    return _slots(shared, channels)


def _closing(lowered: LoweredLayer) -> set[str]:
    """Names of the norms whose output, maybe dropped at random, is added to the layer's input."""
    nodes, found = lowered.nodes, set[str]()
    for node in nodes:
        if node.op == "add" and 0 in node.inputs:
            for i in node.inputs:
                i = nodes[i].inputs[0] if nodes[i].op == "drop_path" else i
                found |= {nodes[i].name} if nodes[i].op == "norm" else set()
    return found


def _slots(shared: Mapping[tuple[Home, str], Shared], channels: Mapping[tuple[Home, str], tuple[int, int]]) -> Store:
    groups: dict[tuple[Home, frozenset[tuple[str, ...]]], list[str]] = {}
    for (home, name), one in shared.items():
        groups.setdefault((home, one.within), []).append(name)
    slots: dict[str, Layout] = {}
    slot_of: dict[tuple[Home, str], str] = {}
    for (home, _), names in groups.items():
        key = home[0] + "".join(f"[{option}]" for option in home[1]) + "/" + names[0].split("/", 1)[1]
        key += f"#{len(slots)}" if key in slots else ""
        slots[key] = Layout(
            tuple((name, array, shape) for name in names for array, shape in shared[home, name].shapes.items())
        )
        slot_of |= {(home, name): key for name in names}
    return Store(slots, shared, slot_of, channels)


@dataclass(frozen=True)
class _Refusal:
    """Raises an error that names the gene of a layer, of one of these keys where it has one, or else of the layers before it."""

    space: Space
    layer: Layer
    template: Pairs

    def __call__(self, why: str, keys: tuple[str, ...]) -> NoReturn:
        holes = {key: self.space.genes[hole.gene].name for key, hole in self.template if isinstance(hole, Hole)}
        own = [name for key, name in holes.items() if key in keys] or list(holes.values())
        names = own or [
            gene.name for gene in self.space.genes if gene.name.rsplit(".", 1)[-1] in ("width", "resolution")
        ]
        gene = ", ".join(names[:1]) or self.layer.scope
        raise ValueError(
            f"{self.space.name}: {gene}: {why} ({self.layer.scope}); such weights cannot be shared, take evaluator=scratch"
        )


def _is_ordered(node: Node, lowered: LoweredLayer) -> bool:
    pixels = lowered.nodes[node.inputs[0]].shape[:2]
    return node.op in ORDERED and (node.op != "flatten" or pixels != (1, 1))


def _channels(node: Node) -> tuple[object, ...]:
    return node.shape[2], node.attrs


def is_depthwise(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return node.op == "conv" and node.attr["groups"] == node.shape[2] and shapes["kernel"][2] == 1


def _check_alike(found: Shared, node: Node, shapes: Mapping[str, tuple[int, ...]], refuse: _Refusal) -> None:
    if {name: len(shape) for name, shape in shapes.items()} != {
        name: len(shape) for name, shape in found.shapes.items()
    }:
        refuse(f"changes which arrays {node.name} has", ())
    if node.op != "conv":
        return
    if any((large - small) % 2 for large, small in zip(found.shapes["kernel"][:2], shapes["kernel"][:2], strict=True)):
        refuse(f"has kernels of odd and even sides in {node.name}, which no center crop connects", ("kernel",))
    grouped = node.attr["groups"] > 1 or found.node.attr["groups"] > 1
    both = is_depthwise(node, shapes) and is_depthwise(found.node, found.shapes)
    if (
        grouped
        and not both
        and (node.attr["groups"], shapes["kernel"][2:]) != (found.node.attr["groups"], found.shapes["kernel"][2:])
    ):
        refuse(
            f"changes the groups of {node.name}, or the channels in them", ("groups", "group_size", "width", "expand")
        )
