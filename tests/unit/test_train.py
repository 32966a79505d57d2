"""Training: the optimizers by hand, schedules, packing, and `fit` from seed to metrics."""

import copy
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nas.arch.blocks import lower
from nas.core.settings import build
from nas.nn.network import init
from nas.recipe import Augment, Recipe
from nas.tasks import CLASSIFICATION
from nas.tasks.classification import Classification, cross_entropy, is_right
from nas.train import Diverged, evaluate, fit, loop, score, trainer
from nas.train.optim import Layout, learning_rate, optimizer, ramp
from places import ROOT
from small_training import RECIPE, SMALL, dataset, equal

RECIPES = sorted((ROOT / "conf" / "recipe").glob("*.yaml"))



@pytest.fixture(scope="module")
def fitted() -> loop.Fit:
    return fit(SMALL, dataset(), RECIPE, 0)


def test_fit_learns_and_tells(fitted: loop.Fit) -> None:
    longer = fit(SMALL, dataset(), dataclasses.replace(RECIPE, epochs=20), 0)
    assert longer.metrics["accuracy"] > 0.8
    assert longer.train_loss < fitted.train_loss < math.log(3) + 0.5
    assert fitted.steps == 3 * 6
    assert [entry["epoch"] for entry in fitted.curve] == [1, 2, 3]
    assert [entry["step"] for entry in fitted.curve] == [6, 12, 18]
    assert fitted.curve[-1]["train_loss"] == fitted.train_loss
    assert set(fitted.metrics) == {"accuracy", "loss", "balanced_accuracy"}
    assert fitted.compile_s > 0
    assert fitted.train_s > 0
    assert fitted.peak_memory_bytes is None or fitted.peak_memory_bytes > 4 * 16 * 6 * 6 * 6
    shapes = jax.tree.map(np.shape, init(lower(SMALL), 0))
    assert jax.tree.map(np.shape, {"params": fitted.params, "stats": fitted.stats}) == shapes


def test_the_seed_decides_everything(fitted: loop.Fit) -> None:
    again, other = fit(SMALL, dataset(), RECIPE, 0), fit(SMALL, dataset(), RECIPE, 1)
    assert equal((again.params, again.stats), (fitted.params, fitted.stats))
    assert (again.metrics, again.curve) == (fitted.metrics, fitted.curve)
    assert not equal(other.params, fitted.params)


def test_metrics_are_those_of_what_is_returned(fitted: loop.Fit) -> None:
    variables, data = {"params": fitted.params, "stats": fitted.stats}, dataset()
    whole = evaluate(lower(SMALL), variables, data.valid, data, batch=21, task=CLASSIFICATION)
    assert whole == pytest.approx(fitted.metrics, rel=1e-5)
    padded = evaluate(lower(SMALL), variables, data.valid, data, batch=8, task=CLASSIFICATION)
    assert padded == pytest.approx(whole, rel=1e-5)


def test_each_program_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {trainer: 0, score: 0}

    def counting(module: Any) -> Any:
        inner = module.apply

        def apply(*args: Any, **options: Any) -> Any:
            calls[module] += 1
            return inner(*args, **options)

        return apply

    for module in calls:
        monkeypatch.setattr(module, "apply", counting(module))
    fit(SMALL, dataset(train=50, valid=11), dataclasses.replace(RECIPE, validate_every=1), 0)
    assert calls == {trainer: 1, score: 1}


def test_report_hears_of_every_epoch_and_can_end_it() -> None:
    heard: list[tuple[int, int, Mapping[str, float]]] = []

    def report(step: int, steps: int, metrics: Mapping[str, float]) -> bool:
        if "epoch" in metrics:
            heard.append((step, steps, metrics))
        return len(heard) == 2

    result = fit(SMALL, dataset(), dataclasses.replace(RECIPE, epochs=4, validate_every=2), 0, report=report)
    assert [(step, steps) for step, steps, _ in heard] == [(6, 24), (12, 24)]
    assert set(heard[0][2]) == {"epoch", "step", "train_loss", "lr"}
    assert result.steps == 12
    assert result.metrics == {key: heard[1][2][key] for key in ("accuracy", "loss", "balanced_accuracy")}


def test_report_can_end_it_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "REPORT_S", -1.0)
    result = fit(SMALL, dataset(), RECIPE, 0, report=lambda step, steps, metrics: step >= 3)
    assert result.steps == 3 + loop.IN_FLIGHT
    assert len(result.curve) == 1
    assert 0 <= result.metrics["accuracy"] <= 1


def test_a_loss_that_is_not_finite_ends_it() -> None:
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) after step [2-9]") as caught:
        fit(SMALL, dataset(), dataclasses.replace(RECIPE, lr=1e30, warmup_epochs=0), 0)
    again = copy.copy(caught.value)
    assert (str(again), again.step) == (str(caught.value), caught.value.step)
    assert 2 <= again.step <= 9


def test_a_validation_loss_that_is_not_finite_ends_it() -> None:
    class Broken(Classification):
        def reduce(self, outputs: Any, targets: Any, valid: Any) -> Any:
            return {name: total / 0 for name, total in super().reduce(outputs, targets, valid).items()}

    with pytest.raises(Diverged, match="the validation accuracy is inf after step 18"):
        fit(SMALL, dataset(), RECIPE, 0, task=Broken())


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "bfloat16", "optimizer": "rmsprop", "lr": 0.01},
        {"optimizer": "adamw", "lr": 0.01, "ema": 0.9, "norm_warmup": False, "label_smoothing": 0.1},
    ],
)
def test_other_recipes_train_too(changes: dict[str, Any]) -> None:
    result = fit(SMALL, dataset(train=40), dataclasses.replace(RECIPE, **changes), 0)
    assert result.train_loss < 2
    assert {a.dtype for a in jax.tree.leaves((result.params, result.stats))} == {np.dtype(np.float32)}


def test_moving_averages_are_what_is_returned(fitted: loop.Fit) -> None:
    averaged = fit(SMALL, dataset(), dataclasses.replace(RECIPE, ema=0.5), 0)
    assert averaged.train_loss == pytest.approx(fitted.train_loss, rel=1e-5)
    assert not equal(averaged.params, fitted.params)
    assert not equal(averaged.stats, fitted.stats)


def test_images_are_resized_to_the_network_and_few_images_make_one_batch() -> None:
    result = fit(SMALL.with_io(resolution=9), dataset(train=12, valid=5), RECIPE, 0)
    assert result.steps == 3


@pytest.mark.parametrize(
    "io, message",
    [({"channels": 3}, "channels: bars has 1, the architecture 3"), ({"classes": 9}, "classes: bars has 3")],
)
def test_an_architecture_for_other_images_is_refused(io: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(SMALL.with_io(**io), dataset(), RECIPE, 0)


def steps_of(recipe: Recipe, grads: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Kernels and others after each step: (steps, 2 parts, values)."""
    update = optimizer(recipe, 1)
    params = {"kernels": jnp.asarray(start), "others": jnp.asarray(start)}
    state, out = update.init(params), []
    for g in grads:
        changes, state = update.update({"kernels": jnp.asarray(g), "others": jnp.asarray(g)}, state, params)
        params = jax.tree.map(jnp.add, params, changes)
        out.append([np.asarray(params["kernels"]), np.asarray(params["others"])])
    return np.array(out)


def test_rmsprop_is_tensorflows() -> None:
    recipe = Recipe(optimizer="rmsprop", lr=0.3, momentum=0.8, weight_decay=0.1, warmup_epochs=0, schedule="staircase",
                    decay_rate=0.5, decay_epochs=2)  # fmt: skip
    start, grads = np.array([1.0, -2.0], np.float32), np.array([[0.5, 1.0], [-1, 2], [3, 0], [0.1, -0.1]], np.float32)
    got = steps_of(recipe, grads, start)
    for part, decay in ((0, 0.1), (1, 0.0)):
        w, square, velocity = start.astype(np.float64), np.ones(2), np.zeros(2)
        for step, g in enumerate(grads):
            g = g + decay * w
            square = 0.9 * square + 0.1 * g * g
            velocity = 0.8 * velocity + 0.3 * 0.5 ** (step // 2) * g / np.sqrt(square + 1e-3)
            w = w - velocity
            np.testing.assert_allclose(got[step, part], w, rtol=1e-5)


def test_sgd_decays_kernels_alone() -> None:
    recipe = Recipe(optimizer="sgd", lr=0.5, momentum=0.9, weight_decay=0.2, warmup_epochs=0, schedule="constant")
    start = np.array([1.0, -2.0], np.float32)
    got = steps_of(recipe, np.ones((2, 2), np.float32), start)
    np.testing.assert_allclose(got[:, 1], [start - 0.5, start - 0.5 - 0.95], rtol=1e-6)
    first = start - 0.5 * (1 + 0.2 * start)
    np.testing.assert_allclose(got[0, 0], first, rtol=1e-6)
    np.testing.assert_allclose(got[1, 0], first - 0.5 * (0.9 * (1 + 0.2 * start) + 1 + 0.2 * first), rtol=1e-6)


def test_adamw_decays_kernels_alone_and_apart_from_the_gradient() -> None:
    recipe = Recipe(optimizer="adamw", lr=0.1, weight_decay=0.5, warmup_epochs=0, schedule="constant")
    start = np.array([1.0, -2.0], np.float32)
    got = steps_of(recipe, np.ones((1, 2), np.float32), start)
    np.testing.assert_allclose(got[0, 1], start - 0.1, rtol=1e-5)
    np.testing.assert_allclose(got[0, 0], start - 0.1 - 0.1 * 0.5 * start, rtol=1e-5)


@pytest.mark.parametrize(
    "settings, steps_per_epoch, step, rate",
    [
        ({"epochs": 4, "warmup_epochs": 0}, 10, 0, 1.0),
        ({"epochs": 4, "warmup_epochs": 0}, 10, 20, 0.5),
        ({"epochs": 4, "warmup_epochs": 1}, 10, 0, 0.1),
        ({"epochs": 4, "warmup_epochs": 1}, 10, 9, 1.0),
        ({"epochs": 4, "warmup_epochs": 1}, 10, 25, 0.5),
        ({"epochs": 4, "warmup_epochs": 1}, 10, 40, 0.0),
        ({"epochs": 1, "warmup_epochs": 1}, 10, 5, 0.6),
        ({"schedule": "constant", "warmup_epochs": 0}, 10, 49, 1.0),
        ({"schedule": "staircase", "epochs": 9, "warmup_epochs": 5}, 10, 51, 0.97**2),
        ({"schedule": "staircase", "epochs": 9, "warmup_epochs": 0}, 10, 23, 1.0),
        ({"schedule": "staircase", "epochs": 9, "warmup_epochs": 0}, 10, 24, 0.97),
        ({"schedule": "staircase", "epochs": 350, "warmup_epochs": 0}, 1000, 347_999, 0.97**144),
        ({"schedule": "staircase", "epochs": 350, "warmup_epochs": 0}, 1000, 348_000, 0.97**145),
    ],
)
def test_learning_rates(settings: dict[str, Any], steps_per_epoch: int, step: int, rate: float) -> None:
    recipe = Recipe(lr=1.0, **settings)
    assert float(learning_rate(recipe, steps_per_epoch, step, np)) == pytest.approx(rate, abs=1e-6)
    assert float(learning_rate(recipe, steps_per_epoch, jnp.int32(step))) == pytest.approx(rate, abs=1e-5)


def test_ramp_is_tensorflows_num_updates_rule() -> None:
    got = [float(ramp(0.9, updates)) for updates in (0, 1, 8, 80, 81, 1000)]
    assert got == pytest.approx([0.1, 2 / 11, 0.5, 0.9, 0.9, 0.9])


@given(st.lists(st.sampled_from(["kernel", "bias", "scale", "mean"]), max_size=6), st.integers(0, 9))
def test_packing_round_trips(names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(1, 4, rng.integers(1, 4)).tolist()) for _ in names]
    tree = {f"n{i}": {name: rng.random(s, np.float32)} for i, (name, s) in enumerate(zip(names, shapes, strict=True))}
    layout = Layout.of(tree)
    packed = layout.pack(tree, np)
    assert len(packed["kernels"]) == sum(math.prod(s) for n, s in zip(names, shapes, strict=True) if n == "kernel")
    assert len(packed["kernels"]) + len(packed["others"]) == sum(math.prod(s) for s in shapes)
    assert equal(layout.unpack(packed), tree)


def test_cross_entropy_and_its_smoothing() -> None:
    logits, labels = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]], np.float32), np.array([0, 2])
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    plain = cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(plain, -logs[[0, 1], labels], rtol=1e-6)
    smooth = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), 0.3)
    np.testing.assert_allclose(smooth, -(0.7 * logs[[0, 1], labels] + 0.1 * logs.sum(1)), rtol=1e-6)
    right = is_right(jnp.asarray(logits), jnp.asarray(labels))
    assert right.tolist() == [1, 0]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_files_say_all_and_nothing_else(path: Path) -> None:
    """All of it, because a command line may only change keys that a file has."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipe = build(Recipe, settings, path.stem)
    assert dataclasses.asdict(recipe) == settings


def test_the_recipes_that_others_name_exist() -> None:
    assert {"proxy", "quick", "full", "mnasnet"} <= {path.stem for path in RECIPES}
    proxy = build(Recipe, yaml.safe_load((RECIPES[0].parent / "proxy.yaml").read_text()), "proxy")
    assert proxy == Recipe(augment=Augment(crop_padding=0.125))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"epochs": 0}, "recipe.epochs: expected 1 or more, got 0"),
        ({"lr": 0}, "recipe.lr: expected a number above 0, got 0"),
        ({"ema": 1}, "recipe.ema: expected 0 or more and less than 1, got 1"),
        ({"weight_decay": -1}, "recipe.weight_decay: expected 0 or more, got -1"),
        ({"warmup_epochs": 9}, r"recipe.warmup_epochs: expected 0 to 5 \(epochs\), got 9"),
        ({"optimizer": "rmsprob"}, "recipe.optimizer: .* did you mean rmsprop"),
        ({"augment": {"flipp": True}}, "recipe.augment.flipp: unknown key; did you mean flip"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Recipe, settings, "recipe")
