"""The lowered graph as a JAX network: initial values, a pure `apply`, and `Network`, its Flax module.

    graph = lower(arch)
    variables = init(graph, seed=0)
    logits, stats = apply(graph, variables["params"], variables["stats"], images, train=True, rng=jax.random.key(0))

Parameters are `{node name: {"kernel", "bias", "scale"}}`, batch statistics `{node name: {"mean", "var"}}`, all float32.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import PRODUCTS, Graph, Node, param_shapes
from nas.nn import maps, ops, resample
from nas.nn.ops import Array, Implementation
from nas.nn.weights import AnyArray, Arrays, HostArrays, HostVariables

Stats: TypeAlias = dict[str, Mapping[str, AnyArray]]
Outputs: TypeAlias = Array | dict[str, Array]  # one array, or several by name where the head has several outputs


def init(graph: Graph, seed: int) -> HostVariables:
    """Initial weights. Those of a node depend on the seed and its name alone.

    They are drawn as TensorFlow's MnasNet and EfficientNet draw them: convolutions N(0, 2 / (k k out / groups)), dense
    kernels U(-1, 1) / sqrt(out), biases 0 and scales 1, or what their primitive states: the logits of pixels and boxes begin small.

    Args:
        graph: The network.
        seed: One seed, one network.

    Returns:
        `{"params": {node: {array: ..}}, "stats": ..}`, float32 NumPy arrays.

    Raises:
        ValueError: Where two nodes with parameters share a name.

    Example:
        >>> from nas import load_arch
        >>> init(lower(load_arch("mobilenet_v2")), seed=0)["params"]["stem/conv"]["kernel"].shape
        (3, 3, 3, 32)
    """
    params: HostArrays = {}
    stats: HostArrays = {}
    for node in graph.nodes[1:]:
        shapes = param_shapes(node, graph.in_shapes(node))
        if not shapes:
            continue
        if node.name in params:
            raise ValueError(f"{node.name}: two layers of this name; a block must name each of its layers differently")
        params[node.name] = {name: initial(node, name, shape, seed) for name, shape in shapes.items()}
        if node.op == "norm":
            width = node.shape[2]
            stats[node.name] = {"mean": np.zeros(width, np.float32), "var": np.ones(width, np.float32)}
    return {"params": params, "stats": stats}


def initial(node: Node, name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The initial values of an array of a node, as `init` has them; of a kernel by the node's name, its groups and the shape."""
    if name != "kernel":
        return np.resize(np.float32(node.attr.get("scale", 1) if name == "scale" else node.attr.get("start", 0)), shape)
    digest = np.frombuffer(hashlib.sha256(node.name.encode()).digest()[:16], np.uint32)
    rng = np.random.Generator(np.random.SFC64([seed, *digest.tolist()]))
    if node.op == "dense":
        return (rng.random(shape, np.float32) * 2 - 1) / np.float32(math.sqrt(shape[1]))
    if std := node.attr.get("std"):
        return rng.standard_normal(shape, np.float32) * np.float32(std)
    apart = node.attr["stride"] ** 2 if node.op == "conv_transpose" else 1  # so many pixels share the windows of one
    fan_out = shape[0] * shape[1] * shape[3] / (node.attr.get("groups", 1) * apart)
    return rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / fan_out))


def apply(graph: Graph, params: Arrays, stats: Arrays, images: Array, *, train: bool, rng: Array | None = None,
          dtype: DTypeLike = jnp.float32, momentum: Array | float | None = None,
          implementation: Implementation = "auto", frozen: Collection[str] = (),
          start: int = 0) -> tuple[Outputs, Stats]:  # fmt: skip
    """Applies a network to images: a pure function, to be compiled and differentiated.

    In training batch norm uses the batch, and its moving averages become m old + (1 - m) batch. In evaluation the averages
    are used and returned as they are.

    Args:
        graph: The network.
        params: Weights, by node and name.
        stats: Moving averages of norms, by node and name.
        images: (n, h, w, c), normalized; with `start`, what that node gives.
        train: Whether it is trained.
        rng: Key of dropout and stochastic depth, needed in training where the graph has them.
        dtype: What layers compute in; batch statistics and sums stay float32.
        momentum: The m above; None: each norm's own.
        implementation: Of convolutions and norms, as `nas.nn.ops` has it.
        frozen: Names of nodes that compute as in evaluation although the network is trained.
        start: The number of a node that is all that the nodes after it read of those before; 0: the image.

    Returns:
        The output, (n, classes) float32, or (n, h, w, classes) where it has pixels, and the averages after it. A head of
        several outputs gives a dict of such arrays by name.

    Raises:
        ValueError: For images of another shape, or a missing key.

    Example:
        >>> from nas import load_arch
        >>> graph = lower(load_arch("mobilenet_v2").with_io(resolution=32))
        >>> variables = init(graph, seed=0)
        >>> logits, _ = apply(graph, variables["params"], variables["stats"], jnp.zeros((2, 32, 32, 3)), train=False)
        >>> logits.shape
        (2, 1000)
    """
    if tuple(images.shape[1:]) != (expected := graph.nodes[start].shape):
        raise ValueError(f"images: expected shape (n, {_listed(expected)}), got ({_listed(images.shape)})")

    def random(node: Node, x: Array, index: int) -> Array:
        if rng is None:
            raise ValueError(f"{node.name}: training needs a random key for it; pass rng")
        return RANDOM[node.op](x, node.attr["rate"], jax.random.fold_in(rng, index))

    before = [images.astype(dtype)] * (start + 1)  # so that nodes keep their numbers; the last alone is read
    values, new_stats = values_of(
        graph.nodes[start + 1 :], before, params, stats, train=train, random=random, momentum=momentum,
        implementation=implementation, outputs=graph.outputs.values(), frozen=frozen,
    )  # fmt: skip
    stats = {**stats, **new_stats}
    if graph.named:
        return {name: output_of(graph.nodes[i], values[i]) for name, i in graph.outputs.items()}, stats
    return output_of(graph.nodes[-1], values[-1]), stats


def output_of(node: Node, value: Array) -> Array:
    """What a node gives as an output of the network: (n, c) of one pixel, (n, h, w, c) of more.

    float32, or float64 where layers compute in it.
    """
    wide = value.astype(ops.wide_type(value))
    return wide.reshape(wide.shape[0], -1) if node.shape[:2] == (1, 1) else wide


Random = Callable[[Node, Array, int], Array]  # (node, its input, its number) -> its output in training


def run(nodes: Sequence[Node], values: list[Array], params: Arrays, stats: Arrays, *, train: bool, random: Random,
        momentum: Array | float | None = None,
        implementation: Implementation = "auto") -> tuple[Array, Stats]:  # fmt: skip
    """What the last of `nodes` gives, and the statistics of the norms among them; `values` are what stands before them."""
    given, new_stats = values_of(nodes, values, params, stats, train=train, random=random, momentum=momentum,
                                 implementation=implementation)  # fmt: skip
    return given[-1], new_stats


def values_of(nodes: Sequence[Node], values: list[Array], params: Arrays, stats: Arrays, *, train: bool, random: Random,
              momentum: Array | float | None, implementation: Implementation, outputs: Collection[int] = (),
              frozen: Collection[str] = ()) -> tuple[list[Array], Stats]:  # fmt: skip
    """`values` and what each of `nodes` gives, and the statistics of the norms among them; `outputs` are read at the end.

    Norms among the `frozen` use their moving statistics and leave them, dropout among them does nothing.
    """
    values, new_stats, first = list(values), {}, len(values)
    fused = norms_with_acts(nodes, first, outputs) if train else {}
    fused = {i: fn for i, fn in fused.items() if nodes[i - first].name not in frozen}
    last = _last_products(nodes, first, PRODUCTS if outputs else ("dense",))  # a segment that ends in a convolution is no network
    params, stats = (cast("Mapping[str, Mapping[str, Array]]", arrays) for arrays in (params, stats))
    for i, node in enumerate(nodes, first):
        x, active = [values[j] for j in node.inputs], train and node.name not in frozen
        if node.op == "norm":
            own, then = stats.get(node.name, {}), fused.get(i, "none")
            y, new_stats[node.name] = apply_norm(
                node, x[0], params[node.name], own, active, momentum, then, implementation
            )
        elif node.op == "act" and node.inputs[0] in fused:
            y = x[0]
        elif node.op == "act" and not train:
            y = ops.INFERENCE_ACT_FNS[node.attr["fn"]](x[0])
        elif node.op in RANDOM:
            y = random(node, x[0], i) if active else x[0]
        elif i in last and node.op == "dense":
            y = ops.dense(x[0], params[node.name]["kernel"], params[node.name].get("bias"), wide=True)
        else:
            x = [value.astype(ops.wide_type(value)) for value in x] if i in last else x
            y = LAYERS[node.op](node, x, params.get(node.name, {}), implementation)
        values.append(y)
    return values, new_stats


def _last_products(nodes: Sequence[Node], first: int, kinds: Collection[str]) -> set[int]:
    """The products of some kinds that no layer with weights follows: their sums are the network's output and stay float32."""
    before: set[int] = set()
    for i, node in reversed(list(enumerate(nodes, first))):
        if i in before or node.op in (*PRODUCTS, "norm"):
            before.update(node.inputs)
    return {i for i, node in enumerate(nodes, first) if node.op in kinds and i not in before}


def norms_with_acts(nodes: Sequence[Node], first: int = 0, outputs: Collection[int] = ()) -> dict[int, str]:
    """The norms whose only reader is an activation, with its name: in training the two are one operation.

    Nodes are numbered from `first` on; inputs below it come from elsewhere. `outputs` are read at the end too.
    """
    readers = Counter(i for node in nodes for i in node.inputs) + Counter(outputs)
    acts = [node for node in nodes if node.op == "act" and node.inputs[0] >= first]
    alone = [node for node in acts if readers[node.inputs[0]] == 1 and nodes[node.inputs[0] - first].op == "norm"]
    return {node.inputs[0]: node.attr["fn"] for node in alone}


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in shape)


def apply_norm(node: Node, x: Array, p: Mapping[str, Array], s: Mapping[str, Array], train: bool,
               momentum: Array | float | None, then: str = "none",
               implementation: Implementation = "auto") -> tuple[Array, dict[str, Array]]:  # fmt: skip
    """(y, statistics after it) of a batch norm with parameters `p` and statistics `s`; `momentum` as `apply` has it.

    `then` names the activation that follows in training.
    """
    eps = node.attr["eps"]
    if not train:
        return ops.norm_eval(x, p["scale"], p["bias"], s["mean"], s["var"], eps), dict(s)
    y, mean, var = ops.norm_train(x, p["scale"], p["bias"], eps, then, implementation)
    m = node.attr["momentum"] if momentum is None else momentum
    if isinstance(m, float | int) and m == 0:
        return y, {"mean": mean, "var": var}
    return y, {"mean": m * s["mean"] + (1 - m) * mean, "var": m * s["var"] + (1 - m) * var}


RANDOM: dict[str, Callable[[Array, float, Array], Array]] = {"dropout": ops.dropout, "drop_path": ops.drop_path}

LAYERS: dict[str, Callable[[Node, list[Array], Mapping[str, Array], Implementation], Array]] = {
    "conv": lambda node, x, p, implementation: ops.conv(
        x[0],
        p["kernel"],
        p.get("bias"),
        stride=node.attr["stride"],
        padding=node.attr["padding"],
        groups=node.attr["groups"],
        dilation=node.attr.get("dilation", 1),
        implementation=implementation,
    ),
    "conv_transpose": lambda node, x, p, implementation: resample.conv_transpose(
        x[0], p["kernel"], p.get("bias"), stride=node.attr["stride"], implementation=implementation
    ),
    "dense": lambda node, x, p, implementation: ops.dense(x[0], p["kernel"], p.get("bias")),
    "act": lambda node, x, p, implementation: ops.ACT_FNS[node.attr["fn"]](x[0]),
    "max_pool": lambda node, x, p, implementation: maps.max_pool(x[0], **node.attr),
    "avg_pool": lambda node, x, p, implementation: maps.avg_pool(x[0], **node.attr, implementation=implementation),
    "global_pool": lambda node, x, p, implementation: maps.global_pool(x[0]),
    "flatten": lambda node, x, p, implementation: maps.flatten(x[0]),
    "reshape": lambda node, x, p, implementation: maps.reshape(x[0], node.shape),
    "resize": lambda node, x, p, implementation: resample.resize(x[0], node.shape[:2], implementation),
    "crop": lambda node, x, p, implementation: maps.crop(x[0], node.attr["top"], node.attr["left"], node.shape),
    "add": lambda node, x, p, implementation: x[0] + x[1],
    "mul": lambda node, x, p, implementation: x[0] * x[1],
    "concat": lambda node, x, p, implementation: jnp.concatenate(x, axis=3),
    "channels": lambda node, x, p, implementation: x[0][..., node.attr["start"] : node.attr["stop"]],
    "shuffle": lambda node, x, p, implementation: maps.shuffle(x[0], node.attr["groups"]),
    "l2_normalize": lambda node, x, p, implementation: maps.l2_normalize(x[0], p.get("scale")),
}


class Network(nnx.Module):
    """An architecture as a Flax module: parameters are `nnx.Param`, batch statistics `nnx.BatchStat`.

    A call takes images (n, h, w, c), normalized, and gives logits (n, classes) float32. With `train=True` it moves the batch
    statistics; `rng` is as in `apply`. Values are at `params[node name][array name]`.

    Args:
        arch: An architecture, or its graph.
        seed: Of the initial weights.
        dtype: What layers compute in.

    Example:
        >>> from nas import load_arch
        >>> network = Network(load_arch("mobilenet_v2").with_io(resolution=32), seed=0)
        >>> network(jnp.zeros((2, 32, 32, 3))).shape
        (2, 1000)
        >>> graphdef, state = nnx.split(network)
    """

    def __init__(self, arch: Arch | Graph, seed: int = 0, *, dtype: DTypeLike = jnp.float32):
        self.graph = lower(arch) if isinstance(arch, Arch) else arch
        self.dtype = dtype
        variables = init(self.graph, seed)
        self.params = _boxed(variables["params"], nnx.Param)
        self.stats = _boxed(variables["stats"], nnx.BatchStat)

    def __call__(self, images: Array, *, train: bool = False, rng: Array | None = None) -> Outputs:
        outputs, stats = apply(
            self.graph, _plain(self.params), _plain(self.stats), images, train=train, rng=rng, dtype=self.dtype
        )
        if train:
            for node, arrays in stats.items():
                for name, value in arrays.items():
                    self.stats[node][name][...] = value
        return outputs


def _boxed(arrays: Arrays, kind: type[nnx.Variable]) -> nnx.Dict:
    return nnx.Dict({node: nnx.Dict({k: kind(jnp.asarray(v)) for k, v in a.items()}) for node, a in arrays.items()})


def _plain(boxed: nnx.Dict) -> dict[str, dict[str, Array]]:
    return {node: {name: variable[...] for name, variable in arrays.items()} for node, arrays in boxed.items()}
