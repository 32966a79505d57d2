"""`evaluator.start`: every candidate of a search starts from the weights of a trained network."""

from pathlib import Path
from typing import Any

import pytest

import nas

STEM = {"op": "conv", "kernel": 3, "width": 8, "stride": 2}
STAGES = [{"op": "conv", "kernel": 3, "width": 16, "stride": 2}]
NETWORK: dict[str, Any] = {"name": "known", "resolution": 8, "channels": 1, "classes": 10, "stem": STEM, "stages": STAGES,
                           "head": {"op": "classifier"}}  # fmt: skip
SPACE: dict[str, Any] = {**NETWORK, "name": "around", "head": {"op": "classifier", "dropout": {"one_of": [0.0, 0.1]}}}
IMAGES = {"name": "digits", "train_size": 400, "resolution": 8}
STILL = {"epochs": 1, "lr": 1e-9, "ema": 0.0, "weight_decay": 0.0, "dtype": "float32", "freeze": ["stem", "stages.0"]}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> nas.TrainResult:
    return nas.train(nas.load_arch(NETWORK), IMAGES, recipe={"epochs": 6, "lr": 0.1}, run=tmp_path_factory.mktemp("known") / "run")


def searched(run: Path, **evaluator: Any) -> nas.SearchResult:
    return nas.search(SPACE, IMAGES, controller="random", objectives={"accuracy": "max", "macs": "min"}, trials=2, recipe=STILL,
                      evaluator={"name": "scratch", **evaluator}, executor="local", run=run)  # fmt: skip


def test_candidates_begin_with_the_weights_of_a_trained_network(known: nas.TrainResult, tmp_path: Path) -> None:
    """The rate is next to nothing and the layers are frozen, so that results are the trained network's."""
    found = searched(tmp_path / "run", start=str(known.weights))
    assert known.metrics["accuracy"] > 0.5
    assert [one.metrics["accuracy"] for one in found.front] == [pytest.approx(known.metrics["accuracy"], abs=0.02)]
    member = next((tmp_path / "run" / "front").glob("*.yaml")).read_text()
    assert f"weights={known.weights}" in member.splitlines()[2]


@pytest.mark.parametrize(
    "evaluator, message",
    [
        ({}, r"^recipe\.freeze: .*initial values"),
        ({"start": "nowhere.npz"}, r"nowhere\.npz: no such file"),
        ({"name": "switched", "start": "nowhere.npz"}, r"start"),
    ],
)
def test_what_cannot_start_so_is_refused_before_anything_is_trained(tmp_path: Path, evaluator: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        searched(tmp_path / "run", **evaluator)
