"""Features of a frozen backbone: where they are cut, when they are kept, and that a training by them is the same training."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch import Arch, Block, Stage
from nas.arch.blocks import lower
from nas.arch.parts import nodes_of
from nas.data.stream import Streamed
from nas.nn.network import apply
from nas.recipe import Augment, Recipe
from nas.tasks import CLASSIFICATION, single
from nas.train import Fit, features, fit, loop
from nas.train.features import cut_of, features_of
from networks import settled
from small_training import SMALL, dataset, equal

GRAPH = lower(SMALL)
START = settled(GRAPH)
DATA = dataset(train=40, valid=6)
STILL = Recipe(epochs=3, batch=16, lr=0.1, ema=0.5, freeze=("backbone",), augment=Augment(crop_padding=0, flip=False))
BACKBONE = nodes_of(GRAPH, "backbone", "")
RESIDUAL = lower(Arch("net", 8, Block.of("conv", width=4), (Stage((Block.of("mbconv", width=4, expand=2, kernel=3),)),),
                      Block.of("classifier", width=8), drop_path=0.2, channels=1))  # fmt: skip


@pytest.mark.parametrize(
    "graph, parts, last",
    [
        (GRAPH, ["backbone"], "head/flatten"),  # pooling has no weights; dropout is random
        (GRAPH, ["backbone", "head/dropout"], "head/dropout"),
        (GRAPH, ["stem"], "stem/act"),
        (GRAPH, ["head"], None),
        (GRAPH, [], None),
        (RESIDUAL, ["stem"], "stem/act"),
        (RESIDUAL, ["stem", "stages.0.0/expand"], "stem/act"),  # the residual still reads the stem
        (RESIDUAL, ["backbone"], "stages.0.0/add"),
    ],
)
def test_the_cut_is_the_last_tensor_that_is_all_the_rest_needs(graph: Any, parts: list[str], last: str | None) -> None:
    frozen = {name for part in parts for name in nodes_of(graph, part, "")}
    found = cut_of(graph, frozen)
    assert (graph.nodes[found].name if found else None) == last


def test_the_rest_of_a_network_from_the_cut_on_is_the_network() -> None:
    cut, images = cut_of(GRAPH, BACKBONE), jnp.asarray(np.random.default_rng(0).random((5, 6, 6, 1), np.float32))
    options: dict[str, Any] = {"train": True, "rng": jax.random.key(3), "frozen": BACKBONE}
    whole, _ = apply(GRAPH, START["params"], START["stats"], images, **options)
    before, _ = features.run(GRAPH.nodes[1 : cut + 1], [images], START["params"], START["stats"],
                             train=False, random=features._never)  # fmt: skip
    rest, stats = apply(GRAPH, START["params"], START["stats"], before, start=cut, **options)
    np.testing.assert_allclose(single(rest), single(whole), rtol=1e-5, atol=1e-6)
    assert equal(stats, START["stats"])
    with pytest.raises(ValueError, match=r"images: expected shape \(n, 1, 1, 6\), got \(5, 6, 6, 1\)"):
        apply(GRAPH, START["params"], START["stats"], images, start=cut, **options)


@pytest.mark.parametrize(
    "changes, kept",
    [
        ({}, True),
        ({"freeze_epochs": 2}, True),
        ({"freeze_epochs": 1}, False),  # they would be used once
        ({"epochs": 1, "schedule_epochs": 3, "freeze_epochs": 2}, False),
        ({"augment": Augment()}, True),
        ({"augment": Augment(crop_padding=1)}, False),
        ({"augment": Augment(flip=True)}, False),
        ({"augment": Augment(cutout=2)}, False),
        ({"augment": Augment(policy="randaugment")}, False),
        ({"mixup": 0.2}, False),
        ({"cutmix": 1.0}, False),
    ],
)
def test_features_are_kept_where_no_image_is_changed(changes: dict[str, Any], kept: bool) -> None:
    found = features_of(dataclasses.replace(STILL, **changes), GRAPH, DATA, CLASSIFICATION, BACKBONE, START)
    assert (found is not None) == kept


def test_features_are_not_kept_of_streams_and_where_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    streamed = dataclasses.replace(DATA.train, images=object.__new__(Streamed))
    arguments = STILL, GRAPH, dataclasses.replace(DATA, train=streamed), CLASSIFICATION, BACKBONE, START
    assert features_of(*arguments) is None
    for memory, kept in ((4 * 40 * 6 * 4, True), (4 * 40 * 6 * 4 - 4, False)):
        monkeypatch.setattr(features, "machine_memory", lambda memory=memory: memory)
        assert (features_of(STILL, GRAPH, DATA, CLASSIFICATION, BACKBONE, START) is not None) == kept


@pytest.mark.parametrize("changes, dispatch", [({"freeze_epochs": 2}, 0), ({}, 2)])
def test_the_training_is_the_one_from_images(changes: dict[str, Any], dispatch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, seen = dataclasses.replace(STILL, **changes), []

    def trained() -> Fit:
        return fit(SMALL, DATA, recipe, 0, variables=START, dispatch=dispatch)

    def computed(*arguments: Any, **options: Any) -> Any:
        seen.append(arguments[1][0].shape)
        return run(*arguments, **options)

    run = features.run
    monkeypatch.setattr(features, "run", computed)
    ours = trained()
    assert seen == [(16, 6, 6, 1)], "traced once, for all batches"
    monkeypatch.setattr(loop, "features_of", lambda *_: None)
    theirs = trained()
    assert len(seen) == 1
    assert ours.steps == theirs.steps == 6
    for kind in ("params", "stats"):
        for node, own in getattr(theirs, kind).items():
            for name, array in own.items():
                np.testing.assert_allclose(getattr(ours, kind)[node][name], array, rtol=1e-3, atol=1e-4, err_msg=f"{node} {name}")
    assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
