"""The same function with its channels in another order: those that the layers reading them need most come first.

    ordered = by_importance(lower(arch), variables)      # the first n channels of a layer are the n best to keep

A network whose weights others share takes narrower candidates from the first channels of each layer, so that these should be the
ones that matter. Channels that a residual or a gate ties together move together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.arch.graph import Graph, Node
from nas.convert.inherit import WITHOUT_CHANNELS, channel_groups, makes_channels, needed
from nas.convert.moments import depthwise, moments_of
from nas.nn.weights import HostVariables, Variables


def by_importance(graph: Graph, variables: Variables) -> HostVariables:
    """Variables of the same network, its channels by falling importance; logits are equal but for rounding.

    A channel counts as `nas.convert.inherit` has it: by its fraction of the variance of what its readers give, or else by the summed
    squares of what makes it. Channels of images and outputs stay, and so do those that grouped convolutions, concatenations or
    pixels made flat put in an order of their own.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> from nas.nn.network import init
        >>> graph = lower(load_arch("mobilenet_v2").with_io(resolution=32))
        >>> sorted(by_importance(graph, init(graph, seed=0)))
        ['params', 'stats']
    """
    return reordered(graph, variables, importance(graph, variables))


def reordered(graph: Graph, variables: Variables, orders: Mapping[int, np.ndarray]) -> HostVariables:
    """Variables of the same network, the channels of some groups in another order."""
    groups = channel_groups(graph)
    out: HostVariables = {"params": {}, "stats": {}}
    for i, node in enumerate(graph.nodes):
        own = orders.get(groups[i])
        read = orders.get(groups[node.inputs[0]]) if node.inputs and makes_channels(node) else None
        for part in ("params", "stats"):
            if node.name in variables[part]:
                out[part][node.name] = {
                    name: _moved(np.asarray(array), name, own, read)
                    for name, array in variables[part][node.name].items()
                }
    return out


def _moved(array: np.ndarray, name: str, own: np.ndarray | None, read: np.ndarray | None) -> np.ndarray:
    array = array if own is None else array[..., own]
    array = array if read is None or name != "kernel" else array[..., read, :]
    return np.array(array, order="C")


def importance(graph: Graph, variables: Variables) -> Mapping[int, np.ndarray]:
    """For each group of channels that may move, as `channel_groups` numbers them: its channels by falling importance."""
    groups = channel_groups(graph)
    needs = needed(graph, graph, groups, moments_of(graph, variables), variables)
    found: dict[int, np.ndarray] = {}
    for group, nodes in movable(graph, groups).items():
        squares = [np.square(np.asarray(variables["params"][node.name]["kernel"], np.float64)) for node in nodes]
        score = needs.get(group, sum(one.reshape(-1, one.shape[-1]).sum(0) for one in squares))
        found[group] = np.argsort(-np.asarray(score), kind="stable")
    return found


def movable(graph: Graph, groups: Sequence[int]) -> dict[int, list[Node]]:
    """The groups of channels that may be put in another order, and what makes each."""
    fixed = {groups[0], *(groups[i] for i in graph.outputs.values())}
    makers: dict[int, list[Node]] = {}
    for i, node in enumerate(graph.nodes):
        if node.op in WITHOUT_CHANNELS or _in_order(graph, node):
            fixed |= {groups[i], *(groups[j] for j in node.inputs)}
        if makes_channels(node):
            makers.setdefault(groups[i], []).append(node)
    return {group: nodes for group, nodes in makers.items() if group not in fixed}


def _in_order(graph: Graph, node: Node) -> bool:
    """Whether a node depends on the order of its channels."""
    flat = node.op == "flatten" and graph.in_shapes(node)[0][:2] != (1, 1)
    return flat or (node.op == "conv" and node.attr["groups"] > 1 and not depthwise(node))
