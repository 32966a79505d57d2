"""The receptive field of every layer: which pixels of the image can change a value of it, exactly, from the graph alone.

A field is kept as the first and the last pixel that each row and each column of a layer sees, so that the image's border,
windows of even size, one-sided padding and branches of different depth are all exact. Its full size, which no border cuts, is
what the literature lists (Araujo et al. 2019, "Computing receptive fields of convolutional neural networks", Distill).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.arch.graph import Graph, Node, pads, pool_pads

Span = np.ndarray  # (positions, 2): first and last pixel of the image that each position sees


@dataclass(frozen=True)
class ReceptiveField:
    """What one layer sees of the image.

    Args:
        name: Of the layer's node.
        size: Side in pixels, were the image larger than the field.
        stride: Pixels of the image between neighboring positions of the layer.
        rows: (height, 2): first and last row of the image that each row of the layer sees.
        columns: (width, 2): the same of its columns.
        pooled: Whether a value depends on all positions of a map at once: behind a global pool, a flattened map, or a gate that is
            made of one, as squeeze-and-excitation has it. Such a gate is left out of the other figures.
        start: First row that the first row of the layer sees, were there more image above it: 0 or less.
    """

    name: str
    size: int
    stride: int
    rows: Span
    columns: Span
    pooled: bool = False
    start: int = 0


def receptive_fields(graph: Graph) -> tuple[ReceptiveField, ...]:
    """The receptive field of every node, in the order of `graph.nodes`.

    Args:
        graph: The network.

    Returns:
        A field for each node.

    Raises:
        ValueError: Naming a primitive that has no rule here.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> graph = lower(load_arch("vgg16"))
        >>> field = receptive_fields(graph)[dict(graph.taps)["C5"]]
        >>> field.size, field.stride, field.rows[0].tolist()
        (212, 32, [0, 121])
    """
    height, width, _ = graph.input_shape
    fields = [ReceptiveField("input", 1, 1, _each(height), _each(width))]
    for node in graph.nodes[1:]:
        if node.op not in RULES:
            raise ValueError(f"{node.name}: no receptive field is known of the primitive {node.op}")
        fields.append(RULES[node.op](node, [fields[i] for i in node.inputs]))
    return tuple(fields)


def layer_fields(graph: Graph) -> tuple[ReceptiveField, ...]:
    """The field of the last node of each layer that still has more than one position, such as `stages.2.0`, by that name.

    Args:
        graph: The network.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> [(field.name, field.size) for field in layer_fields(lower(load_arch("mobilenet_v1")))][-1]
        ('stages.4.1', 315)
    """
    last = {node.scope: i for i, node in enumerate(graph.nodes) if i and node.shape[0] * node.shape[1] > 1}
    fields = receptive_fields(graph)
    return tuple(replace(fields[i], name=scope) for scope, i in last.items())


def _each(size: int) -> Span:
    """Every pixel sees itself."""
    return np.repeat(np.arange(size)[:, None], 2, axis=1)


Rule = Callable[[Node, Sequence[ReceptiveField]], ReceptiveField]


def _kept(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    """A primitive that keeps positions where they are."""
    return replace(inputs[0], name=node.name)


def _window(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    x, a = inputs[0], node.attr
    kernel, stride, dilation = a["kernel"], a["stride"], a.get("dilation", 1)
    reach = (kernel - 1) * dilation

    def before(seen: Span) -> int:
        if "ceil" in a:
            return pool_pads(len(seen), kernel, stride, a["padding"], a["ceil"])[0]
        return pads(len(seen), reach + 1, stride, a["padding"])[0]

    def spans(seen: Span, count: int) -> Span:
        return _seen_through(seen, np.arange(count)[:, None] * stride - before(seen) + np.arange(kernel) * dilation)

    rows, columns = spans(x.rows, node.shape[0]), spans(x.columns, node.shape[1])
    size, start = x.size + reach * x.stride, x.start - before(x.rows) * x.stride
    return ReceptiveField(node.name, size, x.stride * stride, rows, columns, x.pooled, start)


def _seen_through(seen: Span, windows: np.ndarray) -> Span:
    """The span of each window, (positions, kernel) positions of its input; those outside it are padding and see nothing."""
    inside = (windows >= 0) & (windows < len(seen))
    taken = windows.clip(0, len(seen) - 1)
    first = np.where(inside, seen[taken, 0], np.iinfo(int).max).min(1)
    last = np.where(inside, seen[taken, 1], -1).max(1)
    return np.stack([first, last], 1)


def _joined(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    """Several tensors of one size, position by position."""

    def spans(parts: Sequence[Span]) -> Span:
        return np.stack([np.min([part[:, 0] for part in parts], 0), np.max([part[:, 1] for part in parts], 0)], 1)

    rows, columns = spans([x.rows for x in inputs]), spans([x.columns for x in inputs])
    start, end = min(x.start for x in inputs), max(x.start + x.size for x in inputs)
    stride, pooled = max(x.stride for x in inputs), any(x.pooled for x in inputs)
    return ReceptiveField(node.name, end - start, stride, rows, columns, pooled, start)


def _gated(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    """A tensor times a gate: one value a channel for all positions, or position by position where sizes agree."""
    x, gate = inputs
    if (len(x.rows), len(x.columns)) == (len(gate.rows), len(gate.columns)):
        return _joined(node, inputs)
    return replace(x, name=node.name, pooled=x.pooled or gate.pooled)


def _whole(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    """All positions become one."""
    x = inputs[0]

    def span(seen: Span) -> Span:
        return np.array([[seen[:, 0].min(), seen[:, 1].max()]])

    positions = max(len(x.rows), len(x.columns))
    size = x.size + (positions - 1) * x.stride
    return ReceptiveField(node.name, size, x.stride * positions, span(x.rows), span(x.columns), True, x.start)


RULES: dict[str, Rule] = {
    "conv": _window,
    "max_pool": _window,
    "avg_pool": _window,
    "global_pool": _whole,
    "flatten": _whole,
    "dense": _kept,
    "norm": _kept,
    "act": _kept,
    "add": _joined,
    "concat": _joined,
    "mul": _gated,
    "channels": _kept,
    "shuffle": _kept,
    "dropout": _kept,
    "l2_normalize": _kept,
    "drop_path": _kept,
}
