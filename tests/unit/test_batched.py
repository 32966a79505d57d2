"""Candidates side by side in one program: each is trained as it would be alone, whatever stands beside it."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.nn.network import init
from nas.recipe import Augment, Recipe
from nas.space import Genome, Space, load_space
from nas.supernet import batched
from nas.supernet.batched import BatchedProgram, compile_batched
from nas.supernet.batched_plan import BatchedPlan
from nas.supernet.batched_step import Network
from nas.tasks import task_of
from nas.train import Checkpoints, Diverged, Fit, fit
from small_supernet import ELASTIC, elastic
from small_training import Killed, dataset, same

DATA = dataset()
RECIPE = Recipe(
    epochs=2, batch=32, lr=0.05, weight_decay=0.01, ema=0.9, label_smoothing=0.1, augment=Augment(crop_padding=1, flip=True)
)
PLAIN: dict[str, Any] = {
    "name": "plain", "resolution": 5, "min_feature_map": 2, "stem": {"op": "conv", "width": 4, "act": "hswish"},
    "stages": [
        {
            "op": "conv", "kernel": {"one_of": [1, 3]}, "act": {"one_of": ["relu", "hswish"]}, "width": {"one_of": [4, 6]}, "stride": 2,
            "repeat": {"one_of": [1, 2]},
        }
    ],
    "head": {"op": "classifier", "width": 8, "dropout": 0.3},
}  # fmt: skip
MIXED: dict[str, Any] = {
    **PLAIN, "name": "mixed",
    "stages": [
        {
            "op": {"one_of": ["identity", "mbconv"]}, "kernel": {"one_of": [1, 3], "when": {"op": "mbconv"}}, "stride": 2,
            "expand": {"one_of": [2, 3], "when": {"op": "mbconv"}}, "se": {"one_of": [0, 0.5], "when": {"op": "mbconv"}},
            "act": {"one_of": ["relu", "hswish"], "when": {"op": "mbconv"}}, "width": {"one_of": [4, 6]},
        }
    ],
}  # fmt: skip
SPACE, GATED = (Space.from_dict(one, one["name"]).fit(5, 1, 3) for one in (PLAIN, MIXED))
DROPPING = Space.from_dict({**ELASTIC, "drop_path": 0.2}, "elastic").fit(6, 1, 3)
GENOMES: list[Genome] = [(0, 0, 0, 1), (1, 0, 1, 0), (1, 1, 0, 1)]
SEEDS = [11, 12, 13]
NAN = 666  # the seed of initial values that are not numbers


@pytest.fixture(scope="module")
def program() -> BatchedProgram:
    return compile_batched(SPACE, DATA, RECIPE, 3, seed=5)


def candidates(seeds: list[int] = SEEDS) -> list[Any]:
    return [(SPACE.decode(genome), seed) for genome, seed in zip(GENOMES, seeds, strict=True)]


def fitted(found: Any) -> Fit:
    assert isinstance(found, Fit)
    return found


@pytest.fixture(scope="module")
def calm(program: BatchedProgram) -> list[Fit]:
    return [fitted(one) for one in program.fit(candidates())]


def close(ours: Fit, theirs: Fit) -> None:
    assert [[*entry] for entry in ours.curve] == [[*entry] for entry in theirs.curve]
    losses = [[entry["train_loss"] for entry in one.curve] for one in (ours, theirs)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for a, b in ((ours.params, theirs.params), (ours.stats, theirs.stats)):
        assert jax.tree.map(np.shape, a) == jax.tree.map(np.shape, b)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b)
    assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-4)
    assert (ours.steps, ours.epoch) == (theirs.steps, theirs.epoch)


@pytest.mark.parametrize("which", range(3))
def test_each_candidate_is_trained_as_it_would_be_alone(calm: list[Fit], which: int) -> None:
    arch, seed = candidates()[which]
    start = init(lower(arch), seed)
    close(calm[which], fit(arch, DATA, RECIPE, 5, variables=start, fresh=tuple(start["params"])))


def test_what_stands_beside_a_candidate_changes_nothing(program: BatchedProgram, calm: list[Fit]) -> None:
    reversed_order = program.fit(candidates()[::-1])[::-1]
    assert all(same(fitted(a), b) for a, b in zip(reversed_order, calm, strict=True))
    assert same(fitted(program.fit(candidates()[2:])[0]), calm[2])


def test_a_loss_that_is_no_number_stops_one_candidate_alone(
    program: BatchedProgram, calm: list[Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(graph: Any, seed: int) -> Any:
        return jax.tree.map(lambda a: a * np.float32("nan") if seed == NAN else a, init(graph, seed))

    monkeypatch.setattr(batched, "init", poisoned)
    heard: list[tuple[int, Any]] = []
    found = program.fit(candidates([11, NAN, 13]), lambda which, step, steps, metrics: heard.append((which, metrics.get("epoch"))))
    assert isinstance(found[1], Diverged)
    assert (str(found[1]), found[1].step) == ("the training loss is nan after step 1", 1)
    assert same(fitted(found[0]), calm[0])
    assert same(fitted(found[2]), calm[2])
    assert [one for one in heard if one[1]] == [(0, 1), (2, 1), (0, 2), (2, 2)]
    heard.clear()
    assert all(isinstance(one, Diverged) for one in program.fit(candidates([NAN] * 3)))


def test_a_group_that_was_killed_resumes_to_the_same_weights(program: BatchedProgram, calm: list[Fit], tmp_path: Path) -> None:
    def killed(which: int, step: int, steps: int, metrics: dict[str, float]) -> None:
        if which == 2:
            raise Killed

    kept = Checkpoints(tmp_path / "kept")
    with pytest.raises(Killed):
        program.fit(candidates(), killed, kept)
    assert list((tmp_path / "kept").iterdir())
    assert all(same(fitted(a), b) for a, b in zip(program.fit(candidates(), checkpoint=kept), calm, strict=True))
    with pytest.raises(ValueError, match="checkpoints of another training"):
        program.fit(candidates()[::-1], checkpoint=kept)


@pytest.mark.nightly
@pytest.mark.parametrize("dispatch", [0, 2])
@pytest.mark.parametrize("space", [GATED, DROPPING], ids=lambda space: space.name)
def test_gates_and_residuals_are_masks_too(space: Space, dispatch: int) -> None:
    recipe = Recipe(epochs=2, batch=32, lr=0.02, optimizer="rmsprop", accumulate=2, mixup=0.2, augment=Augment(crop_padding=1))
    rng = np.random.default_rng(0)
    archs = [space.decode(space.sample(rng)) for _ in range(4)]
    several = compile_batched(space, DATA, recipe, 4, dispatch=dispatch).fit([(arch, i) for i, arch in enumerate(archs)])
    for i, (arch, found) in enumerate(zip(archs, several, strict=True)):
        start = init(lower(arch), i)
        close(fitted(found), fit(arch, DATA, recipe, 0, variables=start, fresh=tuple(start["params"]), dispatch=dispatch))


@pytest.mark.nightly
def test_layers_compute_in_bfloat16() -> None:
    recipe = dataclasses.replace(RECIPE, dtype="bfloat16")
    found = compile_batched(SPACE, DATA, recipe, 3, seed=5).fit(candidates())
    for (arch, seed), one in zip(candidates(), found, strict=True):
        start = init(lower(arch), seed)
        alone = fit(arch, DATA, recipe, 5, variables=start, fresh=tuple(start["params"]))
        assert fitted(one).train_loss == pytest.approx(alone.train_loss, rel=0.02)


@pytest.mark.parametrize("space", [GATED, elastic()], ids=lambda space: space.name)
def test_arrays_have_places_in_the_largest_shapes(space: Space) -> None:
    plan, rng = BatchedPlan.of(space), np.random.default_rng(0)
    for genome in [space.sample(rng) for _ in range(5)]:
        own = init(lower(space.decode(genome)), 3)["params"]
        packed = plan.packed(own, genome)
        found = plan.params_of(packed, genome)
        assert {name: [*arrays] for name, arrays in found.items()} == {name: [*arrays] for name, arrays in own.items()}
        jax.tree.map(np.testing.assert_array_equal, found, own)
        assert sum(np.count_nonzero(array) for array in packed.values()) == sum(map(np.count_nonzero, jax.tree.leaves(own)))


def test_kernels_activations_and_gates_need_no_unit_of_their_own() -> None:
    whole = BatchedPlan.of(load_space("nas_bench_macro").fit(16, 3, 10)).whole  # three blocks a place, nothing among them
    assert {len(place.options) for place in whole.places.values()} == {1, 2}
    assert [len(place.options) for place in BatchedPlan.of(GATED).whole.places.values()] == [1, 2, 1]  # a strided convolution or mbconv


def test_a_wider_layer_without_residual_has_no_path_to_drop() -> None:
    """Where width 4 has a residual, with stochastic depth, and width 6 has none."""
    stage = {"op": "mbconv", "kernel": 3, "expand": 2, "width": {"one_of": [4, 6]}, "stride": 1}
    space = Space.from_dict({**PLAIN, "drop_path": 0.2, "stages": [stage]}, "residual").fit(5, 1, 3)
    plan, genome = BatchedPlan.of(space), (0,)
    arch, sgd = space.decode(genome), Recipe(dtype="float32")
    row, packed = plan.row(arch, genome), plan.packed(init(lower(arch), 0)["params"], genome)
    run = Network(plan, sgd, task_of(arch)).train
    outputs, _ = jax.eval_shape(run, packed, np.zeros((2, 5, 5, 1), np.float32), row, jax.random.key(0), np.int32(0))
    assert outputs.shape == (2, 3)


def test_the_estimate_of_memory_follows_images_and_types() -> None:
    plan = BatchedPlan.of(SPACE)
    few, many = (plan.bytes_each(Recipe(dtype="float32"), rows) for rows in (32, 64))
    assert few < many < 2 * few
    assert plan.bytes_each(Recipe(dtype="bfloat16"), 64) == few


@pytest.mark.parametrize(
    "changes, recipe, words",
    [
        ({"resolution": {"one_of": [6, 8]}}, RECIPE, "plain: resolution: changes sizes, and one program has one size of each layer"),
        ({"stages": [{"op": "conv", "width": 4, "stride": {"one_of": [1, 2]}}]}, RECIPE, r"plain: stages\[0\]\.stride: changes sizes"),
        ({"stages": [{"op": "conv", "width": 4, "kernel": {"one_of": [2, 3]}}]}, RECIPE, r"stages\[0\]\.kernel: has kernels of odd"),
        ({}, Recipe(patience=1, validate_every=1), "recipe.patience: .* leave it at 0, got 1"),
        ({}, Recipe(freeze=("stem",)), "recipe.freeze"),
    ],
)  # fmt: skip
def test_what_one_program_cannot_hold_is_named(changes: dict[str, Any], recipe: Recipe, words: str) -> None:
    space = Space.from_dict({**PLAIN, **changes}, "plain").fit(None if "resolution" in changes else 6, 1, 3)
    with pytest.raises(ValueError, match=words):
        compile_batched(space, DATA, recipe, 2)
