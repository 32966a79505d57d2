"""Keras' layers matched with a graph's nodes, and their arrays in this project's layout.

    imported = import_layers(layers_of(keras_model), graph, init(graph, seed=0))

Names differ between the two, so layers are matched by kind and order: the i-th convolution of a Keras model with the i-th
of the graph, sorted as Keras sorts the layers of a functional model. Every shape is compared. Keras itself is not needed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nas.arch.graph import Graph
from nas.arch.parts import has_parameters
from nas.convert.fill import Arrays, Imported, copied, fill
from nas.convert.trunk import left_out
from nas.nn.weights import HostVariables

# Class name in snake case, as weight files have it -> kind, and the names of its arrays in the order that Keras keeps.
CLASSES: dict[str, tuple[str, tuple[str, ...]]] = {
    "conv2d": ("product", ("kernel", "bias")),
    "dense": ("product", ("kernel", "bias")),
    "depthwise_conv2d": ("depthwise", ("depthwise", "bias")),
    "separable_conv2d": ("separable", ("depthwise", "pointwise", "bias")),
    "batch_normalization": ("norm", ("scale", "bias", "mean", "var")),
}
IGNORED = ("normalization", "seed_generator")  # preprocessing, which is the dataset's here; states of dropout


class _Value(Protocol):
    @property
    def value(self) -> object: ...


class _KerasLayer(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def weights(self) -> Sequence[_Value]: ...


class KerasModel(Protocol):
    """What is read of a `keras.Model`."""

    @property
    def layers(self) -> Sequence[_KerasLayer]: ...


@dataclass(frozen=True)
class Layer:
    """A Keras layer that has arrays: its class in snake case, its name for errors, the arrays in Keras' order."""

    kind: str
    name: str
    arrays: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Destination:
    """Nodes of the graph that one Keras layer fills: one, or the depthwise and the pointwise of a separable convolution."""

    kind: str
    nodes: tuple[str, ...]


def layers_of(model: KerasModel) -> list[Layer]:
    """The layers with arrays of a Keras model in memory."""
    found = []
    for layer in model.layers:
        kind = _snake(type(layer).__name__)
        if layer.weights and kind not in IGNORED:
            found.append(Layer(kind, layer.name, tuple(np.asarray(w.value) for w in layer.weights)))
    return found


def _snake(name: str) -> str:
    """`DepthwiseConv2D` -> `depthwise_conv2d`, as Keras names things in its files."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def import_layers(layers: Sequence[Layer], graph: Graph, start: HostVariables, rest: bool = False) -> Imported:
    """`start`, which `network.init` gives, with the arrays of Keras' layers in the place of its own.

    The classifier stays as it is where its number of classes differs, and so does what a model without its top lacks. With `rest`
    layers behind the last of each kind that fits are of another head, and left out.
    Raises ValueError naming the first layer that does not fit.
    """
    given: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        if layer.kind not in CLASSES:
            raise ValueError(f"Keras layer {layer.name}: class {layer.kind} has no counterpart here")
        given[CLASSES[layer.kind][0]].append(layer)
    expected: dict[str, list[Destination]] = defaultdict(list)
    for destination in _destinations(graph, bool(given["separable"])):
        expected[destination.kind].append(destination)
    variables, behind = copied(start), list[str]()
    if rest:
        behind = [layer.name for kind, found in given.items() for layer in found[len(expected[kind]) :]]
        given = {kind: found[: len(expected[kind])] for kind, found in given.items()}
    fresh = [node for kind in {**expected, **given} for node in _fill_kind(expected[kind], given.get(kind, []), variables)]
    return Imported(variables, tuple(fresh), left_out(behind))


def _fill_kind(destinations: Sequence[Destination], layers: Sequence[Layer], variables: HostVariables) -> Iterator[str]:
    """Fills destinations from layers in order; yields the nodes that stay as they are."""
    for destination, layer in zip(destinations, layers, strict=False):
        for node, arrays in zip(destination.nodes, _converted(layer, len(destination.nodes)), strict=True):
            if not fill(variables, node, _as_dense(arrays, variables, node), f"Keras layer {layer.name}"):
                yield node
    if len(layers) > len(destinations):
        left = layers[len(destinations)].name
        raise ValueError(f"Keras layer {left} is left over: the architecture has {len(destinations)} of its kind")
    for destination in destinations[len(layers) :]:
        if not destination.nodes[0].startswith("head/"):
            raise ValueError(f"{destination.nodes[0]}: no Keras layer is left for it; there are {len(layers)} of its kind")
        yield from destination.nodes


def _as_dense(arrays: Arrays, variables: HostVariables, node: str) -> Arrays:
    """Some of Keras' classifiers are 1x1 convolutions where ours are dense."""
    is_dense = "kernel" in arrays and np.ndim(variables["params"][node]["kernel"]) == 2
    is_pixel = is_dense and arrays["kernel"].ndim == 4 and arrays["kernel"].shape[:2] == (1, 1)
    return {**arrays, "kernel": arrays["kernel"][0, 0]} if is_pixel else arrays


def _converted(layer: Layer, nodes: int) -> list[Arrays]:
    """A layer's arrays by our names, for each node that it fills."""
    names = CLASSES[layer.kind][1]
    least = len(names) if layer.kind == "batch_normalization" else len(names) - 1
    if not least <= len(layer.arrays) <= len(names):
        raise ValueError(f"Keras layer {layer.name}: expected {least} to {len(names)} arrays, got {len(layer.arrays)}")
    arrays = dict(zip(names, layer.arrays, strict=False))
    for name in ("depthwise", "pointwise"):
        if name in arrays and arrays[name].ndim != 4:
            raise ValueError(f"Keras layer {layer.name}: {name} kernel: expected 4 axes, got shape {arrays[name].shape}")
    bias = {"bias": arrays["bias"]} if "bias" in arrays else {}
    if "depthwise" not in arrays:
        return [arrays]
    depthwise = {"kernel": arrays["depthwise"].swapaxes(2, 3)}
    return [depthwise, {"kernel": arrays["pointwise"], **bias}] if nodes == 2 else [{**depthwise, **bias}]


def _destinations(graph: Graph, separable: bool) -> Iterator[Destination]:
    """What is to be filled, in Keras' order; `separable`: a depthwise right before a convolution is one Keras layer."""
    pointwise = {}
    for node in graph.nodes[1:]:
        if separable and node.op == "conv" and _is_depthwise(graph, node.inputs[0]):
            pointwise[node.inputs[0]] = node.name
    for i in keras_order(graph):
        node = graph.nodes[i]
        if i in pointwise:
            yield Destination("separable", (node.name, pointwise[i]))
        elif node.op in ("conv", "dense") and node.name not in pointwise.values():
            yield Destination("depthwise" if _is_depthwise(graph, i) else "product", (node.name,))
        elif node.op == "norm":
            yield Destination("norm", (node.name,))
        elif has_parameters(node):
            raise ValueError(f"{node.name}: the weights of a {node.op} are not read from files of Keras")


def _is_depthwise(graph: Graph, index: int) -> bool:
    node = graph.nodes[index]
    return node.op == "conv" and node.attr["groups"] == node.shape[2] == graph.in_shapes(node)[0][2]


def keras_order(graph: Graph) -> list[int]:
    """Indices of nodes in the order of `keras.Model.layers`: farthest from the output first, then as met from there.

    Dropout and stochastic depth count as no step, so that two branches side by side stand where Keras has them.
    """
    depth = [0] * len(graph.nodes)
    for i in reversed(range(len(graph.nodes))):
        for j in graph.nodes[i].inputs:
            depth[j] = max(depth[j], depth[i] + (graph.nodes[i].op not in ("dropout", "drop_path")))
    met: dict[int, int] = {}
    stack = list(graph.outputs.values())[::-1]
    while stack:
        i = stack.pop()
        if i not in met:
            met[i] = len(met)
            stack.extend(reversed(graph.nodes[i].inputs))
    return sorted(met, key=lambda i: (-depth[i], met[i]))
