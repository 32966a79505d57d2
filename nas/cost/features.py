"""What predicts the time of a layer: its multiply-adds by kind, the elements it moves, gates, parameters, primitives."""

from __future__ import annotations

from collections.abc import Sequence

from nas.arch.graph import PRODUCTS, Graph, Node, Shape, node_macs
from nas.cost.count import IN_PLACE, node_params, product

KERNELS = (3, 5, 7)
FEATURES = (
    "pointwise_macs",
    *(f"depthwise_macs_{k}x{k}" for k in KERNELS),
    "depthwise_macs_other",
    "conv_macs",
    "grouped_macs",
    "dense_macs",
    "read_elements",
    "written_elements",
    "smooth_elements",
    "se_count",
    "se_elements",
    "params",
    "primitives",
)
_AT = {name: i for i, name in enumerate(FEATURES)}
# Compilers fold these into the primitive before them, so that they move no memory of their own.
FUSED = IN_PLACE - {"add", "mul"}


def layer_features(graph: Graph) -> dict[str, list[int]]:
    """The features of every layer that does anything.

    `conv_macs` are those of dense kernels over 1x1 and of transposed convolutions, `read_elements` and `written_elements` the
    tensors that primitives which cannot be fused into the one before take and give, `smooth_elements` pass an activation other
    than ReLU and ReLU6, `se_elements` a gate.

    Args:
        graph: Of a whole network.

    Returns:
        By layer (`stem`, `stages.0.0` .. `head`) the numbers that `FEATURES` lists, in its order.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> stem = layer_features(lower(load_arch("mobilenet_v2")))["stem"]
        >>> {name: value for name, value in zip(FEATURES, stem, strict=True) if name in ("conv_macs", "params", "primitives")}
        {'conv_macs': 10838016, 'params': 928, 'primitives': 3}
    """
    out: dict[str, list[int]] = {}
    for node in graph.nodes:
        if node.op == "input":
            continue
        add_features(out.setdefault(node.scope, [0] * len(FEATURES)), node, graph.in_shapes(node))
    return out


def feature_row(nodes: Sequence[Node]) -> list[int]:
    """The features of a whole graph.

    Args:
        nodes: Of the graph, its input node first.

    Returns:
        `FEATURES` summed over the nodes.
    """
    row = [0] * len(FEATURES)
    for node in nodes[1:]:
        add_features(row, node, [nodes[i].shape for i in node.inputs])
    return row


def add_features(row: list[int], node: Node, inputs: list[Shape]) -> None:
    """Adds one primitive to a row of `FEATURES`; dropout and drop_path do nothing at inference."""
    if node.op in ("dropout", "drop_path", "input"):
        return
    size = product(node.shape)
    row[_AT["primitives"]] += 1
    row[_AT["params"]] += node_params(node, inputs)
    if node.op not in FUSED:
        row[_AT["read_elements"]] += sum(product(shape) for shape in inputs)
        row[_AT["written_elements"]] += size
    if node.op == "act" and node.attr["fn"] not in ("relu", "relu6"):
        row[_AT["smooth_elements"]] += size
    if node.op == "mul":
        row[_AT["se_count"]] += 1
        row[_AT["se_elements"]] += size
    if node.op in PRODUCTS:
        row[_AT[_kind(node, inputs[0])]] += node_macs(node, inputs)


def _kind(node: Node, given: Shape) -> str:
    if node.op != "conv":
        return "dense_macs" if node.op == "dense" else "conv_macs"
    kernel, groups = node.attr["kernel"], node.attr["groups"]
    if groups == given[2] and groups > 1:
        return f"depthwise_macs_{kernel}x{kernel}" if kernel in KERNELS else "depthwise_macs_other"
    if groups > 1:
        return "grouped_macs"
    return "pointwise_macs" if kernel == 1 else "conv_macs"
