"""A network as an ONNX file for inference: batch norm folded, the number of images free.

    model = onnx_bytes(lower(arch), {"params": ..., "stats": ...}, arch.name)
    Path("net.onnx").write_bytes(model)

Input `images` is float32 (N, channels, height, width), output `logits` (N, classes), or (N, classes, height, width) of a head that
answers for pixels, N any number; a graph that ends in a map and no head gives `features`. Several outputs have the names that the head
gives them; one row of positions, such as boxes, is (N, positions, channels). Uses the package `onnx`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import TypeAlias

import numpy as np

from nas.arch.graph import Graph, Node, pool_pads, sides, window_pads
from nas.convert.fold import folded
from nas.core.version import __version__
from nas.core.versions import needed
from nas.nn.weights import HostVariables, Variables

SHORTEST = 1e-6  # as `nas.nn.ops` has it, which needs JAX
OPSET, IR_VERSION = 17, 8  # the first that have every operation used here; older runtimes refuse newer ones
BATCH = "N"
Proto: TypeAlias = object  # a message of the package `onnx`, which is optional


def onnx_bytes(graph: Graph, variables: Variables, name: str = "network") -> bytes:
    """The serialized model, checked. Raises ValueError for a primitive that has no ONNX operation, or where `onnx` is missing."""
    onnx = needed("onnx", "")
    deployed, arrays = folded(graph, variables)
    writer = _Writer(onnx.helper, onnx.numpy_helper, deployed, arrays)
    model = onnx.helper.make_model(
        writer.write(name), opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="nas", producer_version=__version__,
    )  # fmt: skip
    onnx.checker.check_model(model)
    return model.SerializeToString()


@dataclass
class _Writer:
    """Nodes and constants as they are appended. Values are (N, c, h, w), after a dense layer (N, c), of a row of positions (N, w, c)."""

    helper: ModuleType
    numpy_helper: ModuleType
    graph: Graph
    arrays: HostVariables
    nodes: list[Proto] = field(default_factory=list)
    constants: list[Proto] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    flat: dict[int, str] = field(default_factory=dict)
    wide: dict[int, str] = field(default_factory=dict)
    rows: dict[int, str] = field(default_factory=dict)

    def write(self, name: str) -> Proto:
        height, width, channels = self.graph.input_shape
        self.wide[0] = "images"
        for i, node in enumerate(self.graph.nodes[1:], 1):
            if node.op not in WRITERS:
                raise ValueError(f"{node.name}: the primitive {node.op} has no ONNX operation")
            WRITERS[node.op](self, i, node)
        outputs = [self.output(i, label) for label, i in self.graph.outputs.items()]
        images = self.helper.make_tensor_value_info("images", 1, (BATCH, channels, height, width))
        return self.helper.make_graph(self.nodes, name, [images], outputs, self.constants)

    def output(self, i: int, label: str) -> Proto:
        """Names an output of the network: a head's name for it, `logits` or `features` for the only one."""
        shape = self.graph.nodes[i].shape
        one_pixel = shape[:2] == (1, 1)
        if not self.graph.named:
            label = "logits" if one_pixel or self.graph.nodes[i].scope == "head" else "features"
        if i in self.rows:
            self.add("Identity", [self.rows[i]], label)
            return self.helper.make_tensor_value_info(label, 1, (BATCH, *shape[1:]))
        self.add("Identity", [self.as_flat(i) if one_pixel else self.as_wide(i)], label)
        sizes = (shape[2],) if one_pixel else (shape[2], *shape[:2])
        return self.helper.make_tensor_value_info(label, 1, (BATCH, *sizes))

    def add(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(self.helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants.append(self.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def as_wide(self, i: int) -> str:
        """The name of node i's output as (N, c, h, w)."""
        if i not in self.wide:
            name, axes = self.graph.nodes[i].name, [2, 3]
            x = self.flat.get(i)
            if x is None:
                x, axes = self.add("Transpose", [self.rows[i]], f"{name}/moved", perm=[0, 2, 1]), [2]
            constant = self.constant(f"{name}/axes", np.array(axes, np.int64))
            self.wide[i] = self.add("Unsqueeze", [x, constant], f"{name}/wide")
        return self.wide[i]

    def as_flat(self, i: int) -> str:
        """The name of node i's output, of one pixel, as (N, c)."""
        if i not in self.flat:
            self.flat[i] = self.add("Flatten", [self.as_wide(i)], f"{self.graph.nodes[i].name}/flat")
        return self.flat[i]

    def same_rank(self, inputs: tuple[int, ...]) -> tuple[list[str], dict[int, str]]:
        """Names of inputs in one rank, and where an output of that rank is noted."""
        if all(i in self.flat and i not in self.wide for i in inputs):
            return [self.flat[i] for i in inputs], self.flat
        return [self.as_wide(i) for i in inputs], self.wide

    def array(self, node: Node, name: str, part: str = "params") -> np.ndarray:
        return np.asarray(self.arrays[part][node.name][name], np.float32)

    def input_size(self, node: Node) -> tuple[int, int]:
        return self.graph.nodes[node.inputs[0]].shape[:2]


def _window_pads(writer: _Writer, node: Node, of: Callable[[int], tuple[int, int]]) -> list[int]:
    """[top, left, bottom, right]."""
    height, width = (of(size) for size in writer.input_size(node))
    return [height[0], width[0], height[1], width[1]]


def _conv(writer: _Writer, i: int, node: Node) -> None:
    a, dilation = node.attr, node.attr.get("dilation", 1)
    inputs = [writer.as_wide(node.inputs[0])]
    inputs.append(writer.constant(f"{node.name}/kernel", writer.array(node, "kernel").transpose(3, 2, 0, 1)))
    if node.attr["bias"]:
        inputs.append(writer.constant(f"{node.name}/bias", writer.array(node, "bias")))
    above, beside = window_pads(writer.input_size(node), a["kernel"], a["stride"], a["padding"], dilation)
    around = [above[0], beside[0], above[1], beside[1]]
    settings = {"strides": [a["stride"]] * 2, "dilations": [dilation] * 2, "group": a["groups"], "pads": around}
    writer.wide[i] = writer.add("Conv", inputs, node.name, kernel_shape=[*sides(a["kernel"])], **settings)


def _conv_transpose(writer: _Writer, i: int, node: Node) -> None:
    inputs = [writer.as_wide(node.inputs[0])]
    inputs.append(writer.constant(f"{node.name}/kernel", writer.array(node, "kernel").transpose(2, 3, 0, 1)))
    if node.attr["bias"]:
        inputs.append(writer.constant(f"{node.name}/bias", writer.array(node, "bias")))
    kernel, strides = [node.attr["kernel"]] * 2, [node.attr["stride"]] * 2
    writer.wide[i] = writer.add("ConvTranspose", inputs, node.name, kernel_shape=kernel, strides=strides)


def _dense(writer: _Writer, i: int, node: Node) -> None:
    kernel = writer.constant(f"{node.name}/kernel", writer.array(node, "kernel"))
    bias = [writer.constant(f"{node.name}/bias", writer.array(node, "bias"))] if node.attr["bias"] else []
    writer.flat[i] = writer.add("Gemm", [writer.as_flat(node.inputs[0]), kernel, *bias], node.name)


def _norm(writer: _Writer, i: int, node: Node) -> None:
    places = (("scale", "params"), ("bias", "params"), ("mean", "stats"), ("var", "stats"))
    arrays = [writer.constant(f"{node.name}/{name}", writer.array(node, name, part)) for name, part in places]
    inputs, noted = writer.same_rank(node.inputs)
    noted[i] = writer.add("BatchNormalization", [*inputs, *arrays], node.name, epsilon=node.attr["eps"])


def _act(writer: _Writer, i: int, node: Node) -> None:
    (x,), noted = writer.same_rank(node.inputs)
    noted[i] = ACTS[node.attr["fn"]](writer, x, node.name)


def _scalar(writer: _Writer, name: str, value: float) -> str:
    return writer.constant(name, np.array(value, np.float32))


def _relu6(writer: _Writer, x: str, name: str) -> str:
    return writer.add("Clip", [x, _scalar(writer, f"{name}/low", 0), _scalar(writer, f"{name}/high", 6)], name)


def _swish(writer: _Writer, x: str, name: str) -> str:
    return writer.add("Mul", [x, writer.add("Sigmoid", [x], f"{name}/gate")], name)


def _gelu(writer: _Writer, x: str, name: str) -> str:
    """x / 2 (1 + erf(x / sqrt(2))): the form that runtimes know and fuse."""
    scaled = writer.add("Div", [x, _scalar(writer, f"{name}/root", 2**0.5)], f"{name}/scaled")
    erf = writer.add("Erf", [scaled], f"{name}/erf")
    gate = writer.add("Add", [erf, _scalar(writer, f"{name}/one", 1)], f"{name}/gate")
    product = writer.add("Mul", [x, gate], f"{name}/product")
    return writer.add("Mul", [product, _scalar(writer, f"{name}/half", 0.5)], name)


ACTS: dict[str, Callable[[_Writer, str, str], str]] = {
    "relu": lambda w, x, name: w.add("Relu", [x], name),
    "relu6": _relu6,
    "hswish": lambda w, x, name: w.add("HardSwish", [x], name),
    "swish": _swish,
    "sigmoid": lambda w, x, name: w.add("Sigmoid", [x], name),
    "hsigmoid": lambda w, x, name: w.add("HardSigmoid", [x], name, alpha=1 / 6, beta=0.5),
    "tanh": lambda w, x, name: w.add("Tanh", [x], name),
    "gelu": _gelu,
}


def _pool(op: str, **settings: object) -> Callable[[_Writer, int, Node], None]:
    def write(writer: _Writer, i: int, node: Node) -> None:
        a = node.attr
        around = _window_pads(
            writer, node, lambda size: pool_pads(size, a["kernel"], a["stride"], a["padding"], a["ceil"])
        )
        writer.wide[i] = writer.add(
            op, [writer.as_wide(node.inputs[0])], node.name, kernel_shape=[a["kernel"]] * 2, strides=[a["stride"]] * 2,
            pads=around, **settings,
        )  # fmt: skip

    return write


def _global_pool(writer: _Writer, i: int, node: Node) -> None:
    writer.wide[i] = writer.add("GlobalAveragePool", [writer.as_wide(node.inputs[0])], node.name)


def _flatten(writer: _Writer, i: int, node: Node) -> None:
    """Pixels before channels, as the dense layer after it has its rows."""
    x = node.inputs[0]
    if writer.input_size(node) == (1, 1):
        writer.flat[i] = writer.as_flat(x)
        return
    moved = writer.add("Transpose", [writer.as_wide(x)], f"{node.name}/moved", perm=[0, 2, 3, 1])
    writer.flat[i] = writer.add("Flatten", [moved], node.name)


def _binary(op: str) -> Callable[[_Writer, int, Node], None]:
    def write(writer: _Writer, i: int, node: Node) -> None:
        inputs, noted = writer.same_rank(node.inputs)
        noted[i] = writer.add(op, inputs, node.name)

    return write


def _concat(writer: _Writer, i: int, node: Node) -> None:
    inputs, noted = writer.same_rank(node.inputs)
    noted[i] = writer.add("Concat", inputs, node.name, axis=1)


def _channels(writer: _Writer, i: int, node: Node) -> None:
    of_rows = node.inputs[0] in writer.rows  # (N, w, c)
    (x,), noted = ([writer.rows[node.inputs[0]]], writer.rows) if of_rows else writer.same_rank(node.inputs)
    ends = {"start": node.attr["start"], "stop": node.attr["stop"], "axis": 2 if of_rows else 1}
    constants = [writer.constant(f"{node.name}/{name}", np.array([value], np.int64)) for name, value in ends.items()]
    noted[i] = writer.add("Slice", [x, *constants], node.name)


def _shuffle(writer: _Writer, i: int, node: Node) -> None:
    """Reshapes keep the free number of images: a 0 copies that size."""
    (height, width, channels), groups = node.shape, node.attr["groups"]
    split = np.array([0, groups, channels // groups, height, width], np.int64)
    x = writer.as_wide(node.inputs[0])
    parts = writer.add("Reshape", [x, writer.constant(f"{node.name}/split", split)], f"{node.name}/parts")
    moved = writer.add("Transpose", [parts], f"{node.name}/moved", perm=[0, 2, 1, 3, 4])
    whole = writer.constant(f"{node.name}/whole", np.array([0, channels, height, width], np.int64))
    writer.wide[i] = writer.add("Reshape", [moved, whole], node.name)


def _resize(writer: _Writer, i: int, node: Node) -> None:
    """By scales, as sizes would say how many images there are; each is such that the runtime rounds down to the size."""
    scales = [_scale(own, out) for own, out in zip(writer.input_size(node), node.shape[:2], strict=True)]
    inputs = [writer.as_wide(node.inputs[0]), "", writer.constant(f"{node.name}/scales", np.array([1, 1, *scales], np.float32))]
    writer.wide[i] = writer.add("Resize", inputs, node.name, mode="linear", coordinate_transformation_mode="half_pixel")


def _scale(own: int, out: int) -> np.float32:
    scale = np.float32(out / own)
    return scale if int(scale * np.float32(own)) == out else np.nextafter(scale, np.float32(np.inf))


def _crop(writer: _Writer, i: int, node: Node) -> None:
    top, left = node.attr["top"], node.attr["left"]
    ends = {"start": [top, left], "stop": [top + node.shape[0], left + node.shape[1]], "axis": [2, 3]}
    constants = [writer.constant(f"{node.name}/{name}", np.array(value, np.int64)) for name, value in ends.items()]
    writer.wide[i] = writer.add("Slice", [writer.as_wide(node.inputs[0]), *constants], node.name)


def _reshape(writer: _Writer, i: int, node: Node) -> None:
    """Pixels before channels on both sides; a 0 copies the number of images."""
    x = node.inputs[0]
    if x in writer.rows or writer.input_size(node) == (1, 1):
        values = writer.rows[x] if x in writer.rows else writer.as_flat(x)
    else:
        values = writer.add("Transpose", [writer.as_wide(x)], f"{node.name}/last", perm=[0, 2, 3, 1])
    height, width, channels = node.shape
    sizes = [0, channels] if (height, width) == (1, 1) else [0, *node.shape[height == 1 :]]
    values = writer.add("Reshape", [values, writer.constant(f"{node.name}/sizes", np.array(sizes, np.int64))], f"{node.name}/values")
    if height > 1:
        writer.wide[i] = writer.add("Transpose", [values], f"{node.name}/moved", perm=[0, 3, 1, 2])
    else:
        (writer.flat if width == 1 else writer.rows)[i] = values


def _l2_normalize(writer: _Writer, i: int, node: Node) -> None:
    """By its parts: `LpNormalization` has no shortest length, and runtimes for phones lack it."""
    (x,), noted = writer.same_rank(node.inputs)
    length = writer.add("ReduceL2", [x], f"{node.name}/length", axes=[1], keepdims=1)
    least = writer.add("Max", [length, _scalar(writer, f"{node.name}/shortest", SHORTEST)], f"{node.name}/least")
    noted[i] = writer.add("Div", [x, least], f"{node.name}/unit" if "scale" in node.attr else node.name)
    if "scale" in node.attr:
        scale = writer.array(node, "scale").reshape(-1, *([1, 1] if noted is writer.wide else []))
        noted[i] = writer.add("Mul", [noted[i], writer.constant(f"{node.name}/scale", scale)], node.name)


WRITERS: dict[str, Callable[[_Writer, int, Node], None]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "norm": _norm,
    "act": _act,
    "max_pool": _pool("MaxPool"),
    "avg_pool": _pool("AveragePool", count_include_pad=0),
    "global_pool": _global_pool,
    "flatten": _flatten,
    "add": _binary("Add"),
    "mul": _binary("Mul"),
    "concat": _concat,
    "channels": _channels,
    "shuffle": _shuffle,
    "l2_normalize": _l2_normalize,
    "resize": _resize,
    "crop": _crop,
    "reshape": _reshape,
}
