"""Weights of a network for a narrower one of the same form: the channels of the largest L2 norm are kept.

    variables = inherit(lower(parent), lower(child), parents_variables, seed)

Channels that an addition or a gate ties together are one group, ranked by the summed squares of all convolutions that make
them, so that residuals stay valid (NetAdapt, arXiv:1804.03230, and MobileNetV3, arXiv:1905.02244, section 4.2).
"""

from __future__ import annotations

import math

import numpy as np

from nas.arch.graph import Graph, Node
from nas.nn.network import init
from nas.nn.weights import HostVariables, Variables

WITHOUT_CHANNELS = ("concat", "channels", "shuffle")


def inherit(parent: Graph, child: Graph, variables: Variables, seed: int) -> HostVariables:
    """The child's variables: the parent's by the names of layers, cut to the channels that stay, kernels to their center.

    Layers that the parent has not start from their initial values. Raises ValueError naming a layer that is wider than the
    parent's, or whose channels cannot be followed.
    """
    groups = _groups(child)
    producers: dict[int, list[Node]] = {}
    for i, node in enumerate(child.nodes):
        if _makes_channels(node):
            producers.setdefault(groups[i], []).append(node)
    kept = {group: _kept(nodes, variables) for group, nodes in producers.items()}
    out = init(child, seed)
    shapes = {node.name: node for node in parent.nodes}
    for i, node in enumerate(child.nodes):
        if node.name in out["params"] and node.name in variables["params"]:
            sources = _input_channels(child, i, groups, kept)
            for part in ("params", "stats"):
                for name, array in variables[part].get(node.name, {}).items():
                    cut = _cut(node, name, np.asarray(array), sources, kept.get(groups[i]))
                    if cut.shape != out[part][node.name][name].shape:
                        was = shapes[node.name].shape[2]
                        raise ValueError(f"{node.name}: {node.shape[2]} channels cannot be cut from the parent's {was}")
                    out[part][node.name][name] = np.ascontiguousarray(cut, np.float32)
    return out


def _depthwise(node: Node) -> bool:
    return node.op == "conv" and node.attr["groups"] == node.shape[2] > 1


def _makes_channels(node: Node) -> bool:
    return node.op == "dense" or (node.op == "conv" and not _depthwise(node))


def _groups(graph: Graph) -> list[int]:
    """For each node the group that its channels belong to; the input's is its own."""
    parents: list[int] = []

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i]
        return i

    for i, node in enumerate(graph.nodes):
        parents.append(i)
        spatial = node.op == "flatten" and graph.in_shapes(node)[0][:2] != (1, 1)
        if not node.inputs or _makes_channels(node) or node.op in WITHOUT_CHANNELS or spatial:
            continue
        for j in node.inputs:
            first, second = sorted((root(i), root(j)))
            parents[second] = first
    return [root(i) for i in range(len(parents))]


def _kept(producers: list[Node], variables: Variables) -> np.ndarray | None:
    """Numbers of the channels that stay, ascending; None where the parent has none of the layers."""
    known = [node for node in producers if node.name in variables["params"]]
    if not known:
        return None
    squares = [np.square(np.asarray(variables["params"][n.name]["kernel"], np.float64)) for n in known]
    score = sum(s.reshape(-1, s.shape[-1]).sum(0) for s in squares)
    assert isinstance(score, np.ndarray)
    width = known[0].shape[2]
    if width > len(score):
        raise ValueError(f"{known[0].name}: {width} channels cannot be cut from the parent's {len(score)}")
    return np.sort(np.argsort(-score, kind="stable")[:width])


def _input_channels(graph: Graph, i: int, groups: list[int], kept: dict[int, np.ndarray | None]) -> np.ndarray | None:
    """Numbers of the parent's channels that a node reads; None: all of them, as they are."""
    node = graph.nodes[i]
    if not node.inputs:
        return None
    if (flat := graph.flattened(node)) is not None:
        _check_flat(graph, flat, kept.get(groups[flat.inputs[0]]))
    return kept.get(groups[node.inputs[0]])


def _check_flat(graph: Graph, node: Node, before: np.ndarray | None) -> None:
    height, width, _ = graph.in_shapes(node)[0]
    if (height, width) != (1, 1) and before is not None and int(before.max()) + 1 > len(before):
        raise ValueError(f"{node.name}: channels cannot be followed through {height}x{width} pixels made flat")


def _cut(node: Node, name: str, array: np.ndarray, sources: np.ndarray | None, own: np.ndarray | None) -> np.ndarray:
    if own is not None and array.shape[-1] > len(own):
        array = array[..., own]
    if name != "kernel":
        return array
    if sources is not None and not _depthwise(node) and array.shape[-2] > len(sources):
        array = array[..., sources, :]
    if node.op == "conv" and array.shape[0] > node.attr["kernel"]:
        start = math.floor((array.shape[0] - node.attr["kernel"]) / 2)
        stop = start + node.attr["kernel"]
        array = array[start:stop, start:stop]
    return array
