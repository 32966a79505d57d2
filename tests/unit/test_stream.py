"""Datasets that are read while they are used: the images, order and weights of those in memory, within bounds, errors named."""

import dataclasses
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_makers import N, error_of, make_folder, make_parquet, make_pixels, png, same, spoil
from nas.arch.blocks import lower
from nas.data import Dataset, dataset, forms, load_dataset, statistics
from nas.data.augment import batches
from nas.data.images import Encoded
from nas.data.stream import MIB, Groups, Streamed, prefetched
from nas.nn.network import init
from nas.recipe import Augment, Recipe
from nas.tasks import CLASSIFICATION
from nas.train import loop
from nas.train.optim import Layout, optimizer
from nas.train.trainer import Trainer
from small_training import SMALL, equal

BOTH = pytest.mark.parametrize("make", [make_folder, make_parquet])
RECIPE = Recipe(epochs=2, batch=8, dtype="float32", augment=Augment(crop_padding=1, flip=True, policy="randaugment", cutout=2))


def trainer_of(data: Dataset) -> Trainer:
    graph = lower(SMALL.with_io(6, 3, 2))
    variables = init(graph, 0)
    layouts = Layout.of(variables["params"]), Layout.of(variables["stats"])
    return Trainer(graph, data, RECIPE, 0, CLASSIFICATION, *layouts)


@BOTH
def test_streamed_is_what_is_in_memory(make: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    settings = make(tmp_path)
    held, streamed = load_dataset({**settings, "stream": False}), load_dataset({**settings, "stream": True})
    assert isinstance(streamed.train.images, Streamed)
    assert same(held, streamed)
    assert (held.mean, held.std, held.channels) == (streamed.mean, streamed.std, streamed.channels)
    rows = np.array([5, 0, 5, 17])
    assert np.array_equal(streamed.train.images[rows], held.train.images[rows])
    assert np.array_equal(streamed.train.take(rows[1:3]).images[:], held.train.images[[0, 5]])
    for epoch in (1, 2):
        ours, theirs = (list(trainer_of(data).feed.batches(epoch, 0)) for data in (held, streamed))
        assert len(ours) == len(held.train) // 8
        assert equal(ours, theirs)
        assert equal(list(trainer_of(streamed).feed.batches(epoch, 2)), ours[2:])


def test_a_training_on_streamed_images_gives_the_same_weights(tmp_path: Path) -> None:
    settings = make_parquet(tmp_path)
    fits = []
    first = trainer_of(load_dataset({**settings, "stream": False}))
    variables, update = init(first.graph, 0), optimizer(RECIPE, first.steps_per_epoch)
    program = first.compile(first.start(variables, update), variables, update)
    for trainer in (first, trainer_of(load_dataset({**settings, "stream": True}))):
        fits.append(loop.finish(trainer, program, trainer.start(variables, update), loop.silent))
    assert equal(*((fit.params, fit.stats) for fit in fits))
    assert fits[0].metrics == fits[1].metrics


def grouped(count: int, each: int, memory: int) -> tuple[Streamed, list[int]]:
    """`count` groups of `each` images, 1,000 bytes a group; and which groups were read."""
    loads: list[int] = []
    images = png(make_pixels(1)[0])

    def load(group: int) -> int:
        loads.append(group)
        return group

    def pick(group: int, held: int, rows: np.ndarray) -> Any:
        assert held == group
        return [Encoded(str(row), images) for row in rows]

    groups = Groups(np.repeat(np.arange(count), each), np.full(count, 1000), load, pick)
    return Streamed(np.arange(count * each), 6, 3, groups.fetch, groups, memory), loads


def test_row_groups_are_shuffled_over_a_window_and_read_once() -> None:
    images, loads = grouped(30, 50, 8000)
    split = dataset.Split(images, np.zeros(1500, np.int32))
    order = np.concatenate(list(batches(split, 10, np.random.default_rng(1))))
    assert images.window == 6
    assert sorted(order) == list(range(1500))
    assert np.array_equal(order, split.order(np.random.default_rng(1)))
    assert not np.array_equal(order, split.order(np.random.default_rng(2)))
    group = order // 50
    alive = [np.flatnonzero(group == g) for g in range(30)]
    at_once = [sum(where[0] <= step <= where[-1] for where in alive) for step in range(1500)]
    assert max(at_once) <= 6 + 2
    assert len(set(group[:50])) > 3
    for start in range(0, 1500, 10):
        images[order[start : start + 10]]
    assert sorted(loads) == list(range(30))
    whole, _ = grouped(5, 50, 8000)
    assert np.array_equal(whole.order(np.random.default_rng(1)), np.random.default_rng(1).permutation(250))


def test_batches_are_made_ahead_in_order_and_within_bounds() -> None:
    images, _ = grouped(1, 4, MIB)
    threads, depth = images.pace(4)
    assert 1 <= depth <= threads + 1
    assert dataclasses.replace(images, memory_bytes=1).pace(4)[1] == 1
    begun, asked, where = [], [], set()

    def make(item: int) -> int:
        begun.append(item)
        where.add(threading.current_thread().name)
        return item

    running = prefetched(images, 4, make, range(20))
    for item in running:
        asked.append(item)
        assert len(begun) <= len(asked) + depth
        if item == 15:
            running.close()
    assert asked == list(range(16))
    assert threading.main_thread().name not in where
    assert list(prefetched(np.zeros(3), 4, make, range(3))) == [0, 1, 2]


@BOTH
def test_what_is_broken_later_is_named(make: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    settings = {**make(tmp_path), "stream": True}
    data = load_dataset(settings)
    fresh = dataclasses.replace(data, train=data.train.take(np.arange(len(data.train))))  # nothing of it is held
    file = next(path for path in sorted(tmp_path.rglob("*")) if path.is_file() and "train" in str(path))
    spoil(file, lambda content: content[:60] + bytes(len(content) - 60))
    with pytest.raises(ValueError, match=file.name):
        list(trainer_of(fresh).feed.batches(1, 0))
    assert file.name in error_of(settings)


@pytest.mark.parametrize(
    "pixels, message",
    [
        (make_pixels(1, 6, 3)[0], "in color, where the images looked at first are gray"),
        (make_pixels(1, 7, 1)[0], "7x7 pixels where others have 6x6: set dataset.resolution"),
    ],
)
def test_what_is_different_later_is_named(
    pixels: np.ndarray, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**make_folder(tmp_path), "stream": True}
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(png(make_pixels(1, 6, 1)[0]))
    monkeypatch.setattr(statistics, "SURVEYED", 4)
    monkeypatch.setattr(forms, "SURVEYED", 4)
    data = load_dataset(settings)
    for file in tmp_path.rglob("01*.png"):
        file.write_bytes(png(pixels))
    with pytest.raises(ValueError, match=rf"01\d\.png: {message}"):
        data.train.images[:]
    assert data.channels == 1


def test_what_is_too_large_is_streamed_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_folder(tmp_path)
    images = (N + 10) * 6 * 6 * 3
    for memory, streamed in ((2 * images, False), (2 * images - 1, True)):
        caplog.clear()
        monkeypatch.setattr(forms, "machine_memory", lambda memory=memory: memory)
        with caplog.at_level(logging.WARNING, "nas"):
            data = load_dataset(settings)
        assert isinstance(data.train.images, Streamed) == streamed
        assert [f"{N + 10} images of 6x6x3 would take" in record.getMessage() for record in caplog.records] == [True] * streamed
    assert isinstance(load_dataset({**settings, "stream": False}).train.images, np.ndarray)
    assert "dataset.stream_mib: expected 1 to " in error_of({**settings, "stream_mib": 0})
    assert "dataset.stream: unknown key" in error_of({"name": "digits", "stream": True})
