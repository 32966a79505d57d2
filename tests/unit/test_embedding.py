"""The task embedding: its trainings, what it reports, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import small_embedding
import small_training
from nas.arch import Block
from nas.arch.blocks import lower
from nas.convert import starting_weights
from nas.nn.network import init
from nas.nn.weights import save_weights
from nas.recipe import EmbeddingLoss, Recipe
from nas.tasks import EMBEDDING, check_recipe, task_of
from nas.train import Checkpoints, Fit, evaluate, fit
from nas.train.compilation.layerwise import Layerwise
from nas.workflows.progress import Callback
from nas.workflows.train import _Epochs
from small_embedding import EMBEDDER, RECIPE

DATA = small_embedding.dataset()


def with_loss(**settings: object) -> Recipe:
    return dataclasses.replace(RECIPE, embedding=EmbeddingLoss(**{"per_class": 4, **settings}))  # type: ignore[arg-type]


def test_the_head_says_which_task_it_is() -> None:
    assert task_of(EMBEDDER) is EMBEDDING
    assert EMBEDDING.primary == "auc"


@pytest.fixture(scope="module")
def trained() -> Fit:
    return fit(EMBEDDER, DATA, RECIPE, seed=0)


def test_a_training_reports_metrics_of_unseen_classes(trained: Fit) -> None:
    assert list(trained.metrics) == list(EMBEDDING.metrics)
    assert trained.steps == 2 * (len(DATA.train) // 16)
    variables = {"params": trained.params, "stats": trained.stats}
    in_parts = evaluate(lower(EMBEDDER), variables, DATA.valid, DATA, batch=5, task=EMBEDDING)
    assert in_parts == pytest.approx(trained.metrics, abs=1e-4)


def test_the_centers_of_arcface_are_trained_and_left_behind(trained: Fit, tmp_path: Path) -> None:
    recipe = with_loss(loss="arcface", scale=8.0)
    found = fit(EMBEDDER, DATA, recipe, seed=0)
    assert "loss" not in found.params
    assert found.params.keys() == trained.params.keys()
    heard: list[float] = []
    with pytest.raises(small_training.Killed):
        fit(EMBEDDER, DATA, recipe, seed=0, checkpoint=Checkpoints(tmp_path), report=small_training.killed_after(1, heard))
    resumed = fit(EMBEDDER, DATA, recipe, seed=0, checkpoint=Checkpoints(tmp_path))
    assert small_training.same(found, resumed)


def test_layers_train_alone_but_not_with_weights_of_the_loss(trained: Fit) -> None:
    layered = Layerwise(DATA, RECIPE, EMBEDDING).fit(EMBEDDER, seed=0)
    assert layered.train_loss == pytest.approx(trained.train_loss, rel=1e-3)
    with pytest.raises(ValueError, match="arcface trains weights that evaluator=layerwise has no place for; take scratch"):
        Layerwise(DATA, with_loss(loss="arcface"), EMBEDDING).fit(EMBEDDER, seed=0)


def test_metrics_do_not_depend_on_who_saw_which_image() -> None:
    """Processes that score together send each other JSON, in another order than one process has."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels, whole, merged = np.repeat(np.arange(3, dtype=np.int32), 4), EMBEDDING.new_metrics(), EMBEDDING.new_metrics()
    whole.update({"embedding": rows, "valid": np.ones(12, bool)}, labels)
    for rank in range(2):
        part = EMBEDDING.new_metrics()
        part.update({"embedding": rows[rank::2], "valid": np.ones(6, bool)}, labels[rank::2])
        merged.merge(EMBEDDING.new_metrics(json.loads(json.dumps(part.to_json()))))
    merged.merge(EMBEDDING.new_metrics(json.loads(json.dumps(EMBEDDING.new_metrics().to_json()))))
    assert merged.compute() == pytest.approx(whole.compute())


def test_a_collapse_is_advised_of() -> None:
    (line,) = EMBEDDING.advice({"mean_distance": 0.01})
    assert line.startswith("collapsed: all images are at nearly one point (mean distance 0.010 of at most 2)")
    assert not EMBEDDING.advice({"mean_distance": 1.2})
    assert not EMBEDDING.advice({"train_loss": 0.2})


def test_a_training_says_once_that_it_collapsed() -> None:
    heard: list[str] = []
    epochs = _Epochs(Callback(lambda update: heard.append(update.text)), EMBEDDING)
    for epoch, distance in ((1, 1.0), (2, 0.05), (3, 0.01)):
        epochs(epoch, 3, {"epoch": epoch, "train_loss": 0.2, "lr": 0.1, "mean_distance": distance})
    assert [line[:19] for line in heard if "collapsed" in line] == ["epoch 2: collapsed:"]


@pytest.mark.parametrize(
    "recipe, message",
    [
        (with_loss(per_class=9), "recipe.batch: expected 18 or more, two classes of 9 images, got 16"),
        (dataclasses.replace(RECIPE, mixup=0.2), "recipe.mixup: has no meaning for the task embedding"),
        (dataclasses.replace(RECIPE, class_weights="balanced"), "recipe.class_weights: has no meaning for the task embedding"),
    ],
)
def test_recipes_that_do_not_fit(recipe: Recipe, message: str) -> None:
    with pytest.raises(ValueError, match="recipe") as error:
        check_recipe(EMBEDDING, recipe)
    assert str(error.value).startswith(message)


def test_arcface_needs_no_pairs_in_a_batch() -> None:
    check_recipe(EMBEDDING, with_loss(loss="arcface", per_class=9))


def test_settings_of_embeddings_are_refused_for_other_tasks_and_labels_for_this() -> None:
    with pytest.raises(ValueError, match=r"recipe\.embedding: has no meaning for the task classification"):
        check_recipe(task_of(small_training.SMALL), with_loss(loss="contrastive"))
    with pytest.raises(ValueError, match=r"bars: has class labels; the task embedding expects identities.*set dataset\.split=classes"):
        fit(EMBEDDER, small_training.dataset(), RECIPE, seed=0)
    with pytest.raises(ValueError, match="places: has identities; the task classification expects class labels"):
        fit(small_training.SMALL, DATA, small_training.RECIPE, seed=0)


@pytest.mark.parametrize(
    "settings, message",
    [({"margin": -1.0}, "margin: expected 0"), ({"per_class": 1}, "per_class: expected 2"), ({"scale": 0.0}, "scale: expected a number")],
)
def test_values_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddingLoss(**settings)


@pytest.mark.parametrize(
    "given, asked, fresh",
    [
        (Block.of("classifier"), Block.of("embedding", size=4), "head/embedding"),
        (Block.of("embedding", size=4), Block.of("classifier"), "head/logits"),
        (Block.of("classifier", width=6), Block.of("embedding", size=4, width=6), "head/embedding"),
        (Block.of("classifier", width=6), Block.of("embedding", size=4), None),
        (Block.of("classifier"), Block.of("embedding", size=4, pool=False), None),
        (Block.of("mlp", widths=[5]), Block.of("embedding", size=4), None),
    ],
)
def test_the_last_layer_of_another_task_starts_anew(given: Block, asked: Block, fresh: str | None, tmp_path: Path) -> None:
    """The others are those of the file; a head of another form is an error."""
    theirs, graph = (lower(dataclasses.replace(EMBEDDER, head=head)) for head in (given, asked))
    save_weights(tmp_path / "weights.npz", variables := init(theirs, 7))
    if fresh is None:
        with pytest.raises(ValueError, match=r"weights\.npz: head/\w+(\.\w+)?: the architecture has no such layer"):
            starting_weights(str(tmp_path / "weights.npz"), graph, 0)
        return
    found = starting_weights(str(tmp_path / "weights.npz"), graph, 0)
    assert found.fresh == (fresh,)
    for node, arrays in found.variables["params"].items():
        assert node == fresh or all(np.array_equal(array, variables["params"][node][name]) for name, array in arrays.items())
