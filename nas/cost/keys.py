"""Parts of a space's template as numbers, of many genomes at once: the keys under which what they decode to is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nas.arch import Knob
from nas.cost.count import product
from nas.space import Hole, Rule, Space

SHAPES = 1 << 20  # most different shapes that feed layers, or sets of them: a key packs the number of one
MOVES = 1 << 6  # most different pairs of stride and dilation


class Memo(dict[int, int]):
    """A dict that fills itself, so that a column of keys is looked up at the speed of `map`."""

    def __init__(self, fill: Callable[[int], int]):
        super().__init__()
        self.fill = fill

    def __missing__(self, key: int) -> int:
        value = self[key] = self.fill(key)
        return value

    def column(self, keys: np.ndarray) -> np.ndarray:
        return np.fromiter(map(self.__getitem__, keys.tolist()), np.int64, len(keys))


class Part:
    """A part of the template as a number: the options of its holes (0 where absent) in mixed radix."""

    def __init__(self, space: Space, holes: Sequence[Knob | Hole]):
        self.holes = tuple(dict.fromkeys(hole for hole in holes if isinstance(hole, Hole)))
        self.radix = [len(space.genes[hole.gene].options) + 1 for hole in self.holes]
        # Python's own integers where 64 bits do not hold the key.
        self.dtype = np.int64 if product(self.radix) < 1 << 37 else object

    def keys(self, genomes: np.ndarray, there: Mapping[Rule, np.ndarray]) -> np.ndarray:
        out = np.zeros(len(genomes), self.dtype)
        for hole, radix in zip(self.holes, self.radix, strict=True):
            option = genomes[:, hole.gene] + 1
            out = out * radix + (option * there[hole.when] if hole.when else option)
        return out

    def pick(self, key: int) -> Callable[[Hole], int | None]:
        """What stands in each hole: the number of an option, None where nothing does."""
        options: dict[Hole, int | None] = {}
        for hole, radix in zip(reversed(self.holes), reversed(self.radix), strict=True):
            key, option = divmod(key, radix)
            options[hole] = option - 1 if option else None
        return options.__getitem__


class Conditions:
    """Where each set of conditions of a template's holes holds, for all genomes at once."""

    def __init__(self, space: Space, used: Sequence[Rule]):
        self.arrays, self.used = space.arrays, used
        self.rules = space.arrays.rules(used)

    def __call__(self, genomes: np.ndarray) -> dict[Rule, np.ndarray]:
        columns = np.ascontiguousarray(genomes.T)
        return dict(zip(self.used, self.rules(columns, self.arrays.active_columns(columns)), strict=True))
