"""Programs of single layers: the same training as a program a candidate, and nothing compiled twice."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.evaluators import Context, evaluator_settings
from nas.evaluators.layerwise import LayerwiseEvaluator
from nas.records import Fidelity, Job, training_of
from nas.space import Space
from nas.tasks import CLASSIFICATION
from nas.train import Checkpoints, fit
from nas.train.compilation.layerwise import Layerwise
from nas.train.compilation.segments import cut
from small_space import RECIPE, SPACE
from small_training import dataset

DATA = dataset()
WIDE = {**SPACE, "stages": [{**SPACE["stages"][0], "width": {"one_of": [6, 8]}, "act": "hswish"}, SPACE["stages"][1]]}
SPACE_OF_WIDTHS = Space.from_dict(WIDE, "wide").fit(6, 1, 3)


def arch(*genes: int) -> Arch:
    return SPACE_OF_WIDTHS.decode(SPACE_OF_WIDTHS.canonical(list(genes)))


FIRST, OTHER = arch(0, 0, 0, 0, 0), arch(1, 1, 1, 1, 1)
SMOOTHED = dataclasses.replace(RECIPE, label_smoothing=0.1)


@pytest.fixture(scope="module")
def layerwise() -> Layerwise:
    return Layerwise(DATA, SMOOTHED, CLASSIFICATION)


def assert_same(ours: Any, static: Any, atol: float) -> None:
    for part in ("params", "stats"):
        pairs = [
            (own[name], getattr(static, part)[node][name]) for node, own in getattr(ours, part).items() for name in own
        ]
        assert len(pairs) == sum(map(len, getattr(static, part).values()))
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=atol)


def test_the_first_step_is_that_of_the_whole_network_to_rounding() -> None:
    recipe = dataclasses.replace(RECIPE, epochs=1, batch=96, optimizer="sgd", ema=0.0)
    ours, static = Layerwise(DATA, recipe, CLASSIFICATION).fit(OTHER, 3), fit(OTHER, DATA, recipe, 3)
    assert ours.steps == 1
    assert ours.train_loss == pytest.approx(static.train_loss, rel=1e-5)
    assert_same(ours, static, atol=1e-5)


def test_a_second_candidate_compiles_what_is_new_and_a_third_nothing(layerwise: Layerwise) -> None:
    first = layerwise.fit(FIRST, 0)
    traces = layerwise.traces
    jax.clear_caches()
    again = layerwise.fit(FIRST, 0)
    assert layerwise.traces == traces
    assert again.train_loss == first.train_loss
    layerwise.fit(OTHER, 0)
    new = layerwise.traces - traces
    assert 0 < new < traces
    layerwise.fit(arch(0, 1, 1, 1, 1), 1)
    layerwise.fit(OTHER, 2)
    layerwise.fit(FIRST, 5)
    assert layerwise.traces - traces <= new + 8


RECIPES = {
    "rmsprop, averages, dropout, label smoothing": SMOOTHED,
    "adamw, mixing, accumulation": dataclasses.replace(
        RECIPE, optimizer="adamw", lr=1e-3, mixup=0.2, cutmix=1.0, accumulate=2
    ),
}


@pytest.mark.parametrize(
    "recipe", [pytest.param(recipe, id=name, marks=[pytest.mark.nightly] * ("adamw" in name)) for name, recipe in RECIPES.items()]
)
def test_the_training_is_that_of_the_whole_network(recipe: Any, layerwise: Layerwise) -> None:
    programs = layerwise if recipe is SMOOTHED else Layerwise(DATA, recipe, CLASSIFICATION)
    ours, static = programs.fit(OTHER, 3), fit(OTHER, DATA, recipe, 3)
    assert ours.steps == static.steps
    assert ours.train_loss == pytest.approx(static.train_loss, rel=1e-3)
    for name, value in static.metrics.items():
        assert ours.metrics[name] == pytest.approx(value, abs=0.05)
    assert_same(ours, static, atol=2e-3)


def test_equal_layers_share_their_programs_wherever_they_stand() -> None:
    segmented = cut(lower(load_arch("mobilenet_v2")))
    assert len(segmented.segments) == 19
    assert len(set(segmented.segments)) == 14  # of a stage, all layers after the first are one
    assert [segment.last for segment in segmented.segments] == [False] * 18 + [True]


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "googlenet", "shufflenet_v2", "efficientnet_b0", "vgg16"])
def test_any_network_is_a_chain(name: str) -> None:
    graph = lower(load_arch(name))
    segmented = cut(graph)
    assert [name for names in segmented.names for name in names] == [node.name for node in graph.nodes[1:]]
    shape = graph.input_shape
    for segment in segmented.segments:
        assert segment.in_shape == shape
        assert all(0 <= i < len(segment.nodes) for node in segment.nodes for i in node.inputs)
        shape = segment.nodes[-1].shape


def test_a_killed_training_resumes_to_the_same_weights(layerwise: Layerwise, tmp_path: Path) -> None:
    whole = layerwise.fit(OTHER, 1)

    def stop(step: int, steps: int, metrics: Any) -> bool:
        if metrics.get("epoch") == 1:
            raise KeyboardInterrupt
        return False

    kept = Checkpoints(tmp_path / "trial", keep=1, pause_s=0)
    with pytest.raises(KeyboardInterrupt):
        layerwise.fit(OTHER, 1, report=stop, checkpoint=kept)
    assert list(tmp_path.rglob("*.npz"))
    resumed = layerwise.fit(OTHER, 1, checkpoint=kept)
    for ours, theirs in zip(
        jax.tree.leaves((resumed.params, resumed.stats)), jax.tree.leaves((whole.params, whole.stats)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_fidelities_of_one_schedule_share_their_programs(tmp_path: Path) -> None:
    context = Context({"dataset": {"name": "digits", "train_size": 64, "valid_size": 32}, "recipe": dataclasses.asdict(RECIPE)}, tmp_path)
    evaluator = evaluator_settings({"name": "layerwise"}).make(context)
    assert isinstance(evaluator, LayerwiseEvaluator)
    fitted, fidelities = FIRST.with_io(8, 1, 10).to_dict(), (Fidelity(1), Fidelity(3))
    traces = []
    for fidelity in (0, 1):
        (outcome,) = evaluator([Job(fidelity, "train", fitted, "id", fidelity, 3, training_of(fidelities, fidelity, 0))], lambda *_: None)
        assert outcome.outcome == "ok", outcome.error
        traces.append(sum(one.traces for one in evaluator._programs.values()))
    assert traces[0] == traces[1] > 0


def test_the_evaluator_keeps_its_programs_between_trials(tmp_path: Path) -> None:
    recipe = dataclasses.asdict(RECIPE)
    context = Context({"dataset": {"name": "digits", "train_size": 64, "valid_size": 32}, "recipe": recipe}, tmp_path)
    evaluator = evaluator_settings({"name": "layerwise"}).make(context)
    assert isinstance(evaluator, LayerwiseEvaluator)
    fitted = FIRST.with_io(8, 1, 10)
    jobs = [Job(n, "train", fitted.to_dict(), "id", seed=n) for n in (0, 1)]
    first, second = evaluator(jobs, lambda *_: None)
    assert (first.outcome, second.outcome) == ("ok", "ok"), first.error
    assert second.compile_s < first.compile_s / 3
    assert set(first.metrics) == {"accuracy", "loss", "balanced_accuracy"}
