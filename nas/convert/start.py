"""Where a training starts from: `weights=` of the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from nas.arch.graph import Graph
from nas.convert.fill import Imported, classifier_of, copied, fill
from nas.convert.keras import import_layers
from nas.convert.keras_file import read_layers
from nas.convert.onnx_file import OnnxWeights, read_onnx
from nas.convert.onnx_layers import import_onnx
from nas.convert.pretrained import pretrained_file
from nas.convert.state_dict import Chosen, choose_by_name
from nas.convert.tf_names import from_tensorflow, is_tensorflow
from nas.convert.torch_file import read_torch
from nas.convert.torch_layers import SUFFIXES, import_state_dict
from nas.convert.trunk import answers_for_places, left_out, with_trunk
from nas.core.safetensors import from_bytes
from nas.core.text import one_line
from nas.data.conventions import network_name
from nas.nn.network import init
from nas.nn.weights import IMAGENET, ORIGINS, SUPERNET, HostVariables, load_arrays, nested, split_source

KERAS_FILES = (".h5", ".keras")
TORCH_FILES = (".pth", ".pt", ".bin", ".ckpt", ".tar")  # .bin and .ckpt are other tools' names of the same
SAFETENSORS, ONNX = ".safetensors", ".onnx"
MAX_BYTES = 8 << 30


def starting_weights(source: str, graph: Graph, seed: int) -> Imported:
    """A network's variables from a file; those that it leaves at initial values are named.

    A network that answers for pixels or boxes takes the layers before its head from a file with another head, but for .onnx.

    Initial values are those of `init`, but smaller in a dense layer that has more inputs than outputs. `init` makes its kernel for
    the outputs; behind trained features the answers of few classes would be so large that their loss is many nats, and learning
    from few images begins with unlearning them.

    Args:
        source: `keras:<file>`; a weights.npz of this project; or a state dict of PyTorch in a .pth, .pt, .safetensors or
            .npz, with `timm:` or `torchvision:` before it where the file is of one of those; an .onnx; or `imagenet`,
            for a network that `nas.convert.pretrained` has a package of.
        graph: The network.
        seed: Of the initial weights.

    Raises:
        ValueError: Naming the file and the first layer that does not fit.
    """
    origin, path = split_source(source)
    if origin == SUPERNET:
        raise ValueError(f"{source}: shared weights are where nas train and nas adapt start from; train the network with them first")
    path = pretrained_file(graph) if origin == IMAGENET else path
    suffix = path.suffix.lower()
    if origin != "keras" and suffix in KERAS_FILES:
        raise ValueError(f"{path}: a Keras file; write weights=keras:{path}")
    start = _initial(graph, seed)
    given = read_layers(path) if origin == "keras" else read_onnx(path) if suffix == ONNX else read_arrays(path)
    try:
        if isinstance(given, OnnxWeights):
            return import_onnx(given, graph, start)
        if isinstance(given, list):
            return with_trunk(partial(import_layers, given), graph, start)
        if not isinstance(given, Chosen):
            return _same_names(given, start, answers_for_places(graph))
        order = suffix == SAFETENSORS or None

        def state_dict(graph: Graph, start: HostVariables, rest: bool) -> Imported:
            return import_state_dict(given.arrays, graph, start, is_sorted=order, rest=rest)

        imported = with_trunk(state_dict, graph, start)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(str(error))}") from None
    notes = (given.note, *imported.notes, _convention(origin, path, graph))
    return replace(imported, notes=tuple(note for note in notes if note))


def _initial(graph: Graph, seed: int) -> HostVariables:
    start = init(graph, seed)
    for arrays in start["params"].values():
        if (kernel := arrays.get("kernel")) is not None and kernel.ndim == 2:
            inputs, outputs = kernel.shape
            arrays["kernel"] = kernel * np.float32(min(1, math.sqrt(outputs / inputs)))
    return start


def read_arrays(path: Path) -> HostVariables | Chosen[np.ndarray]:
    """What a file holds: variables of this project, or a state dict. Raises ValueError naming the file."""
    suffix = path.suffix.lower()
    if suffix in TORCH_FILES:
        return read_torch(path)
    arrays = _read_safetensors(path) if suffix == SAFETENSORS else load_arrays(path)
    if suffix == SAFETENSORS and all("/" in name for name in arrays):
        return _of_bundle(arrays)
    if suffix == ".npz" and is_tensorflow(arrays):
        return _named(path, arrays)
    is_state_dict = any(name.rpartition(".")[2] in SUFFIXES and "|" not in name for name in arrays)
    return choose_by_name(arrays) if is_state_dict or suffix == SAFETENSORS else nested(arrays, path)


def _named(path: Path, arrays: Mapping[str, np.ndarray]) -> Chosen[np.ndarray]:
    try:
        return from_tensorflow(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(str(error))}") from None


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"{path}: has {size / 2**30:.0f} GiB; {MAX_BYTES >> 30} GiB is the most")
        return from_bytes(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None


def _of_bundle(arrays: Mapping[str, np.ndarray]) -> HostVariables:
    """Variables from the names of a bundle's weights.safetensors, `<node>/<array>`."""
    variables: HostVariables = {"params": {}, "stats": {}}
    for name, array in arrays.items():
        node, _, own = name.rpartition("/")
        variables["stats" if own in ("mean", "var") else "params"].setdefault(node, {})[own] = array
    return variables


def by_names(given: HostVariables, graph: Graph, seed: int) -> Imported:
    """A network's variables from arrays by the names of its nodes; its classifier's are initial values where the classes differ.

    Raises ValueError naming the first node that does not fit.
    """
    return _same_names(given, _initial(graph, seed), answers_for_places(graph))


def _same_names(given: HostVariables, start: HostVariables, of_places: bool) -> Imported:
    """Arrays by the names of their nodes; a head `of_places` takes what fits, and the rest of it starts from initial values."""
    if of_places and (head := _other_head(given, start)):
        parts = {part: {node: own for node, own in nodes.items() if node not in head} for part, nodes in given.items()}
        found = _same_names(parts, {part: {n: own for n, own in nodes.items() if n not in head} for part, nodes in start.items()}, False)
        variables = {part: {**start[part], **nodes} for part, nodes in found.variables.items()}
        fresh = tuple(node for node in start["params"] if node in head or node in found.fresh)
        return Imported(variables, fresh, left_out([node for node in given["params"] if node in head]))
    known = {node for nodes in start.values() for node in nodes}
    unknown, top = [node for nodes in given.values() for node in nodes if node not in known], classifier_of(start)
    other_task = len(unknown) == 1 and _is_other_top(given, unknown[0], start, top)
    if unknown and not other_task:
        raise ValueError(f"{unknown[0]}: the architecture has no such layer")
    variables, fresh = copied(start), []
    for node in start["params"]:
        arrays = {name: a for nodes in given.values() for name, a in nodes.get(node, {}).items()}
        if (other_task and node == top) or not fill(variables, node, arrays, "the file"):
            fresh.append(node)
    return Imported(variables, tuple(fresh))


def _other_head(given: HostVariables, start: HostVariables) -> frozenset[str]:
    """Nodes of both heads that the two do not have alike; empty where one head is the other."""

    def shapes(variables: HostVariables) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
        return {
            node: sorted((name, np.shape(array)) for part in variables.values() for name, array in part.get(node, {}).items())
            for node in variables["params"]
            if node.startswith("head/")
        }

    ours, theirs = shapes(start), shapes(given)
    return frozenset(node for node in {**ours, **theirs} if ours.get(node) != theirs.get(node))


def _is_other_top(given: HostVariables, node: str, start: HostVariables, top: str) -> bool:
    """Whether a file's node is the last layer of another task, such as the logits of a classifier where an embedding stands."""
    arrays, ours = given["params"].get(node, {}), start["params"][top]
    if top in given["params"] or node.split("/")[0] != top.split("/")[0] or set(arrays) != set(ours):
        return False
    return np.ndim(arrays["kernel"]) == 2 and np.shape(arrays["kernel"])[:-1] == np.shape(ours["kernel"])[:-1]


def _convention(origin: str, path: Path, graph: Graph) -> str | None:
    """A line where the file's network pads or normalizes otherwise, by where it comes from: shapes do not show it.

    torchvision's networks, and timm's but those whose names begin with tf_, pad k // 2 on both sides.
    """
    if origin not in ORIGINS[1:]:
        return None
    expected = "same" if origin == "timm" and network_name(path).startswith("tf_") else "torch"
    ours = {"same" if n.attr["padding"] == "same" else "torch" for n in graph.nodes if n.op == "conv" and _pads_matter(n.attr)}
    if ours <= {expected}:
        return None
    eps = {"same": "1.0e-03", "torch": "1.0e-05"}[expected]
    return (
        f"as a network of {origin} it has padding: {expected} and most often norm_eps: {eps}; this architecture pads otherwise, "
        "so that it computes something else until it is trained"
    )


def _pads_matter(attr: Mapping[str, object]) -> bool:
    """Only windows that skip pixels lie elsewhere by the two ways to pad."""
    return attr["stride"] != 1 and attr["kernel"] != 1 and attr["padding"] != 0
