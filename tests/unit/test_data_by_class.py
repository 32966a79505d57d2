"""Splits by classes, and batches of P classes with K images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nas.data import load_dataset
from nas.data.by_class import class_batches
from nas.data.dataset import Part
from nas.data.described import described
from nas.data.digits import Digits
from nas.data.unseen import choose_by_class, identities, numbered
from nas.records import IDENTITY

BY_CLASS = {"name": "digits", "split": "classes"}


@given(st.lists(st.integers(1, 7), min_size=2, max_size=9), st.integers(2, 30), st.integers(2, 4), st.integers(0, 3))
def test_a_batch_has_several_images_of_each_of_its_classes(sizes: list[int], batch: int, per_class: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if max(sizes) < 2:
        return
    size, most = min(batch, len(labels)), np.minimum(sizes, per_class)
    found = list(class_batches(labels, batch, per_class, np.random.default_rng(seed)))
    assert len(found) == len(labels) // size
    for rows in found:
        assert len(set(rows.tolist())) == len(rows) == size
        classes, counts = np.unique(labels[rows], return_counts=True)
        short = counts < most[classes]
        assert short.sum() <= 1  # the last one
        if size <= most.sum():
            assert (counts <= most[classes]).all()


def test_classes_and_images_come_equally_often() -> None:
    labels = np.repeat(np.arange(6), 8)
    rows = np.concatenate([*class_batches(labels, 12, 4, np.random.default_rng(0))])
    assert np.bincount(labels[rows]).tolist() == [8] * 6
    assert len(set(rows.tolist())) == 48
    again = np.concatenate([*class_batches(labels, 12, 4, np.random.default_rng(0))])
    other = np.concatenate([*class_batches(labels, 12, 4, np.random.default_rng(1))])
    assert (rows == again).all()
    assert (rows != other).any()


@pytest.mark.parametrize("labels", [np.arange(5), np.zeros(4, int)])
def test_without_pairs_there_is_no_batch(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="batches of pairs need two classes"):
        list(class_batches(labels, 4, 2, np.random.default_rng(0)))


def test_classes_of_validation_and_test_are_unseen_in_training() -> None:
    data = load_dataset(BY_CLASS)
    classes = [set(np.unique(part.targets).tolist()) for part in (data.train, data.valid, data.test)]
    assert [len(one) for one in classes] == [6, 2, 2]
    assert sorted(set.union(*classes)) == list(range(10))
    assert classes[0] == set(range(6))  # a loss has an entry for each
    assert (data.target, data.classes) == (IDENTITY, ())
    assert sum(len(part) for part in (data.train, data.valid, data.test)) == 1797
    other = load_dataset({**BY_CLASS, "split_seed": 1})
    assert np.array_equal(other.test.images, data.test.images)
    assert not np.array_equal(other.valid.images[:9], data.valid.images[:9])
    assert described(data)[0].endswith("; 8x8, gray; classes that no other part has: 6 train, 2 valid, 2 test")


def test_sizes_are_of_images() -> None:
    data = load_dataset({**BY_CLASS, "train_size": 400, "valid_size": 60, "test_size": 30})
    assert (len(data.valid), len(data.test)) == (60, 30)
    assert len(np.unique(data.valid.targets)) == len(np.unique(data.test.targets)) == 2


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"valid_fraction": 0.9}, "dataset.split: 8 classes to share between training and validation, where validation takes 7; too few"),
        ({"train_size": 10}, "dataset.train_size: expected 16 to "),
        ({"valid_size": 2}, "dataset.valid_size: expected 4 to "),
        ({"split": "class"}, "dataset.split: expected one of images, classes, got 'class'"),
    ],
)
def test_what_does_not_fit_is_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match="dataset") as error:
        load_dataset({**BY_CLASS, **settings})
    assert str(error.value).startswith(message)


def _part(labels: list[int]) -> Part:
    return Part(np.array(labels), lambda rows: np.zeros((len(rows), 2, 2, 1), np.uint8), lambda row: f"row {row}")


def test_a_class_in_two_parts_is_refused() -> None:
    parts = {"train": _part([0, 0, 1, 1]), "test": _part([2, 2, 1, 1])}
    with pytest.raises(ValueError, match="split: class bob has images in train and in test"):
        identities(parts, ("ann", "bob", "cat"))


def test_parts_that_are_there_stay_and_training_classes_have_the_first_numbers() -> None:
    parts = {"train": _part([7, 7, 5, 5, 9, 9, 8, 8]), "test": _part([2, 2, 3, 3])}
    labels = identities(parts, None)
    rows = choose_by_class(labels, Digits(split="classes", valid_fraction=0.5))
    assert rows["test"].tolist() == [0, 1, 2, 3]
    assert (len(rows["train"]), len(rows["valid"])) == (4, 4)
    found = numbered(labels, rows)
    assert sorted(set(found["train"][rows["train"]].tolist())) == [0, 1]
    assert sorted(set(found["train"][rows["valid"]].tolist())) == [2, 3]
    assert sorted(set(found["test"].tolist())) == [4, 5]


def test_folders_of_other_people_in_train_and_test(tmp_path: Path) -> None:
    for part, people in (("train", "abcd"), ("test", "ef")):
        for person in people:
            folder = tmp_path / part / person
            folder.mkdir(parents=True)
            for i in range(3):
                Image.fromarray(np.full((6, 6), 20 * i, np.uint8)).save(folder / f"{i}.png")
    settings = {"name": "folder", "path": str(tmp_path), "split": "classes"}
    data = load_dataset(settings)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [6, 6, 6]
    with pytest.raises(ValueError, match="no such class in the training part"):
        load_dataset({**settings, "split": "images"})
