"""Primitive layers with shapes, and the graph that architectures are lowered to.

A graph is the one description that cost, latency features, the Flax network, the exporters and the weight importers read.
Shapes are (height, width, channels) of one example; `global_pool` keeps (1, 1, channels), `flatten` gives (1, 1, n).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Shape = tuple[int, int, int]
Sides = tuple[int, int]  # rows and columns
Kernel = int | Sides  # a square by its side
Padding = str | int | Sides  # `same`, as TensorFlow pads, or pixels on both sides: of both axes, or of rows and of columns
Attrs = Mapping[str, Any]  # settings of a primitive by name: whole numbers, rates, names
PRODUCTS = ("conv", "conv_transpose", "dense")  # primitives with a kernel, whose multiply-adds are counted
ACTS = ("none", "relu", "relu6", "hswish", "swish", "sigmoid", "hsigmoid", "tanh", "gelu")


@dataclass(frozen=True)
class Node:
    """One primitive.

    Args:
        op: Its name, such as `conv`; `nas.nn.ops` computes each.
        name: `<scope>/<name>`, unique in its graph; weights are stored under it.
        inputs: Indices of the earlier nodes that it reads.
        shape: (height, width, channels) of its output for one example.
        attrs: Its settings, sorted by name.
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    shape: Shape
    attrs: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def attr(self) -> Attrs:
        """Its settings by name."""
        return dict(self.attrs)

    @property
    def scope(self) -> str:
        """The layer of the architecture it belongs to: `stem`, `stages.2.0` or `head`."""
        return self.name.split("/", 1)[0]


@dataclass(frozen=True)
class Graph:
    """A network as primitives.

    Args:
        nodes: In the order of execution; node 0 is the input.
        taps: (name, node) of the last feature maps of each size, Cn at stride 2^n.
        named: (name, node) of several outputs, as a head that returns a dict has them; empty: the last node is the output.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> graph = lower(load_arch("mobilenet_v2"))
        >>> graph.input_shape, graph.nodes[-1].shape, dict(graph.outputs)
        ((224, 224, 3), (1, 1, 1000), {'output': 153})
    """

    nodes: tuple[Node, ...]
    taps: tuple[tuple[str, int], ...] = ()
    named: tuple[tuple[str, int], ...] = ()

    @property
    def outputs(self) -> Mapping[str, int]:
        """Name -> node; the only output of most networks is `output`."""
        return dict(self.named) or {"output": len(self.nodes) - 1}

    @property
    def input_shape(self) -> Shape:
        """(height, width, channels) of an image."""
        return self.nodes[0].shape

    @cached_property
    def id(self) -> str:
        """Hash of what the network computes: names do not enter it, so two spellings of a network share it."""
        rows: list[tuple[object, ...]] = [(n.op, n.inputs, n.shape, n.attrs) for n in self.nodes]
        rows += self.named
        return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()[:12]

    def in_shapes(self, node: Node) -> list[Shape]:
        """Shapes that a node reads, in the order of its inputs."""
        return [self.nodes[i].shape for i in node.inputs]

    def flattened(self, node: Node) -> Node | None:
        """The `flatten` whose values a node reads in their order, dropout or an activation maybe between; None where there is none."""
        source = self.nodes[node.inputs[0]]
        while source.op in ("dropout", "act"):
            source = self.nodes[source.inputs[0]]
        return source if source.op == "flatten" else None


def param_shapes(node: Node, inputs: list[Shape]) -> dict[str, tuple[int, ...]]:
    """Shapes of a node's trainable arrays.

    Args:
        node: The node.
        inputs: Shapes that it reads.

    Returns:
        Shape by name: `kernel` (kh, kw, in / groups, out) of a convolution or (in, out) of a dense layer, `bias` (out,) where
        there is one, `scale` and `bias` (channels,) of a norm, `scale` (channels,) of `l2_normalize` where it is learned; empty
        for other primitives.

    Example:
        >>> from nas.arch.builder import Builder
        >>> b = Builder()
        >>> x = b.conv(b.input((8, 8, 3)), 16, 3, bias=True, name="c")
        >>> param_shapes(b.nodes[x], [(8, 8, 3)])
        {'kernel': (3, 3, 3, 16), 'bias': (16,)}
    """
    attr, width = node.attr, node.shape[2]
    if node.op == "norm":
        return {"scale": (width,), "bias": (width,)}
    if node.op not in PRODUCTS:
        return {"scale": (width,)} if "scale" in attr else {}
    window = () if node.op == "dense" else sides(attr["kernel"])
    shapes = {"kernel": (*window, inputs[0][2] // attr.get("groups", 1), width)}
    return {**shapes, "bias": (width,)} if attr["bias"] else shapes


def node_macs(node: Node, inputs: list[Shape]) -> int:
    """Multiply-adds of one example: convolutions and dense layers only, as the papers count.

    A transposed convolution multiplies every pixel of its input with its kernel.

    Args:
        node: The node.
        inputs: Shapes that it reads.

    Example:
        >>> from nas.arch.builder import Builder
        >>> b = Builder()
        >>> x = b.conv(b.input((8, 8, 3)), 16, 3, stride=2, name="c")
        >>> node_macs(b.nodes[x], [(8, 8, 3)]) == 4 * 4 * 3 * 3 * 3 * 16
        True
    """
    if node.op not in PRODUCTS:
        return 0
    rows, columns, _ = inputs[0] if node.op == "conv_transpose" else node.shape
    return math.prod(param_shapes(node, inputs)["kernel"]) * rows * columns


def sides(value: Kernel) -> Sides:
    """(rows, columns) of what is one number where both are equal.

    Example:
        >>> sides(3), sides((1, 7))
        ((3, 3), (1, 7))
    """
    return (value, value) if isinstance(value, int) else value


def reach(kernel: int, dilation: int) -> int:
    """Pixels from the first to the last that a dilated kernel sees along an axis.

    Example:
        >>> reach(5, 2)
        9
    """
    return (kernel - 1) * dilation + 1


def window_pads(size: Sequence[int], kernel: Kernel, stride: int, padding: Padding, dilation: int = 1) -> tuple[Sides, Sides]:
    """The padding of a convolution.

    Args:
        size: (height, width) of the input, more numbers are not read.
        kernel, stride, padding, dilation: Its settings.

    Returns:
        Pixels above and below, and left and right.

    Example:
        >>> window_pads((8, 8), (1, 3), 1, "same", dilation=2)
        ((0, 0), (2, 2))
    """
    around = sides(padding) if not isinstance(padding, str) else (padding, padding)
    rows, columns = (pads(size[a], reach(sides(kernel)[a], dilation), stride, around[a]) for a in (0, 1))
    return rows, columns


def pads(size: int, kernel: int, stride: int, padding: str | int) -> tuple[int, int]:
    """The padding of one axis.

    Args:
        size: Pixels of the input.
        kernel: Pixels of the window.
        stride: Pixels between windows.
        padding: `same`, as TensorFlow pads, or so many pixels on both sides.

    Returns:
        Pixels before and after.

    Example:
        >>> pads(8, 3, 2, "same"), pads(8, 3, 2, 1)
        ((0, 1), (1, 1))
    """
    if isinstance(padding, int):
        return padding, padding
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def out_size(size: int, kernel: int, stride: int, padding: str | int, ceil: bool = False) -> int:
    """Pixels of one axis after a window has passed over it.

    Args:
        size, kernel, stride, padding: As in `pads`.
        ceil: Whether a last window that is only partly on the image counts, as PyTorch's `ceil_mode` has it.

    Example:
        >>> out_size(7, 2, 2, 0), out_size(7, 2, 2, 0, ceil=True)
        (3, 4)
    """
    before, after = pads(size, kernel, stride, padding)
    span = size + before + after - kernel
    if not ceil:
        return span // stride + 1
    n = -(-span // stride) + 1
    return n - 1 if (n - 1) * stride >= size + before else n


def pool_pads(size: int, kernel: int, stride: int, padding: str | int, ceil: bool) -> tuple[int, int]:
    """As `pads`, with what `ceil` needs at the end for its last window."""
    before, after = pads(size, kernel, stride, padding)
    needed = (out_size(size, kernel, stride, padding, ceil) - 1) * stride + kernel
    return before, max(after, needed - size - before)
