"""A network as it is deployed: batch norm folded into the convolutions before it, what does nothing at inference gone.

    graph, variables = folded(lower(arch), {"params": ..., "stats": ...})
    apply(graph, variables["params"], {}, images, train=False)     # the same logits

Every exporter begins here, so that all of them agree on what is folded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from nas.arch.graph import PRODUCTS, Graph, Node
from nas.nn.weights import AnyArray, HostVariables, Variables

FOLDABLE = PRODUCTS
AT_TRAINING = ("dropout", "drop_path")


def folded(graph: Graph, variables: Variables) -> tuple[Graph, HostVariables]:
    """The graph and float32 variables of inference; a norm that follows no convolution or dense layer alone remains.

    With factor = scale / sqrt(var + eps): kernel * factor and (bias - mean) * factor + the norm's bias, in float64.
    """
    params, stats = variables["params"], variables["stats"]
    readers = _readers(graph)
    index: dict[int, int] = {}
    nodes: list[Node] = []
    new: HostVariables = {"params": {}, "stats": {}}
    for i, node in enumerate(graph.nodes):
        source = node.inputs[0] if node.inputs else -1
        if node.op in AT_TRAINING:
            index[i] = index[source]
            continue
        if node.op == "norm" and graph.nodes[source].op in FOLDABLE and readers[source] == 1:
            at = index[source]
            name = nodes[at].name
            nodes[at] = dataclasses.replace(nodes[at], attrs=_with_bias(nodes[at]))
            new["params"][name] = _fold(node, new["params"][name], params[node.name], stats[node.name])
            index[i] = at
            continue
        index[i] = len(nodes)
        nodes.append(dataclasses.replace(node, inputs=tuple(index[j] for j in node.inputs)))
        for part, arrays in (("params", params), ("stats", stats)):
            if node.name in arrays:
                new[part][node.name] = {name: np.asarray(a, np.float32) for name, a in arrays[node.name].items()}
    taps = tuple((name, index[i]) for name, i in graph.taps)
    named = tuple((name, index[i]) for name, i in graph.named)
    assert index[len(graph.nodes) - 1] == len(nodes) - 1, "a graph ends with an output, and nothing in it is unread"
    return Graph(tuple(nodes), taps, named), new


def _readers(graph: Graph) -> list[int]:
    """How often each node is read; an output once more than by nodes."""
    counts = [0] * len(graph.nodes)
    for node in graph.nodes:
        for i in node.inputs:
            counts[i] += 1
    for i in graph.outputs.values():
        counts[i] += 1
    return counts


def _with_bias(node: Node) -> tuple[tuple[str, object], ...]:
    return tuple(sorted({**node.attr, "bias": True}.items()))


def _fold(
    norm: Node, ours: Mapping[str, np.ndarray], params: Mapping[str, AnyArray], stats: Mapping[str, AnyArray]
) -> dict[str, np.ndarray]:
    """Arrays of a convolution or dense layer, outputs last, that does the work of the norm after it too."""
    scale, shift, mean, var = (
        np.asarray(a, np.float64) for a in (params["scale"], params["bias"], stats["mean"], stats["var"])
    )
    factor = scale / np.sqrt(var + norm.attr["eps"])
    kernel = np.asarray(ours["kernel"], np.float64) * factor
    bias = (np.asarray(ours.get("bias", 0.0), np.float64) - mean) * factor + shift
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
