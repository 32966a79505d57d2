"""The layers that a space's architectures are made of: which can stand at each position, and the primitives of one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

from nas.arch import Arch, Block
from nas.arch.blocks import lower_alone, reads_taps
from nas.arch.graph import PRODUCTS, Node, Shape
from nas.space import Genome, Hole, Pairs, Space
from nas.space.template import holds

Choice: TypeAlias = tuple[int, ...]  # the options of `block` and `op`: what has weights of its own
WHOLE = ("block", "op")
ORDERED = ("concat", "channels", "shuffle", "flatten", "reshape")  # their first channels are not those of all candidates
MAX_CASES = 64  # resolutions times strides
Values: TypeAlias = Mapping[int, int]  # gene -> option


class Layer(NamedTuple):
    """One layer of an architecture: its place, the options of its block, the block, its stride and what it reads."""

    scope: str
    choice: Choice
    block: Block
    stride: int
    in_shape: Shape


@dataclass(frozen=True)
class LoweredLayer:
    """The primitives of a layer. Node 0 is its input; the last one is its output, or node 0 where the layer does nothing."""

    nodes: tuple[Node, ...]

    @property
    def out_shape(self) -> Shape:
        return self.nodes[-1].shape

    @cached_property
    def trunk(self) -> tuple[str, ...]:
        """Names of the convolutions and dense layers on the way to the output; those that make a gate are none of them."""
        found, seen, waiting = [], set[int](), [len(self.nodes) - 1]
        while waiting:
            i = waiting.pop()
            if i in seen:
                continue
            seen.add(i)
            node = self.nodes[i]
            waiting += node.inputs[:1] if node.op == "mul" else node.inputs
            if node.op in PRODUCTS:
                found.append(node.name)
        return tuple(sorted(found))


@dataclass(frozen=True, eq=False)
class Layers:
    """All layers of a space's architectures; `apart`: whether blocks chosen as a whole have weights of their own."""

    space: Space
    apart: bool = True

    @cached_property
    def _lowered(self) -> dict[Layer, LoweredLayer]:
        return {}

    def lowered(self, layer: Layer) -> LoweredLayer:
        """The primitives of a layer; equal layers are lowered once. Raises ValueError for one that has several outputs."""
        if layer not in self._lowered:
            self._lowered[layer] = self._lower(layer)
        return self._lowered[layer]

    def _lower(self, layer: Layer) -> LoweredLayer:
        asks = "output_stride" if layer.block.get("output_stride") else ""
        if layer.scope == "head" and (asks or reads_taps(layer.block.op)):
            why = "makes strides dilations" if asks else "reads the feature maps of several layers"
            raise ValueError(
                f"head: {asks or layer.block.op} {why}, and weights are shared by layers that follow one another; take evaluator=scratch"
            )
        nodes, outputs = lower_alone(
            self._base, layer.scope, layer.block, layer.stride, layer.in_shape, drop_rate=self._base.drop_path
        )
        if len(outputs) > 1:
            raise ValueError(
                f"head: has {len(outputs)} outputs, and weights are shared by networks of one; take evaluator=scratch"
            )
        if outputs["output"] not in (0, len(nodes) - 1):
            raise ValueError(
                f"{layer.scope}: {layer.block.op}: its output is not its last node, which shared weights need"
            )
        return LoweredLayer(tuple(nodes) if outputs["output"] else tuple(nodes[:1]))

    @cached_property
    def _base(self) -> Arch:
        return self.space.decode(self.space.canonical([0] * len(self.space.genes)))

    def of(self, genome: Genome) -> list[Layer]:
        """The layers of a genome's architecture in the order data meets them."""
        space, on = self.space, self.space.active(genome)

        def pick(hole: Hole) -> int | None:
            return genome[hole.gene] if holds(hole.when, on, genome) else None

        arch, out = space.decode(genome), []
        shape = (arch.resolution, arch.resolution, arch.channels)
        for scope, block, stride in arch.layers():
            layer = Layer(scope, self._choice(_own(self.template(scope), pick)), block, stride, shape)
            out.append(layer)
            shape = self.lowered(layer).out_shape
        return out

    def _choice(self, own: Choice) -> Choice:
        return own if self.apart else ()

    def template(self, scope: str) -> Pairs:
        """What the space's file says of a layer."""
        if scope in ("stem", "head"):
            return getattr(self.space, scope)
        _, stage, layer = scope.split(".")
        return self.space.stages[int(stage)].layers[int(layer)]

    def all(self) -> Iterator[Layer]:
        """Every layer of every architecture; some of combinations that the space forbids too."""
        seen: set[Layer] = set()
        for values in self._cases():
            for layer in self._at(values):
                if layer not in seen:
                    seen.add(layer)
                    yield layer

    @cached_property
    def cases(self) -> int:
        """How many combinations of resolutions and strides there are."""
        return sum(1 for _ in self._cases())

    @cached_property
    def optional(self) -> frozenset[str]:
        """Places that not every architecture has."""
        places = self.space.positions()
        return frozenset(f"stages.{place.stage}.{place.layer}" for place in places if place.optional)

    @cached_property
    def sizing(self) -> tuple[int, ...]:
        """Genes that change sizes without weights: resolution and strides."""
        space = self.space
        holes = [
            space.resolution,
            *(stage.stride for stage in space.stages),
            *(v for k, v in space.stem if k == "stride"),
        ]
        if space.io[0] is not None:
            holes = holes[1:]
        return tuple(dict.fromkeys(hole.gene for hole in holes if isinstance(hole, Hole)))

    def _cases(self) -> Iterator[Values]:
        space, genes = self.space, self.sizing
        counts = [range(len(space.genes[gene].options)) for gene in genes]
        for case, options in enumerate(itertools.product(*counts)):
            if case == MAX_CASES:
                raise ValueError(
                    f"{space.name}: more than {MAX_CASES} combinations of resolutions and strides; take fewer"
                )
            yield dict(zip(genes, options, strict=True))

    def _at(self, fixed: Values) -> Iterator[Layer]:
        """All layers at one resolution. Widths of neighboring layers that one gene decides agree."""
        space = self.space
        arch = space.decode(space.canonical([fixed.get(gene, 0) for gene in range(len(space.genes))]))
        strides = arch.strides()
        shapes: dict[tuple[Shape, Widths], None] = {
            ((arch.resolution, arch.resolution, arch.channels), frozenset()): None
        }
        places = [("stem", strides[0], False)]
        for place in space.positions():
            places.append(
                (
                    f"stages.{place.stage}.{place.layer}",
                    strides[place.stage + 1] if place.layer == 0 else 1,
                    place.optional,
                )
            )
        for scope, stride, optional in [*places, ("head", 1, False)]:
            after: dict[tuple[Shape, Widths], None] = dict(shapes) if optional else {}
            options = list(_options(space, self.template(scope), fixed, scope.startswith("stages")))
            for shape, known in shapes:
                for own, block, widths in options:
                    if any(gene == other and a != b for gene, a in known for other, b in widths):
                        continue
                    layer = Layer(scope, self._choice(own), block, stride, shape)
                    yield layer
                    after[self.lowered(layer).out_shape, widths or known] = None
            shapes = after


Widths: TypeAlias = frozenset[tuple[int, int]]  # (gene, option) of the width of the layer that made a tensor


def _own(template: Pairs, pick: Callable[[Hole], int | None]) -> Choice:
    options = [pick(value) for key, value in template if key in WHOLE and isinstance(value, Hole)]
    return tuple(-1 if option is None else option for option in options)


def _options(space: Space, template: Pairs, fixed: Values, in_stage: bool) -> Iterator[tuple[Choice, Block, Widths]]:
    """Every block that a layer can be, with the genes that decide its width."""
    genes = list(dict.fromkeys(h.gene for _, h in template if isinstance(h, Hole)))
    seen = set()
    for options in itertools.product(*(range(len(space.genes[g].options)) for g in genes)):
        values = {**dict(zip(genes, options, strict=True)), **fixed}

        def pick(hole: Hole, values: Values = values) -> int | None:
            there = all(g not in values or values[g] in allowed for g, allowed in hole.when)
            return values[hole.gene] if there else None

        widths = frozenset(
            (v.gene, values[v.gene]) for k, v in template if k in ("width", "block") and isinstance(v, Hole)
        )
        found = _own(template, pick), space.block(template, pick, in_stage=in_stage), widths
        if found not in seen:
            seen.add(found)
            yield found
