"""Evaluators and tasks keep the laws that `nas.testing` states; and a law that is broken is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import made_up
import regression_task
from nas.arch.blocks import BLOCKS, HEADS
from nas.controllers import make_controller
from nas.controllers.random import Random
from nas.data import DATASETS, load_dataset
from nas.evaluators import EVALUATORS, Capabilities, Context, EvaluatorSettings
from nas.records import Job, Outcome
from nas.space import Space
from nas.tasks import TASKS
from nas.tasks.classification import Classification
from nas.testing import check_block, check_controller, check_dataset, check_evaluator, check_task
from small_supernet import FEW

PLAIN = {
    "name": "plain",
    "resolution": 8,
    "stem": {"op": "conv", "width": 4},
    "stages": [{"op": "conv", "width": {"one_of": [4, 8]}, "stride": 2}],
    "head": {"op": "classifier"},
}

@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVALUATORS, "formula", made_up.Formula)
    monkeypatch.setitem(EVALUATORS, "lucky", Lucky)
    monkeypatch.setitem(TASKS, "regression", regression_task.TASKS["regression"])
    monkeypatch.setitem(HEADS, "regressor", regression_task.regressor)
    monkeypatch.setitem(DATASETS, "stripes", made_up.Stripes)
    monkeypatch.setitem(BLOCKS, "twin_conv", made_up.twin_conv)
    monkeypatch.setitem(BLOCKS, "half", half)


def test_evaluators_keep_the_laws() -> None:
    check_evaluator({"name": "formula"}, jobs=3)
    check_evaluator({"name": "scratch"}, space=Space.from_dict(PLAIN, "plain"), jobs=1)
    check_evaluator({"name": "batched", "group": 2}, space=Space.from_dict(PLAIN, "plain"), jobs=3)


@pytest.mark.nightly
def test_shared_weights_keep_the_laws_of_evaluators() -> None:
    check_evaluator({"name": "supernet", "calibration_images": 40}, space=Space.from_dict(FEW, "few"))


def test_tasks_keep_the_laws() -> None:
    check_task("classification")
    check_task("classification", load_dataset({"name": "digits", "train_size": 40, "test_size": 10}), {"op": "mlp"})
    check_task("regression")
    check_task("embedding")
    check_task("detection", None, {"op": "ssdlite", "widths": [16], "boxes": 2})
    check_task("detection", None, {"op": "yolo", "widths": [16], "boxes": 2, "pairs": 0})
    check_task("embedding", None, {"op": "embedding", "size": 3, "pool": False})


def test_a_block_of_a_plugin_keeps_the_laws() -> None:
    check_block("twin_conv", {"width": 24})


@dataclass(frozen=True)
class Lucky(EvaluatorSettings):
    """Scores by a random number."""

    capabilities: ClassVar[Capabilities] = Capabilities(needs_dataset=False)

    def make(self, context: Context) -> Any:
        return lambda jobs, report: [self.one(job) for job in jobs]

    def one(self, job: Job) -> Outcome:
        return Outcome(job.number, "ok", metrics={"accuracy": float(np.random.default_rng().uniform())})


class Padded(Classification):
    """Counts rows that only fill a batch."""

    def reduce(self, outputs: Any, targets: Any, valid: Any) -> Mapping[str, Any]:
        return super().reduce(outputs, targets, valid | True)


@dataclass(frozen=True)
class Stateful(Random):
    """Proposes by a generator of its own."""

    def ask(self, state: Any, pending: Sequence[Any], rng: np.random.Generator) -> Any:
        return super().ask(state, pending, np.random.default_rng())


def half(g: Any, x: int, *, stride: int = 1, width: int) -> int:
    """A block that forgets its stride."""
    return g.conv_norm_act(x, width, 1, 1, "relu", "a")


def test_what_is_broken_is_named() -> None:
    with pytest.raises(AssertionError, match="equal jobs have equal results in every worker"):
        check_evaluator({"name": "lucky"})
    with pytest.raises(AssertionError, match="rows that are not valid change no metric"):
        check_task(Padded())
    with pytest.raises(AssertionError, match="the same seed gives the same proposals: proposal 0"):
        check_controller(Stateful())  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="half with stride 2: a stride divides the size: expected"):
        check_block("half", {"width": 24})
    with pytest.raises(AssertionError, match="split_seed"):
        check_dataset({"name": "stripes"})
    assert make_controller({"name": "random"}) == Random()
