"""A layer at the largest widths of the space, in which a candidate's own widths are masks: one program for all of them.

The masks are inputs. What a norm, a bias or an activation leaves in channels that the candidate has not is set to zero before
anything reads it, in the squeeze of an SE too; batch norm works channel by channel, so that no mask enters its moments.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from nas.arch.graph import PRODUCTS, Node, Shape
from nas.nn.ops import Array
from nas.supernet.layers import ORDERED, LoweredLayer

SHORTCUT = ("avg_pool", "max_pool", "drop_path")  # primitives that a residual's input may pass


def widened(lowered: LoweredLayer, ranges: Sequence[tuple[int, int]]) -> tuple[tuple[Node, ...], dict[int, int], int]:
    """The primitives of a layer at its largest widths, masks among them.

    Args:
        lowered: The layer of a candidate.
        ranges: Channels of each of its nodes, where it is narrowest and where it is widest.

    Returns:
        (nodes, channels of each mask by the number of the node that it belongs to, channels of the layer's input as a residual adds it
        or 0). Nodes read the input as value 0, the masks after it, then the input for the residual where there is one.

    Raises:
        ValueError: For a sum whose terms differ in width for another reason than the layer's input.
    """
    nodes, channels = lowered.nodes, widest(lowered.nodes, ranges)
    masked = [i for i in range(1, len(nodes)) if ranges[i][0] < channels[i] and _leaves_values(nodes, i)]
    refit = {
        i
        for i, node in enumerate(nodes)
        if 0 in node.inputs and channels[i] != channels[0] and (node.op == "add" or _shortcut(nodes, i))
    }
    residuals = {channels[i] for i in refit}
    sums = [(i, j) for i, node in enumerate(nodes) if node.op == "add" for j in node.inputs if j]
    if len(residuals) > 1 or any(channels[i] != channels[j] for i, j in sums):
        raise ValueError(
            f"{nodes[-1].scope}: sums of tensors of different largest widths, which masks do not know; take evaluator=scratch"
        )
    residual = residuals.pop() if residuals else 0
    at: dict[int, int] = {0: 0}
    given, out = 1 + len(masked) + bool(residual), list[Node]()
    for i, node in enumerate(nodes[1:], 1):
        inputs = tuple(given - 1 if j == 0 and i in refit else at[j] for j in node.inputs)
        out.append(Node(node.op, node.name, inputs, _wide(node.shape, channels[i]), _attrs(node, nodes, channels, i)))
        at[i] = given + len(out) - 1
        if i in masked:
            out.append(
                Node("mul", f"mask of {node.name}", (at[i], 1 + masked.index(i)), _wide(node.shape, channels[i]))
            )
            at[i] += 1
    return tuple(out), {i: channels[i] for i in masked}, residual


def widest(nodes: Sequence[Node], ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Channels of each node where all that it reads are widest. A sum is as wide as what the layer adds to its input."""
    channels = [ranges[0][1]]
    for node, (_, high) in zip(nodes[1:], ranges[1:], strict=True):
        if node.op == "add":
            high = max((channels[j] for j in node.inputs if not _shortcut(nodes, j)), default=channels[0])
        elif node.op not in (*PRODUCTS, *ORDERED) or depthwise(node, nodes):
            high = channels[node.inputs[0]]
        channels.append(high)
    for i in reversed(range(len(nodes))):  # what a shortcut does to the input, it does at the width of the sum
        if nodes[i].op == "add" or _shortcut(nodes, i):
            for j in nodes[i].inputs:
                channels[j] = channels[i] if j and _shortcut(nodes, j) else channels[j]
    return channels


def _shortcut(nodes: Sequence[Node], i: int) -> bool:
    """Whether a node is the layer's input, or what pooling and the like make of that alone."""
    return i == 0 or (nodes[i].op in SHORTCUT and all(_shortcut(nodes, j) for j in nodes[i].inputs))


def _wide(shape: Shape, channels: int) -> Shape:
    return *shape[:2], channels


def _attrs(node: Node, nodes: Sequence[Node], channels: Sequence[int], i: int) -> tuple[tuple[str, object], ...]:
    """A depthwise convolution has as many groups as channels."""
    return tuple(
        (key, channels[i] if depthwise(node, nodes) and key == "groups" else value) for key, value in node.attrs
    )


def depthwise(node: Node, nodes: Sequence[Node]) -> bool:
    """Whether a node is a convolution of each channel by itself."""
    return node.op == "conv" and node.attr["groups"] == node.shape[2] == nodes[node.inputs[0]].shape[2] > 1


def _leaves_values(nodes: Sequence[Node], i: int) -> bool:
    """Whether a node, as the last of norm and activation, can leave other values than zero where its input is masked."""
    node = nodes[i]
    readers = [other for other in nodes if i in other.inputs]
    if len(readers) == 1 and readers[0].op == "act":
        return False  # the activation is masked
    source = nodes[node.inputs[0]] if node.op == "act" else node
    return source.op in ("norm", *PRODUCTS)


def inputs_of(x: Array, widths: Array, masks: Sequence[int], channels: int, residual: int) -> list[Array]:
    """What the nodes of `widened` read: the layer's input at `channels`, its masks, and its input as the residual has it."""
    values = [fitted(x, channels)]
    values += [(jnp.arange(size) < widths[i]).astype(x.dtype).reshape(1, 1, 1, size) for i, size in enumerate(masks)]
    return [*values, fitted(x, residual)] if residual else values


def fitted(x: Array, channels: int) -> Array:
    """The first channels of a tensor, or zeros after them."""
    missing = channels - x.shape[3]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, missing))) if missing > 0 else x[..., :channels]
