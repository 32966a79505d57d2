"""The weights of an .onnx file in a network; batch norms that the export folded into convolutions start so that outputs are equal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from nas.arch.graph import Graph, Node
from nas.convert.fill import Imported, copied
from nas.convert.fold import folded
from nas.convert.onnx_file import OnnxWeights
from nas.convert.torch_layers import import_state_dict
from nas.nn.weights import HostVariables


def import_onnx(found: OnnxWeights, graph: Graph, start: HostVariables) -> Imported:
    """`start` with the arrays of a file in the place of its own, matched like those of a state dict.

    A file has batch norms as the graph has them, or as they are when those after a convolution are folded into it.

    Args:
        found: What `read_onnx` gives.
        graph: The network.
        start: Its initial weights.

    Raises:
        ValueError: Naming the first layer that does not fit, with both shapes.
    """
    norms = {node.name: node for node in graph.nodes if node.op == "norm"}
    deployed, arrays = folded(graph, start)
    within = {name: node for name, node in norms.items() if name not in {other.name for other in deployed.nodes}}
    is_folded = bool(within) and found.norms == len(norms) - len(within)
    if not is_folded:
        imported = import_state_dict(found.arrays, graph, start, is_sorted=False, pixels_first=found.pixels_first)
        return Imported(imported.variables, imported.fresh, (*found.notes, *imported.notes, *_eps(found, norms)))
    imported = import_state_dict(found.arrays, deployed, arrays, is_sorted=False, pixels_first=found.pixels_first)
    variables, fresh = copied(start), set(imported.fresh)
    for part in variables:
        for node, own in imported.variables[part].items():
            if node not in fresh:
                variables[part][node] = {name: np.array(own[name]) for name in variables[part][node]}
    for name, norm in within.items():
        source = graph.nodes[norm.inputs[0]].name
        if source in fresh:
            fresh.add(name)
        else:
            _start_norm(variables, source, name, imported.variables["params"][source]["bias"], norm.attr["eps"])
    note = (
        f"{len(within)} batch norms are folded into convolutions in the file: each starts with mean 0 and variance 1, so that outputs "
        "are equal; the trained statistics are lost, and a training that does not freeze them begins elsewhere"
    )
    order = tuple(node for node in start["params"] if node in fresh)
    return Imported(variables, order, (*found.notes, *imported.notes, note))


def _start_norm(variables: HostVariables, source: str, norm: str, bias: np.ndarray, eps: float) -> None:
    """Statistics that do nothing, and the bias of the folded layer as the norm's."""
    params, stats = variables["params"], variables["stats"]
    if "bias" in params[source]:
        params[source]["bias"] = np.zeros_like(bias)
    params[norm] = {"scale": np.full_like(bias, math.sqrt(1 + eps)), "bias": np.array(bias)}
    stats[norm] = {"mean": np.zeros_like(bias), "var": np.ones_like(bias)}


def _eps(found: OnnxWeights, norms: Mapping[str, Node]) -> tuple[str, ...]:
    ours = {round(node.attr["eps"], 10) for node in norms.values()}
    if not found.eps or found.eps <= ours:
        return ()
    theirs, own = (", ".join(f"{eps:.1e}" for eps in sorted(values)) for values in (found.eps, ours))
    return (f"batch norms of the file have an epsilon of {theirs}, this architecture has norm_eps: {own}",)
