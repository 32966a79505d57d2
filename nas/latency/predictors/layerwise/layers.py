"""Layers cut out of a lowered network, as small networks that are measured and looked up one by one.

A head that reads the feature maps of several layers has an input for each. Such a graph cannot be measured alone; it is looked up by
its features, which are fitted to networks measured whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from nas.arch.graph import Graph, Node

# At inference these return their input, so that networks which differ in their rates have equal layers.
IDENTITIES = ("dropout", "drop_path")


def cut(nodes: Sequence[Node], outputs: Collection[int]) -> Graph:
    """The nodes that lead to `outputs` within their layer, fed by a new input node for each tensor that comes from elsewhere.

    The input alone where the layer does nothing.
    """
    last = max(outputs)
    scope, needed, sources = nodes[last].scope, set(outputs), set()
    for i in range(last, -1, -1):
        if i not in needed:
            continue
        if nodes[i].op == "input" or nodes[i].scope != scope:
            sources.add(i)
        else:
            needed.update(nodes[i].inputs)
    index = {source: i for i, source in enumerate(sorted(sources))}
    kept = [Node("input", "input", (), nodes[source].shape) for source in index]
    for i in sorted(needed - sources):
        node = nodes[i]
        if node.op in IDENTITIES:
            index[i] = index[node.inputs[0]]
        else:
            index[i] = len(kept)
            kept.append(dataclasses.replace(node, inputs=tuple(index[j] for j in node.inputs)))
    ends = [index[i] for i in outputs]
    return Graph(tuple(kept), named=tuple((str(i), i) for i in ends) if len(ends) > 1 else ())


def layer_graphs(graph: Graph) -> dict[str, Graph]:
    """Every layer that does anything, by its name (`stem`, `stages.0.0` .. `head`), in the order data meets them."""
    outputs: dict[str, Collection[int]] = {}
    for node in graph.nodes[1:]:
        for j in node.inputs:
            if graph.nodes[j].scope != node.scope and j > 0:
                outputs[graph.nodes[j].scope] = (max(j, *outputs.get(graph.nodes[j].scope, (0,))),)  # heads read within layers too
    outputs[graph.nodes[-1].scope] = graph.outputs.values()
    cuts = {scope: cut(graph.nodes, ends) for scope, ends in sorted(outputs.items(), key=lambda item: max(item[1]))}
    return {scope: layer for scope, layer in cuts.items() if len(layer.nodes) > inputs(layer)}


def inputs(layer: Graph) -> int:
    """How many tensors a layer reads."""
    return sum(node.op == "input" for node in layer.nodes)
