"""Mean and variance of what each layer gives, a channel, as a trained network's batch norms tell them; no image is needed.

Behind a norm a channel has the norm's bias as its mean and its scale as its standard deviation, about normally distributed; what
follows is worked out from there. Where no norm tells, nothing is known.
"""

from __future__ import annotations

from typing import TypeAlias

import jax.numpy as jnp
import numpy as np

from nas.arch.graph import Graph, Node
from nas.nn.ops import ACT_FNS
from nas.nn.weights import Variables

Moments: TypeAlias = tuple[np.ndarray, np.ndarray] | None  # (mean, variance), each (channels,) float64
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(33)
NORMAL = WEIGHTS / WEIGHTS.sum()
AS_THEY_ARE = ("dropout", "drop_path", "avg_pool", "max_pool", "global_pool", "resize", "crop")


def depthwise(node: Node) -> bool:
    """Whether a convolution has one channel a filter."""
    return node.op == "conv" and node.attr["groups"] == node.shape[2] > 1


def moments_of(graph: Graph, variables: Variables) -> list[Moments]:
    """Those of every node, by its number."""
    found: list[Moments] = []
    for node in graph.nodes:
        found.append(moments(node, [found[i] for i in node.inputs], variables))
    return found


def moments(node: Node, inputs: list[Moments], variables: Variables) -> Moments:
    """Those of a node, by those of its inputs; pools of one channel's pixels count as alike."""
    if node.op == "norm":
        own = {k: np.asarray(v, np.float64) for part in ("params", "stats") for k, v in variables[part][node.name].items()}
        return own["bias"], own["scale"] ** 2 * own["var"] / (own["var"] + node.attr["eps"])  # 0 where nothing ever came
    known = [one for one in inputs if one is not None]
    if not known or len(known) < len(inputs):
        return None
    (mean, var), (other, second) = known[0], known[-1]
    if node.op == "act":
        seen = jnp.asarray(mean[:, None] + np.sqrt(var)[:, None] * POINTS)
        values = np.asarray(ACT_FNS[node.attr["fn"]](seen), np.float64)
        mean = values @ NORMAL
        return mean, np.square(values - mean[:, None]) @ NORMAL
    if node.op == "add":
        return mean + other, var + second
    if node.op == "mul":
        return mean * other, var * second + var * other**2 + second * mean**2
    return known[0] if node.op in AS_THEY_ARE or (node.op == "flatten" and len(mean) == node.shape[2]) else None


def summed(node: Node, kernel: np.ndarray, inputs: Moments) -> Moments:
    """What a convolution, or a dense layer, makes of its inputs where they are independent, without its bias."""
    if inputs is None or (not depthwise(node) and node.op == "conv" and node.attr["groups"] != 1):
        return None
    mean, var = (one if depthwise(node) else one[:, None] for one in inputs)
    taps = np.asarray(kernel, np.float64)
    if node.op == "conv_transpose":  # a pixel is the sum of as many windows as lie over it
        return _of_phases(node, taps, mean, var)
    axes = tuple(range(taps.ndim - 1))
    return (taps * mean).sum(axes), (taps**2 * var).sum(axes)


def _of_phases(node: Node, taps: np.ndarray, mean: np.ndarray, var: np.ndarray) -> Moments:
    """As `summed`, over the pixels of a transposed convolution, whose place decides which part of the kernel they are made with."""
    stride = node.attr["stride"]
    parts = [taps[i::stride, j::stride] for i in range(stride) for j in range(stride)]
    means = np.array([(part * mean).sum((0, 1, 2)) for part in parts])
    return means.mean(0), np.mean([(part**2 * var).sum((0, 1, 2)) for part in parts], 0) + means.var(0)


def losses(node: Node, kernel: np.ndarray, inputs: Moments, gain: np.ndarray | float) -> np.ndarray | None:
    """Fraction of each input channel in the variance of what a layer gives, each output times its `gain`; (channels,), sums to 1."""
    if inputs is None or depthwise(node) or (node.op == "conv" and node.attr["groups"] != 1):
        return None
    taps = np.square(np.asarray(kernel, np.float64)) * gain
    found = inputs[1] * taps.reshape(-1, *taps.shape[-2:]).sum((0, 2))
    return found / max(found.sum(), 1e-30)
