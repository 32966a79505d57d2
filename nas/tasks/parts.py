"""What a recipe says of parts of a network, checked against the network before anything is trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nas.arch.graph import Graph
from nas.arch.parts import factors_of, frozen_nodes, has_parameters, nodes_of
from nas.recipe import Recipe


def check_parts(
    recipe: Recipe, graph: Graph, fresh: Collection[str] | None = None, where: str = "recipe"
) -> tuple[frozenset[str], Mapping[str, float]]:
    """What `freeze` and `lr_scale` mean for a network, and whether `fixed_norms` has a meaning.

    Args:
        recipe: The settings.
        graph: The network.
        fresh: Names of the nodes that start from initial values; None: all.
        where: The place of the recipe, which errors name.

    Returns:
        Names of the nodes that are frozen, and by node the factor of its learning rate where there is one.

    Raises:
        ValueError: For a part that the network does not have, one that is frozen and was never trained, a learning rate of a
            part that has no weights or is frozen all the time, where nothing is left to train, and where no norm was trained.

    Example:
        >>> from nas.arch.blocks import lower
        >>> from nas.arch.find import find_arch
        >>> graph = lower(find_arch("mobilenet_v2"))
        >>> frozen, _ = check_parts(Recipe(freeze=("backbone",)), graph, fresh=["head/logits"])
        >>> "stem/conv" in frozen, "head/logits" in frozen
        (True, False)
    """
    untrained = [node.name for node in graph.nodes] if fresh is None else fresh
    scale = f"{where}.lr_scale"
    frozen = frozen_nodes(graph, recipe.freeze or (), untrained, f"{where}.freeze")
    factors = factors_of(graph, recipe.lr_scale or {}, scale)
    for part in recipe.lr_scale or {}:
        trained = {node.name for node in graph.nodes if has_parameters(node)} & nodes_of(graph, part, scale)
        if not trained:
            raise ValueError(f"{scale}.{part}: has no weights to train; leave it out")
        if trained <= frozen and recipe.freeze_epochs is None:
            raise ValueError(f"{scale}.{part}: has no effect, it is frozen all the time; leave it out, or set freeze_epochs")
    norms = {node.name for node in graph.nodes if node.op == "norm"}
    if recipe.fixed_norms and norms <= set(untrained):
        why = "all batch norms start from initial values" if norms else "the network has no batch norm"
        raise ValueError(f"{where}.fixed_norms: {why}; leave it out")
    return frozen, factors
