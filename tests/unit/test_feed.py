"""Images on the device: the same training for any number of steps a dispatch, and the host's distribution of augmentation."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.data import Dataset
from nas.data.augment import augment
from nas.data.augment_on_device import augment_on_device
from nas.nn.network import init
from nas.recipe import Augment, Recipe
from nas.tasks import CLASSIFICATION
from nas.train import Checkpoints, Diverged, Fit, fit, loop, resident
from nas.train.feed import MOST_STEPS, steps_of_dispatch
from nas.train.optim import Layout, optimizer
from nas.train.resident import can_reside
from nas.train.trainer import Trainer
from small_training import EVERYTHING, SMALL, Killed, dataset, equal

RECIPE = dataclasses.replace(EVERYTHING, epochs=2, mixup=0.2, augment=Augment(crop_padding=1, flip=True, cutout=2))


@cache
def compiled(recipe: Recipe, steps: int) -> tuple[Any, ...]:
    """What `fit` makes before its first step, once for all trainings whose steps are the same."""
    graph = lower(SMALL)
    variables = init(graph, 0)
    layouts = Layout.of(variables["params"]), Layout.of(variables["stats"])
    trainer = Trainer(graph, dataset(), recipe, 0, CLASSIFICATION, *layouts).dispatching(steps)
    update = optimizer(recipe, trainer.steps_per_epoch)
    return trainer, variables, update, trainer.compile(trainer.start(variables, update), variables, update)


def run(steps: int, folder: Path | None = None, report: Any = loop.silent) -> Fit:
    trainer, variables, update, program = compiled(RECIPE, steps)
    kept = Checkpoints(folder, within_s=0.0) if folder else None
    return loop.finish(
        dataclasses.replace(trainer, checkpoint=kept), program, trainer.start(variables, update), report
    )


MORE = 9  # steps a dispatch, of six an epoch


def test_the_result_is_the_same_for_any_number_of_steps_a_dispatch() -> None:
    one, other = run(2), run(MORE)
    assert equal((one.params, one.stats), (other.params, other.stats))
    assert [one.steps, one.curve, one.metrics] == [other.steps, other.curve, other.metrics]


def test_without_augmentation_it_is_the_training_by_the_host() -> None:
    plain = dataclasses.replace(RECIPE, augment=Augment())
    host, device = (fit(SMALL, dataset(), plain, 0, dispatch=steps) for steps in (0, 4))
    for a, b in zip(jax.tree.leaves((host.params, host.stats)), jax.tree.leaves((device.params, device.stats)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert host.metrics == pytest.approx(device.metrics, rel=1e-4)


def test_killed_within_an_epoch_it_ends_where_the_undisturbed_one_does(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(loop, "REPORT_S", -1.0)

    def killed(step: int, steps: int, metrics: dict[str, float]) -> None:
        if step == 8 and "epoch" not in metrics:
            raise Killed

    with pytest.raises(Killed):
        run(2, tmp_path, killed)
    assert any(re.fullmatch(r"epoch-000001-0*[24]", path.stem) for path in tmp_path.glob("epoch-*.npz"))
    assert equal(run(MORE, tmp_path).params, run(2).params)


def test_a_checkpoint_of_the_host_is_not_continued_on_the_device() -> None:
    trainer, variables, update, _ = compiled(RECIPE, MORE)
    state = trainer.start(variables, update)
    device, host = (one.identity(state) for one in (trainer, dataclasses.replace(trainer, dispatch=0)))
    assert device.keys() - host.keys() == {"augmented on"}


def test_the_step_of_a_nan_is_named() -> None:
    wild = Recipe(epochs=1, batch=16, lr=1e30, schedule="constant", warmup_epochs=0, weight_decay=1.0)
    with pytest.raises(Diverged, match="step 2") as found:
        fit(SMALL, dataset(), wild, 0, dispatch=6)
    assert found.value.step == 2


def test_nothing_leaves_the_device_within_a_dispatch() -> None:
    trainer, variables, update, program = compiled(RECIPE, MORE)
    state, feed = trainer.start(variables, update), trainer.feed
    assert "callback" not in jax.jit(feed.wrap(trainer.step(update))).lower(state, *feed.shapes()).as_text()
    on_device = jax.device_put(next(feed.batches(1, 0))[1])
    with jax.transfer_guard("disallow"):
        _, losses = program.step(state, *on_device)
    assert losses.shape == (MORE,)


IMAGES = np.random.default_rng(0).integers(1, 255, (1, 5, 6, 3), np.uint8)


@pytest.mark.parametrize(
    "settings",
    [Augment(crop_padding=1), Augment(crop_padding=2, padding="reflect"), Augment(flip=True), Augment(cutout=3), Augment(cutout=2),
     Augment(crop_padding=1, flip=True)],
    ids=str,
)  # fmt: skip
def test_device_and_host_make_the_same_images_equally_often(settings: Augment) -> None:
    """All that one of them makes the other makes too, as often within four standard errors."""
    count, fill = 1000, (7, 8, 9)
    many = np.repeat(IMAGES, count, axis=0)
    host = augment(many, np.random.default_rng(1), settings, fill)
    device = np.asarray(augment_on_device(jax.numpy.asarray(many), jax.random.key(1), settings, fill))
    counts = []
    for made in (host, device):
        kinds, found = np.unique(made.reshape(count, -1), axis=0, return_counts=True)
        counts.append({row.tobytes(): n for row, n in zip(kinds, found.tolist(), strict=True)})
    assert counts[0].keys() == counts[1].keys()
    for kind, n in counts[0].items():
        assert abs(n - counts[1][kind]) < 4 * (n + counts[1][kind]) ** 0.5 + 1


@pytest.mark.parametrize(
    "platform, changes, expected",
    [("gpu", {}, True), ("tpu", {}, True), ("cpu", {}, False), ("gpu", {"policy": "randaugment"}, False)],
)
def test_where_images_stay_on_the_device(platform: str, changes: dict[str, Any], expected: bool) -> None:
    recipe = Recipe(augment=Augment(**changes))
    assert can_reside(dataset(), recipe, CLASSIFICATION, platform) is expected


def test_images_over_a_part_of_the_memory_stay_on_the_host(monkeypatch: Any) -> None:
    data: Dataset = dataset()
    monkeypatch.setattr(resident, "device_memory", lambda: 4 * 36 * 117 - 1)
    assert not can_reside(data, Recipe(), CLASSIFICATION, "gpu")
    monkeypatch.setattr(resident, "device_memory", lambda: 4 * 36 * 117)
    assert can_reside(data, Recipe(), CLASSIFICATION, "gpu")


@pytest.mark.parametrize("steps", [1, 7, 64, 65, 157, 1000])
def test_little_of_the_last_dispatch_is_left_over(steps: int) -> None:
    of_dispatch = steps_of_dispatch(lower(SMALL), 64, steps)
    dispatches = -(-steps // of_dispatch)
    assert 1 <= of_dispatch <= MOST_STEPS
    assert dispatches * of_dispatch - steps < dispatches
