"""Transfer: what is frozen stays to the bit, the rest learns as it would, each part at its rate, and kills change nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import arch_id, lower
from nas.arch.parts import nodes_of
from nas.core.settings import build
from nas.evaluators import Context, evaluator_settings
from nas.nn.network import apply
from nas.nn.weights import load_weights, save_weights
from nas.recipe import Augment, Recipe
from nas.records import Job
from nas.space import Space
from nas.tasks import CLASSIFICATION, check_parts, single
from nas.tasks.classification import cross_entropy
from nas.train import Checkpoints, Fit, fit, loop
from nas.train.compilation.layerwise import Layerwise
from nas.train.compilation.switched import compile_space
from nas.train.optim import Layout, learning_rate, optimizer
from nas.train.score import normalized
from nas.train.trainer import Trainer
from nas.train.transfer import Phase, transfer_of
from networks import settled
from small_space import SPACE
from small_training import RECIPE, SMALL, Killed, dataset, equal, killed_after, same

GRAPH = lower(SMALL)
START = settled(GRAPH)
DATA = dataset(train=48, valid=6)
LAYOUTS = Layout.of(START["params"]), Layout.of(START["stats"])
ONCE = dataclasses.replace(RECIPE, epochs=1, weight_decay=0.01)


def unchanged(fitted: Fit, part: str) -> set[str]:
    """Nodes whose arrays are those of the start, bit for bit."""
    found = getattr(fitted, part)
    assert found.keys() == START[part].keys()
    return {node for node, own in found.items() if all(a.tobytes() == START[part][node][name].tobytes() for name, a in own.items())}


@pytest.mark.parametrize(
    "parts, changes, held",
    [
        (["stages.0"], {"optimizer": "rmsprop", "lr": 0.01, "ema": 0.5, "mixup": 0.2}, []),
        (["stem/norm"], {"accumulate": 2, "norm_warmup": False, "lr_scale": {"stages": 0}}, ["stages"]),
    ],
)
def test_what_is_frozen_stays_to_the_bit_and_all_else_moves(parts: list[str], changes: dict[str, Any], held: list[str]) -> None:
    """A scale of 0 holds the weights alone: statistics move on."""
    fitted = fit(SMALL, DATA, dataclasses.replace(ONCE, freeze=tuple(parts), **changes), 0, variables=START)
    for kind, still in (("params", [*parts, *held]), ("stats", parts)):
        assert unchanged(fitted, kind) == {name for part in still for name in nodes_of(GRAPH, part, "")} & START[kind].keys(), kind


@pytest.mark.parametrize("way", ["whole", "layerwise"])
def test_norm_warmup_is_for_norms_at_initial_values_alone(way: str) -> None:
    """Those that were trained end as they do without it; one that was not lets go of its start."""

    def ended(**settings: Any) -> Fit:
        recipe, start = dataclasses.replace(ONCE, **settings), {"variables": START, "fresh": ("stem/norm",)}
        return fit(SMALL, DATA, recipe, 0, **start) if way == "whole" else Layerwise(DATA, recipe, CLASSIFICATION).fit(SMALL, 0, **start)

    warm, plain = ended().stats, ended(norm_warmup=False).stats
    assert {node for node, own in warm.items() if not equal(own, plain[node])} == {"stem/norm"}


@pytest.mark.parametrize("freezing", [{}, {"freeze": ("stages.0",), "freeze_epochs": 1}])
def test_fixed_norms_keep_their_statistics_and_train_by_them(freezing: dict[str, Any]) -> None:
    """One that was never trained has none to keep; the weights of all of them move."""
    recipe = dataclasses.replace(ONCE, epochs=2, fixed_norms=True, **freezing)
    fitted = fit(SMALL, DATA, recipe, 0, variables=START, fresh=("stem/norm",))
    assert unchanged(fitted, "stats") == START["stats"].keys() - {"stem/norm"}
    assert unchanged(fitted, "params") == set()
    moving = fit(SMALL, DATA, dataclasses.replace(recipe, fixed_norms=False), 0, variables=START, fresh=("stem/norm",))
    assert not equal(moving.params, fitted.params)


def test_a_frozen_network_computes_as_in_evaluation() -> None:
    images, everything = jnp.asarray(DATA.train.images[:5], jnp.float32) / 255, [node.name for node in GRAPH.nodes]
    options: dict[str, Any] = {"rng": jax.random.key(0), "momentum": 0}
    ours, stats = apply(GRAPH, START["params"], START["stats"], images, train=True, frozen=everything, **options)
    theirs, _ = apply(GRAPH, START["params"], START["stats"], images, train=False)
    np.testing.assert_allclose(single(ours), single(theirs), rtol=1e-6)
    assert jax.tree.all(jax.tree.map(np.array_equal, stats, START["stats"]))


def test_gradients_of_the_others_are_those_without_freezing() -> None:
    """One step of plain descent against the gradient of the same function by all weights, those before what is frozen too."""
    part = "stages.0"
    recipe = Recipe(epochs=1, batch=48, lr=0.5, momentum=0, warmup_epochs=0, schedule="constant", weight_decay=0, freeze=(part,),
                    augment=Augment())  # fmt: skip
    frozen, key = nodes_of(GRAPH, part, ""), jax.random.key(np.random.SeedSequence([0, 1]).generate_state(1)[0])
    rows = next(trainer_of(recipe).order(1))
    images, labels = normalized(jnp.asarray(DATA.train.images[rows]), DATA), jnp.asarray(DATA.train.targets[rows])

    @jax.jit
    def loss(params: Any) -> Any:
        outputs, _ = apply(GRAPH, params, START["stats"], images, train=True, rng=jax.random.fold_in(key, 0), momentum=0, frozen=frozen)
        return cross_entropy(single(outputs), labels).mean()

    gradient, fitted = jax.grad(loss)(START["params"]), fit(SMALL, DATA, recipe, 0, variables=START)
    assert fitted.steps == 1
    for node, own in fitted.params.items():
        for name, array in own.items():
            moved = START["params"][node][name] - (0 if node in frozen else 0.5 * np.asarray(gradient[node][name]))
            np.testing.assert_allclose(array, moved, rtol=1e-4, atol=1e-5, err_msg=f"{node} {name}")


TREE = {"a": {"kernel": np.ones((1, 2), np.float32), "bias": np.ones(1, np.float32)}, "b": {"kernel": np.ones((2, 1), np.float32)},
        "c": {"bias": np.ones(2, np.float32)}}  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "rmsprop", "momentum": 0.5},
        {"optimizer": "adamw", "accumulate": 2},
    ],
)
def test_a_scale_is_another_learning_rate(settings: dict[str, Any]) -> None:
    layout = Layout.of(TREE)
    recipe = Recipe(warmup_epochs=0, schedule="constant", lr=0.1, weight_decay=0.1, **settings)
    rng = np.random.default_rng(0)
    grads = [layout.pack(jax.tree.map(lambda a: rng.random(a.shape, np.float32), TREE), np) for _ in range(4)]

    def moved(recipe: Recipe, scales: Any) -> Any:
        update, params = optimizer(recipe, 1, scales), layout.pack(TREE, np)

        @jax.jit
        def step(state: Any, params: Any, one: Any) -> Any:
            changes, state = update.update(one, state, params)
            return state, jax.tree.map(jnp.add, params, changes)

        state = update.init(params)
        for one in grads:
            state, params = step(state, params, one)
        return layout.unpack(params)

    found = moved(recipe, layout.runs({"a": 3.0, "c": 0.0}))
    tripled, plain = moved(dataclasses.replace(recipe, lr=0.3), None), moved(recipe, None)
    for node, expected in (("a", tripled), ("b", plain), ("c", TREE)):
        for name, array in found[node].items():
            np.testing.assert_allclose(array, expected[node][name], rtol=1e-5, err_msg=f"{node} {name}")


def test_runs_join_neighbors_of_one_value() -> None:
    found = Layout.of(TREE).runs({"b": 0.0, "c": 0.0})
    assert found == {"kernels": [(0, 2, 1.0), (2, 4, 0.0)], "others": [(0, 1, 1.0), (1, 3, 0.0)]}


PHASES = dataclasses.replace(
    RECIPE, epochs=4, ema=0.5, optimizer="adamw", lr=0.01, accumulate=2, freeze=("backbone",), freeze_epochs=2, lr_scale={"head": 10}
)


def trainer_of(recipe: Recipe) -> Trainer:
    return Trainer(GRAPH, DATA, recipe, 0, CLASSIFICATION, *LAYOUTS, transfer=transfer_of(recipe, GRAPH, LAYOUTS, ()))


@pytest.fixture(scope="module")
def compiled() -> Any:
    trainer = trainer_of(PHASES)
    update = trainer.optimizer(trainer.transfer.phases[0])
    return trainer, update, trainer.compile(trainer.start(START, update), START, update)


def run(compiled: Any, folder: Path | None, recipe: Recipe = PHASES, killed: int | None = None, **options: Any) -> Fit:
    trainer, update, program = compiled
    trainer = dataclasses.replace(trainer, recipe=recipe, checkpoint=Checkpoints(folder, **options) if folder else None)
    return loop.finish(trainer, program, trainer.start(START, update), killed_after(killed, []))


@pytest.fixture(scope="module")
def undisturbed(compiled: Any) -> Fit:
    return run(compiled, None)


def test_the_head_is_trained_first_then_all(compiled: Any, undisturbed: Fit) -> None:
    head_alone = run(compiled, None, dataclasses.replace(PHASES, epochs=2, schedule_epochs=4))
    for kind in ("params", "stats"):
        assert unchanged(head_alone, kind) == nodes_of(GRAPH, "backbone", "") & START[kind].keys()
        assert unchanged(undisturbed, kind) == set()


@pytest.mark.parametrize(
    "kills, options",
    [((1,), {}), ((2,), {}), ((3,), {}), ((1, 2, 3), {}), ((3,), {"every": 9, "within_s": 0.0}), ((2,), {"every": 9, "within_s": 0.0})],
)
def test_killed_ones_end_where_the_undisturbed_one_does(
    compiled: Any, undisturbed: Fit, tmp_path: Path, kills: tuple[int, ...], options: dict[str, Any]
) -> None:
    for kill in kills:
        with pytest.raises(Killed):
            run(compiled, tmp_path, killed=kill, **options)
    assert same(run(compiled, tmp_path), undisturbed)


def test_the_schedule_continues_where_the_optimizer_begins_anew() -> None:
    recipe = Recipe(epochs=4, momentum=0, weight_decay=0, warmup_epochs=0, freeze=("backbone",), freeze_epochs=2)
    trainer = trainer_of(recipe)
    params = {"kernels": jnp.zeros(1), "others": jnp.zeros(1)}
    update = trainer.optimizer(Phase(epochs=2))
    changes, _ = update.update(jax.tree.map(jnp.ones_like, params), update.init(params), params)
    rate = learning_rate(recipe, trainer.steps_per_epoch, 2 * trainer.steps_per_epoch, np)
    assert np.ravel(jax.tree.leaves(changes)) == pytest.approx(-rate)
    assert 0 < rate < recipe.lr


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"freeze": "backbone"}, "recipe.freeze: expected a list, got 'backbone'"),
        ({"freeze_epochs": 1}, "recipe.freeze_epochs: needs freeze"),
        ({"freeze": ["stem"], "freeze_epochs": 0}, r"recipe.freeze_epochs: expected at least 1 and less than 5 \(epochs\), or null, got 0"),
        ({"freeze": ["stem"], "freeze_epochs": 5}, "recipe.freeze_epochs: expected at least 1 and less than 5"),
        ({"lr_scale": {"head": -1}}, "recipe.lr_scale.head: expected 0 or more, got -1"),
        ({"lr_scale": {"head": True}}, "recipe.lr_scale.head: expected a number, got true"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Recipe, settings, "recipe")


def test_a_recipe_in_python_takes_no_text_for_a_list() -> None:
    with pytest.raises(ValueError, match=r"^freeze: expected a list of parts, such as \[backbone\], got 'head'"):
        Recipe(freeze="head")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings, fresh, message",
    [
        ({"freeze": ("backbone",)}, None, "recipe.freeze: stem/conv, stem/norm, .* would stay at initial values"),
        ({"freeze": ("stem", "head")}, ("head/logits",), "recipe.freeze: head/logits would stay at initial values"),
        ({"freeze": ("stages.1",)}, (), "recipe.freeze: no part 'stages.1'; did you mean stages.0"),
        ({"freeze": ("backbone", "head")}, (), "recipe.freeze: nothing is left to train"),
        ({"lr_scale": {"hed": 2.0}}, (), "recipe.lr_scale: no part 'hed'; did you mean head"),
        ({"lr_scale": {"head/dropout": 2.0}}, (), "recipe.lr_scale.head/dropout: has no weights to train"),
        ({"fixed_norms": True}, None, "recipe.fixed_norms: all batch norms start from initial values; leave it out"),
        ({"freeze": ("backbone",), "lr_scale": {"stem": 2.0}}, (), "recipe.lr_scale.stem: has no effect, it is frozen all the time"),
    ],
)
def test_parts_that_cannot_be_are_refused(settings: dict[str, Any], fresh: tuple[str, ...] | None, message: str) -> None:
    recipe = Recipe(**settings)
    with pytest.raises(ValueError, match=message):
        check_parts(recipe, GRAPH, fresh)
    with pytest.raises(ValueError, match=message):
        fit(SMALL, DATA, recipe, 0, variables=None if fresh is None else START, fresh=fresh or ())


def test_a_rate_of_what_is_frozen_at_first_has_an_effect() -> None:
    frozen, factors = check_parts(Recipe(freeze=("stem",), freeze_epochs=1, lr_scale={"stem": 0.1}), GRAPH, ())
    assert frozen == factors.keys() == nodes_of(GRAPH, "stem", "")


PARTS = [({"freeze": ("backbone",)}, "recipe.freeze"), ({"lr_scale": {"head": 10.0}}, "recipe.lr_scale"),
         ({"fixed_norms": True}, "recipe.fixed_norms")]  # fmt: skip


@pytest.mark.parametrize("settings, key", PARTS, ids=["freeze", "lr_scale", "fixed_norms"])
def test_other_compilations_and_their_evaluators_refuse_parts(settings: dict[str, Any], key: str) -> None:
    recipe = Recipe(**settings)
    with pytest.raises(ValueError, match=f"{key}: layer-wise compilation trains all parts alike; take evaluator=scratch"):
        Layerwise(DATA, recipe, CLASSIFICATION)
    with pytest.raises(ValueError, match=f"{key}: the program of a space trains all parts alike"):
        compile_space(Space.from_dict(SPACE, "small").fit(6, 1, 3), DATA, recipe)
    for name in ("layerwise", "switched"):
        with pytest.raises(ValueError, match=f"{key}: evaluator={name} trains all parts of a network alike"):
            evaluator_settings({"name": name}).capabilities.check_recipe(recipe, name)
    evaluator_settings({"name": "scratch"}).capabilities.check_recipe(recipe, "scratch")


@pytest.mark.parametrize(
    "part, head, error", [("backbone", {}, ""), ("head", {"norm_first": True}, "head/norm would stay at initial values")]
)
def test_a_candidate_with_inherited_weights_freezes_them(part: str, head: dict[str, Any], error: str, tmp_path: Path) -> None:
    """As NetAdapt trains a proposal; a layer that the parent has not was never trained."""
    recipe = json.loads(json.dumps(dataclasses.asdict(dataclasses.replace(ONCE, freeze=(part,)))))
    save_weights(tmp_path / "parent.npz", START)
    child = dataclasses.replace(SMALL, head=SMALL.head.replace(**head))
    evaluator = evaluator_settings({"name": "scratch"}).make(Context({"recipe": recipe}, tmp_path, loaded=DATA))
    data = {"parent": SMALL.to_dict(), "weights": str(tmp_path / "parent.npz")}
    (found,) = evaluator([Job(0, "train", child.to_dict(), arch_id(child), data=data)], lambda *_: None)
    assert found.outcome == ("error" if error else "ok"), found.error
    assert error in found.error
    if not error:
        kept = load_weights(tmp_path / "checkpoints" / "trial-000000.npz")
        for kind in ("params", "stats"):
            for node in nodes_of(GRAPH, part, "") & START[kind].keys():
                assert all(a.tobytes() == START[kind][node][name].tobytes() for name, a in kept[kind][node].items()), node
