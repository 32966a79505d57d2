"""What layers compute in where a recipe leaves it open."""

import dataclasses

import jax
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.recipe import Recipe
from nas.tasks import CLASSIFICATION
from nas.train import evaluate, fit
from nas.train.optim import Layout
from nas.train.precision import dtype_of, with_dtype
from nas.train.trainer import Trainer
from small_training import RECIPE, SMALL, dataset


@pytest.mark.parametrize("backend, expected", [("cpu", "float32"), ("gpu", "bfloat16"), ("tpu", "bfloat16")])
def test_accelerators_take_bfloat16_where_nothing_else_is_said(monkeypatch: pytest.MonkeyPatch, backend: str, expected: str) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert with_dtype(Recipe()).dtype == dtype_of("auto") == expected
    for said in ("float32", "bfloat16"):
        assert with_dtype(Recipe(dtype=said)).dtype == dtype_of(said) == said


def test_what_is_kept_is_float32_whatever_layers_compute_in() -> None:
    data, losses = dataset(), {}
    for dtype in ("auto", "float32", "bfloat16"):
        found = fit(SMALL, data, dataclasses.replace(RECIPE, epochs=1, dtype=dtype), 0)
        assert {array.dtype for array in jax.tree.leaves((found.params, found.stats))} == {np.dtype(np.float32)}
        losses[dtype] = found.train_loss
        evaluate(lower(SMALL), {"params": found.params, "stats": found.stats}, data.valid, data, dtype=dtype, task=CLASSIFICATION)
    assert losses["auto"] == losses["float32"] != losses["bfloat16"]


def test_a_trainer_made_by_hand_computes_in_the_type_of_its_backend() -> None:
    layouts = Layout.of({}), Layout.of({})
    trainer = Trainer(lower(SMALL), dataset(), dataclasses.replace(RECIPE, dtype="auto"), 0, CLASSIFICATION, *layouts)
    assert trainer.recipe.dtype == "float32"
    assert trainer.dispatching(2).recipe.dtype == "float32"
