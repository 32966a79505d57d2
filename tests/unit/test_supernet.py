"""Weights shared by a space: a candidate trained by itself in a supernet is the candidate trained alone, and nothing else moves."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nas import load_arch
from nas.arch.blocks import lower
from nas.nn.network import init
from nas.recipe import Recipe
from nas.space import Genome, Space, load_space
from nas.supernet.paths import Paths
from nas.supernet.programs import Programs
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import Candidates, Sandwich, StepContext
from nas.supernet.training import Supernet
from nas.supernet.weights import SharedWeights
from nas.tasks import CLASSIFICATION
from nas.train import Checkpoints, evaluate, fit
from nas.train.loop import Fit
from small_supernet import ELASTIC, Only, elastic, few
from small_training import Killed, dataset, killed_after

DATA, SPACE = dataset(), elastic()
RECIPE = Recipe(epochs=2, batch=32, lr=0.05, weight_decay=0.01, norm_warmup=False)
SCORING = Scoring(calibration_images=64, batch=32)
PROGRAMS = Programs()
ANY = SPACE.sample(np.random.default_rng(4))
SMALL, LARGE = Candidates(SPACE).smallest, Candidates(SPACE).largest


@pytest.fixture(scope="module")
def net() -> Supernet:
    return Supernet(SPACE, DATA, RECIPE, programs=PROGRAMS)


def trained(net: Supernet, strategy: Any, seed: int = 0, **options: Any) -> Fit:
    return net.fit(strategy, seed, **{"report": lambda *_: None, "checkpoint": None, "scoring": SCORING, **options})


def start(net: Supernet, seed: int = 0) -> SharedWeights:
    return SharedWeights.initial(net.paths, seed, zero_gamma=True)


def shared(net: Supernet, found: Fit) -> SharedWeights:
    return SharedWeights.of(net.paths, {"params": found.params, "stats": {}})


@pytest.mark.parametrize("genome", [SMALL, LARGE], ids=["smallest", "largest"])
def test_one_candidate_trained_in_a_supernet_is_that_candidate_trained_alone(net: Supernet, genome: Genome) -> None:
    graph = lower(SPACE.decode(genome))
    variables = {"params": start(net).params_of(genome), "stats": init(graph, 0)["stats"]}
    alone = fit(SPACE.decode(genome), DATA, RECIPE, 0, variables=variables)
    found = trained(net, Only((genome,)))
    assert [entry["train_loss"] for entry in found.curve] == pytest.approx(
        [entry["train_loss"] for entry in alone.curve], rel=1e-5
    )
    ours = shared(net, found).params_of(genome)
    assert ours.keys() == alone.params.keys()
    for node, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(array, alone.params[node][name], rtol=1e-3, atol=1e-5, err_msg=f"{node} {name}")


@pytest.mark.nightly
def test_masks_change_nothing_but_rounding() -> None:
    """Dropout and stochastic depth draw the same numbers in both forms."""
    genomes = SMALL, ANY, LARGE
    net, masked = (
        Supernet(elastic(dropping=True), DATA, RECIPE, programs=PROGRAMS, masked=masked) for masked in (False, True)
    )
    assert masked.paths.all_units().keys() != net.paths.all_units().keys()
    ours, sliced = trained(masked, Only(genomes)), trained(net, Only(genomes))
    assert [e["train_loss"] for e in ours.curve] == pytest.approx([e["train_loss"] for e in sliced.curve], rel=1e-4)
    assert ours.metrics == pytest.approx(sliced.metrics, rel=1e-3)
    for node, arrays in sliced.params.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(ours.params[node][name], array, rtol=1e-2, atol=1e-4, err_msg=f"{node} {name}")
    for genome in genomes:
        jax.tree.map(np.testing.assert_array_equal, *(shared(one, sliced).params_of(genome) for one in (masked, net)))
        a, b = (one.scorer(SCORING).stats_of(shared(one, sliced).slots, genome) for one in (masked, net))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4), a, b)


def test_weights_that_no_candidate_of_a_training_uses_do_not_move(net: Supernet) -> None:
    before, after = start(net).slots, shared(net, trained(net, Only((SMALL,)))).slots
    used = {slot for placed in net.paths.path(SMALL).placed for slot in placed.slots}
    for slot in before:
        moved = any((np.asarray(before[slot][part]) != np.asarray(after[slot][part])).any() for part in before[slot])
        assert moved == (slot in used), slot


def test_a_candidate_is_scored_as_the_network_that_is_cut_from_the_weights(net: Supernet) -> None:
    weights, scorer = start(net), net.scorer(SCORING)
    slots = jax.tree.map(np.asarray, dict(weights.slots))
    for genome in (SMALL, LARGE):
        graph = lower(SPACE.decode(genome))
        variables = {"params": weights.params_of(genome), "stats": scorer.stats_of(slots, genome)}
        expected = evaluate(graph, variables, DATA.valid, DATA, task=CLASSIFICATION)
        assert scorer.metrics(slots, genome).compute() == pytest.approx(expected, abs=1e-5)


def test_scoring_compiles_nothing_for_candidates_whose_layers_were_seen(net: Supernet) -> None:
    scorer, slots = net.scorer(SCORING), dict(start(net).slots)
    for genome in (SMALL, LARGE):
        scorer.metrics(slots, genome)
    before = net.programs.count
    scorer.metrics(slots, SMALL)
    assert net.programs.count == before


def test_a_training_that_was_stopped_resumes_to_the_same_weights(net: Supernet, tmp_path: Path) -> None:
    strategy, kept = Only((SMALL, LARGE)), Checkpoints(tmp_path / "kept")
    with pytest.raises(Killed):
        trained(net, strategy, checkpoint=kept, report=killed_after(1, []))
    resumed, whole = trained(net, strategy, checkpoint=kept), trained(net, strategy)
    assert resumed.curve == whole.curve
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    with pytest.raises(ValueError, match="checkpoints of another training, strategy was"):
        trained(net, Only((SMALL,)), checkpoint=kept)


def test_the_moving_average_holds_weights_alone(net: Supernet) -> None:
    averaged = Supernet(SPACE, DATA, dataclasses.replace(RECIPE, ema=0.9), programs=PROGRAMS)
    found = trained(averaged, Only((SMALL,)))
    plain = trained(net, Only((SMALL,)))
    slot = net.paths.path(SMALL).placed[-1].slots[0]
    a, b = shared(averaged, found).slots[slot], shared(net, plain).slots[slot]
    assert not np.allclose(np.asarray(a["kernels"]), np.asarray(b["kernels"]))
    assert found.train_loss == pytest.approx(plain.train_loss, rel=1e-5)


@pytest.mark.parametrize("change", [{"label_smoothing": 0.3}, {"dtype": "bfloat16"}])
def test_programs_of_another_loss_are_others(net: Supernet, change: dict[str, Any]) -> None:
    other = Supernet(SPACE, DATA, dataclasses.replace(RECIPE, epochs=1, **change), programs=net.programs)
    plain = Supernet(SPACE, DATA, dataclasses.replace(RECIPE, epochs=1), programs=net.programs)
    ours, theirs = trained(other, Only((SMALL,))), trained(plain, Only((SMALL,)))
    assert ours.train_loss != theirs.train_loss


def test_losses_of_the_largest_the_random_and_the_smallest_are_recorded_apart() -> None:
    curve = trained(Supernet(few(), DATA, RECIPE), Sandwich(random=2)).curve
    for entry in curve:
        largest, between, smallest = (entry[f"{kind}_loss"] for kind in ("largest", "random", "smallest"))
        assert (largest + 2 * between + smallest) / 4 == pytest.approx(entry["train_loss"], rel=1e-5)
        assert largest > 0.5 > smallest  # labels teach the largest, and its answers the others
    assert curve[1]["largest_loss"] < curve[0]["largest_loss"]


def test_the_others_of_a_sandwich_learn_from_the_largest(net: Supernet) -> None:
    class Pair(Sandwich):
        def genomes(self, context: StepContext) -> list[Genome]:
            return [LARGE, SMALL]

    found = trained(net, Pair())
    scales = [one for name, one in found.params.items() if name.startswith("stages") and "project.norm" in name]
    assert scales
    assert np.isfinite(found.train_loss)


def _with_stage(**stage: Any) -> dict[str, Any]:
    return {**ELASTIC, "stages": [stage, {"op": "conv", "width": 8}]}


@pytest.mark.parametrize(
    "space, gene",
    [
        (
            _with_stage(op="conv", width=8, kernel={"one_of": [2, 3]}),
            r"stages\[0\].kernel: has kernels of odd and even sides",
        ),
        (_with_stage(op="conv", width={"one_of": [8, 16]}, groups=2), r"stages\[0\].width: changes the groups"),
        (_with_stage(op="conv", width=8, groups={"one_of": [1, 2]}), r"stages\[0\].groups: changes the groups"),
        (
            {**_with_stage(op="conv", width=8), "head": {"op": "mlp", "widths": [8]}, "resolution": {"one_of": [6, 8]}},
            "resolution: changes what",
        ),
    ],
)
def test_what_cannot_be_shared_names_the_gene(space: dict[str, Any], gene: str) -> None:
    with pytest.raises(ValueError, match=gene):
        Paths.of(Space.from_dict(space, "odd"))


@pytest.mark.parametrize("masked", [False, True])
def test_a_trained_network_can_be_what_the_weights_start_from(masked: bool) -> None:
    paths = Paths.of(SPACE, masked)
    params = init(lower(SPACE.decode(LARGE)), 5)["params"]
    before = SharedWeights.initial(paths, 0)
    after = before.with_network(LARGE, params)
    jax.tree.map(np.testing.assert_array_equal, after.params_of(LARGE), params)
    narrow = after.params_of(SMALL)["stem/conv"]["kernel"]
    np.testing.assert_array_equal(narrow, params["stem/conv"]["kernel"][..., : narrow.shape[-1]])
    used = {slot for placed in paths.path(LARGE).placed for slot in placed.slots}
    for slot in before.slots.keys() - used:
        jax.tree.map(np.testing.assert_array_equal, before.slots[slot], after.slots[slot])
    with pytest.raises(ValueError, match="stem/conv: kernel is missing"):
        before.with_network(LARGE, {})


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v3_large"])
def test_the_largest_network_of_an_elastic_space_is_the_one_it_is_named_after(name: str) -> None:
    space, arch = load_space(f"{name}_elastic"), load_arch(name)
    assert space.encode(arch) == Candidates(space).largest
    assert lower(space.decode(Candidates(space).largest)).id == lower(arch).id


def test_weights_of_another_space_are_refused_with_the_array(net: Supernet) -> None:
    variables = start(net).variables()
    del variables["params"]["stem/conv:conv"]
    with pytest.raises(ValueError, match="stem/conv:conv is missing"):
        SharedWeights.of(net.paths, variables)


@pytest.mark.parametrize(
    "head, last, zero",
    [
        ({"op": "classifier"}, "logits", True),
        ({"op": "mlp", "widths": [8]}, "logits", True),
        ({"op": "embedding", "size": 4}, "embedding", False),  # zeros have no direction to learn from
    ],
)
def test_only_a_classifier_begins_with_zeros(head: dict[str, Any], last: str, zero: bool) -> None:
    space = Space.from_dict({**_with_stage(op="conv", width=8), "head": head}, "one").fit(6, 1, 4)
    initial = Paths.of(space).store.initial(0)
    kernels = {
        node: arrays["kernel"] for slot in initial.values() for node, arrays in slot.items() if "kernel" in arrays
    }
    assert {node for node, kernel in kernels.items() if not kernel.any()} == ({f"head/{last}"} if zero else set())
