"""A supernet's step as one program: the weights that the programs of single units make, whatever a dispatch holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.recipe import Augment, Recipe
from nas.space import Space
from nas.supernet.programs import Programs
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import Attentive, Fair, Rl, Sandwich, Strategy, Uniform
from nas.supernet.training import Supernet
from nas.supernet.whole import WholePlan
from nas.train import Checkpoints
from nas.train.loop import Fit, silent
from small_supernet import elastic
from small_training import Killed, dataset, killed_after

DATA = dataset()
RECIPE = Recipe(epochs=2, batch=32, lr=0.05, weight_decay=0.01, ema=0.9, augment=Augment(crop_padding=0, flip=False))
FEW: dict[str, Any] = {
    "name": "few", "resolution": 6, "min_feature_map": 2, "drop_path": 0.2, "stem": {"op": "conv", "width": 4, "act": "relu"},
        "stages": [
            {
                "op": "mbconv", "kernel": 3, "width": {"one_of": [4, 6]}, "repeat": {"one_of": [1, 2]}, "expand": {"one_of": [1, 2]},
                "stride": 2,
            }
        ],
        "head": {"op": "classifier", "dropout": 0.3},
}  # fmt: skip
SPACE = Space.from_dict(FEW, "few").fit(6, 1, 3)
SCORING, PROGRAMS = Scoring(calibration_images=64, batch=32), Programs()


def net(masked: bool = False) -> Supernet:
    return Supernet(SPACE, DATA, RECIPE, masked=masked, programs=PROGRAMS)


def trained(one: Supernet, strategy: Strategy, **options: Any) -> Fit:
    return one.fit(strategy, 0, report=lambda *_: None, checkpoint=None, scoring=SCORING, **options)


def flat(found: Fit) -> np.ndarray:
    return np.concatenate([array.ravel() for arrays in found.params.values() for array in arrays.values()])


@pytest.mark.parametrize(
    "strategy, masked",
    [(Uniform(), False), (Fair(), False), (Sandwich(random=1), True)],
    ids=["uniform", "fair", "sandwich, masked"],
)
def test_one_program_trains_the_weights_that_single_ones_train(strategy: Strategy, masked: bool) -> None:
    one = net(masked)
    single, whole = (trained(one, strategy, whole=asked) for asked in (False, True))
    assert [entry["train_loss"] for entry in whole.curve] == pytest.approx(
        [entry["train_loss"] for entry in single.curve], rel=1e-5
    )
    assert [entry.keys() for entry in whole.curve] == [entry.keys() for entry in single.curve]
    for kind in strategy.roles:
        losses = ([entry[f"{kind}_loss"] for entry in found.curve] for found in (whole, single))
        assert next(losses) == pytest.approx(next(losses), rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(flat(whole), flat(single), atol=2e-5)
    assert whole.metrics["loss"] == pytest.approx(single.metrics["loss"], rel=1e-4)


def test_the_weights_are_the_same_for_any_number_of_steps_a_dispatch() -> None:
    np.testing.assert_allclose(
        *(flat(trained(net(), Uniform(), whole=True, dispatch=count)) for count in (0, 3)), rtol=1e-4, atol=1e-6
    )


def test_a_training_that_was_stopped_resumes_to_the_same_weights(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "kept")
    one, strategy = net(masked=True), Sandwich(random=1)
    options: dict[str, Any] = {"whole": True, "dispatch": 2, "scoring": SCORING}
    with pytest.raises(Killed):
        one.fit(strategy, 0, report=killed_after(1, []), checkpoint=kept, **options)
    assert list((tmp_path / "kept").iterdir())
    resumed = one.fit(strategy, 0, report=silent, checkpoint=kept, **options)
    calm = one.fit(strategy, 0, report=silent, checkpoint=None, **options)
    assert resumed.curve == calm.curve
    np.testing.assert_array_equal(flat(resumed), flat(calm))


def test_candidates_that_wait_for_an_answer_of_the_device_have_no_such_program() -> None:
    for strategy in (Attentive(), Rl()):
        with pytest.raises(
            ValueError, match="few: one program cannot hold this space, or the candidates of this strategy"
        ):
            trained(net(), strategy, whole=True)


def test_a_space_of_several_resolutions_has_no_such_program() -> None:
    space = Space.from_dict({**FEW, "resolution": {"one_of": [6, 8]}}, "few").fit(None, 1, 3)
    with pytest.raises(ValueError, match="one program cannot hold this space"):
        trained(Supernet(space, DATA, RECIPE, programs=PROGRAMS), Uniform(), whole=True)


def test_places_that_not_every_network_has_can_hold_nothing() -> None:
    plan = WholePlan.of(Supernet(elastic(), DATA, RECIPE, masked=True).paths)
    assert plan
    assert {scope for scope, place in plan.places.items() if None in place.options} == {"stages.0.1", "stages.1.0"}
