"""Splitting, batches and augmentation: the parts of data that need no files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.core.settings import build
from nas.data import Split, augment, batches
from nas.data.split import split_off, stratified_order, subset
from nas.data.statistics import channel_statistics
from nas.recipe import Augment

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(np.array)
ALL_ON = Augment(crop_padding=2, flip=True, cutout=3)


@given(LABELS, st.integers(0, 9))
def test_every_prefix_is_in_proportion(labels: np.ndarray, seed: int) -> None:
    order = stratified_order(labels, (seed,))
    assert sorted(order) == list(range(len(labels)))
    classes, counts = np.unique(labels, return_counts=True)
    assert set(labels[order[: len(classes)]]) == set(classes)
    for n in range(2 * len(classes), len(labels) + 1):
        taken = np.array([np.sum(labels[order[:n]] == c) for c in classes])
        # Sainte-Lague may leave the quota, but not by more than the classes that are guaranteed one row push it.
        assert np.all(np.abs(taken - n * counts / len(labels)) <= len(classes))


def test_prefixes_are_exact_where_classes_are_equal() -> None:
    labels = np.repeat(np.arange(10), 30)
    for n in (10, 50, 200):
        assert np.bincount(labels[stratified_order(labels, (3,))[:n]]).tolist() == [n // 10] * 10


def test_order_depends_on_the_seed_alone() -> None:
    labels = np.arange(60) % 3
    assert np.array_equal(stratified_order(labels, (1,)), stratified_order(labels, (1,)))
    assert not np.array_equal(stratified_order(labels, (1,)), stratified_order(labels, (2,)))


def test_smaller_subsets_lie_within_larger_ones() -> None:
    labels = np.arange(100) % 4
    rows = np.arange(10, 90)
    small, large = (set(subset(labels, rows, n, (0,))) for n in (20, 50))
    assert small < large <= set(rows)


def test_split_off_parts_rows_in_two() -> None:
    labels = np.arange(40) % 4
    taken, rest = split_off(labels, np.arange(40), 8, (0,), "abcd", "test")
    assert sorted([*taken, *rest]) == list(range(40))
    assert np.bincount(labels[taken]).tolist() == [2] * 4


def test_split_off_names_the_class_that_is_too_small() -> None:
    with pytest.raises(ValueError, match=r"^class dog: 1 image to share between training and test"):
        split_off(np.array([0, 0, 0, 1]), np.arange(4), 2, (0,), ("cat", "dog"), "test")


def _images(n: int = 6, size: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (n, size, size, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("settings", [Augment(), ALL_ON, Augment(2, "reflect"), Augment(cutout=20)], ids=str)
def test_augment_is_pure(settings: Augment, channels: int) -> None:
    images = _images(channels=channels)
    before = images.copy()
    images.setflags(write=False)
    first, second = (augment(images, np.random.default_rng(5), settings) for _ in range(2))
    assert first.shape == images.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(images, before)


@pytest.mark.parametrize("padding, mode", [("zero", "constant"), ("reflect", "reflect")])
def test_crop_takes_a_window_of_the_padded_image(padding: str, mode: str) -> None:
    images = _images(40)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)  # type: ignore[call-overload]
    places = set()
    settings = build(Augment, {"crop_padding": 2, "padding": padding}, "augment")
    for i, crop in enumerate(augment(images, np.random.default_rng(1), settings)):
        found = [(y, x) for y in range(5) for x in range(5) if np.array_equal(padded[i, y : y + 8, x : x + 8], crop)]
        assert found
        places.add(found[0])
    assert len(places) > 10


def test_flip_mirrors_some_and_leaves_some() -> None:
    images = _images(40)
    flipped = augment(images, np.random.default_rng(1), Augment(flip=True))
    same = [np.array_equal(a, b) for a, b in zip(images, flipped, strict=True)]
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(images, flipped, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 5 < sum(same) < 35


def test_cutout_blanks_one_square_cut_off_at_the_border() -> None:
    images = _images(200)
    cut = np.all(augment(images, np.random.default_rng(1), Augment(cutout=4)) == 0, axis=3)
    sizes = cut.sum(axis=(1, 2))
    assert sizes.max() == 16
    assert sizes.min() == 4
    for mask in cut:
        ys, xs = np.nonzero(mask)
        assert mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()


def test_cutout_leaves_the_fill_of_each_channel() -> None:
    out = augment(_images(), np.random.default_rng(1), Augment(cutout=64), fill=(1, 2, 3))
    assert np.all(out == np.array([1, 2, 3]))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"crop_padding": -1}, "augment.crop_padding: expected 0 or more pixels, got -1"),
        ({"cutout": -2}, "augment.cutout: expected 0 or more pixels"),
        ({"flip": 1}, "augment.flip: expected true or false"),
        ({"padding": "zeros"}, "augment.padding: expected one of zero, reflect, got 'zeros'; did you mean zero"),
    ],
)
def test_wrong_augment_settings(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match="augment") as error:
        build(Augment, values, "augment")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("settings", [Augment(8, "reflect"), Augment(5000)], ids=str)
def test_padding_too_large_for_the_image(settings: Augment) -> None:
    with pytest.raises(ValueError, match=r"^crop_padding: "):
        augment(_images(), np.random.default_rng(0), settings)


def _split(n: int) -> Split:
    return Split(np.zeros((n, 2, 2, 1), np.uint8), np.zeros(n, np.int32))


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 5))
def test_batches_cover_an_epoch(n: int, batch: int, seed: int) -> None:
    got = list(batches(_split(n), batch, np.random.default_rng(seed)))
    assert [len(rows) for rows in got] == ([batch] * (n // batch) if n >= batch else [n])
    flat = np.concatenate(got)
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(range(n))


def test_batches_of_nothing_and_of_no_size() -> None:
    assert list(batches(_split(0), 4, np.random.default_rng(0))) == []
    with pytest.raises(ValueError, match=r"^batch: expected 1 or more"):
        list(batches(_split(3), 0, np.random.default_rng(0)))


def test_splits_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        _split(3).images[:][0] = 1


def test_channel_statistics_are_those_of_numpy() -> None:
    images = _images(20)
    mean, std = channel_statistics(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(std, scaled.std(axis=(0, 1, 2)))
    assert channel_statistics(np.full((2, 2, 2, 1), 7, np.uint8)) == ((7 / 255,), (1 / 255,))
