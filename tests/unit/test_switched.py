"""One program for a space: the same logits, trajectories and metrics as a program a candidate, and one compilation."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.evaluators import Context, evaluator_settings
from nas.evaluators.switched import SwitchedSettings
from nas.nn.network import apply, init
from nas.nn.weights import load_weights
from nas.recipe import Recipe
from nas.records import Job
from nas.runtime.spec import WorkerSpec
from nas.runtime.worker import Worker
from nas.space import Genome, Space, load_space
from nas.train import fit
from nas.train.compilation import switched as switched
from nas.train.compilation.switched import Mode, SpaceProgram, compile_space
from nas.train.compilation.switched_plan import Placement, SpacePlan, plan_space
from small_space import RECIPE, SPACE
from small_training import dataset

DATA = dataset()


def space(**changes: Any) -> Space:
    return Space.from_dict({**SPACE, **changes}, "small").fit(6, 1, 3)


SMALL = space()
FIRST, DEEP = (0, 0, 0, 0), (1, 1, 1, 1)
GENOMES = [FIRST, DEEP, (1, 0, 1, 1)]


@pytest.fixture(scope="module")
def program() -> SpaceProgram:
    return compile_space(SMALL, DATA, RECIPE)


def close(a: Any, b: Any, atol: float) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.allclose(x, y, rtol=1e-4, atol=atol), a, b)))


@pytest.fixture(scope="module", params=[False, True], ids=["evaluation", "training"])
def both_ways(request: pytest.FixtureRequest) -> Any:
    """(plan, whether in training, the program's forward pass jitted once)."""
    train, plan = request.param, plan_space(SMALL)
    functions = switched._Functions(plan, None, None)  # type: ignore[arg-type]

    def logits(params: Any, stats: Any, inputs: Any, images: Any, key: Any) -> Any:
        return switched.forward(plan, functions.areas(params, stats), inputs, images, key, Mode(train, jnp.float32))

    return plan, train, jax.jit(logits)


@pytest.mark.parametrize("genome", GENOMES, ids=str)
def test_equal_weights_give_the_static_networks_logits(both_ways: Any, genome: Genome) -> None:
    plan, train, logits = both_ways
    arch = SMALL.decode(genome)
    graph, key = lower(arch), jax.random.key(3)
    choice, variables = plan.choice(arch, graph), perturbed(init(graph, 1))
    images = np.random.default_rng(0).standard_normal((8, 6, 6, 1), np.float32)
    inputs = {name: getattr(choice, name) for name in ("groups", "variants", "folds", "rates")}
    packed = choice.params.pack(variables["params"]), choice.stats.pack(variables["stats"])
    ours, stats = logits(*packed, inputs, images, key)
    static = jax.jit(lambda p, s, x, key: apply(graph, p, s, x, train=train, rng=key, momentum=0))
    theirs, batch_stats = static(variables["params"], variables["stats"], images, key)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    if train:
        assert close(choice.stats.unpack({"kernels": np.zeros(0), "others": np.array(stats)}), batch_stats, 1e-5)


def perturbed(variables: Any) -> Any:
    """Away from the initial values, under which statistics and scales would not show."""
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda a: (a + 0.1 * rng.random(a.shape)).astype(np.float32), variables)


@pytest.mark.parametrize("genome", [pytest.param(FIRST, marks=pytest.mark.nightly), DEEP], ids=str)
def test_a_training_follows_the_static_networks(program: SpaceProgram, genome: Genome) -> None:
    arch = SMALL.decode(genome)
    ours, theirs = program.fit(arch, 7), fit(arch, DATA, RECIPE, 7)
    losses = [[entry["train_loss"] for entry in run.curve] for run in (ours, theirs)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert close((ours.params, ours.stats), (theirs.params, theirs.stats), 1e-3)
    assert ours.metrics == pytest.approx(theirs.metrics, abs=1e-3)
    assert (ours.steps, ours.compile_s) == (theirs.steps, 0)
    assert {n: [*a] for n, a in ours.params.items()} == {n: [*a] for n, a in theirs.params.items()}


def test_a_trial_does_not_see_what_trained_before(program: SpaceProgram) -> None:
    first = program.fit(SMALL.decode(FIRST), 1)
    program.fit(SMALL.decode(DEEP), 2)
    again = program.fit(SMALL.decode(FIRST), 1)
    assert (first.metrics, first.curve) == (again.metrics, again.curve)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, first.params, again.params)))


def test_an_architecture_of_another_space_is_refused(program: SpaceProgram) -> None:
    wider = space(stages=[{**PLAIN, "kernel": 7}])
    with pytest.raises(ValueError, match=r"not in the space small: stages\.0\.0 has another block"):
        program.fit(wider.decode(()), 0)


PLAIN = {"op": "mbconv", "width": 6, "expand": 2, "kernel": {"one_of": [3, 5]}}
DIGITS = space(stages=[PLAIN]).fit(8, 1, 10)


def worker(tmp_path: Path, evaluator: dict[str, Any], of: Space) -> Worker:
    data = {"name": "digits", "train_size": 60, "test_size": 20}
    recipe = dataclasses.asdict(Recipe(epochs=1, batch=16))
    return Worker(
        WorkerSpec({"dataset": data, "recipe": recipe, "evaluator": evaluator}, of.to_plain(), storage=str(tmp_path))
    )


def job(number: int, kind: str, genome: Genome, of: Space) -> Job:
    return Job(number, kind, of.decode(genome).to_dict(), seed=number)


def test_a_worker_traces_its_space_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = []
    monkeypatch.setattr(switched, "forward", lambda *args, f=switched.forward: traces.append(1) or f(*args))
    ours = worker(tmp_path, {"name": "switched"}, DIGITS)
    outcomes = [
        ours.run([job(n, "train", genome, DIGITS)], lambda *_: None)[0] for n, genome in enumerate([(0,), (1,), (0,)])
    ]
    assert [outcome.error for outcome in outcomes] == [""] * 3
    assert outcomes[0].compile_s > 0
    assert [outcome.compile_s for outcome in outcomes[1:]] == [0, 0]
    assert len(traces) == 2  # the step and the score
    kept = load_weights(tmp_path / "checkpoints" / "trial-000001.npz")
    assert jax.tree.map(np.shape, kept) == jax.tree.map(np.shape, init(lower(DIGITS.decode((1,))), 0))
    tested = ours.run([job(1, "test", (1,), DIGITS)], lambda *_: None)[0]
    assert (tested.outcome, {*tested.metrics}) == ("ok", {"accuracy", "loss", "balanced_accuracy"})


WIDE = {**PLAIN, "width": {"one_of": [6, 8]}}


def test_fallback_trains_what_has_no_program(tmp_path: Path) -> None:
    wide = space(stages=[WIDE]).fit(8, 1, 10)
    genome = wide.canonical([0] * len(wide.genes))
    refused = worker(tmp_path, {"name": "switched"}, wide).run([job(0, "train", genome, wide)], lambda *_: None)[0]
    assert refused.outcome == "error"
    assert "stages[0].width" in refused.error
    trained = worker(tmp_path, {"name": "switched", "fallback": True}, wide).run(
        [job(0, "train", genome, wide)], lambda *_: None
    )[0]
    assert trained.outcome == "ok"
    assert trained.compile_s > 0


@pytest.mark.parametrize(
    "changes, match",
    [
        (
            {"stages": [SPACE["stages"][0], WIDE]},
            r"small: stages\[1\]\.width: changes the width or size after stages\.1\.0",
        ),
        ({"stem": {"op": "conv", "width": {"one_of": [4, 8]}}}, r"small: stem\.width: changes stem"),
        ({"head": {"op": "classifier", "width": {"one_of": [4, 8]}}}, r"small: head\.width: changes head"),
        (
            {"stages": [{**PLAIN, "stride": {"one_of": [1, 2]}}]},
            r"stages\[0\]\.stride: changes the stride of stages\[0\]",
        ),
    ],
)
def test_what_one_program_cannot_hold_is_named(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SwitchedSettings().check(space(**changes))
    SwitchedSettings(fallback=True).check(space(**changes))


def test_a_choice_of_resolutions_must_be_decided() -> None:
    ofa = load_space("ofa_mobilenet_v3")
    with pytest.raises(ValueError, match="resolution: changes the resolution"):
        plan_space(ofa)
    assert plan_space(ofa.fit(32, 3, 10)).input_shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["mobilenet_v3", "tunas_mobilenet_v3_like"])
def test_published_spaces_of_varying_widths_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: .*(width|changes)"):
        plan_space(load_space(name).fit(32, 3, 10))


@pytest.fixture(scope="module", params=["tiny", "nas_bench_macro", "accel_nasbench", "ofa_mobilenet_v3"])
def published(request: pytest.FixtureRequest) -> tuple[Space, SpacePlan]:
    fitted = load_space(request.param).fit(32, 3, 10)
    return fitted, plan_space(fitted)


@pytest.mark.parametrize("seed", range(4))
def test_every_network_of_a_published_space_has_its_place(published: tuple[Space, SpacePlan], seed: int) -> None:
    fitted, plan = published
    arch = fitted.decode(fitted.sample(np.random.default_rng(seed)))
    graph = lower(arch)
    choice, variables = plan.choice(arch, graph), init(graph, 0)
    for placement, collection in ((choice.params, "params"), (choice.stats, "stats")):
        back = placement.unpack(placement.pack(variables[collection]))
        assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, variables[collection])
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, back, variables[collection])))
        assert not overlapping(placement)


def overlapping(placement: Placement) -> bool:
    taken = {part: np.zeros(size, int) for part, size in placement.sizes}
    for _, _, shape, part, start in placement.entries:
        taken[part][start : start + int(np.prod(shape))] += 1
    return any((counts > 1).any() for counts in taken.values())


def test_the_settings_are_read_like_any_evaluators() -> None:
    assert evaluator_settings({"name": "switched", "fallback": True}) == SwitchedSettings(True, True)
    with pytest.raises(ValueError, match="fallbak"):
        evaluator_settings({"name": "switched", "fallbak": True})
    assert Context({}, Path()).space == {}
