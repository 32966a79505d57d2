"""Checkpoints: a training that was killed, or made longer, gives the weights of one left in peace, bit for bit."""

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.nn.network import init
from nas.nn.weights import load_weights, save_arrays
from nas.recipe import Recipe
from nas.tasks import CLASSIFICATION
from nas.train import Checkpoints, Fit, evaluate, loop
from nas.train.checkpoint import Progress, identity_of
from nas.train.optim import Layout, optimizer
from nas.train.trainer import Trainer
from places import HELPERS, ROOT
from small_training import EVERYTHING, SMALL, Killed, dataset, equal, killed_after, same


@cache
def compiled(recipe: Recipe) -> tuple[Any, ...]:
    """What `fit` makes before its first step, once for all trainings whose steps are the same."""
    variables = init(lower(SMALL), 0)
    layouts = Layout.of(variables["params"]), Layout.of(variables["stats"])
    trainer = Trainer(lower(SMALL), dataset(), recipe, 0, CLASSIFICATION, *layouts)
    update = optimizer(recipe, trainer.steps_per_epoch)
    return trainer, variables, update, trainer.compile(trainer.start(variables, update), variables, update)


def run(folder: Path | None, recipe: Recipe, killed: int | None = None, heard: Any = None, **options: Any) -> Fit:
    """`fit` with what is compiled kept between calls."""
    whole = dataclasses.replace(recipe, epochs=1, schedule_epochs=recipe.horizon, validate_every=0, patience=0)
    trainer, variables, update, program = compiled(whole)
    checkpoint = Checkpoints(folder, **options) if folder else None
    trainer = dataclasses.replace(trainer, recipe=recipe, checkpoint=checkpoint)
    return loop.finish(
        trainer, program, trainer.start(variables, update), killed_after(killed, [] if heard is None else heard)
    )


@pytest.fixture(scope="module")
def undisturbed() -> Fit:
    return run(None, EVERYTHING)


@pytest.mark.parametrize("kills", [(1,), (3,), (1, 2, 3), (4,)])
def test_killed_ones_end_where_the_undisturbed_one_does(
    tmp_path: Path, undisturbed: Fit, kills: tuple[int, ...]
) -> None:
    for kill in kills:
        with pytest.raises(Killed):
            run(tmp_path, EVERYTHING, kill)
    heard: list[float] = []
    again = run(tmp_path, EVERYTHING, heard=heard)
    assert same(again, undisturbed)
    assert heard == [*range(kills[-1], 5)], "an epoch that is on disk is reported again, not trained again"
    assert again.steps == undisturbed.steps
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-000003.npz", "epoch-000004.npz"]


KILL_9 = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from small_training import *
from nas.train import Checkpoints
from nas.train import fit
def report(step, steps, metrics):
    if metrics.get("epoch") == 2:
        os.kill(os.getpid(), signal.SIGKILL)
fit(SMALL, dataset(), EVERYTHING, 0, checkpoint=Checkpoints(Path({folder!r})), report=report)
"""


def test_kill_9(tmp_path: Path, undisturbed: Fit) -> None:
    code = KILL_9.format(tests=str(HELPERS), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert same(run(tmp_path, EVERYTHING), undisturbed)


def test_a_damaged_one_is_left_for_the_one_before(tmp_path: Path, undisturbed: Fit, caplog: Any) -> None:
    with pytest.raises(Killed):
        run(tmp_path, EVERYTHING, 3)
    newest = tmp_path / "epoch-000003.npz"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with caplog.at_level(logging.WARNING, "nas"):
        assert same(run(tmp_path, EVERYTHING), undisturbed)
    (record,) = caplog.records
    assert "epoch-000003.npz" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100)])
def test_where_all_are_damaged_it_starts_anew(tmp_path: Path, undisturbed: Fit, content: bytes) -> None:
    for epoch in (1, 2):
        (tmp_path / f"epoch-{epoch:06d}.npz").write_bytes(content)
    assert same(run(tmp_path, EVERYTHING), undisturbed)


def test_how_many_and_how_often(tmp_path: Path) -> None:
    (tmp_path / ".epoch-000001.npz.1.tmp").write_bytes(b"left by a kill")
    names = {"last": ["epoch-000002.npz", "epoch-000004.npz", "epoch-000005.npz"], "paused": ["epoch-000005.npz"]}
    recipe = dataclasses.replace(EVERYTHING, epochs=5)
    run(tmp_path, recipe, every=2, keep=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == names["last"]
    run(tmp_path / "paused", recipe, pause_s=1e6)
    assert sorted(path.name for path in (tmp_path / "paused").iterdir()) == names["paused"]
    run(tmp_path / "none", recipe, pause_s=1e6, last=False)
    assert not (tmp_path / "none").exists()
    kept = Checkpoints(tmp_path / "paused")
    kept.clear()
    assert not kept.folder.exists()


def test_a_kill_within_an_epoch_costs_no_more_than_that(tmp_path: Path, undisturbed: Fit) -> None:
    heard: list[float] = []
    with pytest.raises(Killed):
        run(tmp_path, EVERYTHING, killed=3, heard=heard, every=9, within_s=0.0, keep=2)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["epoch-000002-00000004.npz", "epoch-000002-00000005.npz"]
    assert same(run(tmp_path, EVERYTHING, heard=heard), undisturbed)
    assert heard == [1, 2, 3, 2, 3, 4]


PATIENT = dataclasses.replace(EVERYTHING, epochs=12, validate_every=1, patience=2, lr=0.03)


@pytest.mark.parametrize("kills", [(), (1, 2, 3, 4, 5)])
def test_a_training_that_ends_early_keeps_its_best_weights(tmp_path: Path, kills: tuple[int, ...]) -> None:
    for epoch in kills:
        with contextlib.suppress(Killed):
            run(tmp_path, PATIENT, killed=epoch)
    ended = run(tmp_path, PATIENT)
    seen = [entry["accuracy"] for entry in ended.curve]
    assert len(seen) < PATIENT.epochs
    assert ended.epoch == 1 + seen.index(max(seen)) == len(seen) - PATIENT.patience
    assert ended.metrics["accuracy"] == max(seen)
    weights: Any = {"params": ended.params, "stats": ended.stats}
    again = evaluate(lower(SMALL), weights, dataset().valid, dataset(), 16, task=CLASSIFICATION)
    assert again["accuracy"] == pytest.approx(ended.metrics["accuracy"])
    shorter = run(None, dataclasses.replace(PATIENT, epochs=ended.epoch, patience=0))
    assert equal((ended.params, ended.stats), (shorter.params, shorter.stats))


@pytest.mark.parametrize("schedule", [{"schedule": "staircase"}, {"schedule": "cosine", "schedule_epochs": 6}])
def test_more_epochs_resume_as_if_there_had_been_no_stop(tmp_path: Path, schedule: dict[str, Any]) -> None:
    long = dataclasses.replace(EVERYTHING, epochs=4, **schedule)
    short = run(tmp_path, dataclasses.replace(long, epochs=2))
    longer = run(tmp_path, long)
    assert same(longer, run(None, long))
    assert longer.curve[:2] == short.curve
    shorter = dataclasses.replace(long, epochs=3)
    assert same(run(tmp_path, shorter), run(None, shorter))


COSINE = dataclasses.replace(EVERYTHING, schedule="cosine", epochs=2)


@pytest.mark.parametrize(
    "then, now, message",
    [
        ((0, COSINE, 96), (0, dataclasses.replace(COSINE, epochs=3), 96), "recipe.schedule_epochs was 2 and is 3 now"),
        ((0, COSINE, 96), (0, dataclasses.replace(COSINE, lr=0.2), 96), "recipe.lr was 0.01 and is 0.2 now"),
        ((0, COSINE, 96), (1, COSINE, 96), "seed was 0 and is 1 now"),
        ((0, COSINE, 96), (0, COSINE, 48), "images was "),
        ((0, COSINE, 96), (0, COSINE, 96, 1), "initial weights was "),
        ((0, COSINE, 96), (0, COSINE, 96, 0, "a teacher"), 'teacher was null and is "a teacher" now'),
        ((0, COSINE, 96), (0, dataclasses.replace(COSINE, patience=2, validate_every=1), 96), "keeps_best was false"),
    ],
)
def test_another_training_is_refused(tmp_path: Path, then: Any, now: Any, message: str) -> None:
    def identity(seed: int, recipe: Recipe, images: int, start: int = 0, teacher: Any = None) -> tuple[Any, dict[str, Any]]:
        state = {"a": np.full(3, start, np.float32)}
        return state, identity_of("an arch", dataset(train=images), recipe, seed, state, teacher)

    checkpoints = Checkpoints(tmp_path)
    state, begun = identity(*then)
    checkpoints.save(Progress(state, ({"epoch": 1.0},)), begun)
    assert checkpoints.restore(state, begun, 2).epoch == 1
    state, ours = identity(*now)
    with pytest.raises(ValueError, match=message):
        checkpoints.restore(state, ours, 2)


def test_wrong_settings_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"checkpoint.keep: expected 1 or more"):
        Checkpoints(tmp_path, keep=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/epoch-000001\.npz: "):
        run(tmp_path / "file", EVERYTHING)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_weights_files_of_other_content_are_refused(tmp_path: Path) -> None:
    save_arrays(tmp_path / "a.npz", {"a": np.zeros(3)})
    with pytest.raises(ValueError, match="it holds an array called 'a'"):
        load_weights(tmp_path / "a.npz")
