"""The weights in an .onnx file as a state dict: of its nodes only names and kinds are read, and nothing is run.

    found = read_onnx(Path("net.onnx"))
    found.arrays         # {"conv1.weight": .., "conv1.bias": .., "fc.weight": ..}, in PyTorch's layouts, in the order of the nodes

Layers are `Conv`, `ConvTranspose`, `Gemm`, `MatMul` (with the `Add` after it) and `BatchNormalization`; every array of floats must
belong to one. What stands before the first `Conv` makes images ready and is no part of the network. Single numbers, of activations,
integers, which are shapes and axes, and the scales of `Resize` are settings of their nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.text import one_line
from nas.core.versions import needed

NORM = ("weight", "bias", "running_mean", "running_var")  # inputs 1-4 of BatchNormalization, by PyTorch's names
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
NESTED = (5, 10)  # attributes that hold graphs, by AttributeProto.AttributeType: of If, Loop, Scan
EXTERNAL = 1  # TensorProto.DataLocation
PIXELS_FIRST = [0, 2, 3, 1]  # a transpose before a flat feature map
MAX_BYTES = 2 << 30  # more a message of this kind cannot have


@dataclass
class OnnxWeights:
    """Arrays by PyTorch's names.

    Args:
        arrays: Of layers, `<layer>.weight`, in the order of the nodes.
        norms: How many of the layers are batch norms.
        eps: Those of the batch norms.
        pixels_first: Layers whose inputs are a flat feature map, pixels before channels.
        notes: Lines for people.
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    norms: int = 0
    eps: set[float] = field(default_factory=set)
    pixels_first: set[str] = field(default_factory=set)
    notes: tuple[str, ...] = ()


def read_onnx(path: Path) -> OnnxWeights:
    """The weights of a file. Raises ValueError, one line, naming the file and what of it cannot be read."""
    onnx = needed("onnx", "")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path}: larger than {MAX_BYTES >> 30} GiB, the most that an .onnx file has")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    try:
        graph = onnx.ModelProto.FromString(content).graph
    except Exception as error:  # protobuf's error is of the package that implements it
        raise ValueError(f"{path}: no ONNX model: {one_line(str(error)) or 'damaged'}") from None
    if not graph.node:
        raise ValueError(f"{path}: no ONNX model: it has no nodes")
    try:
        return _Reader(onnx.numpy_helper, graph).read()
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(str(error))}") from None


class _Reader:
    """Through the nodes in their order, which is that of the computation."""

    def __init__(self, numpy_helper: Any, graph: Any) -> None:
        self.to_array, self.nodes = numpy_helper.to_array, list(graph.node)
        names = [*(t.name for t in graph.initializer), *(n for node in self.nodes for n in (node.name, *node.input, *node.output))]
        if wrong := next((name for name in names if type(name) is not str), None):
            raise ValueError(f"no ONNX model: a name that is no text: {wrong!r:.60}")
        self.tensors: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.used: set[str] = set()
        self.found = OnnxWeights()
        self.before: list[str] = []
        for node in self.nodes:
            self._constant(node)

    def read(self) -> OnnxWeights:
        first = next((i for i, node in enumerate(self.nodes) if node.op_type == "Conv"), 0)
        for i, node in enumerate(self.nodes):
            if any(attribute.type in NESTED for attribute in node.attribute):
                raise ValueError(f"{_title(node)}: it chooses what to compute; such models are not read")
            if i < first:
                self._prepares(node)
            elif node.op_type in PRODUCTS:
                self._product(node)
            elif node.op_type == "BatchNormalization":
                self._norm(node)
            elif node.op_type == "Resize":
                self.used.update(node.input[1:])  # its scales
        self._check_all()
        if not self.found.arrays:
            raise ValueError("it holds no weights of layers")
        if self.before:
            self.found.notes = (one_line(f"not read, as they make images ready: {', '.join(self.before[:8])}"),)
        return self.found

    def _constant(self, node: Any) -> None:
        """Arrays that nodes give: constants, and equal arrays that an exporter keeps once."""
        if node.op_type == "Constant" and node.output:
            if value := next((attribute for attribute in node.attribute if attribute.name == "value"), None):
                self.tensors[node.output[0]] = value.t
        elif node.op_type == "Identity" and node.input and node.output and node.input[0] in self.tensors:
            self.tensors[node.output[0]] = self.tensors[node.input[0]]
            self.used.add(node.input[0])

    def _prepares(self, node: Any) -> None:
        names = [name for name in node.input if name in self.tensors and name not in self.used]
        self.before += [name for name in names if _is_weight(self.tensors[name])]
        self.used.update(names)

    def _product(self, node: Any) -> None:
        of_data = [name for name in node.input[:2] if name not in self.tensors]
        if len(of_data) != 1 or len(node.input) < 2 or node.input[1] in of_data:
            made = self.makers.get(node.input[1]) if len(node.input) > 1 else None
            by = f", by {made.op_type}" if made is not None else ""
            raise ValueError(f"{_title(node)}: its weight is computed{by}; expected an array, as before a model is quantized")
        weight, bias = self._take(node.input[1]), next(iter(node.input[2:3]), "")
        settings = {attribute.name: attribute for attribute in node.attribute}
        scaled = any(name in settings and settings[name].f != 1 for name in ("alpha", "beta")) or _integer(settings, "transA")
        if node.op_type == "Gemm" and scaled:
            raise ValueError(f"{_title(node)}: alpha, beta or transA have no counterpart here")
        if node.op_type in ("Gemm", "MatMul") and not _integer(settings, "transB"):
            weight = weight.T
        given = {"weight": weight}
        if node.op_type == "MatMul":
            bias = self._added(node)
        if bias:
            given["bias"] = self._take(bias)
        layer = self._keep(node, node.input[1], given)
        if self._is_flat_by_pixels(node.input[0]):
            self.found.pixels_first.add(layer)

    def _added(self, node: Any) -> str:
        """The array that an Add puts to a product, empty where there is none."""
        readers = [other for other in self.nodes if node.output[0] in other.input]
        if len(readers) != 1 or readers[0].op_type != "Add":
            return ""
        return next((name for name in readers[0].input if name in self.tensors), "")

    def _norm(self, node: Any) -> None:
        if len(node.input) != 5 or any(name not in self.tensors for name in node.input[1:]):
            raise ValueError(f"{_title(node)}: expected arrays for scale, bias, mean and variance")
        self._keep(node, node.input[1], {name: self._take(key) for name, key in zip(NORM, node.input[1:], strict=True)})
        self.found.norms += 1
        self.found.eps.add(next((round(a.f, 10) for a in node.attribute if a.name == "epsilon"), 1e-5))

    def _take(self, name: str) -> np.ndarray:
        if (tensor := self.tensors.get(name)) is None:
            raise ValueError(f"{name}: computed; expected an array")
        self.used.add(name)
        if tensor.data_location == EXTERNAL or tensor.external_data:
            raise ValueError(f"{name}: its numbers are in another file; save the model as one file")
        shape = tuple(tensor.dims)
        try:
            if min(shape, default=0) < 0:
                raise ValueError("a size below 0")
            array = self.to_array(tensor)
        except Exception as error:  # what a damaged tensor raises is of many kinds
            raise ValueError(f"{name}: damaged: {one_line(str(error)) or type(error).__name__}") from None
        if array.shape != shape:
            raise ValueError(f"{name}: damaged: shape {array.shape}, expected {shape}")
        return np.asarray(array, np.float32) if str(array.dtype) == "bfloat16" else array

    def _keep(self, node: Any, array: str, given: Mapping[str, np.ndarray]) -> str:
        """Names a layer by its array or, where that says nothing or is another's too, by its node."""
        head = max(array.rpartition("."), array.rpartition("/"), key=lambda parts: len(parts[0]))[0]
        names = [head if not array.startswith("onnx::") else "", node.name, f"{node.op_type}_{len(self.found.arrays)}"]
        layer = next(name for name in names if name and f"{name}.weight" not in self.found.arrays)
        self.found.arrays.update({f"{layer}.{name}": value for name, value in given.items()})
        return layer

    def _is_flat_by_pixels(self, name: str) -> bool:
        node = self.makers.get(name)
        while node is not None and node.op_type in ("Dropout", "Identity"):  # as in a model exported for training
            node = self.makers.get(node.input[0])
        if node is None or node.op_type not in ("Flatten", "Reshape"):
            return False
        before = self.makers.get(node.input[0])
        if before is None or before.op_type != "Transpose":
            return False
        return any(attribute.name == "perm" and list(attribute.ints) == PIXELS_FIRST for attribute in before.attribute)

    def _check_all(self) -> None:
        for name, tensor in self.tensors.items():
            if name not in self.used and _is_weight(tensor):
                reader = next((_title(node) for node in self.nodes if name in node.input), "no node")
                raise ValueError(f"{name}: an array of no layer known here: it is read by {reader}")


def _is_weight(tensor: Any) -> bool:
    """Whether it may be of a layer: no setting of a node, which is one number, or 32- or 64-bit integers or bools (6, 7, 9)."""
    return tensor.data_type not in (6, 7, 9) and math.prod(tensor.dims) != 1


def _title(node: Any) -> str:
    return f"{node.op_type} {node.name or next(iter(node.output), '')}".strip()


def _integer(settings: Mapping[str, Any], name: str) -> int:
    return settings[name].i if name in settings else 0
