"""Shared weights that start from a trained network: the largest of the space, its channels by falling importance."""

from __future__ import annotations

import hashlib

from nas.arch.blocks import lower
from nas.convert import starting_weights
from nas.convert.reorder import by_importance
from nas.data.published import as_published
from nas.nn.weights import HostVariables
from nas.space import Space
from nas.supernet.strategies import Candidates


def starting_network(space: Space, source: str, seed: int) -> HostVariables:
    """The variables of a space's largest network from a file, its channels in the order in which narrower networks take them.

    Args:
        space: Fitted to the dataset.
        source: As `weights=` of `nas train` has it, such as `imagenet` or `timm:model.safetensors`.
        seed: Of what the file does not have, such as a classifier for other classes.

    Raises:
        ValueError: Naming the file and what does not fit, or the padding and eps that the space lacks.
    """
    arch = space.decode(Candidates(space).largest)
    published, line = as_published(arch, source)
    if line:
        raise ValueError(
            f"{source}: expected padding: {published.padding} and norm_eps: {published.norm_eps:g} in the file of the space "
            f"{space.name}, as in the network that the weights are of"
        )
    graph = lower(arch)
    return by_importance(graph, starting_weights(source, graph, seed).variables)


def digest_of(variables: HostVariables) -> str:
    """Of the arrays, 16 digits."""
    digest = hashlib.sha256()
    for part, nodes in sorted(variables.items()):
        for node, arrays in sorted(nodes.items()):
            for name, array in sorted(arrays.items()):
                digest.update(f"{part}|{node}|{name}".encode() + array.tobytes())
    return digest.hexdigest()[:16]
