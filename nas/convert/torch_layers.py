"""The layers of a PyTorch state dict matched with a graph's nodes, and their arrays in this project's layout.

    imported = import_state_dict({"conv1.weight": .., "bn1.weight": .., "bn1.running_mean": ..}, graph, init(graph, seed=0))

Names differ from network to network, so layers are matched by kind (a product, which is a convolution or a dense layer, or a
batch norm), shape and order: the i-th of a kind and shape with the graph's i-th of these. Shortcuts count by themselves, as
their convolutions often have a neighbor's shape. Every array is accounted for, and blocks must follow one another in the
file as in the graph. A state dict keeps the order of modules; files sorted by name are put in order again (`in_order`).
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.arch.graph import Graph, Node, param_shapes
from nas.convert.fill import Arrays, Imported, classifier_of, copied, fill
from nas.convert.state_dict import COUNTERS
from nas.convert.trunk import left_out
from nas.nn.weights import HostVariables

NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
PRODUCT = {"weight": "kernel", "bias": "bias"}
SUFFIXES = (*NORM, *COUNTERS)
SHORTCUT = re.compile(r"(?:^|[._/])(?:downsample|shortcut|skip|skipbn)(?:$|[._\d])")
AUXILIARY = re.compile(r"_?aux", re.IGNORECASE)  # classifiers beside the network, for training alone

# Where modules stand that the order of letters puts elsewhere: the first of these that the first part of a name matches.
PLACES: tuple[tuple[str, int], ...] = (
    (r"_?(conv_stem|stem.*|bn0|conv0|norm0|conv1|conv1_.*|first_conv|conv_first)|bn1", 0),
    (r"_?(conv_head|head|conv_last|last_conv|final_conv|conv5|norm5|norm_head)|bn2|_bn1", 2),
    (r"_?(fc|classifier|logits|last_linear|output|linear)", 3),
)
WITHIN = {"dw_start": 1, "pw_exp": 2, "dw_mid": 3, "pw_proj": 4, "dw_end": 5}  # of timm's universal inverted bottlenecks
SAVE = "save its state_dict() with torch.save, which keeps the order of layers"
WRAPPERS = ("features", "backbone", "encoder", "base")  # what all but the classifier may stand under


@dataclass(frozen=True)
class TorchLayer:
    """A module with arrays: its name, whether it is a batch norm, the arrays by our names with outputs last."""

    name: str
    is_norm: bool
    arrays: Arrays

    @property
    def key(self) -> tuple[object, ...]:
        """What a node that it fits has too."""
        return _key(self.is_norm, {name: a.shape for name, a in self.arrays.items()}, SHORTCUT.search(self.name) is not None)


def _key(is_norm: bool, shapes: Mapping[str, tuple[int, ...]], is_shortcut: bool) -> tuple[object, ...]:
    return is_norm, tuple(sorted(shapes.items())), is_shortcut


def layers_from(arrays: Mapping[str, np.ndarray]) -> list[TorchLayer]:
    """The modules of a state dict in its order. Raises ValueError naming an array that is of no layer known here."""
    modules: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        module, _, suffix = name.rpartition(".")
        if suffix not in SUFFIXES:
            raise ValueError(f"{name}: an array of a layer that has no counterpart here; {', '.join(NORM)} are known")
        if suffix not in COUNTERS:
            if array.dtype.kind != "f":
                raise ValueError(f"{name}: {array.dtype} numbers; expected floats, as weights are before they are quantized")
            modules.setdefault(module, {})[suffix] = array
    return [_layer(module, given) for module, given in modules.items()]


def _layer(module: str, given: Mapping[str, np.ndarray]) -> TorchLayer:
    is_norm = "running_mean" in given or "running_var" in given
    axes = given["weight"].ndim if "weight" in given else 0
    if is_norm:
        if set(given) != set(NORM) or any(array.ndim != 1 for array in given.values()):
            raise ValueError(f"{module}: a batch norm with {', '.join(given)}; expected {', '.join(NORM)}, of one axis each")
        return TorchLayer(module, True, {NORM[name]: array for name, array in given.items()})
    if axes not in (2, 4):
        raise ValueError(f"{module}: a layer with {_shapes(given)} has no counterpart here; its weight would have 2 or 4 axes")
    weight = given["weight"].reshape(*given["weight"].shape, *([1, 1] if axes == 2 else []))
    return TorchLayer(module, False, {**{PRODUCT[name]: a for name, a in given.items()}, "kernel": weight.transpose(2, 3, 1, 0)})


def _shapes(given: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in given.items())


def in_order(layers: Sequence[TorchLayer]) -> list[TorchLayer]:
    """Layers of a file that is sorted by name as the network has them: numbers as numbers, stem first, head and classifier last.

    Example:
        >>> names = ["blocks.10.conv", "blocks.2.conv", "classifier", "conv_head", "conv_stem"]
        >>> [layer.name for layer in in_order([TorchLayer(name, False, {}) for name in names])]
        ['conv_stem', 'blocks.2.conv', 'blocks.10.conv', 'conv_head', 'classifier']
    """
    return sorted(layers, key=lambda layer: _rank(layer.name))


def _rank(name: str) -> list[tuple[int, list[tuple[int, int, str]]]]:
    parts = name.split(".")
    first = 1 if parts[0] in WRAPPERS and len(parts) > 1 else 0
    ranks = [1] * len(parts)
    for i in range(first + 1):
        ranks[i] = next((rank for pattern, rank in PLACES if re.fullmatch(pattern, parts[i])), 1)
    return [(rank, _natural(part)) for rank, part in zip(ranks, parts, strict=True)]


def _says_order(one: str, other: str) -> bool:
    """Whether two names differ first by a number, by where their modules stand, or by what one has more."""
    for (rank, tokens), (other_rank, others) in zip(_rank(one), _rank(other), strict=False):
        if rank != other_rank:
            return True
        for token, another in zip(tokens, others, strict=False):
            if token != another:
                return token[0] == another[0] == 0
        if len(tokens) != len(others):
            return True
    return True


def _natural(part: str) -> list[tuple[int, int, str]]:
    """`block10` after `block2`; DenseNet's transitions between its blocks; parts of a block whose words say their order."""
    if part in WITHIN:
        return [(0, WITHIN[part], part)]
    if match := re.fullmatch(r"(denseblock|transition)(\d{1,9})", part):
        return [(0, int(match[2]), match[1])]
    return [(0, int(t), "") if t.isdecimal() else (1, 0, t) for t in re.findall(r"\d{1,9}|\D+", part)]


@dataclass(frozen=True)
class _Place:
    """A node to be filled."""

    node: Node
    from_pixels: tuple[int, int, int] | None  # (h, w, c) of the feature map that a dense layer's inputs were before
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def key(self) -> tuple[object, ...]:
        return _key(self.node.op == "norm", self.shapes, SHORTCUT.search(self.node.name) is not None)

    def arrays(self, layer: TorchLayer, pixels_first: Collection[str] = ()) -> Arrays:
        """A layer's arrays as the node has them: dense kernels with two axes, in the order of our flattened pixels."""
        if self.node.op == "conv_transpose":
            return {**layer.arrays, "kernel": layer.arrays["kernel"].swapaxes(2, 3)}
        if self.node.op != "dense":
            return layer.arrays
        kernel = layer.arrays["kernel"]
        if kernel.shape[:2] != (1, 1):
            return layer.arrays
        kernel = kernel[0, 0]
        if self.from_pixels and kernel.shape[0] == np.prod(self.from_pixels) and layer.name not in pixels_first:
            h, w, c = self.from_pixels
            kernel = kernel.reshape(c, h, w, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)
        return {**layer.arrays, "kernel": kernel}


def _places(graph: Graph) -> list[_Place]:
    found = []
    for node in graph.nodes[1:]:
        if shapes := param_shapes(node, graph.in_shapes(node)):
            shapes = {"mean": shapes["scale"], "var": shapes["scale"], **shapes} if node.op == "norm" else shapes
            shapes = {**shapes, "kernel": (1, 1, *shapes["kernel"])} if node.op == "dense" else shapes
            if node.op == "conv_transpose":  # PyTorch's have inputs before outputs
                shapes = {**shapes, "kernel": (*shapes["kernel"][:2], *shapes["kernel"][:1:-1])}
            flat = graph.flattened(node)
            pixels = graph.in_shapes(flat)[0] if flat else (1, 1, 0)
            found.append(_Place(node, pixels if pixels[:2] != (1, 1) else None, shapes))
    return found


def import_state_dict(
    arrays: Mapping[str, np.ndarray], graph: Graph, start: HostVariables, *, is_sorted: bool | None = None,
    pixels_first: Collection[str] = (), rest: bool = False,
) -> Imported:  # fmt: skip
    """`start`, which `network.init` gives, with the arrays of a state dict in the place of its own.

    The classifier stays as it is where its number of classes differs, and so does what a file without its top lacks.

    Args:
        arrays: By name, in the order of the file.
        graph: The network.
        start: Its initial weights.
        is_sorted: Whether the file is sorted by name; None: where all of it is.
        pixels_first: Layers whose inputs are a flat feature map with pixels before channels, as ours; PyTorch's are the other way.
        rest: Whether layers of the file behind the last that fits are of another head, and left out.

    Raises:
        ValueError: Naming the first layer that does not fit, with both shapes.
    """
    everything = layers_from(arrays)
    layers = [layer for layer in everything if not AUXILIARY.match(layer.name)]
    names = [layer.name for layer in layers]
    is_sorted = names == sorted(names) if is_sorted is None else is_sorted
    layers = in_order(layers) if is_sorted else layers
    variables, places = copied(start), _places(graph)
    matched, fresh, behind = _matched(places, layers, "" if rest else classifier_of(start), rest)
    for place, layer in matched:
        if not fill(variables, place.node.name, place.arrays(layer, pixels_first), f"layer {layer.name}"):
            fresh.append(place.node.name)
    _check_order(matched, layers, is_sorted)
    left = [layer.name for layer in everything if AUXILIARY.match(layer.name)]
    notes = (f"not read, as they serve training alone: {', '.join(sorted({n.partition('.')[0] for n in left}))}",) if left else ()
    return Imported(variables, tuple(node for node in start["params"] if node in fresh), (*notes, *left_out(behind)))


def _matched(
    places: Sequence[_Place], layers: Sequence[TorchLayer], classifier: str, rest: bool
) -> tuple[list[tuple[_Place, TorchLayer]], list[str], list[str]]:
    """Pairs in the order of places, the nodes of the head that the file has nothing for, and, of `rest`, its layers behind all pairs."""
    waiting: dict[tuple[object, ...], deque[TorchLayer]] = defaultdict(deque)
    last = next((place for place in places if place.node.name == classifier), None)
    top = _top(layers, last)
    for layer in layers:
        if layer is not top:
            waiting[layer.key].append(layer)
    pairs, open_places = [], []
    for place in places:
        if top is not None and place is last:
            pairs.append((place, top))
        elif waiting[place.key]:
            pairs.append((place, waiting[place.key].popleft()))
        else:
            open_places.append(place)
    unused = {id(layer) for queue in waiting.values() for layer in queue}
    taken = [i for i, layer in enumerate(layers) if id(layer) not in unused]
    end = max(taken, default=-1) + 1 if rest else len(layers)
    left = [layer for layer in layers[:end] if id(layer) in unused]
    _check_all(open_places, left, places)
    return pairs, [place.node.name for place in open_places], [layer.name for layer in layers[end:]]


def _top(layers: Sequence[TorchLayer], place: _Place | None) -> TorchLayer | None:
    """The last product of a file, where it is the classifier of other classes."""
    product = next((layer for layer in reversed(layers) if not layer.is_norm), None)
    if product is None or place is None or product.key == place.key:
        return None
    theirs = {name: array.shape[:-1] for name, array in product.arrays.items()}
    return product if theirs == {name: shape[:-1] for name, shape in place.shapes.items()} else None


def _check_all(open_places: Sequence[_Place], left: Sequence[TorchLayer], places: Sequence[_Place]) -> None:
    """Raises ValueError for a place outside the head without a layer, and for a layer without a place."""
    for place in open_places:
        is_norm = place.node.op == "norm"
        near = next((layer for layer in left if layer.is_norm == is_norm), None)
        if near is not None:
            raise ValueError(_unlike(place, near))
        if place.node.scope != "head":
            kind = "batch norm" if is_norm else "convolution or dense layer"
            raise ValueError(f"{place.node.name}: no {kind} is left for it in the file")
    if left:
        count = sum((place.node.op == "norm") == left[0].is_norm for place in places)
        raise ValueError(f"layer {left[0].name} is left over: the architecture has {count} of its kind")


def _unlike(place: _Place, layer: TorchLayer) -> str:
    theirs = {name: array.shape for name, array in layer.arrays.items()}
    for name in {**place.shapes, **theirs}:
        ours, other = place.shapes.get(name), theirs.get(name)
        if ours != other:
            shown = [f"shape {shape}" if shape is not None else "none" for shape in (ours, other)]
            return f"{place.node.name}: {name}: expected {shown[0]}, got {shown[1]} from layer {layer.name}"
    return f"{place.node.name}: layer {layer.name} has its shape; by their names one is a shortcut (downsample, shortcut, skip)"


def _check_order(pairs: Sequence[tuple[_Place, TorchLayer]], layers: Sequence[TorchLayer], is_sorted: bool) -> None:
    """Blocks of the graph stand in the file one after the other: otherwise layers of one shape were exchanged.

    Within a block of a sorted file only numbers tell which of two layers of one shape comes first.
    """
    if is_sorted:
        alike: dict[tuple[object, ...], str] = {}
        for place, layer in pairs:
            other = alike.setdefault((place.node.scope, *layer.key), layer.name)
            if not _says_order(other, layer.name):
                raise ValueError(f"names do not say which of {other} and {layer.name} comes first in a file that is sorted; {SAVE}")
    position = {id(layer): i for i, layer in enumerate(layers)}
    blocks: dict[str, list[tuple[int, str, str]]] = {}
    for place, layer in pairs:
        blocks.setdefault(place.node.scope, []).append((position[id(layer)], layer.name, place.node.name))
    before: tuple[int, str, str] = (-1, "", "")
    for found in blocks.values():
        if (first := min(found)) < before:
            raise ValueError(
                f"the layers of the file have another order: {first[1]}, for {first[2]}, before {before[1]}, for {before[2]}; {SAVE}"
            )
        before = max(found)
