"""One training by two Ray workers: the losses of one process; a worker's death is a restart from the last checkpoint, messages."""

import dataclasses
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nas.recipe import Augment, Recipe
from nas.runtime.cluster_settings import ClusterSettings
from nas.runtime.distributed_training import train_distributed
from nas.runtime.spec import WorkerSpec
from nas.train import Checkpoints, Fit, fit
from places import HELPERS, ROOT
from small_training import SMALL, dataset

RECIPE = Recipe(epochs=4, batch=16, lr=0.05, mixup=0.2, ema=0.9, validate_every=1, augment=Augment(crop_padding=1, cutout=2))
TWO = ClusterSettings(workers=2, wait_s=30)


def together(folder: Path, recipe: Recipe, report: Any, restarts: int, started: Any = lambda pids: None) -> Fit:
    spec = WorkerSpec({}, {}, (), (str(HELPERS), str(ROOT)), str(folder), 1, "cpu")
    work = {"arch": SMALL, "recipe": recipe, "seed": 0, "variables": None, "teacher": None, "devices": 1,
            "checkpoint": Checkpoints(folder / "checkpoints", keep=9)}  # fmt: skip
    return train_distributed(TWO, spec, work, dataset(), report=report, restarts=restarts, started=started)


@pytest.mark.ray
@pytest.mark.nightly
def test_losses_are_those_of_one_process_though_a_worker_is_killed(
    ray_cluster: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pids: list[Sequence[int]] = []
    heard: list[float] = []

    def report(step: int, steps: int, metrics: dict[str, float]) -> None:
        if "epoch" in metrics:
            heard.append(metrics["epoch"])
            if heard == [1]:
                os.kill(pids[0][1], signal.SIGKILL)

    with caplog.at_level(logging.WARNING, "nas"):
        shared = together(tmp_path, RECIPE, report, 3, pids.append)
    assert len(pids) > 1
    messages = [r.getMessage() for r in caplog.records if "restart" in r.getMessage()]
    assert "the training resumes from its last checkpoint (restart 1 of 3)" in messages[0]
    assert heard[-1] == 4
    alone = fit(SMALL, dataset(), RECIPE, 0)
    for one, other in zip(shared.curve, alone.curve, strict=True):
        assert one == pytest.approx(other, rel=2e-3)
    for one, other in zip(jax.tree.leaves(shared.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-2, atol=2e-3)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {f"epoch-00000{i}.npz" for i in range(1, 5)}


@pytest.mark.ray
@pytest.mark.nightly
def test_what_the_workers_refuse_is_one_line(ray_cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recipe\.batch: 1 images are too few for 2 devices that share them"):
        together(tmp_path, dataclasses.replace(RECIPE, batch=1), lambda *messages: None, 0)
    spec = WorkerSpec({}, {}, (), (str(ROOT),), str(tmp_path), 1, "cpu")
    with pytest.raises(ValueError, match=r"executor\.workers: expected 3, the nodes hold 2"):
        train_distributed(ClusterSettings(workers=3, wait_s=1), spec, {"arch": SMALL}, dataset(), report=print, restarts=0)
