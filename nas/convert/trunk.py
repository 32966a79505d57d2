"""Weights of a network with another head: a segmenter or detector takes the layers before its head from a classifier's file.

Its trunk is all but the head, and the 1x1 convolution that many heads begin with, which published networks count to the backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nas.arch.graph import Graph
from nas.convert.fill import Imported, copied
from nas.nn.weights import HostVariables

FIRST = "head/conv."  # the nodes of that convolution
SHOWN = 4  # names of layers in a note


def answers_for_places(graph: Graph) -> bool:
    """Whether a network's head is one of pixels or of boxes, not of whole images."""
    return bool(graph.named) or graph.nodes[-1].shape[:2] != (1, 1)


def trunk_of(graph: Graph) -> Graph:
    """A network up to its head, as a graph of its own.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> trunk_of(lower(load_arch("lraspp_mobilenet_v3_large"))).nodes[-1].name
        'head/conv.act'
    """
    last = max(i for i, node in enumerate(graph.nodes) if node.scope != "head" or node.name.startswith(FIRST))
    return Graph(graph.nodes[: last + 1])


def restricted(variables: HostVariables, graph: Graph) -> HostVariables:
    """Of a network's variables those of a part of it."""
    names = {node.name for node in graph.nodes}
    return {part: {name: arrays for name, arrays in nodes.items() if name in names} for part, nodes in variables.items()}


def with_trunk(
    importer: Callable[[Graph, HostVariables, bool], Imported], graph: Graph, start: HostVariables
) -> Imported:
    """What an importer reads of a file for a network; where that fails, and it is none of classes of images, for its trunk alone.

    Args:
        importer: Called with a graph, its initial variables, and whether what stands in the file behind the graph's last layer is of
            another head.
        graph: The network.
        start: Its initial variables.

    Raises:
        ValueError: The importer's, for the trunk where there was a second try.
    """
    try:
        return importer(graph, start, False)
    except ValueError:
        if not answers_for_places(graph):
            raise
    trunk = trunk_of(graph)
    imported = importer(trunk, restricted(start, trunk), True)
    variables = copied(start)
    for part, nodes in imported.variables.items():
        variables[part].update(nodes)
    known = {node.name for node in trunk.nodes} - set(imported.fresh)
    return Imported(variables, tuple(name for name in start["params"] if name not in known), imported.notes)


def left_out(names: Sequence[str]) -> tuple[str, ...]:
    """The note that names layers of a file which are of another head."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (f"not read, as they are of another head: {', '.join(names[:SHOWN])}{more}",) if names else ()
