"""Measures of embeddings: by their definitions, image by image, and without chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.tasks import embedding_scores
from nas.tasks.embedding_scores import (
    auc,
    compared,
    distances,
    knn_accuracy,
    one_shot,
    pair_distances,
    recall,
    scores,
    tar_at_far,
)

LINE = np.array([0.0, 1.0, 1.5, 4.0, 4.2, 9.0])  # points on a line, so that distances are seen at a glance
OF = np.array([0, 0, 1, 1, 1, 2])
D = np.abs(LINE[:, None] - LINE[None])


def embedded(seed: int, classes: int = 4, each: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    rows = rng.normal(size=(classes, 5))[labels] + rng.normal(size=(len(labels), 5))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels


def test_recall_asks_for_one_of_the_class_among_the_nearest() -> None:
    # nearest of the own class: 0 -> 1 is the first; 1 -> 2 comes before 0; 2 -> 1 before 3; 3 -> 4; 4 -> 3; 5 is alone
    assert recall(D, OF, 1) == pytest.approx(3 / 5)
    assert recall(D, OF, 2) == pytest.approx(4 / 5)
    assert recall(D, OF, 5) == 1


def test_equal_distances_count_as_wrong() -> None:
    d, labels = distances(np.ones((6, 4)) / 2), np.repeat(np.arange(2), 3)
    assert d.max() == 0
    found = scores(np.ones((6, 4)) / 2, labels)
    assert [found[name] for name in ("recall_at_1", "tar_at_far", "one_shot", "mean_distance")] == [0, 0, 0, 0]
    assert (found["auc"], found["active_triplets"]) == (0.5, 1.0)


@given(st.integers(0, 40))
def test_auc_is_how_often_a_pair_of_one_class_is_nearer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, negative = rng.integers(0, 6, 7).astype(float), rng.integers(0, 6, 9).astype(float)
    wins = [(p < n) + (p == n) / 2 for p, n in itertools.product(positive, negative)]
    assert auc(positive, negative) == pytest.approx(np.mean(wins))


def test_tar_at_far_accepts_no_more_impostors_than_it_may() -> None:
    negative = np.arange(1000) / 1000 + 0.5
    assert tar_at_far(np.array([0.1, 0.4999, 0.5005, 0.9]), negative, 0.001) == 0.75  # the impostor at 0.5 may be accepted
    assert tar_at_far(np.array([0.1, 0.4999, 0.5005, 0.9]), negative[:900], 0.001) == 0.5
    assert tar_at_far(np.array([0.1]), np.zeros(0)) == 0


def test_neighbors_vote_and_of_equally_many_the_nearest_counts() -> None:
    line, labels = np.array([0.0, 1.0, 2.0, 3.0, 7.0]), np.array([0, 1, 0, 0, 1])
    d = np.abs(line[:, None] - line[None])
    assert knn_accuracy(d, labels, 1) == pytest.approx(1 / 5)  # of the tied neighbors that of another class counts: 3 alone
    assert knn_accuracy(d, labels, 3) == pytest.approx(3 / 5)


@given(st.integers(0, 20), st.integers(2, 4))
def test_one_shot_is_the_mean_over_all_choices(seed: int, ways: int) -> None:
    rows, labels = embedded(seed, 4, 2)
    d, right = distances(rows), []
    for query in range(len(labels)):
        own = [i for i in np.flatnonzero(labels == labels[query]) if i != query]
        others = [c for c in range(4) if c != labels[query]]
        for example, chosen in itertools.product(own, itertools.combinations(others, ways - 1)):
            for rest in itertools.product(*(np.flatnonzero(labels == c) for c in chosen)):
                right.append(all(d[query, example] < d[query, i] for i in rest))
    assert one_shot(d, labels, ways) == pytest.approx(np.mean(right))


@given(st.integers(0, 20))
def test_the_order_of_rows_has_no_effect(seed: int) -> None:
    rows, labels = embedded(seed)
    order = np.random.default_rng(seed).permutation(len(rows))
    one, other = scores(rows, labels), scores(rows[order], labels[order])
    assert one == pytest.approx(other)
    assert all(0 <= value <= 1 for name, value in one.items() if name != "mean_distance")


def test_pairs_are_counted_once() -> None:
    positive, negative = pair_distances(D, OF)
    assert (len(positive), len(negative)) == (1 + 3, 15 - 4)


def test_of_many_images_some_of_each_class_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_scores, "LIMIT", 60)
    monkeypatch.setattr(embedding_scores, "IN_CLASS", 5)
    for each, classes in ((100, 3), (2, 500), (30, 40)):
        labels = np.repeat(np.arange(classes), each)
        found = np.unique(labels[compared(labels)], return_counts=True)[1]
        assert 50 <= found.sum() <= 70
        assert found.min() >= 2


def test_an_image_alone_is_no_fault() -> None:
    found = scores(np.array([[1.0, 0.0]]), np.array([3]))
    assert all(np.isfinite(value) for value in found.values())
