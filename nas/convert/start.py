"""Where a training starts from: `weights=` of the command line."""

from __future__ import annotations

from pathlib import Path

from nas.arch.graph import Graph
from nas.convert.fill import Imported, copied, fill
from nas.convert.keras import import_layers
from nas.convert.keras_file import read_layers
from nas.nn.network import init
from nas.nn.weights import HostVariables, load_weights

KERAS = "keras:"


def starting_weights(source: str, graph: Graph, seed: int) -> Imported:
    """The arrays of `source`: `keras:<file>`, or a weights.npz of this project; those left as `init` made them are named.

    Raises ValueError naming the file and the first layer that does not fit.
    """
    path = Path(source.removeprefix(KERAS)).expanduser()
    if not source.startswith(KERAS) and path.suffix in (".h5", ".keras"):
        raise ValueError(f"{source}: a Keras file; write weights={KERAS}{source}")
    start = init(graph, seed)
    given = read_layers(path) if source.startswith(KERAS) else load_weights(path)
    try:
        return _same_names(given, start) if isinstance(given, dict) else import_layers(given, graph, start)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _same_names(given: HostVariables, start: HostVariables) -> Imported:
    """Arrays by the names of their nodes."""
    known = {node for nodes in start.values() for node in nodes}
    for node in (node for nodes in given.values() for node in nodes if node not in known):
        raise ValueError(f"{node}: the architecture has no such layer")
    variables, fresh = copied(start), []
    for node in start["params"]:
        arrays = {name: a for nodes in given.values() for name, a in nodes.get(node, {}).items()}
        if not fill(variables, node, arrays, "the file"):
            fresh.append(node)
    return Imported(variables, tuple(fresh))
