"""The feature maps before the head that heads may read: the last one of each size, and what the next block made of it before its stride."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nas.arch.builder import Builder
from nas.arch.graph import Node, Shape, Sides


@dataclass(frozen=True)
class TapShapes:
    """The shapes of a network's taps, for a head that is built by itself.

    Args:
        image: (height, width) of the image.
        levels: (stride, shape of the map, shape of the expansion or None) by rising stride; the last map is what feeds the head.
    """

    image: Sides
    levels: tuple[tuple[int, Shape, Shape | None], ...]


@dataclass(frozen=True)
class Taps:
    """What a head with the argument `taps` reads, by stride: pixels of the image between neighboring positions.

    Args:
        image: (height, width) of the image, in pixels.
        maps: Stride -> what the last layer there gives; the image itself is none of them.
        expansions: Stride -> the expansion, behind its norm and activation, of the inverted residual that halves the map. Only where
            there is one: SSDLite reads it (MobileNetV2, arXiv:1801.04381, section 6.2).

    Example:
        >>> from nas.arch.blocks import tapped
        >>> from nas.arch.find import find_arch
        >>> nodes, taps = tapped(find_arch("mobilenet_v2"))
        >>> {stride: nodes[i].shape for stride, i in taps.maps.items()}
        {2: (112, 112, 16), 4: (56, 56, 24), 8: (28, 28, 32), 16: (14, 14, 96), 32: (7, 7, 320)}
        >>> nodes[taps.expansion(16)].name, nodes[taps.expansion(16)].shape
        ('stages.5.0/expand.act', (14, 14, 576))
    """

    image: Sides
    maps: Mapping[int, int]
    expansions: Mapping[int, int]

    def map(self, stride: int) -> int:
        """The node of the last map at a stride. Raises ValueError where there is none."""
        if stride not in self.maps:
            raise ValueError(f"taps: no feature map has the stride {stride}; the strides are {', '.join(map(str, self.maps))}")
        return self.maps[stride]

    def expansion(self, stride: int) -> int:
        """The node of the expansion at a stride, or of the last map where the block that halves it has none."""
        return self.expansions.get(stride, self.map(stride))

    def finer(self, most: int) -> int:
        """The largest stride of a map that is `most` at most and below the last one's. Raises ValueError where there is none."""
        strides = [stride for stride in self.maps if stride <= most and stride < max(self.maps)]
        if not strides:
            last = max(self.maps, default=1)
            raise ValueError(f"taps: no feature map of a stride up to {most} is finer than the last one, whose stride is {last}")
        return max(strides)


@dataclass
class Tracker:
    """Notes the taps of a network as its layers are built.

    Args:
        stride: Of the image to the last layer.
        maps, expansions: As in `Taps`, so far.
    """

    stride: int = 1
    maps: dict[int, int] = field(default_factory=dict)
    expansions: dict[int, int] = field(default_factory=dict)

    def layer(self, before: int, after: int, stride: int, nodes: Sequence[Node]) -> None:
        """Notes a layer from one node to another.

        Args:
            before: The node that feeds it.
            after: The node that it gives.
            stride: Its own.
            nodes: All nodes so far.
        """
        if stride > 1 and self.stride in self.maps and (inner := expansion_of(nodes, before)) is not None:
            self.expansions[self.stride] = inner
        self.stride *= stride
        self.maps[self.stride] = after

    def taps(self, image: Shape) -> Taps:
        """What heads are given."""
        return Taps(image[:2], dict(self.maps), dict(self.expansions))


def expansion_of(nodes: Sequence[Node], before: int) -> int | None:
    """What the first depthwise convolution with a stride, of those after node `before`, reads, where that is wider than this node."""
    for node in nodes[before + 1 :]:
        if node.attr.get("stride", 1) > 1:
            inner = node.inputs[0]
            depthwise = node.op == "conv" and node.attr["groups"] == node.shape[2] > 1
            return inner if depthwise and inner > before and nodes[inner].shape[2] > nodes[before].shape[2] else None
    return None


def inputs_of(g: Builder, shapes: TapShapes) -> Taps:
    """Nodes in place of a network's taps, for a head that is built by itself, in the order that the network has them in."""
    maps, expansions = {}, {}
    for stride, shape, expansion in shapes.levels:
        maps[stride] = g.input(shape)
        if expansion is not None:
            expansions[stride] = g.input(expansion)
    return Taps(shapes.image, maps, expansions)
