"""Trainings by strategies that look at the weights, keep something, or have a teacher."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import small_embedding
from nas.arch.blocks import lower
from nas.nn.network import apply
from nas.recipe import Recipe
from nas.space import Genome, Space
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import (
    Attentive,
    Kept,
    Rl,
    Sandwich,
    Shrinking,
    StepContext,
    Strategy,
)
from nas.supernet.training import Supernet
from nas.train import Checkpoints, evaluate
from nas.train.loop import Fit
from nas.train.score import normalized
from small_supernet import FEW, Only, few, start_of
from small_training import Killed, dataset, killed_after

LEARNING = [Attentive(draws=2), Rl(learning_rate=3), Shrinking(shares=(1, 1, 0, 0, 1, 1))]


@pytest.fixture(scope="module")
def net() -> Supernet:
    return Supernet(few(), dataset(), Recipe(epochs=2, batch=32, lr=0.05, norm_warmup=False, schedule="constant"))


@pytest.mark.parametrize("strategy", [Sandwich(), Attentive(), Shrinking()], ids=lambda one: type(one).__name__)
def test_a_task_without_a_loss_for_teachers_has_no_strategy_that_teaches(strategy: Strategy) -> None:
    pixels = small_embedding.dataset()
    space = Space.from_dict({**FEW, "head": {"op": "embedding", "size": 4}}, "few").fit(6, 1, 4)
    with pytest.raises(ValueError, match=r"strategy: .* lets one network teach another, which the task embedding has"):
        trained(Supernet(space, pixels, small_embedding.RECIPE), strategy)


@pytest.mark.parametrize("strategy", [Rl(), Shrinking()], ids=lambda one: type(one).__name__)
def test_a_strategy_that_follows_a_schedule_has_no_patience(net: Supernet, strategy: Strategy) -> None:
    patient = dataclasses.replace(net.recipe, validate_every=1, patience=1)
    with pytest.raises(ValueError, match=r"recipe.patience: strategy=.* needs all of its steps; leave it at 0, got 1"):
        trained(Supernet(net.space, net.dataset, patient), strategy)


def test_the_quality_of_a_candidate_is_the_metric_of_its_own_network_with_statistics_of_the_images(
    net: Supernet,
) -> None:
    genome, valid = net.candidates.smallest, net.dataset.valid
    weights, graph = start_of(net.paths, net.candidates), lower(net.space.decode(genome))
    found = net.scorer(Scoring()).quality(dict(weights.slots), np.random.default_rng(0), genome, len(valid))
    params = weights.params_of(genome)
    images = normalized(jnp.array(valid.images), net.dataset)
    _, stats = jax.jit(lambda params: apply(graph, params, {}, images, train=True, momentum=0))(params)
    expected = evaluate(graph, {"params": params, "stats": stats}, valid, net.dataset, task=net.task)
    assert found == pytest.approx(expected["accuracy"])


def trained(net: Supernet, strategy: Strategy, **options: Any) -> Fit:
    scoring = Scoring(calibration_images=64, batch=32)
    return net.fit(strategy, 0, **{"report": lambda *_: None, "checkpoint": None, "scoring": scoring, **options})


@pytest.mark.parametrize("strategy", LEARNING, ids=lambda one: type(one).__name__)
def test_a_training_that_was_stopped_resumes_to_the_same_weights(
    net: Supernet, strategy: Strategy, tmp_path: Path
) -> None:
    """What a strategy sees of the weights and what it keeps are the same too."""
    kept = Checkpoints(tmp_path / "kept")
    with pytest.raises(Killed):
        trained(net, strategy, checkpoint=kept, report=killed_after(1, []))
    resumed, whole = trained(net, strategy, checkpoint=kept), trained(net, strategy)
    assert resumed.curve == whole.curve
    jax.tree.map(np.testing.assert_array_equal, (resumed.params, resumed.stats), (whole.params, whole.stats))
    assert net.chosen(strategy, resumed) == net.chosen(strategy, whole)
    if strategy.scheduled:
        longer = Supernet(net.space, net.dataset, dataclasses.replace(net.recipe, epochs=3), programs=net.programs)
        with pytest.raises(ValueError, match="checkpoints of another training, steps was"):
            trained(longer, strategy, checkpoint=kept)


def test_candidates_learn_from_labels_and_from_the_largest_network_as_it_was(net: Supernet) -> None:
    """With next to no learning rate that is the network itself, which adds nothing, and something for another candidate."""
    still = Supernet(
        net.space, net.dataset, dataclasses.replace(net.recipe, lr=1e-9, weight_decay=0.0), programs=net.programs
    )
    largest, smallest = still.candidates.largest, still.candidates.smallest
    begun = start_of(still.paths, still.candidates)

    @dataclasses.dataclass(frozen=True)
    class Taught(Shrinking):
        shares: tuple[float, ...] = (1, 1, 0, 0, 0, 0)
        only: Genome = ()

        def genomes(self, context: StepContext) -> list[Genome]:
            return [self.only]

    for genome in (largest, smallest):
        taught, alone = (trained(still, one, start=begun).curve for one in (Taught(only=genome), Only((genome,))))
        assert taught[0]["train_loss"] == pytest.approx(alone[0]["train_loss"], rel=1e-5)
        more = taught[1]["train_loss"] - alone[1]["train_loss"]
        assert more == pytest.approx(0, abs=1e-4) if genome == largest else more > 1e-3


def test_gradients_are_averaged_over_the_candidates_of_a_step_where_a_strategy_says_so(net: Supernet) -> None:
    @dataclasses.dataclass(frozen=True)
    class Averaging(Only):
        averages: ClassVar[bool] = True

    genome = net.candidates.largest
    twice, once = trained(net, Averaging((genome, genome))), trained(net, Only((genome,)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), twice.params, once.params)


@pytest.mark.parametrize("cost", [None, lambda genome: 7.0 + genome[0]], ids=["multiply-adds", "given"])
def test_what_a_candidate_costs_may_be_given(net: Supernet, cost: Callable[[Genome], float] | None) -> None:
    seen, genome = set(), net.candidates.largest

    class Asking(Only):
        def learned(self, context: StepContext) -> Kept:
            seen.add(context.cost(genome))
            return context.kept

    trained(net, Asking((genome,)), cost=cost)
    assert seen == {cost(genome) if cost else float(net.candidates.macs([genome])[0])}
