"""Hidden channels of shared weights in another order: those that the layers reading them need most come first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.convert.inherit import channel_groups, makes_channels
from nas.convert.reorder import movable, reordered
from nas.nn.weights import Arrays
from nas.space import Genome
from nas.supernet.weights import SharedWeights

Orders = Mapping[int, np.ndarray]  # group of channels of a network -> its channels, the first one first


def hidden_orders(weights: SharedWeights, genome: Genome, inner: Genome) -> Orders:
    """Orders of the channels that only one layer of a candidate has, by falling importance.

    That is the L1 norm of the weights that read a channel, gates left out. The channels that the narrower candidate `inner` has stay
    the first ones, so that it keeps its channels.
    """
    space, layers = weights.paths.layers.space, weights.paths.layers
    graph, narrow = lower(space.decode(genome)), lower(space.decode(inner))
    trunk = {name for layer in layers.of(genome) for name in layers.lowered(layer).trunk}
    groups, params = channel_groups(graph), weights.params_of(genome)
    widths = {node.name: node.shape[2] for node in narrow.nodes}
    hidden, found = _hidden(graph, groups), dict[int, np.ndarray]()
    for group, makers in movable(graph, groups).items():
        score = _read(graph, groups, group, params, trunk)
        if group in hidden and score is not None:
            kept = min(widths.get(makers[0].name, len(score)), len(score))
            parts = [np.argsort(-one, kind="stable") for one in (score[:kept], score[kept:])]
            found[group] = np.concatenate([parts[0], kept + parts[1]])
    return found


def with_orders(weights: SharedWeights, genome: Genome, orders: Orders) -> SharedWeights:
    """The same with the channels of a candidate in these orders; it computes what it did."""
    graph = lower(weights.paths.layers.space.decode(genome))
    params = reordered(graph, {"params": weights.params_of(genome), "stats": {}}, orders)["params"]
    return weights.with_network(genome, params)


def _hidden(graph: Graph, groups: list[int]) -> set[int]:
    """Groups of channels within one layer, which no other layer reads."""
    scopes = [node.name.split("/", 1)[0] for node in graph.nodes]
    seen: dict[int, set[str]] = {}
    for i, node in enumerate(graph.nodes):
        seen.setdefault(groups[i], set()).add(scopes[i])
        for j in node.inputs:
            seen.setdefault(groups[j], set()).add(scopes[i])
    return {group for group, where in seen.items() if len(where) == 1}


def _read(graph: Graph, groups: list[int], group: int, params: Arrays, trunk: set[str]) -> np.ndarray | None:
    """(channels,) summed absolute weights that read each; None where nothing does."""
    readers = [node for node in graph.nodes if node.inputs and makes_channels(node) and groups[node.inputs[0]] == group]
    kernels = [np.abs(np.asarray(params[node.name]["kernel"], np.float64)) for node in readers if node.name in trunk]
    return np.sum([kernel.reshape(-1, *kernel.shape[-2:]).sum((0, 2)) for kernel in kernels], 0) if kernels else None
