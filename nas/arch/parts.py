"""Parts of a network by name, as settings have them, and the nodes of its graph that they stand for.

    nodes_of(lower(arch), "stages.0-3", "recipe.freeze")     # names of all nodes of the first four stages

`backbone` is all but the head; `stem`, `stages`, `stages.2`, `stages.0-3`, `stages.2.1` and `head` are layers as the architecture
has them; `head/conv` is one of the head's own, every node whose name begins so (`head/conv.conv`, `head/conv.norm`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from nas.arch.checks import shown
from nas.arch.graph import PRODUCTS, Graph, Node
from nas.core.settings import did_you_mean

BACKBONE = "backbone"
BEFORE_HEAD = ("stem", "stages")
RANGE = re.compile(r"(.+)\.(\d{1,4})-(\d{1,4})")
SHOWN = 4  # names of layers in a message


def nodes_of(graph: Graph, part: str, where: str) -> frozenset[str]:
    """The nodes of a part.

    Args:
        graph: The network.
        part: Its name.
        where: The setting, with which the error begins.

    Returns:
        Names of nodes, those without parameters too.

    Raises:
        ValueError: The network has no such part; names the nearest one, and all there are.

    Example:
        >>> from nas.arch.blocks import lower
        >>> from nas.arch.find import find_arch
        >>> graph = lower(find_arch("mobilenet_v2"))
        >>> sorted(nodes_of(graph, "stem", "recipe.freeze"))
        ['stem/act', 'stem/conv', 'stem/norm']
        >>> nodes_of(graph, "backbon", "recipe.freeze")
        Traceback (most recent call last):
        ...
        ValueError: recipe.freeze: no part 'backbon'; did you mean backbone? (parts: backbone, stem, stages.0 to stages.6, head)
    """
    names = [node.name for node in graph.nodes[1:]]
    found: set[str] = set()
    for one in _expanded(part):
        own = [name for name in names if _within(name, one)]
        if not own:
            raise ValueError(f"{where}: no part {shown(one)}{did_you_mean(one, _known(graph))} (parts: {_listed(part_names(graph))})")
        found.update(own)
    return frozenset(found)


def part_names(graph: Graph) -> list[str]:
    """`backbone`, then `stem`, every stage and `head` in the order of execution."""
    layers = dict.fromkeys(".".join(node.scope.split(".")[:2]) for node in graph.nodes[1:])
    return [BACKBONE, *layers]


def frozen_nodes(graph: Graph, parts: Sequence[str], fresh: Collection[str], where: str) -> frozenset[str]:
    """The nodes that stay as they are.

    Args:
        graph: The network.
        parts: Names of its parts.
        fresh: Names of nodes that were never trained.
        where: The setting, with which errors begin.

    Returns:
        Names of nodes.

    Raises:
        ValueError: For a part that there is not; for one with layers that were never trained; and where nothing is left to train.
    """
    frozen = frozenset[str]().union(*(nodes_of(graph, part, where) for part in parts))
    known = [node.name for node in graph.nodes if node.name in frozen and has_parameters(node)]
    if untrained := [name for name in known if name in fresh]:
        more = f" and {len(untrained) - SHOWN} more" if len(untrained) > SHOWN else ""
        raise ValueError(
            f"{where}: {', '.join(untrained[:SHOWN])}{more} would stay at initial values, which were never trained; "
            "nas train weights=.. gives trained ones"
        )
    if frozen and all(node.name in frozen for node in graph.nodes if has_parameters(node)):
        raise ValueError(f"{where}: nothing is left to train; leave a part out, such as the head")
    return frozen


def has_parameters(node: Node) -> bool:
    """Whether there is anything in a node to train."""
    return node.op in (*PRODUCTS, "norm") or "scale" in node.attr


def factors_of(graph: Graph, factors: Mapping[str, float], where: str) -> dict[str, float]:
    """What each node's learning rate is multiplied by.

    Args:
        graph: The network.
        factors: By part. Of parts that have a node in common the one of the fewest nodes decides, whatever their order.
        where: The setting, with which errors begin.

    Returns:
        By node; those that are in no part are left out.

    Raises:
        ValueError: For a part that there is not.

    Example:
        >>> from nas.arch.blocks import lower
        >>> from nas.arch.find import find_arch
        >>> found = factors_of(lower(find_arch("mobilenet_v2")), {"stem": 0.5, "backbone": 0.1}, "recipe.lr_scale")
        >>> found["stem/conv"], found["stages.0.0/depthwise.conv"], "head/logits" in found
        (0.5, 0.1, False)
    """
    found = {part: nodes_of(graph, part, where) for part in factors}
    widest_first = sorted(found, key=lambda part: (-len(found[part]), len(part), part))
    return {name: factors[part] for part in widest_first for name in found[part]}


def _expanded(part: str) -> Iterator[str]:
    """`stages.0-3` as four names."""
    if not (spelled := RANGE.fullmatch(part)):
        yield part
        return
    base, first, last = spelled[1], int(spelled[2]), int(spelled[3])
    yield from (f"{base}.{i}" for i in range(first, last + 1)) if first <= last else (part,)


def _within(name: str, part: str) -> bool:
    """Whether a node belongs to a part, both by name."""
    if part == BACKBONE:
        return any(_within(name, one) for one in BEFORE_HEAD)
    return name == part or name.startswith((f"{part}.", f"{part}/"))


def _known(graph: Graph) -> list[str]:
    """All names that a mistyped one may have meant."""
    nodes = graph.nodes[1:]
    return [*part_names(graph), "stages", *dict.fromkeys(node.scope for node in nodes), *(node.name for node in nodes)]


def _listed(parts: Sequence[str]) -> str:
    """Parts for a message, the stages as one range."""
    stages = [part for part in parts if part.startswith("stages.")]
    if len(stages) < 3:
        return ", ".join(parts)
    first = parts.index(stages[0])
    return ", ".join([*parts[:first], f"{stages[0]} to {stages[-1]}", *parts[first + len(stages) :]])
