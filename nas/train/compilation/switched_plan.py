"""A space of fixed widths as one network with switches: what stands at each position, and where its arrays are kept.

A position is the stem, a layer or the head. The blocks that can stand there are cut into pieces, each with one tensor in and
one out (a squeeze-and-excitation is one piece), and blocks whose pieces have equal names and shapes become one `Group`: a row
of pieces, with variants where the blocks differ (kernel 3 or 5, an activation, SE or nothing). A candidate is then a group
for each position and a variant for each piece. All variants of a piece share their place in the packed parameters, so that
these are as large as the largest candidate, not the sum of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType

import numpy as np

from nas.arch import Arch, Block
from nas.arch.blocks import lower_alone, reads_taps
from nas.arch.graph import Graph, Node, Shape
from nas.nn.network import norms_with_acts
from nas.nn.weights import Arrays
from nas.space import Hole, Pairs, Space
from nas.train.compilation.switched_pieces import PARTS, Group, Piece, Sizes, grouped, merged
from nas.train.optim import A

MAX_PRIMITIVES = 4000  # of all groups together; a program of more would take minutes to compile


@dataclass
class PositionPlan:
    """One position: its groups, and for every block that can stand there its group and its variants."""

    scope: str
    shape: Shape
    groups: list[Group] = field(default_factory=list)
    choices: dict[tuple[Piece, ...], tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def sizes(self) -> Sizes:
        return {part: max(group.sizes[part] for group in self.groups) for part in PARTS}

    @cached_property
    def random(self) -> tuple[str, ...]:
        """Names of the nodes that need random numbers."""
        pieces = [p for option in self.choices for p in option]
        return tuple(dict.fromkeys(n.name for p in pieces for n in p.nodes if n.op in ("dropout", "drop_path")))


@dataclass(frozen=True)
class Placement:
    """Where a candidate's arrays stand in the packed ones; packs and unpacks as `Layout` does.

    entries: (node, array, shape, part, start).
    """

    entries: tuple[tuple[str, str, tuple[int, ...], str, int], ...]
    sizes: tuple[tuple[str, int], ...]

    def pack(self, tree: Arrays, xp: ModuleType = np) -> dict[str, np.ndarray]:
        packed = self.empty()
        for node, name, shape, part, start in self.entries:
            packed[part][start : start + math.prod(shape)] = np.ravel(tree[node][name])
        return packed

    def empty(self) -> dict[str, np.ndarray]:
        return {part: np.zeros(size, np.float32) for part, size in self.sizes}

    def unpack(self, packed: Mapping[str, A]) -> dict[str, dict[str, A]]:
        tree: dict[str, dict[str, A]] = {}
        for node, name, shape, part, start in self.entries:
            tree.setdefault(node, {})[name] = packed[part][start : start + math.prod(shape)].reshape(shape)
        return tree


@dataclass(frozen=True)
class Choice:
    """A candidate within the program. groups: (positions,); variants: (positions, steps); folds, rates: (positions, random nodes)."""

    groups: np.ndarray
    variants: np.ndarray
    folds: np.ndarray
    rates: np.ndarray
    params: Placement
    stats: Placement


@dataclass(frozen=True)
class SpacePlan:
    """All positions of a space, in the order data meets them."""

    name: str
    input_shape: Shape
    positions: tuple[PositionPlan, ...]

    @cached_property
    def sizes(self) -> Sizes:
        return {part: sum(position.sizes[part] for position in self.positions) for part in PARTS}

    def choice(self, arch: Arch, graph: Graph) -> Choice:
        """Where an architecture of the space stands in it. Raises ValueError for one that lies outside."""
        layers = {scope: (block, stride) for scope, block, stride in arch.layers()}
        wide = max(len(group.steps) for position in self.positions for group in position.groups)
        groups, variants = np.zeros(len(self.positions), np.int32), np.zeros((len(self.positions), wide), np.int32)
        rows = max(1, *(len(position.random) for position in self.positions))
        folds, rates = np.zeros((len(self.positions), rows), np.int32), np.zeros((len(self.positions), rows), np.float32)
        places = {node.name: (i, node.attr.get("rate", 0.0)) for i, node in enumerate(graph.nodes)}
        entries: list[tuple[str, str, tuple[int, ...], str, int]] = []
        starts = dict.fromkeys(PARTS, 0)
        if graph.input_shape != self.input_shape or not layers.keys() <= {position.scope for position in self.positions}:
            raise ValueError(f"{arch.name}: not in the space {self.name}: it has another input or more layers")
        for s, position in enumerate(self.positions):
            option = _pieces(arch, position.scope, *layers[position.scope], position.shape) if position.scope in layers else ()
            if option not in position.choices:
                raise ValueError(f"{arch.name}: not in the space {self.name}: {position.scope} has another block")
            groups[s], chosen = position.choices[option]
            variants[s, : len(chosen)] = chosen
            entries += _entries(position.groups[groups[s]], chosen, starts)
            for r, name in enumerate(position.random):
                folds[s, r], rates[s, r] = places.get(name, (0, 0.0))
            starts = {part: starts[part] + position.sizes[part] for part in PARTS}
        params = Placement(tuple(e for e in entries if e[3] != "stats"), tuple((p, self.sizes[p]) for p in PARTS[:2]))
        of_stats = tuple(
            (node, name, shape, "others", start) for node, name, shape, part, start in entries if part == "stats"
        )
        stats = Placement(of_stats, (("kernels", 0), ("others", self.sizes["stats"])))
        return Choice(groups, variants, folds, rates, params, stats)


def _entries(
    group: Group, chosen: Sequence[int], starts: Sizes
) -> Iterator[tuple[str, str, tuple[int, ...], str, int]]:
    at = dict(starts)
    for step, variant in zip(group.steps, chosen, strict=True):
        inner, piece = dict(at), step.variants[variant]
        for part, node, name, shape in piece.arrays() if piece else ():
            yield node, name, shape, part, inner[part]
            inner[part] += math.prod(shape)
        at = {part: at[part] + step.sizes[part] for part in PARTS}


def plan_space(space: Space) -> SpacePlan:
    """The positions of a space as fitted to its dataset.

    Raises ValueError naming the gene where a choice changes a tensor between layers (width, size, stride) or stands in
    stem or head, or where the program would grow beyond what compiles in reasonable time.
    """
    _check_fixed(space)
    arch = space.decode(space.canonical([0] * len(space.genes)))
    if arch.output_stride or reads_taps(arch.head.op):
        raise ValueError(
            f"{space.name}: head: {arch.head.op} reads several layers or dilates them, and one program has layers that follow one "
            "another; take evaluator=scratch"
        )
    shape = (arch.resolution, arch.resolution, arch.channels)
    positions = [_position(space, arch, "stem", [arch.stem], arch.stem.get("stride", 1), shape, ())]
    for place in space.positions():
        stride = arch.stages[place.stage].stride if place.layer == 0 else 1
        template = space.stages[place.stage].layers[place.layer]
        scope = f"stages.{place.stage}.{place.layer}"
        positions.append(_position(space, arch, scope, place.blocks, stride, _out(positions[-1]), template, place.optional))
    positions.append(_position(space, arch, "head", [arch.head], 1, _out(positions[-1]), ()))
    pieces = [p for position in positions for g in position.groups for step in g.steps for p in step.variants if p]
    if (count := sum(len(p.nodes) for p in pieces)) > MAX_PRIMITIVES:
        raise ValueError(f"{space.name}: one program would hold {count} primitive layers, more than {MAX_PRIMITIVES}")
    return SpacePlan(space.name, shape, tuple(positions))


def _check_fixed(space: Space) -> None:
    holes: list[tuple[str, object]] = [("stem", v) for _, v in space.stem]
    holes += [("head", v) for _, v in space.head]
    holes += [(f"the stride of stages[{i}]", stage.stride) for i, stage in enumerate(space.stages)]
    holes += [("the resolution", space.resolution)] if space.io[0] is None else []
    for what, value in holes:
        if isinstance(value, Hole):
            raise ValueError(
                f"{space.name}: {space.genes[value.gene].name}: changes {what}, which one program has fixed"
            )


def _position(space: Space, arch: Arch, scope: str, blocks: Sequence[Block], stride: int, shape: Shape,
          template: Pairs, optional: bool = False) -> PositionPlan:  # fmt: skip
    options = dict.fromkeys(_pieces(arch, scope, block, stride, shape) for block in blocks)
    options |= {(): None} if optional else {}
    shapes = {option[-1].shape if option else shape for option in options}
    if len(shapes) > 1:
        holes = {key: space.genes[v.gene].name for key, v in template if isinstance(v, Hole)}
        genes = [holes["width"]] if "width" in holes else [*holes.values()]
        raise ValueError(
            f"{space.name}: {', '.join(genes) or scope}: changes the width or size after {scope}, which one program has fixed"
        )
    position = PositionPlan(scope, shape)
    for members in grouped(options).values():
        for group, chosen in merged(members):
            position.groups.append(group)
            position.choices |= {option: (len(position.groups) - 1, variants) for option, variants in chosen.items()}
    return position


def _out(position: PositionPlan) -> Shape:
    option = next(iter(position.choices))
    return option[-1].shape if option else position.shape


def _pieces(arch: Arch, scope: str, block: Block, stride: int, shape: Shape) -> tuple[Piece, ...]:
    """A block's nodes, cut wherever all that follows needs only the last one's output and the block's input.

    A norm stays with its activation, because training does both in one.
    """
    nodes, outputs = lower_alone(arch, scope, block, stride, shape, drop_rate=arch.drop_path)
    if len(outputs) > 1:
        raise ValueError(f"{scope}: {block.op}: has {len(outputs)} outputs, one program trains heads of one; take evaluator=scratch")
    if outputs["output"] != len(nodes) - 1:
        raise ValueError(f"{scope}: {block.op}: its output is not its last node, which one program needs")
    pieces, first, fused = [], 1, norms_with_acts(nodes)
    for last in range(1, len(nodes)):
        if last not in fused and all(i in (0, last) or i > last for node in nodes[last + 1 :] for i in node.inputs):
            pieces.append(_piece(nodes, first, last))
            first = last + 1
    return tuple(pieces)


def _piece(nodes: Sequence[Node], first: int, last: int) -> Piece:
    def local(node: Node) -> Node:
        inputs = tuple(0 if i == 0 and first > 1 else 1 if i == first - 1 else i - first + 2 for i in node.inputs)
        attrs = () if node.op == "drop_path" else node.attrs  # its rate depends on the depth of the candidate
        return Node(node.op, node.name, inputs, node.shape, attrs)

    return Piece(tuple(local(node) for node in nodes[first : last + 1]), nodes[first - 1].shape, nodes[0].shape)
