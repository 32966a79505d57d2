"""The masked form of a space in which several candidates train side by side: where a candidate's own arrays stand in its largest shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn, TypeAlias

import numpy as np
from jax import lax

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import Node
from nas.nn.ops import Array
from nas.nn.weights import Arrays, HostArrays
from nas.recipe import Recipe
from nas.space import Genome, Space
from nas.supernet.joined import JoinedPaths
from nas.supernet.paths import STATS, Unit
from nas.supernet.weights import SharedWeights
from nas.supernet.whole import Row, WholePlan
from nas.train.optim import Packed

Option: TypeAlias = tuple[Unit, tuple[str, ...]]  # a unit and the slots that it takes
PARTS = ("kernels", "others")


@dataclass(frozen=True, eq=False)
class BatchedPlan:
    """A space as one program whose candidates have weights of their own."""

    space: Space
    whole: WholePlan

    @classmethod
    def of(cls, space: Space) -> BatchedPlan:
        """Raises ValueError naming the gene for what one program cannot hold."""
        paths = JoinedPaths.joined(space)
        layers = paths.layers
        if layers.cases > 1:
            _refuse(space, space.genes[layers.sizing[0]].name, "changes sizes, and one program has one size of each layer")
        whole = WholePlan.of(paths)
        if whole is None:
            _refuse(space, "its layers", f"{len(paths.all_units())} differ in more than masks can hold")
        return cls(space, whole)

    @property
    def _paths(self) -> JoinedPaths:
        assert isinstance(self.whole.paths, JoinedPaths)
        return self.whole.paths

    # weights: the arrays of all slots side by side, zeros where a candidate has none

    @cached_property
    def _sizes(self) -> dict[str, list[int]]:
        sizes = [layout.sizes for layout in self._paths.store.slots.values()]
        return {part: [one[part] for one in sizes] for part in PARTS}

    def slots(self, packed: Packed) -> dict[str, Packed]:
        """The arrays of each slot, (.., n). A split's gradient is one concatenation, where slices would each give a padded sum."""
        parts = {part: lax.split(packed[part], sizes, axis=-1) for part, sizes in self._sizes.items()}
        return {slot: {part: parts[part][i] for part in PARTS} for i, slot in enumerate(self.whole.slots)}

    def packed(self, params: Arrays, genome: Genome) -> dict[str, np.ndarray]:
        """The arrays of a candidate's own network in their places: `kernels` (n,) and `others` (m,)."""
        zeros = {
            slot: {part: np.zeros(size, np.float32) for part, size in layout.sizes.items()}
            for slot, layout in self._paths.store.slots.items()
        }
        filled = SharedWeights(self._paths, zeros).with_network(genome, params).slots
        return {part: np.concatenate([np.asarray(filled[slot][part]) for slot in self.whole.slots]) for part in PARTS}

    def params_of(self, packed: Mapping[str, np.ndarray], genome: Genome) -> HostArrays:
        """The other way, bit for bit."""
        parts = {part: np.split(packed[part], np.cumsum(sizes)[:-1]) for part, sizes in self._sizes.items()}
        slots = {slot: {part: parts[part][i] for part in PARTS} for i, slot in enumerate(self.whole.slots)}
        return SharedWeights(self._paths, slots).params_of(genome)

    # statistics of norms: those of all units side by side, in the order of `units`

    @cached_property
    def units(self) -> tuple[tuple[str, Option], ...]:
        """Each unit that can stand at each place, with its slots."""
        return tuple((scope, one) for scope, place in self.whole.places.items() for one in place.options if one)

    @cached_property
    def _norm_sizes(self) -> list[int]:
        return [unit.stats.sizes["others"] for _, (unit, _) in self.units]

    def norms(self, stats: Array) -> Sequence[Array]:
        """The statistics of each unit, (n,), of those of all."""
        return lax.split(stats, self._norm_sizes)

    def first_norms(self) -> np.ndarray:
        """Before the first step."""
        return self._of_norms(lambda node: (0.0, 1.0))

    def momentum(self) -> np.ndarray:
        return self._of_norms(lambda node: (node.attr["momentum"],) * 2)

    def _of_norms(self, values: Callable[[Node], tuple[float, float]]) -> np.ndarray:
        """From (mean, variance) of each norm."""

        def arrays(node: Node) -> dict[str, np.ndarray]:
            return {name: np.full(node.shape[2], value, np.float32) for name, value in zip(STATS, values(node), strict=True)}

        trees = [{node.name: arrays(node) for node in unit.nodes if node.op == "norm"} for _, (unit, _) in self.units]
        packed = [unit.stats.pack(tree, np) for (_, (unit, _)), tree in zip(self.units, trees, strict=True)]
        return np.concatenate([np.asarray(one["others"]) for one in packed])

    def stats_of(self, stats: np.ndarray, genome: Genome) -> HostArrays:
        """The statistics of a candidate's own network, bit for bit."""
        out: HostArrays = {}
        placed = {one.scope: one for one in self._paths.path(genome).placed}
        for (scope, option), own in zip(self.units, np.split(stats, np.cumsum(self._norm_sizes)[:-1]), strict=True):
            one = placed.get(scope)
            if one and (one.unit, one.slots) == option:
                tree = one.named(option[0].stats.unpack({"kernels": own[:0], "others": own}))
                out |= {node: {name: np.array(array) for name, array in arrays.items()} for node, arrays in tree.items()}
        return out

    # candidates

    def row(self, arch: Arch, genome: Genome) -> Row:
        """A candidate as the program has it; what drops at random draws by the number of the primitive in its own network."""
        numbers = {node.name: i for i, node in enumerate(lower(arch).nodes)}
        row = dict(self.whole.row(genome))
        row["numbers"] = np.zeros_like(row["numbers"])
        scopes = list(self.whole.places)
        for one in self._paths.path(genome).placed:
            drawn = [numbers.get(one.names[int(name) - 1], 0) for name in one.unit.random]  # none where nothing is dropped
            row["numbers"][scopes.index(one.scope), : len(drawn)] = drawn
        return {name: row[name] for name in ("units", "numbers", "rates", "widths")}

    # memory

    def bytes_each(self, recipe: Recipe, rows: int) -> int:
        """About what a candidate takes in training, an estimate.

        Six arrays of its weights in float32 (values, gradients, two of the optimizer, their average, which of them it has), and
        twice what all primitives give of a batch, in the type that layers compute in: what the backward pass needs and its gradients.

        Args:
            recipe: With its `dtype` decided.
            rows: Images a step.
        """
        wide = 2 if recipe.dtype == "bfloat16" else 4
        weights = sum(sum(sizes) for sizes in self._sizes.values())
        return 6 * 4 * weights + 2 * wide * rows * sum(_values(unit.nodes) for _, (unit, _) in self.units)


def _values(nodes: Sequence[Node]) -> int:
    """What primitives give of an image, but for activations and masks, which are computed with what they read."""
    return sum(math.prod(node.shape) for node in nodes if node.op not in ("act", "mul"))


def _refuse(space: Space, gene: str, why: str) -> NoReturn:
    raise ValueError(f"{space.name}: {gene}: {why}; take evaluator=scratch or layerwise")
