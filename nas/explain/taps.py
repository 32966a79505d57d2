"""Values inside a network, and the network from there on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from nas.arch.graph import Graph, Node
from nas.core.settings import did_you_mean
from nas.nn.network import values_of
from nas.nn.ops import Array
from nas.nn.weights import Variables


def find_node(graph: Graph, tap: str) -> int:
    """The node that a name stands for.

    Args:
        graph: The network.
        tap: `C2` .. `Cn` (the last feature map at stride 2^n), a layer such as `stages.2.0` (its output), or a node such as
            `stages.2.0/depthwise.act`.

    Returns:
        The index of the node.

    Raises:
        ValueError: For a name that the network does not have.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> graph = lower(load_arch("mobilenet_v2"))
        >>> [graph.nodes[find_node(graph, tap)].name for tap in ("C2", "stages.1.1", "stem/act")]
        ['stages.1.1/add', 'stages.1.1/add', 'stem/act']
    """
    named = {node.scope: i for i, node in enumerate(graph.nodes)} | {node.name: i for i, node in enumerate(graph.nodes)}
    named |= dict(graph.taps)
    if tap not in named:
        raise ValueError(f"no layer {tap!r}{did_you_mean(tap, named)} (taps: {', '.join(dict(graph.taps))})")
    return named[tap]


def last_map(graph: Graph) -> int:
    """The last node that has more than one position: what a classifier pools or flattens.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> graph = lower(load_arch("mobilenet_v2"))
        >>> graph.nodes[last_map(graph)].name
        'head/conv.act'
    """
    return max(i for i, node in enumerate(graph.nodes) if i == 0 or node.shape[0] * node.shape[1] > 1)


def tail_inputs(graph: Graph) -> tuple[int, ...]:
    """The nodes up to the last feature map that the layers behind it read: the map itself, and what is joined with it later.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> graph = lower(load_arch("mobilenet_v2"))
        >>> [graph.nodes[i].name for i in tail_inputs(graph)]
        ['head/conv.act']
    """
    last = last_map(graph)
    return tuple(sorted({last, *(i for node in graph.nodes[last + 1 :] for i in node.inputs if i <= last)}))


def features(graph: Graph, variables: Variables, images: Array, nodes: list[int]) -> list[Array]:
    """What nodes give in evaluation.

    Args:
        graph: The network.
        variables: Its weights and statistics.
        images: (n, h, w, c), normalized.
        nodes: Indices.

    Returns:
        (n, h, w, c) of each, in their order.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> from nas.nn.network import init
        >>> graph = lower(load_arch("mobilenet_v2").with_io(resolution=32))
        >>> [x.shape for x in features(graph, init(graph, 0), jnp.zeros((2, 32, 32, 3)), [find_node(graph, "stem")])]
        [(2, 32, 32, 32)]
    """
    values = _values(graph.nodes[1 : max(nodes, default=0) + 1], [images], variables)
    return [values[i] for i in nodes]


def scores(graph: Graph, variables: Variables, images: Array, classes: Array) -> Array:
    """(n,) the logit of one class an image; `classes` (n,) whole numbers."""
    values = _values(graph.nodes[1:], [images], variables)
    return _of_classes(values[_output(graph)], classes)


def scores_from(graph: Graph, variables: Variables, images: Array, classes: Array, node: int) -> tuple[Array, Callable[[Array], Array]]:
    """A node's values (n, h, w, c), and the function from such values to the (n,) logits of the classes.

    Paths around the node, such as the skip of a residual block, keep the values that the images gave them.
    """
    before = _values(graph.nodes[1 : node + 1], [images], variables)

    def rest(values: Array) -> Array:
        return _of_classes(_values(graph.nodes[node + 1 :], [*before[:-1], values], variables)[_output(graph)], classes)

    return before[-1], rest


def logits_and_maps(graph: Graph, variables: Variables, images: Array) -> tuple[Array, list[Array]]:
    """Of one pass, (n, classes) logits and the values (n, h, w, c) of `tail_inputs`: what `grad_cam_behind` needs.

    Logits are (n, h, w, classes) where the network answers for pixels.
    """
    values, output = _values(graph.nodes[1:], [images], variables), _output(graph, of_pixels=True)
    logits = values[output].astype(jnp.float32)
    logits = logits.reshape(len(images), -1) if graph.nodes[output].shape[:2] == (1, 1) else logits
    return logits, [values[i] for i in tail_inputs(graph)]


def scores_behind(graph: Graph, variables: Variables, maps: Sequence[Array], classes: Array) -> Array:
    """`scores` from the values of `tail_inputs`, by the layers behind the last feature map alone."""
    before = [maps[-1]] * (last_map(graph) + 1)  # those that nothing behind them reads are never looked at
    for i, value in zip(tail_inputs(graph), maps, strict=True):
        before[i] = value
    return _of_classes(_values(graph.nodes[len(before) :], before, variables)[_output(graph)], classes)


def _values(nodes: tuple[Node, ...], before: list[Array], variables: Variables) -> list[Array]:
    values, _ = values_of(
        nodes, before, variables["params"], variables.get("stats", {}), train=False, random=_unused, momentum=None,
        implementation="auto",
    )  # fmt: skip
    return values


def _unused(node: Node, x: Array, index: int) -> Array:
    raise AssertionError("dropout is not applied in evaluation")


def _output(graph: Graph, of_pixels: bool = False) -> int:
    if len(graph.outputs) > 1:
        raise ValueError(f"the network has the outputs {', '.join(graph.outputs)}; expected one, with a score for each class")
    output = next(iter(graph.outputs.values()))
    if not of_pixels and graph.nodes[output].shape[:2] != (1, 1):
        raise ValueError("the network answers for each pixel; expected one score for each class")
    return output


def _of_classes(outputs: Array, classes: Array) -> Array:
    flat = outputs.reshape(len(outputs), -1).astype(jnp.float32)
    return (flat * jax.nn.one_hot(classes, flat.shape[1])).sum(1)
