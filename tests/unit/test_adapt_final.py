"""The training that ends a NetAdapt: its settings, and that it is not kept where it validates worse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapt_formula import NET, Formula, Stop, latency
from nas.arch.blocks import arch_id, lower
from nas.core.settings import build
from nas.data.arrays import dataset_of_arrays
from nas.data.record import KEY, record_of
from nas.evaluators import Context
from nas.evaluators.scratch import ScratchSettings
from nas.journal import Journal
from nas.nn.network import init
from nas.nn.weights import save_weights
from nas.recipe import Recipe
from nas.records import Job
from nas.train import Teacher, fit
from nas.workflows.adapt import Adapter, AdaptSettings, Point
from nas.workflows.adapt.final import decided_changes, final_recipe
from small_training import SMALL, dataset

KERNELS = 2  # of the network, so that a step has two proposals, after the seed's score


def ended(folder: Path, choose: Any, final: Mapping[str, float], left: int) -> tuple[Point, Point, list[int], str]:
    """The networks before and after the last training, the jobs that were run and the last message."""
    said, path = [""], folder / "journal.sqlite"
    executor = Formula(folder, left, final)
    with Journal.open(path) if path.exists() else Journal.create(path, {}) as journal:
        adapter = Adapter(
            latency, "formula", journal, executor, AdaptSettings(choose=choose, kinds=("kernel",), step=0.01), 0,
            lambda number: folder / f"{number}.npz", folder / "seed.npz", message=said.append,
        )  # fmt: skip
        before = adapter.run(NET, 0.99 * latency(NET))[-1]
        return before, adapter.finish({"epochs": 1}), executor.seen, said[-1]


@pytest.mark.parametrize(
    "choose, final, lost",
    [
        ("ratio", {"accuracy": 0.01, "loss": 0.5}, ""),
        ("ratio", {"accuracy": 0.0, "loss": 0.5}, ""),
        ("ratio", {"accuracy": -0.01, "loss": -0.1}, "accuracy"),
        ("accuracy", {"accuracy": -0.01}, "accuracy"),
        ("loss", {"accuracy": 0.01, "loss": 0.01}, "loss"),
        ("loss", {"accuracy": -0.01, "loss": -0.1}, ""),
    ],
)
def test_a_last_training_that_validates_worse_is_not_kept(tmp_path: Path, choose: Any, final: dict[str, float], lost: str) -> None:
    """Stopped before it ends, and called again; and once more, when all of it is on record."""
    with pytest.raises(Stop):
        ended(tmp_path, choose, final, 1 + KERNELS)
    for again in (False, True):
        before, last, seen, said = ended(tmp_path, choose, final, 10**6)
        assert seen == [] if again else len(seen) == 1
        assert (tmp_path / f"{last.number}.npz").exists()
        if lost:
            assert last is before
            assert not (tmp_path / f"{last.number + 1}.npz").exists()
            assert said.startswith(f"final training: validation {lost} ")
            assert said.endswith(" before; the network before it is kept")
        else:
            assert last.change == "final training"
            assert not said.startswith("final training")


BASE = {"epochs": 1, "lr": 0.01, "schedule": "constant", "freeze": ["backbone"], "augment": {"flip": False, "cutout": 4}}


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, {}),
        ({"freeze_epochs": 3, "lr_scale": {"backbone": 0.1}}, {"freeze_epochs": 3, "lr_scale": {"backbone": 0.1}}),
        ({"freeze": None, "schedule": "constant"}, {"freeze": None, "schedule": "constant"}),
        ({"augment": {"flip": True}}, {"augment": {"flip": True, "cutout": 4}}),
    ],
)
def test_the_last_recipe_is_the_short_one_with_its_changes(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    own = {"epochs": 10, "lr": 0.02, "schedule": "cosine", "warmup_epochs": 0, "schedule_epochs": None}
    assert final_recipe(BASE, 10, 0.02, changes) == {**BASE, **own, **expected}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"freez_epochs": 3}, "adapt.final_recipe.freez_epochs: unknown key; did you mean freeze_epochs"),
        ({"freeze_epochs": 10}, "adapt.final_recipe.freeze_epochs: expected at least 1 and less than 10"),
        ({"augment": {"flp": True}}, "adapt.final_recipe.augment.flp: unknown key; did you mean flip"),
        ({"augment": 3}, "adapt.final_recipe.augment: expected settings as a mapping"),
        ({"epochs": 5}, "adapt.final_recipe.epochs: has a setting of its own; set adapt.final_epochs"),
        ({"lr": 0.1}, "adapt.final_recipe.lr: has a setting of its own; set adapt.final_lr"),
    ],
)
def test_wrong_changes_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(Recipe, final_recipe(BASE, 10, 0.02, changes), "adapt.final_recipe")


def test_changes_of_augmentation_are_decided_by_the_images() -> None:
    images = np.zeros((20, 8, 8, 1), np.uint8)
    dataset = dataset_of_arrays({"x_train": images, "y_train": np.arange(20) % 2}, "small")
    changes = {"augment": {"flip": None}}
    assert decided_changes(changes, final_recipe(BASE, 10, 0.02, changes), dataset)["augment"]["flip"] is False
    assert decided_changes({"ema": 0.9}, BASE, dataset) == {"ema": 0.9}


def test_a_proposal_that_fails_is_named_and_the_others_are_chosen_among(tmp_path: Path) -> None:
    said: list[str] = []
    with Journal.create(tmp_path / "journal.sqlite", {}) as journal:
        adapter = Adapter(
            latency, "formula", journal, Formula(tmp_path, failing=1), AdaptSettings(kinds=("kernel",), step=0.01), 0,
            lambda number: tmp_path / f"{number}.npz", tmp_path / "seed.npz", message=said.append,
        )  # fmt: skip
        path = adapter.run(NET, 0.99 * latency(NET))
    assert "step 1: kernel of stages[1].layers[0] could not be trained, error: no room" in said
    assert path[1].change == "kernel of stages[1].layers[1]"


def test_the_network_that_it_began_with_can_teach_the_last_training(tmp_path: Path) -> None:
    executor = Formula(tmp_path)
    with Journal.create(tmp_path / "journal.sqlite", {}) as journal:
        settings = AdaptSettings(kinds=("kernel",), step=0.01, final_distill=True)
        adapter = Adapter(
            latency, "formula", journal, executor, settings, 0, lambda number: tmp_path / f"{number}.npz", tmp_path / "seed.npz"
        )
        adapter.run(NET, 0.99 * latency(NET))
        adapter.finish({"epochs": 1})
    assert [job.data["teacher"]["weights"] for _, job in executor.given if "teacher" in job.data] == [str(tmp_path / "seed.npz")]


def test_a_job_that_names_a_teacher_learns_from_it(tmp_path: Path) -> None:
    data, recipe, wide = dataset(), Recipe(epochs=1, batch=32, lr=0.05, distill=1.0), replace(SMALL, name="wide")
    weights = init(lower(wide), 5)
    save_weights(tmp_path / "teacher.npz", weights)
    settings = {"recipe": asdict(recipe), "dataset": {"name": "bars"}, KEY: record_of(data).plain()}
    evaluator = ScratchSettings().make(Context(settings, tmp_path, "here", {}, data))
    taught = {"teacher": {"arch": wide.to_dict(), "weights": str(tmp_path / "teacher.npz")}}
    (outcome,) = evaluator([Job(0, "train", SMALL.to_dict(), arch_id(SMALL), 0, 3, taught)], lambda *_: None)
    assert outcome.outcome == "ok", outcome.error
    alone = fit(SMALL, data, recipe, 3, teacher=Teacher(wide, weights, data.mean, data.std))
    assert outcome.metrics == pytest.approx(alone.metrics)
    assert outcome.metrics["loss"] != pytest.approx(fit(SMALL, data, recipe, 3).metrics["loss"])
