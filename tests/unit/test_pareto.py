import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.objectives.pareto import crowding, dominates, hypervolume, hypervolume_gains, non_dominated, ranks

SIDE = 6  # integer points lie in [0, SIDE], the reference is (SIDE, ...): unit cells can be counted
INF, NAN = np.inf, np.nan


def grids(axes, most=9):
    return st.integers(0, most).flatmap(lambda n: arrays(float, (n, axes), elements=st.integers(0, SIDE)))


def any_grid(largest=4):
    return st.integers(1, largest).flatmap(grids)


def cells_covered(points):
    """Hypervolume by counting the unit cells that some point covers."""
    axes = points.shape[1]
    corners = np.array(list(itertools.product(range(SIDE), repeat=axes)))
    return int(sum(np.any(np.all(points <= corner, axis=1)) for corner in corners))


def brute_front(points):
    keep = []
    for i, row in enumerate(points):
        beaten = any(dominates(other, row) for other in points)
        repeat = any(np.array_equal(other, row) for other in points[:i])
        keep.append(not beaten and not repeat)
    return np.array(keep, bool)


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ([1, 2], [1, 3], True),
        ([1, 2], [1, 2], False),
        ([1, 2], [0, 3], False),
        ([1, NAN], [2, NAN], False),
        ([1, 2], [2, NAN], False),
        ([1, INF], [2, INF], True),
        ([-INF, 1], [0, 1], True),
        ([3], [4], True),
    ],
)
def test_dominates(a, b, expected):
    assert dominates(a, b) is expected


@given(any_grid())
@settings(max_examples=150, deadline=None)
def test_the_front_equals_brute_force_and_the_first_of_equal_rows_stays(points):
    np.testing.assert_array_equal(non_dominated(points), brute_front(points))


@given(any_grid())
@settings(max_examples=100, deadline=None)
def test_ranks_peel_fronts_and_equal_rows_share_one(points):
    left, expected = np.arange(len(points)), np.zeros(len(points), int)
    for rank in itertools.count():
        if not len(left):
            break
        beaten = np.array([any(dominates(points[j], points[i]) for j in left) for i in left])
        expected[left[~beaten]] = rank
        left = left[beaten]
    np.testing.assert_array_equal(ranks(points), expected)


def test_incomplete_rows_never_enter_the_front_and_rank_last():
    points = np.array([[1, 2], [0, NAN], [NAN, NAN], [2, 1], [0, INF], [3, 3], [-INF, 5]])
    np.testing.assert_array_equal(non_dominated(points), [True, False, False, True, False, False, True])
    np.testing.assert_array_equal(ranks(points), [0, 2, 2, 0, 2, 1, 0])
    assert hypervolume(points[:6], [4, 4]) == hypervolume(points[[0, 3]], [4, 4]) == 8
    assert not non_dominated([[NAN, 1], [INF, 2]]).any()
    np.testing.assert_array_equal(ranks([[NAN, 1], [INF, 2]]), [0, 0])


@pytest.mark.parametrize("axes", [1, 2, 3, 5])
def test_no_points(axes):
    nothing = np.zeros((0, axes))
    assert non_dominated(nothing).shape == ranks(nothing).shape == crowding(nothing).shape == (0,)
    assert hypervolume(nothing, np.ones(axes)) == 0.0
    np.testing.assert_array_equal(hypervolume_gains(nothing, np.ones(axes), np.zeros((2, axes))), [1, 1])
    assert hypervolume_gains(np.zeros((2, axes)), np.ones(axes), nothing).shape == (0,)


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_a_front_among_many_points(axes):
    rng = np.random.default_rng(axes)
    front = rng.dirichlet(np.ones(axes), 40)  # on the plane sum = 1: none beats another
    points = np.concatenate([front, front[rng.integers(0, 40, 10_000)] + rng.uniform(1e-6, 1, (10_000, axes))])
    order = rng.permutation(len(points))
    np.testing.assert_array_equal(np.sort(order[non_dominated(points[order])]), np.arange(40))


def test_crowding_golden():
    points = [[0, 4], [1, 2], [2, 1], [4, 0], [NAN, 0], [INF, 1]]
    np.testing.assert_allclose(crowding(points), [INF, 2 / 4 + 3 / 4, 3 / 4 + 2 / 4, INF, 0, 0])
    np.testing.assert_array_equal(crowding([[1, 2], [2, 1]]), [INF, INF])
    np.testing.assert_array_equal(crowding([[0, 7], [1, 7], [3, 7]]), [INF, 1, INF])


@given(st.integers(1, 4).flatmap(lambda axes: grids(axes, 10)))
@settings(max_examples=150, deadline=None)
def test_hypervolume_counts_cells(points):
    assert hypervolume(points, [SIDE] * points.shape[1]) == cells_covered(points)


@given(grids(5, 6))
@settings(max_examples=20, deadline=None)
def test_hypervolume_counts_cells_in_five_dimensions(points):
    corners = np.stack(np.meshgrid(*[np.arange(SIDE)] * 5, indexing="ij"), -1).reshape(-1, 5)
    expected = np.any(np.all(points[:, None] <= corners, axis=2), axis=0).sum() if len(points) else 0
    assert hypervolume(points, [SIDE] * 5) == expected


@given(st.integers(1, 4).flatmap(lambda axes: st.tuples(grids(axes), grids(axes, 5))))
@settings(max_examples=150, deadline=None)
def test_a_gain_is_the_difference_of_two_volumes(both):
    points, candidates = both
    reference = [SIDE] * points.shape[1]
    base = hypervolume(points, reference)
    expected = [hypervolume(np.vstack([points, row]), reference) - base for row in candidates]
    np.testing.assert_array_equal(hypervolume_gains(points, reference, candidates), expected)


@pytest.mark.parametrize("axes", [2, 3, 4, 5])
def test_volume_does_not_depend_on_order_nor_on_the_order_of_axes(axes):
    rng = np.random.default_rng(0)
    points = rng.random((30, axes))
    volume = hypervolume(points, np.full(axes, 1.1))
    shuffled = points[rng.permutation(30)][:, rng.permutation(axes)]
    assert hypervolume(shuffled, np.full(axes, 1.1)) == pytest.approx(volume, rel=1e-12)
    inserted = sum(
        hypervolume_gains(points[:row], np.full(axes, 1.1), points[row : row + 1])[0] for row in range(len(points))
    )
    assert inserted == pytest.approx(volume, rel=1e-12)


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_unbounded_and_useless_points(axes):
    reference = np.ones(axes)
    unbounded = np.zeros((1, axes))
    unbounded[0, 0] = -INF
    edge = np.zeros((1, axes))
    edge[0, -1] = 1.0
    assert hypervolume(unbounded, reference) == INF
    assert hypervolume(edge, reference) == 0.0
    missing = np.full((1, axes), NAN)
    offers = np.vstack([unbounded, edge, missing, np.full((1, axes), INF), np.full((1, axes), 0.5)])
    np.testing.assert_array_equal(hypervolume_gains(np.zeros((1, axes)), reference, offers), [INF, 0, 0, 0, 0])
    np.testing.assert_array_equal(hypervolume_gains(unbounded, reference, offers), [0, 0, 0, 0, 0])


def test_the_docstring_example():
    values = np.array([[-0.71, 20.0], [-0.75, 78.0], [-0.70, 30.0]])
    np.testing.assert_array_equal(non_dominated(values), [True, True, False])
    assert hypervolume(values, reference=[0.0, 100.0]) == pytest.approx(0.71 * 80 + 0.04 * 22)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: non_dominated([1.0, 2.0]), "shape"),
        (lambda: hypervolume([[1.0, 2.0]], [1.0]), "2 finite numbers"),
        (lambda: hypervolume([[1.0, 2.0]], [1.0, INF]), "finite"),
        (lambda: hypervolume_gains([[1.0, 2.0]], [3.0, 3.0], [[1.0]]), "candidates have 1"),
    ],
)
def test_wrong_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call()
