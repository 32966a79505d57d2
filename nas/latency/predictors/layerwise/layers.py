"""Layers cut out of a lowered network, as small networks that are measured and looked up one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nas.arch.graph import Graph, Node

# At inference these return their input, so that networks which differ in their rates have equal layers.
IDENTITIES = ("dropout", "drop_path")


def cut(nodes: Sequence[Node], output: int) -> Graph:
    """The nodes that lead to `output` within its layer, fed by a new input node; the input alone where the layer does nothing."""
    scope = nodes[output].scope
    needed, sources = {output}, set()
    for i in range(output, -1, -1):
        if i not in needed:
            continue
        if nodes[i].op == "input" or nodes[i].scope != scope:
            sources.add(i)
        else:
            needed.update(nodes[i].inputs)
    (source,) = sources
    index, kept = {source: 0}, [Node("input", "input", (), nodes[source].shape)]
    for i in sorted(needed - sources):
        node = nodes[i]
        if node.op in IDENTITIES:
            index[i] = index[node.inputs[0]]
        else:
            index[i] = len(kept)
            kept.append(dataclasses.replace(node, inputs=tuple(index[j] for j in node.inputs)))
    return Graph(tuple(kept))


def layer_graphs(graph: Graph) -> dict[str, Graph]:
    """Every layer that does anything, by its name (`stem`, `stages.0.0` .. `head`), in the order data meets them."""
    outputs: dict[str, int] = {}
    for node in graph.nodes[1:]:
        for j in node.inputs:
            if graph.nodes[j].scope != node.scope and j > 0:
                outputs[graph.nodes[j].scope] = j
    outputs[graph.nodes[-1].scope] = len(graph.nodes) - 1
    cuts = {scope: cut(graph.nodes, output) for scope, output in sorted(outputs.items(), key=lambda item: item[1])}
    return {scope: layer for scope, layer in cuts.items() if len(layer.nodes) > 1}
