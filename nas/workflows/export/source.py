"""A network as Python source that needs only jax and flax: one line a primitive, no nas, weights read from beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nas.arch.graph import Graph, Node, pool_pads, window_pads
from nas.records import JSON

# Nothing but `_filled` puts values in here, and none stands in a docstring: repr closes no quotes but its own.
HEADER = '''"""A trained network: needs jax and flax, and weights.safetensors beside this file.

    network = Network()
    logits = network(normalized(images))        # images (n, *SHAPE) uint8 -> {answer} float32
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

NAME = {name}
GENERATED_BY = {generated_by}
SHAPE = {shape}
CLASSES = {classes}
MEAN = {mean}
STD = {std}


def normalized(images):
    """(n, *SHAPE) uint8 -> what the network takes."""
    mean, std = (jnp.array(v, jnp.float32).reshape(1, 1, 1, -1) for v in (MEAN, STD))
    return (jnp.asarray(images, jnp.float32) / 255 - mean) / std


def read(path):
    """The arrays of a safetensors file by name."""
    data = Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    body, arrays = memoryview(data)[8 + size :], {{}}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        start, stop = entry["data_offsets"]
        arrays[name] = np.frombuffer(body[start:stop], "<f4").reshape(entry["shape"])
    return arrays


class Network(nnx.Module):
    """Inference; scale, bias and kernels are `nnx.Param`, means and variances `nnx.BatchStat`."""

    def __init__(self, path=None):
        arrays = read(path or Path(__file__).with_name("weights.safetensors"))
        kinds = {{name: nnx.BatchStat if name.endswith(("/mean", "/var")) else nnx.Param for name in arrays}}
        self.values = nnx.Dict({{name: kinds[name](jnp.asarray(array)) for name, array in arrays.items()}})

    def __call__(self, x0):
        v = {{name: variable[...] for name, variable in self.values.items()}}
'''
HELPERS = {
    "conv": """
def conv(x, kernel, bias, stride, pads, groups, dilation=1):
    numbers, apart = ("NHWC", "HWIO", "NHWC"), (dilation, dilation)
    y = lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, rhs_dilation=apart, dimension_numbers=numbers, feature_group_count=groups
    )
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)
""",
    "conv_transpose": """
def conv_transpose(x, kernel, bias, stride):
    numbers, around = ("NHWC", "HWIO", "NHWC"), [(size - 1, size - 1) for size in kernel.shape[:2]]
    y = lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), around, lhs_dilation=(stride, stride), dimension_numbers=numbers
    )
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)
""",
    "resize": """
def resize(x, height, width):
    # Between the centers of pixels, which corners are not.
    def weights(size, out):
        place = jnp.clip((jnp.arange(out) + 0.5) * (size / out) - 0.5, 0, size - 1)
        return jnp.maximum(1 - jnp.abs(place[:, None] - jnp.arange(size)[None]), 0)

    rows, columns = weights(x.shape[1], height), weights(x.shape[2], width)
    return jnp.einsum("Hh,nhwc->nHwc", rows, jnp.einsum("Ww,nhwc->nhWc", columns, x))
""",
    "norm": """
def norm(x, scale, bias, mean, var, eps):
    factor = lax.rsqrt(var + eps) * scale
    return x * factor.reshape(1, 1, 1, -1) + (bias - mean * factor).reshape(1, 1, 1, -1)
""",
    "dense": """
def dense(x, kernel, bias):
    y = x.reshape(x.shape[0], -1) @ kernel
    return (y if bias is None else y + bias.reshape(1, -1)).reshape(x.shape[0], 1, 1, -1)
""",
    "pool": """
def max_pool(x, kernel, stride, pads):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, kernel, kernel, 1), (1, stride, stride, 1), ((0, 0), *pads, (0, 0)))


def avg_pool(x, kernel, stride, pads):
    def total(y):
        return lax.reduce_window(y, 0.0, lax.add, (1, kernel, kernel, 1), (1, stride, stride, 1), ((0, 0), *pads, (0, 0)))

    return total(x) / total(jnp.ones_like(x))
""",
    "l2_normalize": """
def l2_normalize(x, scale=None):
    unit = x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(3, keepdims=True), 1e-12))
    return unit if scale is None else unit * scale.reshape(1, 1, 1, -1)
""",
    "shuffle": """
def shuffle(x, groups):
    n, h, w, c = x.shape
    return x.reshape(n, h, w, groups, c // groups).swapaxes(3, 4).reshape(x.shape)
""",
}
ACTS = {
    "relu": "jax.nn.relu({})", "relu6": "jax.nn.relu6({})", "hswish": "jax.nn.hard_swish({})", "swish": "jax.nn.silu({})",
    "sigmoid": "jax.nn.sigmoid({})", "hsigmoid": "jax.nn.hard_sigmoid({})", "tanh": "jnp.tanh({})",
    "gelu": "jax.nn.gelu({}, approximate=False)", "none": "{}",
}  # fmt: skip


def flax_source(graph: Graph, name: str, classes: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> str:
    """The text of model.py. Raises ValueError for a primitive that it has no line for."""
    from nas.core.version import __version__

    head = _filled(
        _answer(graph), name=name, generated_by=f"nas {__version__}", shape=tuple(graph.input_shape), classes=tuple(classes),
        mean=tuple(map(float, mean)), std=tuple(map(float, std)),
    )  # fmt: skip
    lines, values, used = [], {0: "x0"}, set()
    for i, node in enumerate(graph.nodes[1:], 1):
        if node.op not in LINES:
            raise ValueError(f"source: {node.name}: the primitive {node.op} has no line of source")
        text = LINES[node.op](node, [values[j] for j in node.inputs], graph)
        used.add(node.op.replace("max_", "").replace("avg_", ""))
        if text.isidentifier():
            values[i] = text
            continue
        values[i] = f"x{i}"
        lines.append(f"        x{i} = {text}")
    helpers = "\n".join(text for key, text in HELPERS.items() if key in used)
    return f"{head}{chr(10).join(lines)}\n        return {_returned(graph, values)}\n\n{helpers}"


def _returned(graph: Graph, values: Mapping[int, str]) -> str:
    """What the network gives: the one output, or several by name; pixels where there are any."""

    def value(i: int) -> str:
        return f"{values[i]}.reshape({values[i]}.shape[0], -1)" if graph.nodes[i].shape[:2] == (1, 1) else values[i]

    if not graph.named:
        return value(len(graph.nodes) - 1)
    return f"{{{', '.join(f'{name!r}: {value(i)}' for name, i in graph.named)}}}"


def _answer(graph: Graph) -> str:
    """Of what form the output is, for a comment."""
    height, width, _ = graph.nodes[-1].shape
    pixels = "" if (height, width) == (1, 1) else f"{height}, {width}, "
    return "a dict of" if graph.named else f"(n, {pixels}len(CLASSES))"


def _filled(answer: str, **values: object) -> str:
    """The header. A name or a class is data: it enters the source as a literal, whatever it holds."""
    return HEADER.format(answer=answer, **{key: repr(value) for key, value in values.items()})


def _value(node: Node, name: str) -> str:
    return f"v[{f'{node.name}/{name}'!r}]"


def _bias(node: Node) -> str:
    return _value(node, "bias") if node.attr["bias"] else "None"


def _pads(node: Node, graph: Graph, of: Callable[[int, Mapping[str, JSON]], tuple[int, int]]) -> str:
    height, width, _ = graph.in_shapes(node)[0]
    return repr((of(height, node.attr), of(width, node.attr)))


def _conv(node: Node, x: list[str], graph: Graph) -> str:
    a = node.attr
    padding = window_pads(graph.in_shapes(node)[0], a["kernel"], a["stride"], a["padding"], a.get("dilation", 1))
    rest = f", {a['dilation']!r}" if "dilation" in a else ""
    return f"conv({x[0]}, {_value(node, 'kernel')}, {_bias(node)}, {a['stride']!r}, {padding}, {a['groups']!r}{rest})"


def _norm(node: Node, x: list[str], graph: Graph) -> str:
    return f"norm({x[0]}, {', '.join(_value(node, n) for n in ('scale', 'bias', 'mean', 'var'))}, {node.attr['eps']!r})"


def _pool(node: Node, x: list[str], graph: Graph) -> str:
    padding = _pads(node, graph, lambda size, a: pool_pads(size, a["kernel"], a["stride"], a["padding"], a["ceil"]))
    return f"{node.op}({x[0]}, {node.attr['kernel']!r}, {node.attr['stride']!r}, {padding})"


def _l2_normalize(node: Node, x: list[str], graph: Graph) -> str:
    return f"l2_normalize({x[0]}, {_value(node, 'scale')})" if "scale" in node.attr else f"l2_normalize({x[0]})"


def _crop(node: Node, x: list[str], graph: Graph) -> str:
    top, left = node.attr["top"], node.attr["left"]
    return f"{x[0]}[:, {top!r}:{top + node.shape[0]!r}, {left!r}:{left + node.shape[1]!r}]"


LINES: dict[str, Callable[[Node, list[str], Graph], str]] = {
    "conv": _conv,
    "norm": _norm,
    "dense": lambda node, x, graph: f"dense({x[0]}, {_value(node, 'kernel')}, {_bias(node)})",
    "act": lambda node, x, graph: ACTS[node.attr["fn"]].format(x[0]),
    "max_pool": _pool,
    "avg_pool": _pool,
    "global_pool": lambda node, x, graph: f"{x[0]}.mean((1, 2), keepdims=True)",
    "flatten": lambda node, x, graph: f"{x[0]}.reshape({x[0]}.shape[0], 1, 1, -1)",
    "add": lambda node, x, graph: f"{x[0]} + {x[1]}",
    "mul": lambda node, x, graph: f"{x[0]} * {x[1]}",
    "concat": lambda node, x, graph: f"jnp.concatenate([{', '.join(x)}], axis=3)",
    "channels": lambda node, x, graph: f"{x[0]}[..., {node.attr['start']!r}:{node.attr['stop']!r}]",
    "shuffle": lambda node, x, graph: f"shuffle({x[0]}, {node.attr['groups']!r})",
    "l2_normalize": _l2_normalize,
    "conv_transpose": lambda node, x, graph: (
        f"conv_transpose({x[0]}, {_value(node, 'kernel')}, {_bias(node)}, {node.attr['stride']!r})"
    ),
    "resize": lambda node, x, graph: f"resize({x[0]}, {node.shape[0]!r}, {node.shape[1]!r})",
    "crop": _crop,
    "reshape": lambda node, x, graph: f"{x[0]}.reshape({x[0]}.shape[0], {', '.join(map(repr, node.shape))})",
    "dropout": lambda node, x, graph: x[0],
    "drop_path": lambda node, x, graph: x[0],
}
