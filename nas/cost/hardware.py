"""What accelerators add to a layer's analytic features: channels padded to lanes, and rooflines.

Vector units and matrix units work on 8, 32 or 128 channels at a time, so that a layer of 130 channels may take as long as one
of 256. A primitive takes the longer of its arithmetic and its memory traffic (Williams et al. 2009); which of them depends
on the machine's multiply-adds an element, of which four stand here.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas.arch.graph import PRODUCTS, Node, Shape, node_macs
from nas.cost.count import product
from nas.cost.features import FUSED

LANES = (8, 32, 128)
RATIOS = (4, 16, 64, 256)
HARDWARE = (
    *(f"{what}_{lanes}" for lanes in LANES for what in ("padded_elements", "padded_macs", "padded_depthwise_macs")),
    *(f"roofline_{ratio}" for ratio in RATIOS),
    "kernels",
    "added_elements",
)
_AT = {name: i for i, name in enumerate(HARDWARE)}


def hardware_row(nodes: Sequence[Node]) -> list[float]:
    """What an accelerator makes of a graph.

    Rooflines are elements: of each primitive the larger of those it moves and its multiply-adds over the ratio. `kernels`
    counts convolutions and dense layers, `added_elements` those of residual additions.

    Args:
        nodes: Of the graph, its input node first.

    Returns:
        `HARDWARE` summed over the nodes.

    Source:
        Roofline: Williams et al. 2009 (doi:10.1145/1498765.1498785).
    """
    row = [0.0] * len(HARDWARE)
    for node in nodes[1:]:
        if node.op not in ("dropout", "drop_path", "input"):
            _add(row, node, [nodes[i].shape for i in node.inputs])
    return row


def _add(row: list[float], node: Node, inputs: list[Shape]) -> None:
    macs = node_macs(node, inputs) if node.op in PRODUCTS else 0
    tensors = [] if node.op in FUSED else [*inputs, node.shape]
    moved = sum(product(shape) for shape in tensors)
    for lanes in LANES:
        row[_AT[f"padded_elements_{lanes}"]] += sum(_padded(shape, lanes) for shape in tensors)
        if macs:
            depthwise = node.op == "conv" and node.attr["groups"] > 1
            kind = "padded_depthwise_macs" if depthwise else "padded_macs"
            given = 1.0 if depthwise else _up(inputs[0][2], lanes) / inputs[0][2]
            row[_AT[f"{kind}_{lanes}"]] += macs * given * _up(node.shape[2], lanes) / node.shape[2]
    for ratio in RATIOS:
        row[_AT[f"roofline_{ratio}"]] += max(moved, macs / ratio)
    row[_AT["kernels"]] += macs > 0
    row[_AT["added_elements"]] += product(node.shape) if node.op == "add" else 0


def _up(channels: int, lanes: int) -> int:
    return -(-channels // lanes) * lanes


def _padded(shape: Shape, lanes: int) -> int:
    return shape[0] * shape[1] * _up(shape[2], lanes)
