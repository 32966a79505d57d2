"""Class activation maps: where in a feature map the evidence for a class is."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from nas.arch.graph import Graph
from nas.explain.taps import features, last_map, scores_behind, scores_from
from nas.nn.ops import Array
from nas.nn.weights import Variables

UNCHANGED = ("dropout", "flatten")  # of (1, 1, c) in evaluation


def cam_layers(graph: Graph) -> tuple[int, int] | None:
    """(the pooled feature map, the dense layer) where the head is a global pool and one linear layer; else None.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> graph = lower(load_arch("mobilenet_v2"))
        >>> [graph.nodes[i].name for i in cam_layers(graph)], cam_layers(lower(load_arch("mobilenet_v3_large")))
        (['head/conv.act', 'head/logits'], None)
    """
    dense = len(graph.nodes) - 1
    if len(graph.outputs) > 1 or graph.nodes[dense].op != "dense":
        return None
    i = graph.nodes[dense].inputs[0]
    while graph.nodes[i].op in UNCHANGED and graph.nodes[i].shape == graph.nodes[graph.nodes[i].inputs[0]].shape:
        i = graph.nodes[i].inputs[0]
    return (graph.nodes[i].inputs[0], dense) if graph.nodes[i].op == "global_pool" else None


def cam(graph: Graph, variables: Variables, images: Array, classes: Array) -> Array:
    """Class activation maps: the dense layer applied to every position of the feature map that is pooled before it.

    The mean over the positions plus the class' bias is its logit.

    Args:
        graph: A network that `cam_layers` accepts.
        variables: Its weights and statistics.
        images: (n, h, w, c), normalized.
        classes: (n,) whole numbers: the class that is explained in each image.

    Returns:
        (n, height, width) of the feature map, in units of the logit.

    Raises:
        ValueError: Where the head is of another kind; `grad_cam` has no such condition.

    Source:
        Zhou et al. 2016 (arXiv:1512.04150).
    """
    if (found := cam_layers(graph)) is None:
        raise ValueError("cam: needs a head of a global pool and one linear layer; use grad_cam, which needs none")
    pooled, dense = found
    [maps] = features(graph, variables, images, [pooled])
    kernel = jnp.asarray(variables["params"][graph.nodes[dense].name]["kernel"])
    return jnp.einsum("nhwc,cn->nhw", maps.astype(jnp.float32), kernel[:, classes])


def grad_cam(graph: Graph, variables: Variables, images: Array, classes: Array, node: int | None = None, *,
             positive: bool = True) -> Array:  # fmt: skip
    """Gradient-weighted class activation maps, at any feature map.

    Each channel is weighted by the mean over positions of the logit's gradient, and the weighted channels are summed. At the
    map before a global pool and a linear layer it is `cam` divided by the number of positions.

    Args:
        graph: A network with one output.
        variables: Its weights and statistics.
        images: (n, h, w, c), normalized.
        classes: (n,) whole numbers: the class that is explained in each image.
        node: Index of the feature map; None: the last one.
        positive: Whether negative values, which speak for other classes, become 0, as in the paper.

    Returns:
        (n, height, width) of the feature map.

    Source:
        Selvaraju et al. 2017 (arXiv:1610.02391).

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> from nas.nn.network import init
        >>> graph = lower(load_arch({"resolution": 8, "channels": 1, "classes": 10, "stem": {"op": "conv", "width": 4},
        ...                          "stages": [{"op": "conv", "width": 8, "stride": 2}], "head": {"op": "classifier"}}))
        >>> grad_cam(graph, init(graph, 0), jnp.ones((2, 8, 8, 1)), jnp.array([3, 7])).shape
        (2, 4, 4)
    """
    maps, rest = scores_from(graph, variables, images, classes, last_map(graph) if node is None else node)
    found = _weighted(maps, jax.grad(lambda values: rest(values).sum())(maps))
    return jax.nn.relu(found) if positive else found


def grad_cam_behind(graph: Graph, variables: Variables, maps: Sequence[Array], classes: Array) -> Array:
    """`grad_cam` at the last feature map from values that are there already, by the layers behind it alone.

    Args:
        graph: A network with one output.
        variables: Of the layers behind the last feature map, at least.
        maps: What `logits_and_maps` gave of the images.
        classes: (n,) whole numbers: the class that is explained in each image.

    Returns:
        (n, height, width) of the last feature map, 0 or more.
    """

    def total(last: Array) -> Array:
        return scores_behind(graph, variables, [*maps[:-1], last], classes).sum()

    return jax.nn.relu(_weighted(maps[-1], jax.grad(total)(maps[-1])))


def _weighted(maps: Array, gradient: Array) -> Array:
    """Channels times their mean gradients, summed. Images do not meet: the gradient of the sum of scores is each one's."""
    weights = gradient.astype(jnp.float32).mean((1, 2), keepdims=True)
    return (weights * maps.astype(jnp.float32)).sum(3)
