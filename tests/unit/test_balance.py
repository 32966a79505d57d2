"""Imbalance is visible: balanced accuracy, by batches and merged; a line before training; each class in the card and the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch import Block, Stage
from nas.data import Dataset, Split
from nas.data.described import described
from nas.objectives import TaskMetrics, build_objectives
from nas.recipe import Recipe
from nas.report.inspection import inspection
from nas.space import load_space
from nas.tasks import TASKS, metrics_of
from nas.tasks.classification import Classification
from nas.train import fit
from nas.train.compilation.layerwise import Layerwise
from nas.train.compilation.switched import compile_space
from nas.workflows.export.card import _matrix
from small_bundle import ARCH, DATA

TASK = TASKS["classification"]
ANSWERS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]  # of eight images of class 0 and two of class 1


def logits(answers: list[int], classes: int = 3) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[answers] * 4


CASES = [(ANSWERS, [0] * 8 + [1] * 2, 0.9, 0.75), ([0] * 10, [0] * 9 + [1], 0.9, 0.5), ([2, 1, 0], [2, 1, 0], 1.0, 1.0),
         ([1, 1], [0, 0], 0.0, 0.0)]  # fmt: skip


@pytest.mark.parametrize("answers, labels, accuracy, balanced", CASES)
def test_a_rare_class_counts_as_much_as_a_frequent_one(answers: list[int], labels: list[int], accuracy: float, balanced: float) -> None:
    found = metrics_of(TASK, logits(answers), np.array(labels, np.int32))
    assert [*found] == ["accuracy", "loss", "balanced_accuracy"]
    assert (found["accuracy"], found["balanced_accuracy"]) == pytest.approx((accuracy, balanced))


def test_parts_of_a_split_are_merged() -> None:
    labels, states = np.array([0] * 8 + [1] * 2, np.int32), []
    for rows in (slice(0, 4), slice(4, 10)):
        state, count = TASK.new_metrics(), len(labels[rows])
        valid = np.arange(count + 2) < count  # a batch is filled up with rows that do not count
        padded = np.pad(logits(ANSWERS)[rows], ((0, 2), (0, 0))), np.pad(labels[rows], (0, 2))
        part = TASK.reduce(jnp.array(padded[0]), jnp.array(padded[1]), jnp.array(valid))
        state.update({name: np.asarray(value) for name, value in part.items()}, labels[rows])
        states.append(TASK.new_metrics(json.loads(json.dumps(state.to_json()))))
    whole = TASK.new_metrics()
    for state in states:
        whole.merge(state)
    assert whole.compute()["balanced_accuracy"] == pytest.approx(0.75)


def test_it_can_be_an_objective() -> None:
    task = TaskMetrics(TASK.name, TASK.metrics, TASK.primary)
    built = build_objectives({"metrics": {"balanced_accuracy": "max", "params": "min"}, "reward": "first"}, [], task, {})
    assert dict(built.metrics)["balanced_accuracy"] == "max"


NET = dataclasses.replace(ARCH, stages=(Stage((Block.of("conv", width=4),), stride=2),), head=Block.of("classifier"))
BALANCED = Recipe(epochs=1, batch=4, class_weights="balanced")


def test_every_class_has_the_same_part_in_the_loss() -> None:
    data = unequal((8, 6, 2))
    assert TASK.weighed(Recipe(), data) is TASK
    weighed = TASK.weighed(BALANCED, data)
    outputs, labels = jnp.array(logits([0] * 16)), jnp.array(data.train.targets)
    plain, losses = (np.asarray(task.loss(outputs, labels, None, BALANCED)["cross_entropy"]) for task in (TASK, weighed))
    assert losses / plain == pytest.approx(np.repeat([16 / 24, 16 / 18, 16 / 6], (8, 6, 2)))


class Reached(Exception):
    pass


TRAININGS: dict[str, Callable[[Dataset], object]] = {
    "whole": lambda data: fit(NET, data, BALANCED, 0),
    "layerwise": lambda data: Layerwise(data, BALANCED, TASK).fit(NET, 0),
    "switched": lambda data: compile_space(load_space("tiny").fit(8, 1, 3), data, BALANCED),
}


@pytest.mark.parametrize("way", TRAININGS)
def test_every_way_of_training_weighs_classes(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(self: Classification, *args: object) -> object:
        raise Reached(self.weights)

    monkeypatch.setattr(Classification, "loss", loss)
    with pytest.raises(Reached, match=r"\(0\.6+7?, 0\.8+9?, 2\.6+"):
        TRAININGS[way](unequal((8, 6, 2)))


def unequal(counts: tuple[int, int, int]) -> Dataset:
    labels = np.repeat(np.arange(3, dtype=np.int32), counts)
    return dataclasses.replace(DATA, train=Split(np.zeros((len(labels), 8, 8, 1), np.uint8), labels))


def test_classes_of_unequal_size_are_named() -> None:
    assert len(described(unequal((8, 6, 3)))) == 1
    line = "classes of unequal size: b 1,200, c 400 training images; balanced_accuracy counts all classes alike"
    assert described(unequal((900, 1200, 400)))[1] == line


def test_the_card_and_the_report_show_each_class() -> None:
    matrix = np.array([[8, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert _matrix(matrix, ("a", "b", "c"))[2:] == ["| a | 8 | 0 | 0 | 100.0% |", "| b | 1 | 1 | 0 | 50.0% |", "| c | 0 | 0 | 0 | - |"]
    page = inspection({"classes": ["a", "b", "c"], "samples": [], "confusion": matrix.tolist(), "accuracy": [1, 0.5, None]})
    assert page.index(">100%<") < page.index(">50%<")
