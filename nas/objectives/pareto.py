"""Dominance, fronts, crowding and exact hypervolume: numpy in, numpy out.

Every function takes *minimized* values of shape (n, d), one row a point. `+inf` and `nan` both mean that a value is
missing or hopeless: such a row is *incomplete*, it is never on a front, ranks behind every complete one and spans no
volume. `-inf` is an ordinary, unbeatable value.

    values = np.array([[-0.71, 20.0], [-0.75, 78.0], [-0.70, 30.0]])     # minus accuracy, latency_ms
    non_dominated(values)                        # [True, True, False]
    hypervolume(values, reference=[0.0, 100.0])  # 57.68
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def dominates(a: ArrayLike, b: ArrayLike) -> bool:
    """Whether a point is nowhere worse than another and somewhere better.

    Args:
        a: Minimized values, shape (d,).
        b: The same.

    Returns:
        True if `a` dominates `b`; False if either holds a nan.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    return bool(np.all(a <= b) and np.any(a < b))


def non_dominated(values: ArrayLike) -> Mask:
    """The rows on the Pareto front.

    Args:
        values: Minimized values, shape (n, d).

    Returns:
        (n,) mask. Of equal rows only the first is on the front; incomplete rows never are.
    """
    points = _table(values)
    mask = np.zeros(len(points), bool)
    rows = np.flatnonzero(_complete(points))
    rows = rows[np.lexsort(points[rows].T[::-1])]
    mask[rows[_sorted_front(points[rows])]] = True
    return mask


def ranks(values: ArrayLike) -> NDArray[np.int64]:
    """Non-dominated sorting.

    O(n log n) in two dimensions, O(fronts) calls of `non_dominated` above.

    Args:
        values: Minimized values, shape (n, d).

    Returns:
        (n,) number of the front that each row lies on, 0 the best. Equal rows have one rank; incomplete rows come last.

    Source:
        NSGA-II, Deb et al. 2002, IEEE TEC 6(2).
    """
    points = _table(values)
    complete = _complete(points)
    unique, inverse = np.unique(points[complete], axis=0, return_inverse=True)
    by_columns = {1: _ranks_1d, 2: _ranks_2d}
    found = by_columns.get(points.shape[1], _ranks_by_peeling)(unique)
    result = np.full(len(points), found.max(initial=-1) + 1, np.int64)
    result[complete] = found[inverse.reshape(-1)]
    return result


def crowding(values: ArrayLike) -> Floats:
    """Crowding distances of the rows taken as one front.

    Args:
        values: Minimized values, shape (n, d). Objectives are scaled by their range; one without range is ignored.

    Returns:
        (n,) distances; inf at the ends of every objective, 0 for incomplete rows.

    Source:
        NSGA-II, Deb et al. 2002, IEEE TEC 6(2), section III-B.
    """
    points = _table(values)
    distance = np.zeros(len(points))
    rows = np.flatnonzero(np.isfinite(points).all(axis=1))
    for column in points[rows].T:
        order = np.argsort(column, kind="stable")
        span = np.ptp(column) if len(column) else 0.0
        if span > 0:
            distance[rows[order[1:-1]]] += (column[order[2:]] - column[order[:-2]]) / span
            distance[rows[order[[0, -1]]]] = np.inf
    if len(rows) <= 2:
        distance[rows] = np.inf
    return distance


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Exact volume between a front and a reference point.

    A sweep in two and three dimensions (O(n log n)), a recursion above: fine for a few hundred points in four and five.

    Args:
        values: Minimized values, shape (n, d). Rows not better than the reference in every objective add nothing.
        reference: Shape (d,).

    Returns:
        The volume.

    Raises:
        ValueError: A reference of another length, or not finite.

    Source:
        WFG, While, Bradstreet and Barone 2012, IEEE TEC 16(1).
    """
    points = _table(values)
    corner = _reference(reference, points.shape[1])
    points = points[np.all(points < corner, axis=1)]
    return _volume(points[non_dominated(points)], corner)


def hypervolume_gains(values: ArrayLike, reference: ArrayLike, candidates: ArrayLike) -> Floats:
    """What each candidate alone would add to a hypervolume.

    Vectorized over the candidates in one and two dimensions, one volume a candidate above.

    Args:
        values: Minimized values, shape (n, d).
        reference: Shape (d,).
        candidates: Minimized values, shape (m, d).

    Returns:
        (m,) gains, never negative.

    Raises:
        ValueError: As `hypervolume`, and for candidates of another width.
    """
    points, offers = _table(values), _table(candidates)
    corner = _reference(reference, points.shape[1])
    if offers.shape[1] != len(corner):
        raise ValueError(f"candidates have {offers.shape[1]} columns, the reference {len(corner)}")
    front = points[non_dominated(points) & np.all(points < corner, axis=1)]
    gains = np.zeros(len(offers))
    useful = np.all(offers < corner, axis=1)
    if len(corner) == 1:
        gains[useful] = np.maximum(min(corner[0], front.min(initial=np.inf)) - offers[useful, 0], 0.0)
    elif len(corner) == 2:
        gains[useful] = _parts_2d(front, corner, offers[useful])
    else:
        gains[useful] = [_part(front, corner, offer) for offer in offers[useful]]
    return gains


def _table(values: ArrayLike) -> Floats:
    points = np.asarray(values, float)
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(f"values: expected the shape (points, objectives), got {points.shape}")
    return points


def _reference(reference: ArrayLike, axes: int) -> Floats:
    corner = np.asarray(reference, float)
    if corner.shape != (axes,) or not np.isfinite(corner).all():
        raise ValueError(f"reference: expected {axes} finite numbers, got {corner.tolist()}")
    return corner


def _complete(points: Floats) -> Mask:
    return np.all(points < np.inf, axis=1)


def _sorted_front(points: Floats) -> NDArray[np.int64]:
    """Row numbers of the front of complete points in lexicographic order, where nothing is beaten by a later row."""
    if points.shape[1] == 2:
        lowest = np.minimum.accumulate(points[:, 1])
        keep = np.ones(len(points), bool)
        keep[1:] = points[1:, 1] < lowest[:-1]
        return np.flatnonzero(keep)
    front: list[np.int64] = []
    left = np.arange(len(points))
    while len(left):
        front.append(left[0])
        left = left[np.any(points[left] < points[left[0]], axis=1)]
    return np.array(front, np.int64)


def _ranks_1d(points: Floats) -> NDArray[np.int64]:
    """Ranks of points that are distinct and sorted already (see the caller): 0, 1, 2, .., since each is a front of its own."""
    return np.arange(len(points), dtype=np.int64)


def _ranks_2d(points: Floats) -> NDArray[np.int64]:
    """Patience sorting of distinct, sorted rows: a front is known by its lowest second value so far."""
    lowest: list[float] = []
    found = np.zeros(len(points), np.int64)
    for row, value in enumerate(points[:, 1].tolist()):
        found[row] = rank = bisect_right(lowest, value)
        lowest[rank : rank + 1] = [value]
    return found


def _ranks_by_peeling(points: Floats) -> NDArray[np.int64]:
    found = np.zeros(len(points), np.int64)
    left, rank = np.arange(len(points)), 0
    while len(left):
        front = non_dominated(points[left])
        found[left[front]] = rank
        left, rank = left[~front], rank + 1
    return found


def _volume(front: Floats, corner: Floats) -> float:
    """Volume of mutually non-dominated points, all of them better than the corner."""
    if len(front) == 0:
        return 0.0
    if np.isneginf(front).any():
        return float("inf")
    if len(front) == 1:
        box: Floats = corner - front[0]
        return float(np.multiply.reduce(box))
    sweeps: dict[int, Callable[[Floats, Floats], float]] = {1: _length, 2: _area, 3: _sweep_3d}
    return sweeps.get(front.shape[1], _recursion)(front, corner)


def _length(front: Floats, corner: Floats) -> float:
    return float(corner[0] - front.min())


def _area(front: Floats, corner: Floats) -> float:
    xs, ys = front[np.argsort(front[:, 0])].T
    return float(np.sum(np.diff(xs, append=corner[0]) * (corner[1] - ys)))


def _sweep_3d(front: Floats, corner: Floats) -> float:
    """Slices along the third objective; the staircase of the slice is two lists, x rising and y falling."""
    right, top, _ = corner.tolist()
    xs, ys = [-np.inf, right], [top, -np.inf]
    area = volume = 0.0
    ordered = front[np.argsort(front[:, 2])].tolist()
    for (x, y, z), above in zip(ordered, [row[2] for row in ordered[1:]] + [corner[2]], strict=True):
        first = last = bisect_left(xs, x)
        if ys[first - 1] > y:
            ceiling, edge = ys[first - 1], x
            while ys[last] >= y:
                area += (xs[last] - edge) * (ceiling - y)
                edge, ceiling = xs[last], ys[last]
                last += 1
            area += (xs[last] - edge) * (ceiling - y)
            xs[first:last], ys[first:last] = [x], [y]
        volume += area * (above - z)
    return volume


def _recursion(front: Floats, corner: Floats) -> float:
    """Each point's own part: its box minus what the points after it cover of that box.

    With the worst in the last objective first, those points reach through the whole depth of the box, so one objective drops.
    """
    ordered = front[np.argsort(-front[:, -1])]
    depths = corner[-1] - ordered[:, -1]
    flat, flat_corner = ordered[:, :-1], corner[:-1]
    parts = [_part(flat[row + 1 :], flat_corner, offer) for row, offer in enumerate(flat)]
    return float(depths @ np.array(parts))


def _part(front: Floats, corner: Floats, offer: Floats) -> float:
    """Volume of the offer's box that the front, cut to that box, leaves free."""
    inside = np.maximum(front, offer)
    inside = inside[np.all(inside < corner, axis=1)]
    if np.any(np.all(inside == offer, axis=1)):
        return 0.0
    if np.isneginf(offer).any():
        return float("inf")
    return max(float(np.prod(corner - offer)) - _volume(inside[non_dominated(inside)], corner), 0.0)


def _parts_2d(front: Floats, corner: Floats, offers: Floats) -> Floats:
    """The strips between the steps of the front, each as high as the step to its left."""
    steps = front[np.argsort(front[:, 0])]
    lefts = np.concatenate([[-np.inf], steps[:, 0]])
    rights = np.append(steps[:, 0], corner[0])
    ceilings = np.concatenate([[corner[1]], steps[:, 1]])
    gains = np.zeros(len(offers))
    with np.errstate(invalid="ignore"):  # inf - inf and inf * 0 of strips that are masked out
        for left, right, ceiling in zip(lefts, rights, ceilings, strict=True):
            width = right - np.maximum(offers[:, 0], left)
            height = ceiling - offers[:, 1]
            gains += np.where((width > 0) & (height > 0), width * height, 0.0)
    return gains
