"""The receptive field of every layer: which pixels of the image can change a value of it, exactly, from the graph alone.

A field is kept as the first and the last pixel that each row and each column of a layer sees, so that the image's border,
windows of even size, one-sided padding and branches of different depth are all exact. Its full size, which no border cuts, is
what the literature lists (Araujo et al. 2019, "Computing receptive fields of convolutional neural networks", Distill).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.arch.graph import Graph, Node, pool_pads, reach, sides, window_pads

Span = np.ndarray  # (positions, 2): first and last pixel of the image that each position sees


@dataclass(frozen=True)
class ReceptiveField:
    """What one layer sees of the image.

    Args:
        name: Of the layer's node.
        size: Side in pixels, were the image larger than the field; the longer one of a kernel that is no square, the largest where
            positions differ, as those of a resized map do.
        stride: Pixels of the image between neighboring positions of the layer, 1 at least.
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
    kernel, stride, dilation = sides(a["kernel"]), a["stride"], a.get("dilation", 1)
    given = len(x.rows), len(x.columns)
    if "ceil" in a:
        before = [pool_pads(size, kernel[0], stride, a["padding"], a["ceil"])[0] for size in given]
    else:
        before = [ends[0] for ends in window_pads(given, kernel, stride, a["padding"], dilation)]

    def spans(seen: Span, axis: int) -> Span:
        first = np.arange(node.shape[axis])[:, None] * stride - before[axis]
        return _seen_through(seen, first + np.arange(kernel[axis]) * dilation)

    size, start = x.size + (reach(max(kernel), dilation) - 1) * x.stride, x.start - max(before) * x.stride
    return ReceptiveField(node.name, size, x.stride * stride, spans(x.rows, 0), spans(x.columns, 1), x.pooled, start)


def _spread(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    """A transposed convolution: a position sees those whose windows lie over it."""
    x, kernel, stride = inputs[0], node.attr["kernel"], node.attr["stride"]
    over = -(-kernel // stride)

    def spans(seen: Span, count: int) -> Span:
        places = np.arange(count)[:, None] // stride - np.arange(over)
        return _seen_through(seen, np.where(np.arange(count)[:, None] - places * stride < kernel, places, -1))

    rows, columns = spans(x.rows, node.shape[0]), spans(x.columns, node.shape[1])
    size, start = x.size + (over - 1) * x.stride, x.start - (over - 1) * x.stride
    return ReceptiveField(node.name, size, max(x.stride // stride, 1), rows, columns, x.pooled, start)


def _resized(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    """A position sees the two that its center lies between, or the one that it lies on."""
    x = inputs[0]

    def spans(seen: Span, count: int) -> Span:
        place = np.clip((np.arange(count) + 0.5) * len(seen) / count - 0.5, 0, len(seen) - 1)
        return _seen_through(seen, np.stack([np.floor(place), np.ceil(place)], 1).astype(int))

    rows, columns = spans(x.rows, node.shape[0]), spans(x.columns, node.shape[1])
    larger = node.shape[0] > len(x.rows)
    stride = max(x.stride * len(x.rows) // node.shape[0], 1)
    return ReceptiveField(node.name, x.size + x.stride, stride, rows, columns, x.pooled, x.start - x.stride * larger)


def _cropped(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    """A part of the positions."""
    x, top, left = inputs[0], node.attr["top"], node.attr["left"]
    rows, columns = x.rows[top : top + node.shape[0]], x.columns[left : left + node.shape[1]]
    return replace(x, name=node.name, rows=rows, columns=columns, start=x.start + top * x.stride)


def _reshaped(node: Node, inputs: Sequence[ReceptiveField]) -> ReceptiveField:
    """Where a value comes from is not followed: each position may see what any sees."""
    whole = _whole(node, inputs)
    return replace(whole, rows=whole.rows.repeat(node.shape[0], 0), columns=whole.columns.repeat(node.shape[1], 0))


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
    "conv_transpose": _spread,
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
    "resize": _resized,
    "crop": _cropped,
    "reshape": _reshaped,
    "drop_path": _kept,
}
