"""The best front of a table that can be had: exact of a small space, else that of a long NSGA-II."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas.controllers.nsga2 import best_first
from nas.space import Space, first_of

LISTED = 20_000  # spaces up to this size are looked at whole
POPULATION = 300


def best_front(space: Space, values_of: Callable[[np.ndarray], np.ndarray], evaluations: int) -> np.ndarray:
    """(n, axes) minimized values that hold the front; `values_of` maps (n, genes) to (n, axes).

    Of a larger space it is the last population of a generational NSGA-II without repeats.
    """
    if space.size <= LISTED:
        return values_of(np.array([*space.enumerate()], np.int64))
    arrays, rng = space.arrays, np.random.default_rng(0)
    rows = arrays.sample(POPULATION, rng)
    values, done = values_of(rows), len(rows)
    while done < evaluations:
        first, second = rng.integers(len(rows), size=(2, POPULATION, 2)).min(axis=2)
        crossed = rng.random(POPULATION)[:, None] < 0.9
        mixed = np.where(crossed, arrays.cross(rows[first], rows[second], rng), rows[first])
        children = arrays.settle(arrays.mutate(mixed, 1.0, rng))
        done += len(children)
        rows, values = np.concatenate([rows, children]), np.concatenate([values, values_of(children)])
        distinct = first_of(arrays.codes(rows))
        keep = distinct[best_first(values[distinct], POPULATION)]
        rows, values = rows[keep], values[keep]
    return values
