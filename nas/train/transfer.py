"""What a training leaves as it is, and how fast the rest moves: `freeze`, `freeze_epochs`, `lr_scale`,
`norm_warmup` and `fixed_norms` of a recipe.

A frozen layer computes as in evaluation: its batch norms use their moving statistics and leave them (moving on is the commonest
defect of freezing), dropout and stochastic depth do nothing there. No gradient is computed for it. What the optimizer, the moving
averages or rounding would do to its arrays in spite of that is undone: they stay the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from nas.arch.graph import Graph
from nas.recipe import Recipe
from nas.tasks import check_parts
from nas.train.optim import Layout, Runs, Tree, chosen

Pair = tuple[Tree, Tree]  # parameters and statistics, packed


@dataclass(frozen=True)
class Phase:
    """Epochs in which the same layers are frozen.

    frozen: names of their nodes. epochs: of the training, before it. fixed: names of the norms that keep their statistics. params,
    stats: where what is kept stands in the packed arrays, with the value 0.
    """

    frozen: frozenset[str] = frozenset()
    epochs: int = 0
    fixed: frozenset[str] = frozenset()
    params: Runs = field(default_factory=dict)
    stats: Runs = field(default_factory=dict)

    @property
    def as_evaluated(self) -> frozenset[str]:
        """Names of the nodes that compute as in evaluation."""
        return self.frozen | self.fixed

    def held(self, old: Pair, new: Pair) -> Pair:
        """`new`, with what is frozen or fixed as `old` has it."""
        if not self.as_evaluated:
            return new
        return chosen(old[0], new[0], self.params), chosen(old[1], new[1], self.stats)


@dataclass(frozen=True)
class Transfer:
    """The phases of a training, and the factors of its learning rates, None where there are none.

    trained: names of the norms whose statistics had been trained: `norm_warmup`, which lets go of initial values, is not for them.
    """

    phases: tuple[Phase, ...] = (Phase(),)
    scales: Runs | None = None
    trained: frozenset[str] = frozenset()


ALL_ALIKE = Transfer()


def transfer_of(recipe: Recipe, graph: Graph, layouts: tuple[Layout, Layout], fresh: Collection[str]) -> Transfer:
    """What the recipe says of a network. Raises ValueError as `check_parts` does.

    Args:
        recipe: The settings.
        graph: The network.
        layouts: How its parameters and statistics are packed.
        fresh: Names of the nodes that start from initial values.
    """
    frozen, factors = check_parts(recipe, graph, fresh)
    params, stats = layouts
    trained = trained_norms(graph, fresh)
    fixed = trained if recipe.fixed_norms else frozenset()

    def phase(frozen: frozenset[str], epochs: int) -> Phase:
        held = params.runs(dict.fromkeys(frozen, 0.0)), stats.runs(dict.fromkeys(frozen | fixed, 0.0))
        return Phase(frozen, epochs, fixed, *held) if frozen or fixed else Phase(epochs=epochs)

    phases = [phase(frozen, 0)]
    if recipe.freeze_epochs is not None and recipe.freeze_epochs < recipe.epochs:
        phases.append(phase(frozenset(), recipe.freeze_epochs))
    return Transfer(tuple(phases), params.runs(factors) if factors else None, trained)


def trained_norms(graph: Graph, fresh: Collection[str]) -> frozenset[str]:
    """Names of the norms that do not start from initial values, as those of the nodes in `fresh` do."""
    return frozenset(node.name for node in graph.nodes if node.op == "norm" and node.name not in fresh)


def refuse_transfer(recipe: Recipe, who: str) -> None:
    """Raises ValueError for settings that a way of training does not have; `who` names it."""
    for key in ("freeze", "lr_scale", "fixed_norms"):
        if getattr(recipe, key):
            raise ValueError(f"recipe.{key}: {who} trains all parts alike; take evaluator=scratch")
