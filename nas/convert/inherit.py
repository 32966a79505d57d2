"""Weights of a network for a narrower one of the same form: the channels that the layers reading them need most are kept.

    variables = inherit(lower(parent), lower(child), parents_variables, seed)

Channels that an addition or a gate ties together are one group, so that residuals stay valid. A channel counts by its fraction of the
variance of what its readers give: a norm makes the size of the weights before it meaningless. What pointwise layers read may be
given; then the channels that stay make up for the others (`nas.convert.surgeon`). Else batch norms tell it. Where neither does, it
counts by the summed squares of all convolutions that make it (NetAdapt, arXiv:1804.03230, and MobileNetV3, arXiv:1905.02244, 4.2).

A norm whose layer reads less than it did gets the mean and variance that are left: by those from before, the network would compute
something else, which a short training with their slow momentum does not mend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from nas.arch.graph import PRODUCTS, Graph, Node, sides
from nas.convert.moments import Moments, depthwise, losses, moments, moments_of, summed
from nas.convert.surgeon import Reader, Seen, kept_of
from nas.nn.network import init
from nas.nn.weights import HostVariables, Variables

WITHOUT_CHANNELS = ("concat", "channels", "shuffle", "reshape")


def inherit(
    parent: Graph, child: Graph, variables: Variables, seed: int, seen: Mapping[str, Seen] | None = None
) -> HostVariables:
    """The child's variables: the parent's by the names of layers, cut to the channels that stay, kernels to their center.

    Layers that the parent has not start from their initial values. `seen`: what pointwise layers read in the parent, as
    `nas.train.seen` finds it. Raises ValueError naming a layer that is wider than the parent's, or whose channels cannot be followed.
    """
    groups = channel_groups(child)
    producers: dict[int, list[Node]] = {}
    for i, node in enumerate(child.nodes):
        if makes_channels(node):
            producers.setdefault(groups[i], []).append(node)
    before = moments_of(parent, variables)
    needs, readers = needed(parent, child, groups, before, variables), _readers(parent, child, groups, variables, seen or {})
    kept = {group: _kept(nodes, variables, needs.get(group), readers.get(group)) for group, nodes in producers.items()}
    fitted = {
        name: reader.reduced(own)
        for group, each in readers.items()
        if (own := kept.get(group)) is not None
        for name, reader in each.items()
        if len(own) < len(reader.kernel)
    }
    out = init(child, seed)
    shapes = {node.name: node for node in parent.nodes}
    now: list[Moments] = []
    for i, node in enumerate(child.nodes):
        if node.name in out["params"] and node.name in variables["params"]:
            sources = _input_channels(child, i, groups, kept)
            for part in ("params", "stats"):
                for name, array in variables[part].get(node.name, {}).items():
                    cut = _cut(node, name, np.asarray(array), sources, kept.get(groups[i]))
                    if name == "kernel" and node.name in fitted:
                        cut = _columns(fitted[node.name].kernel, kept.get(groups[i])).reshape(cut.shape)
                    if cut.shape != out[part][node.name][name].shape:
                        was = shapes[node.name].shape[2]
                        raise ValueError(f"{node.name}: {node.shape[2]} channels cannot be cut from the parent's {was}")
                    out[part][node.name][name] = np.array(cut, np.float32, order="C")
            if node.op != "norm" and node.name in fitted:
                _mend_bias(out["params"][node.name], readers[groups[node.inputs[0]]][node.name], fitted[node.name], kept.get(groups[i]))
            if node.op == "norm" and (layer := child.nodes[node.inputs[0]].name) in fitted:
                old, new = readers[groups[child.nodes[node.inputs[0]].inputs[0]]][layer].given(), fitted[layer].given()
                _replace(out["stats"][node.name], old, new, kept.get(groups[i]))
            elif node.op == "norm":
                _mend(node.name, out["stats"][node.name], (child, now, out), (parent, before, variables), kept.get(groups[i]))
        now.append(moments(node, [now[j] for j in node.inputs], out))
    return out


Pair: TypeAlias = tuple[np.ndarray, np.ndarray]  # (mean, variance) by channel
Analyzed: TypeAlias = tuple[Graph, Sequence[Moments], Variables]  # a network with the moments of its nodes


def _mend(norm: str, stats: dict[str, np.ndarray], child: Analyzed, parent: Analyzed, own: np.ndarray | None) -> None:
    """Statistics of a norm whose layer reads less, or something else, than in the parent; `own`: the channels that stayed."""
    after, before = _given(norm, child), _given(norm, parent)
    if after is None or before is None:
        return
    _replace(stats, before, after, own)


def _replace(stats: dict[str, np.ndarray], before: Pair, after: Pair, own: np.ndarray | None) -> None:
    """Statistics as what a layer gives goes from (mean, variance) to others; `own`: of its outputs, those that stayed."""
    (mean, var), (now, left) = (tuple(_columns(one, own) for one in pair) for pair in (before, after))
    stats["mean"][...] += now - mean
    stats["var"][...] *= np.where(var > 0, left / np.maximum(var, 1e-30), 1.0)


def _mend_bias(params: dict[str, np.ndarray], before: Reader, after: Reader, own: np.ndarray | None) -> None:
    """Of a layer whose inputs are fewer: what those that are gone gave on the average. A norm behind it takes that away again."""
    if "bias" in params:
        params["bias"][...] += _columns(before.given()[0] - after.given()[0], own)


def _columns(array: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    return array if own is None or array.shape[-1] == len(own) else array[..., own]


def _readers(
    parent: Graph, child: Graph, groups: list[int], variables: Variables, seen: Mapping[str, Seen]
) -> dict[int, dict[str, Reader]]:
    """Layers by the group that they read, where what all of that group's readers see is known."""
    found: dict[int, dict[str, Reader | None]] = {}
    for node in child.nodes:
        if makes_channels(node):
            reader = None
            if (own := seen.get(node.name)) and node.name in variables["params"]:
                kernel = np.asarray(variables["params"][node.name]["kernel"], np.float64)
                reader = Reader(kernel.reshape(kernel.shape[-2:]), own, _gain(parent, node.name, variables))
            found.setdefault(groups[node.inputs[0]], {})[node.name] = reader
    whole = {group: {name: one for name, one in each.items() if one} for group, each in found.items()}
    return {group: each for group, each in whole.items() if len(each) == len(found[group])}


def _gain(graph: Graph, layer: str, variables: Variables) -> np.ndarray | float:
    """What a norm behind a layer multiplies the squares of its outputs by."""
    place = next(i for i, node in enumerate(graph.nodes) if node.name == layer)
    norm = next((node for node in graph.nodes if node.op == "norm" and node.inputs[0] == place), None)
    if norm is None:
        return 1.0
    scale, var = (np.asarray(variables[part][norm.name][key], np.float64) for part, key in (("params", "scale"), ("stats", "var")))
    return np.square(scale) / (var + norm.attr["eps"])


def _given(norm: str, network: Analyzed) -> Moments:
    """What the layer before a norm gives, by the moments of what that layer reads; None where they are not known."""
    graph, found, variables = network
    layer = next((graph.nodes[node.inputs[0]] for node in graph.nodes if node.name == norm), None)
    if layer is None or "kernel" not in variables["params"].get(layer.name, {}):
        return None
    return summed(layer, np.asarray(variables["params"][layer.name]["kernel"]), found[layer.inputs[0]])


def needed(
    parent: Graph, child: Graph, groups: list[int], found: Sequence[Moments], variables: Variables
) -> dict[int, np.ndarray]:
    """What the readers of a group lose without each of its channels, summed; groups of which that is not known are left out."""
    twins = {node.name: node for node in parent.nodes}
    fractions: dict[int, list[np.ndarray | None]] = {}
    for node in child.nodes:
        if not makes_channels(node) or (twin := twins.get(node.name)) is None:
            continue
        gain = _gain(parent, twin.name, variables)
        fraction = losses(twin, np.asarray(variables["params"][twin.name]["kernel"]), found[twin.inputs[0]], gain)
        fractions.setdefault(groups[node.inputs[0]], []).append(fraction)
    known = {group: [one for one in each if one is not None] for group, each in fractions.items()}
    for group, each in known.items():
        if len({len(one) for one in each}) > 1:
            names = ", ".join(node.name for node in child.nodes if makes_channels(node) and groups[node.inputs[0]] == group)
            raise ValueError(f"{names}: read one sum in the narrower network, and tensors of different widths in the parent")
    return {group: np.sum(each, 0) for group, each in known.items() if each and len(each) == len(fractions[group])}


def makes_channels(node: Node) -> bool:
    return node.op in PRODUCTS and not depthwise(node)


def channel_groups(graph: Graph) -> list[int]:
    """For each node the group that its channels belong to; the input's is its own."""
    parents: list[int] = []

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i]
        return i

    for i, node in enumerate(graph.nodes):
        parents.append(i)
        spatial = node.op == "flatten" and graph.in_shapes(node)[0][:2] != (1, 1)
        if not node.inputs or makes_channels(node) or node.op in WITHOUT_CHANNELS or spatial:
            continue
        for j in node.inputs:
            first, second = sorted((root(i), root(j)))
            parents[second] = first
    return [root(i) for i in range(len(parents))]


def _kept(
    producers: list[Node], variables: Variables, needed: np.ndarray | None, readers: Mapping[str, Reader] | None
) -> np.ndarray | None:
    """Numbers of the channels that stay, ascending; None where the parent has none of the layers.

    needed: of how much use each is. readers: the layers that read them, where what they see is known.
    """
    known = [node for node in producers if node.name in variables["params"]]
    if not known:
        return None
    squares = [np.square(np.asarray(variables["params"][n.name]["kernel"], np.float64)) for n in known]
    score = sum(s.reshape(-1, s.shape[-1]).sum(0) for s in squares)
    assert isinstance(score, np.ndarray)
    if needed is not None and len(needed) == len(score):
        score = needed
    width = known[0].shape[2]
    if width > len(score):
        raise ValueError(f"{known[0].name}: {width} channels cannot be cut from the parent's {len(score)}")
    if readers and all(len(reader.kernel) == len(score) for reader in readers.values()):
        return kept_of([*readers.values()], width)
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
    if sources is not None and not depthwise(node) and array.shape[-2] > len(sources):
        array = array[..., sources, :]
    if node.op == "conv":
        edges = [max(array.shape[axis] - side, 0) // 2 for axis, side in enumerate(sides(node.attr["kernel"]))]
        ends = [edge + side for edge, side in zip(edges, sides(node.attr["kernel"]), strict=True)]
        array = array[edges[0] : ends[0], edges[1] : ends[1]]
    return array
