"""Exact costs of one architecture, layer by layer.

One multiply-add counts one; only convolutions and dense layers have any, as the MobileNet and EfficientNet papers count.
Parameters are the trainable ones: batch norm's moving statistics are not among them.

Peak activation bytes: batch 1, float32. Primitives run in the order of the graph. A tensor lives from the primitive that
makes it (the image: from the start) to the last one that reads it, and while a primitive runs its inputs and its output are
all there; so a block's input lives until its residual add. Element-wise primitives (norm, act, add, mul, dropout, drop_path)
and flatten write over their first input where nobody reads it later. Weights and workspace of a primitive do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import Node, Shape, node_macs, param_shapes

IN_PLACE = frozenset({"norm", "act", "add", "mul", "dropout", "drop_path", "flatten"})


@dataclass(frozen=True)
class LayerCost:
    """One layer of the architecture; `peak_activation_bytes` is the most that is alive while it runs."""

    name: str
    op: str
    output: Shape
    params: int
    macs: int
    peak_activation_bytes: int
    primitives: int


@dataclass(frozen=True)
class Cost:
    params: int
    macs: int
    peak_activation_bytes: int
    layers: tuple[LayerCost, ...]


def cost(arch: Arch) -> Cost:
    """Exact costs. Raises ValueError, in the words of the architecture's file, where it cannot be lowered."""
    graph = lower(arch)
    nodes, alive = graph.nodes, alive_bytes(graph.nodes, graph.outputs.values())
    members: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        members.setdefault(node.scope, []).append(i)
    rows, shape = [], nodes[0].shape
    for scope, block, _ in arch.layers():
        ids = members.get(scope, [])
        shape = nodes[ids[-1]].shape if ids else shape
        params = sum(node_params(nodes[i], _inputs(nodes, i)) for i in ids)
        macs = sum(node_macs(nodes[i], _inputs(nodes, i)) for i in ids)
        peak = max((alive[i] for i in ids), default=0)
        rows.append(LayerCost(scope, block.op, shape, params, macs, peak, len(ids)))
    return Cost(sum(r.params for r in rows), sum(r.macs for r in rows), max(alive), tuple(rows))


def _inputs(nodes: Sequence[Node], i: int) -> list[Shape]:
    return [nodes[j].shape for j in nodes[i].inputs]


def node_params(node: Node, inputs: list[Shape]) -> int:
    """Trainable parameters of one primitive."""
    return sum(product(shape) for shape in param_shapes(node, inputs).values())


def product(sizes: Iterable[int]) -> int:
    out = 1
    for size in sizes:
        out *= size
    return out


def alive_bytes(nodes: Sequence[Node], outputs: Iterable[int]) -> list[int]:
    """Bytes of the tensors alive while each node runs, by the rules at the top of this file; `outputs` are read at the end."""
    last = list(range(len(nodes)))
    for i, node in enumerate(nodes):
        for j in node.inputs:
            last[j] = i
    for output in outputs:
        last[output] = len(nodes)
    sizes = [4 * product(node.shape) for node in nodes]
    out, alive = [], 0
    for i, node in enumerate(nodes):
        over = node.op in IN_PLACE and last[node.inputs[0]] == i
        alive += 0 if over else sizes[i]
        out.append(alive)
        alive -= sum(sizes[j] for j in {*node.inputs, i} if last[j] == i and not (over and j == node.inputs[0]))
    return out


def cost_table(counted: Cost) -> list[tuple[str, ...]]:
    """Rows of text, a row a layer, the header first and the total last."""
    rows: list[tuple[str, ...]] = [("layer", "op", "output", "params", "MACs", "activations")]
    for r in counted.layers:
        size = "x".join(map(str, r.output))
        rows.append((r.name, r.op, size, f"{r.params:,}", _millions(r.macs), _kib(r.peak_activation_bytes)))
    rows.append(("total", "", "", f"{counted.params:,}", _millions(counted.macs), _kib(counted.peak_activation_bytes)))
    return rows


def _millions(macs: int) -> str:
    return f"{macs / 1e6:,.2f} M"


def _kib(size: int) -> str:
    return f"{size / 1024:,.1f} KiB"


def cost_json(arch: Arch, counted: Cost) -> dict[str, object]:
    """The same as plain data: name, params, macs, peak_activation_bytes, layers."""
    return {
        "name": arch.name,
        "params": counted.params,
        "macs": counted.macs,
        "peak_activation_bytes": counted.peak_activation_bytes,
        "layers": [{**asdict(layer), "output": list(layer.output)} for layer in counted.layers],
    }
