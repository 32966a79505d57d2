"""Distillation: the loss by hand, what a teacher has to agree in, and a student that comes to answer as its teacher does."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch import Block, Stage
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.nn.network import apply, init
from nas.recipe import Recipe
from nas.tasks import CLASSIFICATION, single
from nas.train import Checkpoints, Fit, Teacher, agreement, fit
from nas.train.distill import compared, feature_distance, with_features
from nas.train.score import normalized
from small_training import RECIPE, SMALL, Killed, dataset, killed_after, same

LARGE = dataclasses.replace(SMALL, name="large", stem=SMALL.stem.replace(width=16))
TAUGHT = dataclasses.replace(RECIPE, epochs=6, distill=0.9, mixup=0.2, cutmix=1.0)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    data = dataset()
    fitted = fit(LARGE, data, dataclasses.replace(RECIPE, epochs=20), 0)
    return Teacher(LARGE, {"params": fitted.params, "stats": fitted.stats}, data.mean, data.std, data.classes)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


def test_loss_and_gradient_are_those_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    student, taught = rng.normal(size=(2, 5, 4)) * 3
    recipe = Recipe(distill=0.3, temperature=2.5)
    t, w = recipe.temperature, recipe.distill

    def loss(logits: Any) -> Any:
        hard = -jax.nn.log_softmax(logits)[:, 1]
        return CLASSIFICATION.distill(logits, jnp.asarray(taught), hard, recipe).sum()

    p, q = softmax(taught / t), softmax(student / t)
    expected = w * t**2 * (p * np.log(p / q)).sum(1) - (1 - w) * np.log(softmax(student)[:, 1])
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(student))
    assert float(value) == pytest.approx(expected.sum(), rel=1e-5)
    # d/dz of the soft part is w T (q - p), equation 2 of the paper times T^2; of the hard one softmax - one hot
    by_hand = w * t * (q - p) + (1 - w) * (softmax(student) - np.eye(4)[[1] * 5])
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-4, atol=1e-6)
    assert float(CLASSIFICATION.distill(jnp.asarray(taught), jnp.asarray(taught), jnp.ones(5), Recipe(distill=1)).sum()) == 0


@pytest.fixture(scope="module")
def taught(teacher: Teacher) -> Fit:
    return fit(SMALL, dataset(), TAUGHT, 0, teacher=teacher)


def test_a_student_comes_to_answer_as_its_teacher_does(teacher: Teacher, taught: Fit) -> None:
    data = dataset()

    def agrees(fitted: Fit) -> float:
        return agreement(teacher, lower(SMALL), {"params": fitted.params, "stats": fitted.stats}, data.train, data, 40)

    assert agrees(taught) > agrees(fit(SMALL, data, TAUGHT, 0))
    assert agreement(teacher, lower(LARGE), teacher.variables, data.train, data, 40) == 1


def test_images_come_as_the_teacher_has_known_them(teacher: Teacher) -> None:
    """Normalized by its own mean and std, at its own resolution."""
    data = dataset()
    images = np.random.default_rng(0).random((3, 6, 6, 1), np.float32)
    seen = images * 0.3 + 0.3
    other = dataclasses.replace(teacher, mean=(0.1,), std=(0.5,))
    expected = teacher.outputs(teacher.variables, jnp.asarray((seen - 0.1) / 0.5), data, "float32", "auto")
    got = other.outputs(teacher.variables, jnp.asarray(images), data, "float32", "auto")
    np.testing.assert_allclose(single(got), single(expected), rtol=1e-4, atol=1e-5)
    wide = dataclasses.replace(teacher, arch=LARGE.with_io(resolution=9))
    assert single(wide.outputs(teacher.variables, jnp.asarray(images), data, "float32", "auto")).shape == (3, 3)


def test_a_student_comes_to_see_as_its_teacher_does(teacher: Teacher) -> None:
    """The distance of feature maps falls where it is of weight, and the network itself has no output more."""
    data, recipe = dataset(), dataclasses.replace(TAUGHT, mixup=0.0, cutmix=0.0)
    images, graph = normalized(jnp.asarray(data.train.images[:40]), data), with_features(lower(SMALL))
    theirs = teacher.outputs(teacher.variables, images, data, "float32", "auto", features=True)

    def distance(recipe: Recipe) -> float:
        fitted = fit(SMALL, data, recipe, 0, teacher=teacher)
        outputs, _ = apply(graph, fitted.params, fitted.stats, images, train=False)
        own, _, distances = compared(outputs, theirs)
        assert single(own).shape == (40, 3)
        return float(distances.mean())

    assert distance(dataclasses.replace(recipe, match_features=1.0)) < 0.7 * distance(recipe)


def test_the_distance_of_features_is_relative_to_the_teachers_variance() -> None:
    expected = np.random.default_rng(0).normal(3, [1.0, 4.0], (8, 3, 3, 2)).astype(np.float32)
    variance = expected.var((0, 1, 2)).mean()
    moved = expected + np.array([0.5, 0], np.float32)
    np.testing.assert_allclose(feature_distance(jnp.asarray(moved), jnp.asarray(expected)), [0.125 / variance] * 8, rtol=1e-4)
    means = np.broadcast_to(expected.mean((0, 1, 2)), expected.shape)
    assert float(feature_distance(jnp.asarray(means), jnp.asarray(expected)).mean()) == pytest.approx(1, rel=1e-5)
    assert not feature_distance(jnp.asarray(expected), jnp.asarray(expected)).any()


def test_features_of_other_shapes_and_none_at_all_are_refused(teacher: Teacher) -> None:
    recipe = dataclasses.replace(RECIPE, match_features=1.0)
    with pytest.raises(ValueError, match=r"recipe\.match_features: needs a teacher"):
        fit(SMALL, dataset(), recipe, 0)
    wide = dataclasses.replace(SMALL, name="wide", stages=(Stage((Block.of("sepconv", width=12),), stride=2),))
    message = r"recipe\.match_features: the last feature map of wide is .* x 12, its teacher's .*; leave it out"
    with pytest.raises(ValueError, match=message):
        fit(wide, dataset(), recipe, 0, teacher=teacher)


def test_a_network_that_pools_nothing_has_no_features_to_match() -> None:
    with pytest.raises(ValueError, match=r"adapt\.final_recipe\.match_features: the network pools nothing over all pixels"):
        with_features(lower(find_arch("lenet5")), "adapt.final_recipe")


def test_killed_with_a_teacher_it_ends_where_it_would_have(teacher: Teacher, taught: Fit, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(SMALL, dataset(), TAUGHT, 0, teacher=teacher, checkpoint=Checkpoints(tmp_path), report=killed_after(2, []))
    assert same(fit(SMALL, dataset(), TAUGHT, 0, teacher=teacher, checkpoint=Checkpoints(tmp_path)), taught)
    assert dataclasses.replace(teacher, variables=init(lower(LARGE), 7)).digest != teacher.digest


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"arch": LARGE.with_io(classes=9)}, "teacher: large knows 9 classes, bars has 3"),
        ({"arch": LARGE.with_io(channels=3)}, "teacher: large takes 3 channels, bars has 1"),
        ({"classes": ("row", "none", "column")}, "teacher: class 1 of large is 'none', of bars 'column'"),
    ],
)
def test_a_teacher_of_something_else_is_refused(teacher: Teacher, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(teacher, **changes).check(dataset())
