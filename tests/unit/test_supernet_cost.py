"""What candidates cost, by a latency predictor's file, for a strategy that weighs it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.record import KEY, record_of
from nas.evaluators import Context, evaluator_settings
from nas.evaluators.preparation import preparation_jobs
from nas.evaluators.supernet import SupernetSettings
from nas.latency import fit_predictor
from nas.recipe import Recipe
from nas.space import Space
from nas.supernet.file import load_supernet
from small_supernet import ELASTIC, few
from small_training import dataset

DATA = dataset()
SPACE = Space.from_dict({**ELASTIC, "stages": ELASTIC["stages"][:1]}, "elastic").fit(6, 1, 3)
NAMED = {"name": "supernet", "strategy": {"name": "rl", "warmup": 0.0, "validation": 1}, "calibration_images": 64, "batch": 32}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A predictor by which networks of wide layers are the fast ones."""
    genomes = np.array([SPACE.sample(np.random.default_rng(i)) for i in range(24)])
    path = tmp_path_factory.mktemp("cost") / "predictor.json"
    found = fit_predictor(SPACE, genomes, 10.0 - genomes.sum(1) / 4, device="phone", info={"batch": 1})
    path.write_text(json.dumps(found.to_dict()))
    return path


def test_candidates_cost_what_the_predictor_says_and_no_other_one_resumes_the_training(file: Path, tmp_path: Path) -> None:
    settings = evaluator_settings({**NAMED, "cost": str(file)})
    assert isinstance(settings, SupernetSettings)
    settings.check(SPACE)
    costs = settings.costs(SPACE)
    assert costs is not None
    low, high = (costs((option,) * len(SPACE.genes)) for option in (1, 0))
    assert low < high
    recipe = {**dataclasses.asdict(Recipe(epochs=1, batch=32, lr=0.05)), "norm_warmup": False}
    said = {"recipe": recipe, "dataset": {"name": "bars"}, KEY: record_of(DATA).plain()}
    context = Context(said, tmp_path, "here", SPACE.to_plain(), DATA)
    [job] = preparation_jobs(settings, context, 0)
    [plain] = preparation_jobs(evaluator_settings(NAMED), context, 0)
    assert plain.data == {}
    assert len(job.data["cost"]) == 16
    [outcome] = settings.make(context)([job], lambda *_: None)
    assert outcome.outcome == "ok", outcome.error
    assert load_supernet(outcome.data["path"]).record["start"] == {"cost": job.data["cost"]}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cost": "nowhere.json"}, "^cost: nowhere.json: No such file"),
        ({"cost": "text.json"}, "^cost: text.json: no file of nas profile"),
        ({"cost": "list.json"}, "^cost"),
        ({"strategy": {"name": "uniform"}}, "^cost: strategy=uniform does not weigh what candidates cost; leave it out"),
        ({"weights": "runs/super"}, "cost: has no effect, the shared weights are trained already"),
    ],
)
def test_a_wrong_cost_is_one_line(changes: dict[str, Any], message: str, file: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match=message) as caught:
        evaluator_settings({**NAMED, "cost": str(file), **changes}).check(SPACE)
    assert "\n" not in str(caught.value)


def test_a_predictor_of_another_space_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match=r"^cost: .*space"):
        evaluator_settings({**NAMED, "cost": str(file)}).check(few())
