"""The masked form in which layers that differ in kernels, widths, activations or squeeze-and-excitation are one unit.

The units of `nas.supernet.paths` have a kernel and an activation each, and a candidate runs its own. Where candidates run side by side, all
units of a place run for each of them. So kernels are the largest ones here, whose outer taps are zero for a candidate with smaller
ones; activations are a sum of all functions, each times 0 or 1; and a gate that a candidate has not is 1.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from nas.arch.graph import Node, pads
from nas.nn.network import RANDOM
from nas.space import Space
from nas.supernet.layers import Layer, Layers, LoweredLayer
from nas.supernet.masked import depthwise
from nas.supernet.paths import Paths, Placed, Unit
from nas.supernet.store import Home, home_of, store_of

VARIED = {"conv": ("groups", "kernel", "padding"), "act": ("fn",), **dict.fromkeys(RANDOM, ("rate",))}  # within a unit


@dataclass(frozen=True, eq=False)
class Join:
    """Layers that are one unit.

    lowered: one with all their primitives, and the largest kernels. acts: functions of each activation that has several. optional:
    products by gates that not all of them have.
    """

    lowered: LoweredLayer
    acts: Mapping[str, tuple[str, ...]]
    optional: frozenset[str]


@dataclass(frozen=True, eq=False)
class JoinedPaths(Paths):
    """The candidates of a space in units that are as few as can be."""

    @classmethod
    def joined(cls, space: Space) -> Self:
        """Blocks chosen as a whole have arrays in common where their primitives allow it.

        Raises ValueError naming the gene for what masks cannot hold.
        """
        try:
            return cls._of(Layers(space, apart=False))
        except ValueError:
            return cls._of(Layers(space))

    @classmethod
    def _of(cls, layers: Layers) -> Self:
        paths = cls(layers, store_of(layers), masked=True)
        paths.all_units()
        return paths

    @cached_property
    def _joins(self) -> Mapping[Hashable, Join]:
        """By place, trunk and gates; layers without gates belong to the first of their trunk."""
        alike: dict[tuple[Home, Hashable], dict[Hashable, list[LoweredLayer]]] = {}
        for layer in self.layers.all():
            lowered = self.layers.lowered(layer)
            trunk, gates = parts_of(lowered.nodes)
            alike.setdefault((home_of(layer, lowered), trunk), {}).setdefault(gates, []).append(lowered)
        found: dict[Hashable, Join] = {}
        for (home, trunk), by_gates in alike.items():
            plain, gated = by_gates.pop((), []), list(by_gates.items()) or [((), [])]
            for i, (gates, own) in enumerate(gated):
                found[home, trunk, gates] = join(own + plain if i == 0 else own)
            found[home, trunk, ()] = found[home, trunk, gated[0][0]]
        return found

    def _made(self, layer: Layer, lowered: LoweredLayer) -> Placed:
        found = self._joins[(home_of(layer, lowered), *parts_of(lowered.nodes))]
        made, nodes = super()._made(layer, found.lowered), found.lowered.nodes
        own = {node.name: node for node in lowered.nodes[1:]}
        unit, places = made.unit, {node.name: str(i) for i, node in enumerate(nodes)}
        acts = {places[name]: functions for name, functions in found.acts.items()}
        widths = [own[nodes[i].name].shape[2] if nodes[i].name in own else 0 for i in _owners(unit)]
        for name, functions in found.acts.items():
            function = own[name].attr["fn"] if name in own else functions[0]
            widths += [function == one for one in functions]
        for name in sorted(found.optional):
            widths += [name in own, name not in own]
        unit = selecting(unit, acts, [places[name] for name in sorted(found.optional)])
        random = [own[node.name] for node in nodes if node.op in RANDOM]
        return replace(
            made, unit=self._equal.setdefault(unit, unit), widths=np.array(widths, np.int32),
            rates=np.array([node.attr["rate"] for node in random], np.float32),
            norms={places[name]: node.shape[2] for name, node in own.items() if node.op == "norm"},
        )  # fmt: skip


def parts_of(nodes: Sequence[Node]) -> tuple[Hashable, Hashable]:
    """(trunk, gates): what must be equal in layers that are one unit; () where a layer has no gates."""
    trunk = _trunk(nodes)

    def source(j: int) -> str:
        while j in trunk and nodes[j].op == "mul":
            j = nodes[j].inputs[0]
        return nodes[j].name if j else ""

    bare = [(_row(nodes, i), tuple(map(source, nodes[i].inputs))) for i in sorted(trunk) if i and nodes[i].op != "mul"]
    gated = [i for i, node in enumerate(nodes) if i and (i not in trunk or node.op == "mul")]
    gates = [(_row(nodes, i), tuple(nodes[j].name if j else "" for j in nodes[i].inputs)) for i in gated]
    return (nodes[0].shape[:2], *bare), tuple(gates)


def _trunk(nodes: Sequence[Node]) -> set[int]:
    """The nodes on the way to the output, without those that make a gate."""
    found, waiting = set[int](), [len(nodes) - 1]
    while waiting:
        i = waiting.pop()
        if i not in found:
            found.add(i)
            waiting += nodes[i].inputs[:1] if nodes[i].op == "mul" else nodes[i].inputs
    return found


def _row(nodes: Sequence[Node], i: int) -> Hashable:
    """A primitive without what may vary within a unit: of a convolution, where its kernel's center stands counts and not its size."""
    node = nodes[i]
    kept: tuple[object, ...] = tuple((key, value) for key, value in node.attrs if key not in VARIED.get(node.op, ()))
    if node.op == "conv":
        size, source = node.attr["kernel"], nodes[node.inputs[0]].shape
        centers = [pads(pixels, size, node.attr["stride"], node.attr["padding"])[0] - size // 2 for pixels in source[:2]]
        kept += (size % 2, *centers, -1 if depthwise(node, nodes) else node.attr["groups"])
    return node.op, node.name, node.shape[:2], kept


def join(layers: Sequence[LoweredLayer]) -> Join:
    """Layers of one trunk; those that have gates come first."""
    first, *others = layers
    nodes = list(first.nodes)
    functions: dict[str, set[str]] = {}
    for lowered in layers:
        for node in lowered.nodes:
            if node.op == "act":
                functions.setdefault(node.name, set()).add(node.attr["fn"])
    known = {node.name: i for i, node in enumerate(nodes) if i}
    for node in (node for lowered in others for node in lowered.nodes if node.op == "conv"):
        i = known[node.name]
        if node.attr["kernel"] > nodes[i].attr["kernel"]:
            nodes[i] = replace(nodes[i], attrs=_as_large(nodes[i], node))
    everywhere = set.intersection(*({node.name for node in lowered.nodes} for lowered in layers))
    optional = {node.name for node in nodes if node.op == "mul" and node.name not in everywhere}
    acts = {name: tuple(sorted(found)) for name, found in sorted(functions.items()) if len(found) > 1}
    return Join(LoweredLayer(tuple(nodes)), acts, frozenset(optional))


def _as_large(node: Node, other: Node) -> tuple[tuple[str, object], ...]:
    return tuple((key, other.attr[key] if key in ("kernel", "padding") else value) for key, value in node.attrs)


def _owners(unit: Unit) -> list[int]:
    """The number of the primitive that each mask of a unit belongs to."""
    given = 1 + len(unit.masks) + bool(unit.residual)
    found = {node.inputs[1] - 1: int(unit.nodes[node.inputs[0] - given].name) for node in unit.nodes if node.name == "mask"}
    return [found[i] for i in range(len(unit.masks))]


def selecting(unit: Unit, acts: Mapping[str, Sequence[str]], optional: Collection[str]) -> Unit:
    """A unit with flags after its masks: one for each function of an activation, and two, there and not there, for each gate.

    Args:
        unit: With neither.
        acts: Functions of activations by the number of the primitive, in the order of the flags.
        optional: Numbers of the products by gates, whose flags come last.
    """
    before, count = 1 + len(unit.masks), sum(map(len, acts.values())) + 2 * len(optional)
    given = before + bool(unit.residual)
    names = [name for name, functions in acts.items() for _ in functions] + [name for name in optional for _ in range(2)]
    flags = {name: before + names.index(name) for name in names}
    at = {i: i + count * (i == before) for i in range(given)}  # the residual's input comes after the flags
    out: list[Node] = []

    def put(op: str, like: Node, *inputs: int, **attrs: object) -> int:
        out.append(Node(op, "choice", inputs, like.shape, tuple(attrs.items())))
        return given + count + len(out) - 1

    for i, node in enumerate(unit.nodes, given):
        inputs = [at[j] for j in node.inputs]
        if node.name in acts:
            values = [put("act", node, *inputs, fn=function) for function in acts[node.name]]
            values = [put("mul", node, value, flags[node.name] + j) for j, value in enumerate(values)]
            at[i] = values[0]
            for value in values[1:]:
                at[i] = put("add", node, at[i], value)
            continue
        if node.name in optional:
            gate = put("mul", node, inputs[1], flags[node.name])
            inputs[1] = put("add", node, gate, flags[node.name] + 1)
        out.append(replace(node, inputs=tuple(inputs)))
        at[i] = given + count + len(out) - 1
    return replace(unit, nodes=tuple(out), masks=(*unit.masks, *[1] * count))
