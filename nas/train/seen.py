"""What pointwise layers read over a dataset: means and covariances of their channels, for `nas.convert.inherit`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from nas.arch.graph import Graph
from nas.convert.surgeon import Seen
from nas.data.dataset import Dataset
from nas.nn.network import values_of
from nas.nn.ops import Array
from nas.nn.weights import Variables
from nas.train.score import prepare

IMAGES = 256  # at most, evenly through the training part: a layer reads many pixels of each
ROWS = 16


def seen_by_layers(graph: Graph, variables: Variables, dataset: Dataset) -> dict[str, Seen]:
    """By the names of the pointwise layers. Compiles one program."""
    inputs = {node.name: node.inputs[0] for node in graph.nodes if _reads_pixels(graph, node.name)}
    many = len(dataset.train)
    rows = np.linspace(0, many - 1, min(many, IMAGES)).astype(int)
    rows = rows[: len(rows) // ROWS * ROWS] if len(rows) > ROWS else rows

    @jax.jit
    def sums(variables: Variables, images: Array) -> dict[str, tuple[Array, Array]]:
        seen = prepare(images, graph, dataset)
        values, _ = values_of(graph.nodes[1:], [seen], variables["params"], variables["stats"], train=False, random=_never,
                              momentum=None, implementation="auto")  # fmt: skip
        flat = {name: values[i].reshape(-1, values[i].shape[-1]) for name, i in inputs.items()}
        return {name: (x.mean(0), x.T @ x / len(x)) for name, x in flat.items()}

    found, placed = [], jax.device_put(variables)
    for start in range(0, len(rows), ROWS):
        images = np.asarray(dataset.train.images[rows[start : start + ROWS]])
        found.append(jax.tree.map(lambda a: np.asarray(a, np.float64), sums(placed, jnp.asarray(images))))
    means = jax.tree.map(lambda *each: np.mean(each, 0), *found)
    return {name: Seen(mean, square - np.outer(mean, mean)) for name, (mean, square) in means.items()}


def _reads_pixels(graph: Graph, name: str) -> bool:
    node = next(node for node in graph.nodes if node.name == name)
    if node.op == "conv":
        return node.attr["kernel"] == 1 and node.attr["groups"] == 1
    flat = graph.flattened(node) if node.op == "dense" else None
    return node.op == "dense" and (flat is None or graph.in_shapes(flat)[0][:2] == (1, 1))


def _never(node: object, x: Array, index: int) -> Array:
    raise AssertionError("nothing is random in evaluation")
