"""Imbalance is visible: balanced accuracy, by batches and merged; a line before training; each class in the card and the report."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from nas.data import Dataset, Split
from nas.data.described import described
from nas.objectives import TaskMetrics, build_objectives
from nas.report.inspection import inspection
from nas.tasks import TASKS, metrics_of
from nas.workflows.export.card import _matrix
from small_bundle import DATA

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
    import jax.numpy as jnp

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
