"""Distillation: the loss by hand, what a teacher has to agree in, and a student that comes to answer as its teacher does."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.nn.network import init
from nas.recipe import Recipe
from nas.tasks import CLASSIFICATION, single
from nas.train import Checkpoints, Fit, Teacher, agreement, fit
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
