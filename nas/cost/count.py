"""Exact costs of one architecture, layer by layer.

One multiply-add counts one; only convolutions and dense layers have any, as the MobileNet and EfficientNet papers count.
Parameters are the trainable ones: batch norm's moving statistics are not among them.

Peak activation bytes: batch 1, float32. Primitives run in the order of the graph. A tensor lives from the primitive that
makes it (the image: from the start) to the last one that reads it, and while a primitive runs its inputs and its output are
all there; so a block's input lives until its residual add. Element-wise primitives (norm, act, add, mul, dropout, drop_path),
flatten and reshape write over their first input where nobody reads it later. Weights and workspace of a primitive do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import Node, Shape, node_macs, param_shapes

IN_PLACE = frozenset({"norm", "act", "add", "mul", "dropout", "drop_path", "flatten", "l2_normalize", "reshape"})


@dataclass(frozen=True)
class LayerCost:
    """What one layer of an architecture costs.

    Args:
        name: `stem`, `stages.2.0`, `head`.
        op: The block.
        output: (height, width, channels) of what it gives.
        params: Trainable parameters.
        macs: Multiply-adds of one image.
        peak_activation_bytes: The most that is alive while it runs.
        primitives: Nodes of the graph that it is lowered to.
    """

    name: str
    op: str
    output: Shape
    params: int
    macs: int
    peak_activation_bytes: int
    primitives: int


@dataclass(frozen=True)
class Cost:
    """What a network costs, by the rules at the top of this file.

    Args:
        params: Trainable parameters.
        macs: Multiply-adds of one image.
        peak_activation_bytes: The most that is alive at once.
        layers: The same, layer by layer.
    """

    params: int
    macs: int
    peak_activation_bytes: int
    layers: tuple[LayerCost, ...]


def cost(arch: Arch) -> Cost:
    """Counts what an architecture costs, exactly.

    Args:
        arch: The architecture.

    Returns:
        Parameters, multiply-adds and activation memory, of the whole and layer by layer.

    Raises:
        ValueError: In the words of the architecture's file, where it cannot be lowered.

    Example:
        >>> from nas import load_arch
        >>> found = cost(load_arch("mobilenet_v3_large"))
        >>> found.params, found.macs, found.layers[0].output
        (5483032, 216589760, (112, 112, 16))
    """
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
    """Bytes of the tensors alive while each node runs, by the rules at the top of this file.

    Args:
        nodes: In the order of execution.
        outputs: Numbers of nodes that are read at the end.

    Returns:
        Bytes for each node, float32 and batch 1.
    """
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
    """Costs as rows of text, a row a layer, the header first and the total last.

    Example:
        >>> from nas import load_arch
        >>> cost_table(cost(load_arch("mobilenet_v3_large")))[1]
        ('stem', 'conv', '112x112x16', '464', '5.42 M', '1,372.0 KiB')
    """
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
    """Costs as plain data.

    Args:
        arch: The architecture.
        counted: What `cost` gives for it.

    Returns:
        `name`, `params`, `macs`, `peak_activation_bytes` and `layers`.
    """
    return {
        "name": arch.name,
        "params": counted.params,
        "macs": counted.macs,
        "peak_activation_bytes": counted.peak_activation_bytes,
        "layers": [{**asdict(layer), "output": list(layer.output)} for layer in counted.layers],
    }
