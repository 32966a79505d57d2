"""Candidates that learn from the network that their training started from, and from last feature maps."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.evaluators import evaluator_settings
from nas.nn.network import apply
from nas.recipe import Recipe
from nas.space import Genome, Space
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import Candidates, Changes, Sandwich, StepContext, Strategy, Taught, Uniform
from nas.supernet.training import Supernet
from nas.supernet.weights import SharedWeights
from nas.train import Checkpoints
from nas.train.distill import FEATURES, feature_distance, with_features
from nas.train.loop import Fit, silent
from small_supernet import FEW, start_of
from small_training import Killed, dataset, killed_after

DATA = dataset()
SPACE = Space.from_dict(FEW, "few").fit(6, 1, 3)
SIZED = Space.from_dict({**FEW, "resolution": {"one_of": [6, 8]}}, "sized").fit(None, 1, 3)
AMONG = Candidates(SPACE)
TAUGHT = Taught(random=0)
RECIPE = Recipe(epochs=2, batch=32, lr=0.05, norm_warmup=False)


def net(space: Space = SPACE, **changes: Any) -> Supernet:
    return Supernet(space, DATA, dataclasses.replace(RECIPE, **changes))


def trained(of: Supernet, strategy: Strategy = TAUGHT, checkpoint: Checkpoints | None = None, **options: Any) -> Fit:
    options = {"report": silent, "scoring": Scoring(64, batch=32), "start": start_of(of.paths, AMONG), **options}
    return of.fit(strategy, 0, checkpoint=checkpoint, **options)


def test_the_network_that_the_training_starts_from_teaches_in_every_step() -> None:
    strategy = Taught()
    contexts = [StepContext(AMONG, 0, step, 5) for step in range(5)]
    assert [strategy.changes(context) for context in contexts] == [Changes(teacher=True), *[Changes()] * 4]
    assert {strategy.teacher(context) for context in contexts} == {AMONG.largest}
    assert strategy.genomes(contexts[1]) == Sandwich().genomes(contexts[1])


@pytest.mark.parametrize("strategy", [TAUGHT, Sandwich(random=0)], ids=["taught", "sandwich"])
def test_with_match_features_a_candidate_comes_nearer_to_the_last_feature_map_of_its_teacher(strategy: Strategy) -> None:
    def distance(weights: SharedWeights, teacher: SharedWeights) -> float:
        ours, theirs = features(weights, AMONG.smallest), features(teacher, AMONG.largest)
        return float(feature_distance(ours, theirs[..., : ours.shape[3]]).mean())

    found = {weight: net(match_features=weight, epochs=5) for weight in (0.0, 5.0)}
    after = {}
    for weight, one in found.items():
        fit = trained(one, strategy)
        weights = SharedWeights.of(one.paths, {"params": fit.params, "stats": {}})
        after[weight] = distance(weights, start_of(one.paths, AMONG) if isinstance(strategy, Taught) else weights)
    assert after[5.0] < 0.7 * after[0.0]


def features(weights: SharedWeights, genome: Genome) -> Any:
    """The last feature map of a candidate, its norms by the images."""
    images = jnp.asarray(DATA.train.images[:64], jnp.float32) / 255
    said, _ = apply(with_features(lower(SPACE.decode(genome))), weights.params_of(genome), {}, images, train=True, momentum=0)
    assert isinstance(said, dict)
    return said[FEATURES]


def test_a_training_that_was_stopped_resumes_to_the_same_weights_with_the_same_teacher(tmp_path: Path) -> None:
    one, kept = net(match_features=1.0), Checkpoints(tmp_path / "kept")
    with pytest.raises(Killed):
        trained(one, checkpoint=kept, report=killed_after(1, []))
    resumed, whole = trained(one, checkpoint=kept), trained(one)
    assert resumed.curve == whole.curve
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)


@pytest.mark.parametrize(
    "space, strategy, match, message",
    [
        (SPACE, Uniform(), 1.0, "^recipe.match_features: strategy=uniform has no teacher; take one of sandwich, attentive"),
        (SIZED, Sandwich(), 1.0, r"^recipe.match_features: resolution changes the size of the last feature map; leave it out"),
        (SPACE, Taught(), 0.0, "^strategy: taught learns from a trained network; name its weights by start="),
    ],
)
def test_what_cannot_be_taught_is_one_line_before_anything_is_trained(
    space: Space, strategy: Strategy, match: float, message: str
) -> None:
    one = net(space, match_features=match)
    with pytest.raises(ValueError, match=message):
        one.fit(strategy, 0, report=silent, checkpoint=None, scoring=Scoring(64, batch=32))


def test_a_search_with_the_strategy_names_what_is_missing() -> None:
    settings = {"name": "supernet", "strategy": {"name": "taught"}}
    with pytest.raises(ValueError, match="taught learns from a trained network; name its weights by start="):
        evaluator_settings(settings).check(SPACE)
    assert evaluator_settings(settings).teaches
    assert not evaluator_settings({**settings, "weights": "runs/super"}).teaches
    assert not evaluator_settings({"name": "scratch"}).teaches
