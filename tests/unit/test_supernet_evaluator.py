"""`evaluator=supernet`: trained once as the preparation, resumed to the same weights, and every candidate scored with them."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.arch.blocks import arch_id, lower
from nas.convert.reorder import by_importance
from nas.core.paths import CONF
from nas.core.yamlio import read_yaml
from nas.data.record import KEY, record_of
from nas.evaluators import Context, evaluator_settings
from nas.evaluators import supernet_worker as module
from nas.evaluators.preparation import preparation_jobs, with_prepared
from nas.evaluators.supernet_worker import SupernetEvaluator
from nas.nn.network import init
from nas.nn.weights import load_weights, save_weights
from nas.recipe import Recipe
from nas.records import UNPREPARED, Job, Outcome
from nas.space import Genome, Space
from nas.supernet.child import child_of
from nas.supernet.file import FILE, load_supernet, save_supernet
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import STRATEGIES, Candidates
from nas.supernet.weights import SharedWeights
from nas.tasks import CLASSIFICATION
from nas.train import evaluate
from nas.workflows.defaults import choices
from nas.workflows.export.sources import whole_weights
from nas.workflows.starting import start_of
from small_supernet import FEW, few
from small_training import dataset

DATA, SPACE = dataset(), few()
SMALL, LARGE = Candidates(SPACE).smallest, Candidates(SPACE).largest
RECIPE = Recipe(epochs=2, batch=32, lr=0.05, norm_warmup=False)
NAMED = {"name": "supernet", "strategy": {"name": "sandwich", "random": 0}, "calibration_images": 64, "batch": 32}  # fmt: skip


def context(folder: Path, space: Space = SPACE) -> Context:
    settings = {"recipe": dataclasses.asdict(RECIPE), "dataset": {"name": "bars"}, KEY: record_of(DATA).plain()}
    return Context(settings, folder, "here", space.to_plain(), DATA)


def made(folder: Path, **changes: Any) -> tuple[SupernetEvaluator, list[Job]]:
    settings = evaluator_settings({**NAMED, **changes})
    settings.check(SPACE)
    evaluator = settings.make(context(folder))
    assert isinstance(evaluator, SupernetEvaluator)
    return evaluator, preparation_jobs(settings, context(folder), 0)


def silent(*_: object) -> None: ...


def one(evaluator: SupernetEvaluator, job: Job) -> Outcome:
    [outcome] = evaluator([job], silent)
    return outcome


def job_of(genome: Genome, prepared: Mapping[str, Any], kind: str = "train", number: int = 3, **data: Any) -> Job:
    arch = SPACE.decode(genome)
    return Job(number, kind, arch.to_dict(), arch_id(arch), seed=5, data=with_prepared(data, [prepared]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def prepared(folder: Path) -> tuple[SupernetEvaluator, Mapping[str, Any]]:
    evaluator, [job] = made(folder)
    outcome = one(evaluator, job)
    assert outcome.outcome == "ok", outcome.error
    return evaluator, outcome.data


def test_the_file_says_what_its_weights_are_of(prepared: Any, folder: Path) -> None:
    path, found = Path(prepared[1]["path"]), load_supernet(folder)
    assert (found.path, path.name) == (path, FILE)
    assert found.space.fingerprint == SPACE.fingerprint
    assert found.record["recipe"]["epochs"] == len(found.record["curve"]) == 2
    assert found.record["strategy"] == NAMED["strategy"]
    assert found.data == record_of(DATA)
    assert not (path.parent / "checkpoints").exists()


def test_a_candidate_is_scored_by_every_metric_of_its_task_and_again_the_same(prepared: Any) -> None:
    evaluator, data = prepared
    scores = [one(evaluator, job_of(genome, data)) for genome in (SMALL, LARGE, SMALL)]
    assert [score.metrics.keys() for score in scores] == [{"accuracy", "loss", "balanced_accuracy"}] * 3
    assert scores[0].metrics == scores[2].metrics
    assert (scores[0].compile_s > 0, scores[2].compile_s) == (True, 0)


def test_tests_and_inspections_use_the_network_that_is_cut_out(prepared: Any, folder: Path) -> None:
    evaluator, data = prepared
    tested = one(evaluator, job_of(SMALL, data, "test", 7))
    child = load_weights(context(folder).weights(7))
    found = load_supernet(folder)
    cut = SharedWeights.of(evaluator._net.paths, {"params": found.params}).params_of(SMALL)
    for node, arrays in cut.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, child["params"][node][name])
    assert tested.metrics == evaluate(lower(SPACE.decode(SMALL)), child, DATA.test, DATA, 32, task=CLASSIFICATION)
    assert one(evaluator, job_of(SMALL, data, "inspect", 7)).data["classes"] == list(DATA.classes)


def test_a_worker_that_dies_resumes_to_the_same_weights(
    prepared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_PAUSE_S", 0.0)
    heard: list[int] = []

    class Killed(BaseException):
        pass

    def kill(number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        heard.append(step)
        if metrics.get("epoch") == 1:
            raise Killed

    evaluator, [job] = made(tmp_path)
    evaluator._net.programs.kept.update(prepared[0]._net.programs.kept)
    with pytest.raises(Killed):
        evaluator([job], kill)
    heard.clear()
    [outcome] = evaluator([job], lambda number, step, *_: heard.append(step))
    assert outcome.data["digest"] != ""
    assert min(heard) >= len(DATA.train) // RECIPE.batch  # it resumed after the first epoch
    ours, calm = (load_supernet(one).params for one in (tmp_path, Path(prepared[1]["path"])))
    for node, arrays in calm.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(ours[node][name], array)
    heard.clear()
    evaluator([job], lambda number, step, *_: heard.append(step))  # it died after the file was written
    assert not heard


def test_weights_that_there_are_take_a_look_and_no_training(prepared: Any, folder: Path, tmp_path: Path) -> None:
    evaluator, [job] = made(tmp_path, weights=str(folder))
    assert one(evaluator, job).data == prepared[1]
    evaluator._net.programs.kept.update(prepared[0]._net.programs.kept)
    assert one(evaluator, job_of(SMALL, prepared[1])).metrics == one(prepared[0], job_of(SMALL, prepared[1])).metrics


def test_a_network_trained_alone_comes_with_what_the_shared_weights_say_of_it(prepared: Any) -> None:
    outcome = one(prepared[0], job_of(SMALL, prepared[1], alone=True, recipe={"epochs": 1, "batch": 32}))
    own, inherited = CLASSIFICATION.metrics.keys(), one(prepared[0], job_of(SMALL, prepared[1])).metrics
    assert outcome.outcome == "ok"
    assert outcome.metrics.keys() == {*own, *(f"inherited_{name}" for name in own)}
    assert {name: outcome.metrics[f"inherited_{name}"] for name in own} == inherited
    assert outcome.train_s > 0


def test_a_worker_without_the_shared_weights_blames_no_candidate(prepared: Any, tmp_path: Path) -> None:
    evaluator, _ = made(tmp_path)
    for data, message in (
        ({"path": str(tmp_path / "gone"), "digest": "a"}, "gone: No such file"),
        ({**prepared[1], "digest": "a"}, "is not the file that the run began with"),
    ):
        outcome = one(evaluator, job_of(SMALL, data))
        assert outcome.outcome == "error"
        assert message in outcome.data[UNPREPARED]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"strategy": {"name": "fare"}}, "strategy: no 'fare'; did you mean 'fair'"),
        ({"calibration_images": 0}, "evaluator.calibration_images: expected 1 or more images, got 0"),
        ({"weights": "nowhere"}, "evaluator.weights: nowhere: no such file"),
        ({"weights": "."}, "evaluator.weights: .: no supernet.npz, the weights that nas supernet leaves"),
    ],
)
def test_faults_are_one_line_before_anything_is_trained(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        made(tmp_path, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "recipe, message", [({"freeze": ["backbone"]}, "freeze"), ({"accumulate": 2}, r"recipe.accumulate: a supernet")]
)
def test_a_recipe_that_shared_weights_cannot_follow_is_refused(
    recipe: dict[str, Any], message: str, tmp_path: Path
) -> None:
    there = context(tmp_path)
    settings = {**there.settings, "recipe": {**there.settings["recipe"], **recipe}}
    with pytest.raises(ValueError, match=message):
        evaluator_settings(NAMED).preparation(dataclasses.replace(there, settings=settings))


def test_what_cannot_be_shared_names_the_gene() -> None:
    odd = {**FEW, "stages": [{"op": "conv", "width": 8, "kernel": {"one_of": [2, 3]}}]}
    with pytest.raises(ValueError, match=r"stages\[0\].kernel: has kernels of odd and even sides"):
        evaluator_settings(NAMED).check(Space.from_dict(odd, "odd"))


def test_weights_of_another_space_or_other_images_are_refused(prepared: Any, folder: Path) -> None:
    settings = evaluator_settings({**NAMED, "weights": str(folder)})
    sizes = r"weights of the space few with other choices or sizes \(6 pixels, 1 channels, 3 classes, .*8 pixels"
    with pytest.raises(ValueError, match=sizes):
        settings.check(SPACE.fit(8, 1, 3))
    with pytest.raises(ValueError, match="weights of the space few, not of other"):
        settings.check(dataclasses.replace(SPACE, name="other", source=SPACE.source + " "))
    others = dataclasses.replace(context(folder), loaded=dataset(train=90), settings={"recipe": {}})
    with pytest.raises(
        ValueError, match=r"evaluator.weights: .* was trained on other images or labels than those of bars now"
    ):
        settings.preparation(others)


@pytest.mark.parametrize(
    "record, message",
    [
        (None, "expected bytes under 'record'"),
        ([], "its record is no mapping"),
        ({"space": 1}, "its record has no fingerprint"),
    ],
)
def test_a_file_that_is_none_of_a_supernet_is_one_line(record: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / FILE
    about = {} if record is None else {"record": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    np.savez(path, allow_pickle=False, **about)
    with pytest.raises(ValueError, match=f"{FILE}: no weights of nas supernet: {message}"):
        load_supernet(path)


def test_a_record_survives_the_file(tmp_path: Path, prepared: Any, folder: Path) -> None:
    found = load_supernet(folder)
    save_supernet(tmp_path / FILE, found.params, found.record)
    assert {**load_supernet(tmp_path).record, "versions": 0} == {**found.record, "versions": 0}


def test_a_training_starts_from_the_shared_weights_bit_for_bit(prepared: Any, folder: Path) -> None:
    evaluator, data = prepared
    for genome in (SMALL, LARGE):
        arch = SPACE.decode(genome)
        start = start_of(f"supernet:{folder}", arch, DATA, 0)
        assert start.fresh == ()
        cut = SharedWeights.of(evaluator._net.paths, {"params": load_supernet(folder).params}).params_of(genome)
        assert start.variables["params"].keys() == cut.keys()
        for node, arrays in cut.items():
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, start.variables["params"][node][name])
        scored = one(evaluator, job_of(genome, data)).metrics
        ours = child_of(folder, arch, DATA, Scoring(NAMED["calibration_images"], None, NAMED["batch"]))
        assert evaluate(lower(arch), ours, DATA.valid, DATA, task=CLASSIFICATION) == pytest.approx(scored, abs=1e-5)


def test_other_classes_have_a_classifier_of_their_own(prepared: Any, folder: Path) -> None:
    five = dataclasses.replace(DATA, classes=("a", "b", "c", "d", "e"))
    found = start_of(f"supernet:{folder}", SPACE.decode(LARGE).with_io(classes=5), five, 0)
    assert found.fresh == ("head/logits",)


def test_what_is_no_candidate_is_refused(prepared: Any, folder: Path) -> None:
    wide = Space.from_dict({**FEW, "stages": [{"op": "conv", "width": 20}]}, "wide").fit(6, 1, 3)
    with pytest.raises(ValueError, match=r"^weights: .*not in the space few: stages\[0\]"):
        start_of(f"supernet:{folder}", wide.decode(()), DATA, 0)
    with pytest.raises(ValueError, match=r"^weights: supernet:.*: shared weights are where nas train and nas adapt start from"):
        whole_weights(f"supernet:{folder}", SPACE.decode(SMALL))
    with pytest.raises(ValueError, match=r"^weights: nowhere: no such file"):
        start_of("supernet:nowhere", SPACE.decode(SMALL), DATA, 0)


def test_shared_weights_start_from_a_trained_network_with_its_best_channels_first(tmp_path: Path) -> None:
    graph = lower(SPACE.decode(LARGE))
    trained = init(graph, 7)
    save_weights(tmp_path / "net.npz", trained)
    evaluator, [job] = made(tmp_path, start=str(tmp_path / "net.npz"))
    begun = evaluator._begun(job)
    assert begun is not None
    ordered = by_importance(graph, trained)["params"]
    for node, arrays in begun.params_of(LARGE).items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, ordered[node][name])
    assert {node: sorted(arrays) for node, arrays in ordered.items()} == {n: sorted(a) for n, a in trained["params"].items()}
    save_weights(tmp_path / "net.npz", init(graph, 8))
    assert made(tmp_path, start=str(tmp_path / "net.npz"))[1][0] != job  # a run does not resume with other weights


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"start": "gone.npz"}, "start: .*gone.npz: no such file"),
        ({"start": "small.npz"}, "start: .*small.npz: stages.0.0"),
        ({"start": "timm:mobilenetv2_100.npz"}, "start: .*expected padding: torch and norm_eps: 1e-05 in the file of the space few"),
        ({"start": "small.npz", "weights": "run"}, "evaluator.start: the shared weights are trained already, with weights="),
    ],
)
def test_what_shared_weights_cannot_start_from_is_one_line(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(tmp_path / "small.npz", init(lower(SPACE.decode(SMALL)), 7))
    with pytest.raises(ValueError, match=message):
        made(tmp_path, **changes)


def test_each_strategy_has_a_file_with_its_settings_and_defaults() -> None:
    assert set(choices("strategy")) == STRATEGIES.keys()
    for name in STRATEGIES:
        settings = read_yaml(CONF / "strategy" / f"{name}.yaml")
        assert settings.pop("name") == name
        assert settings == json.loads(json.dumps(dataclasses.asdict(STRATEGIES[name]())))
