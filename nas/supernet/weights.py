"""Weights that the candidates of a space share, and those of one candidate cut from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.nn.weights import Arrays, HostArrays, Variables
from nas.space import Genome
from nas.supernet.kernels import MATRIX
from nas.supernet.paths import Paths
from nas.train.optim import Packed


@dataclass(frozen=True, eq=False)
class SharedWeights:
    """The slots of a space with their values, packed as the training has them."""

    paths: Paths
    slots: Mapping[str, Packed]

    @classmethod
    def of(cls, paths: Paths, variables: Variables) -> SharedWeights:
        """From what `variables` gave. Raises ValueError naming what is missing, or has another shape."""
        slots = {}
        for slot, layout in paths.store.slots.items():
            tree: dict[str, dict[str, np.ndarray]] = {}
            for node, array, shape in layout.entries:
                found = variables["params"].get(_key(slot, node), {}).get(array)
                if found is None or found.shape != shape:
                    has = "is missing" if found is None else f"has the shape {found.shape}, not {shape}"
                    raise ValueError(
                        f"weights of the supernet: {array} of {_key(slot, node)} {has}; they are of another space"
                    )
                tree.setdefault(node, {})[array] = np.asarray(found, np.float32)
            slots[slot] = layout.pack(tree, np)
        return cls(paths, slots)

    @classmethod
    def initial(cls, paths: Paths, seed: int, zero_gamma: bool = False) -> SharedWeights:
        """Initial values of every slot, as `Store.initial` has them."""
        drawn = paths.store.initial(seed, zero_gamma)
        return cls(paths, {slot: paths.store.slots[slot].pack(tree, np) for slot, tree in drawn.items()})

    def with_network(self, genome: Genome, params: Arrays) -> SharedWeights:
        """The same with the arrays of one candidate, by the names of its own network, in their places.

        Raises ValueError naming an array that is missing or has another shape. A kernel that is made by a matrix has no place.
        """
        slots: dict[str, Packed] = dict(self.slots)
        for placed in self.paths.exact.path(genome).placed:
            for slot, key in zip(placed.unit.slots, placed.slots, strict=True):
                layout = self.paths.store.slots[key]
                full = {
                    node: {name: np.array(array) for name, array in arrays.items()}
                    for node, arrays in layout.unpack(slots[key]).items()
                }
                for node, name, view in slot:
                    where = placed.names[int(node) - 1]
                    if name.startswith(MATRIX):
                        continue
                    given = params.get(where, {}).get(name)
                    if given is None or tuple(given.shape) != view.sizes:
                        has = "is missing" if given is None else f"has the shape {tuple(given.shape)}, not {view.sizes}"
                        raise ValueError(f"{where}: {name} {has}")
                    full[where][name][view.place] = given
                slots[key] = layout.pack(full, np)
        return SharedWeights(self.paths, slots)

    def variables(self) -> dict[str, HostArrays]:
        """Every array by slot and node, as `nas.nn.weights.save_weights` takes them."""
        out: HostArrays = {}
        for slot, layout in self.paths.store.slots.items():
            packed = {part: np.asarray(array) for part, array in self.slots[slot].items()}
            out |= {_key(slot, node): arrays for node, arrays in layout.unpack(packed).items()}
        return {"params": out, "stats": {}}

    def params_of(self, genome: Genome) -> HostArrays:
        """The arrays of a candidate by the names of its own network, equal bit for bit to the shared ones.

        But for kernels that matrices make, which are products.
        """
        out: HostArrays = {}
        for placed in self.paths.exact.path(genome).placed:
            packed = [{part: np.asarray(array) for part, array in self.slots[key].items()} for key in placed.slots]
            for node, arrays in placed.unit.tree(packed).items():
                out[placed.names[int(node) - 1]] = {name: np.array(array) for name, array in arrays.items()}
        return out


def _key(slot: str, node: str) -> str:
    return f"{slot}:{node.split('/', 1)[1]}"
