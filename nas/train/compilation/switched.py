"""Training any candidate of a space in one compiled program: which blocks stand where is an input of the step.

    program = compile_space(space, dataset, recipe)              # minutes saved: once a space, not once a candidate
    fitted = program.fit(space.decode(genome), seed=0)           # what `fit` gives, without compiling

A switch chooses the blocks of every position (`nas.train.compilation.switched_plan`); only what is chosen runs, forward and
backward. Parameters, optimizer state and statistics are packed vectors as large as the largest candidate; what a candidate
does not use stays zero. Initial weights, order of images, augmentation and dropout are those of `fit`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.typing import DTypeLike

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import Node
from nas.data.dataset import Dataset
from nas.nn.network import RANDOM, init
from nas.nn.network import run as run_nodes
from nas.nn.ops import Array
from nas.nn.weights import AnyArray
from nas.recipe import Recipe
from nas.space import Space
from nas.tasks import Task, check_fit, check_own, check_recipe, task_of, training_loss
from nas.train.checkpoint import Checkpoints
from nas.train.compilation.switch import Branch, switch
from nas.train.compilation.switched_pieces import PARTS, Group, Piece, Step
from nas.train.compilation.switched_plan import Choice, PositionPlan, SpacePlan, plan_space
from nas.train.loop import Fit, Report, finish, silent
from nas.train.optim import Packed, Tree, averaged, mix, norm_decay, optimizer
from nas.train.precision import with_dtype
from nas.train.score import batch_shapes, normalized, prepare, resized, valid_shape, whole_score, whole_split
from nas.train.state import State
from nas.train.trainer import Program, Trainer, memory_bytes
from nas.train.transfer import refuse_transfer

Inputs: TypeAlias = Mapping[str, Tree]  # the candidate: groups, variants, folds, rates, momentum
Areas = dict[str, Array]  # a position's, group's or step's part of the packed kernels, other parameters and statistics


@dataclass(frozen=True)
class Mode:
    """How a forward pass runs; everything here is static."""

    train: bool
    dtype: DTypeLike


def forward(
    plan: SpacePlan, areas: Sequence[Areas], inputs: Inputs, images: Array, key: Array | None, mode: Mode
) -> tuple[Array, Array]:
    """(logits (n, classes) float32, packed batch statistics) of the candidate that `inputs` (groups, variants, ..) names."""
    x, stats = images.astype(mode.dtype), []
    for s, position in enumerate(plan.positions):
        fixed = {name: inputs[name][s] for name in ("variants", "folds", "rates")} | {"key": key}
        x, own = switch(
            inputs["groups"][s], [_group(position, group, mode) for group in position.groups], (x, areas[s]), fixed
        )
        stats.append(own)
    return x.reshape(len(images), -1).astype(jnp.float32), jnp.concatenate(stats)


def _group(position: PositionPlan, group: Group, mode: Mode) -> Branch:
    def run(moving: tuple[Array, Areas], fixed: Tree) -> tuple[Array, Array]:
        first, areas = moving
        x, stats = first, []
        for i, (step, own) in enumerate(zip(group.steps, _split(areas, [s.sizes for s in group.steps]), strict=True)):
            branches = [_variant(position, step, piece, mode) for piece in step.variants]
            x, part = switch(fixed["variants"][i], branches, (first, x, own), fixed)
            stats.append(part)
        return x, _filled(stats, position.sizes["stats"])

    return run


def _split(areas: Areas, sizes: Sequence[dict[str, int]]) -> list[Areas]:
    """Neighboring parts; a split's gradient is one concatenation, where slices would each give a padded sum."""
    columns = {}
    for part in PARTS:
        expected = [one[part] for one in sizes]
        rest = areas[part].shape[0] - sum(expected)
        columns[part] = (
            lax.split(areas[part], [*expected, rest]) if sum(expected) else [areas[part][:0]] * len(expected)
        )
    return [{part: columns[part][i] for part in PARTS} for i in range(len(sizes))]


def _filled(parts: Sequence[Array], size: int) -> Array:
    """The parts side by side, zeros after them."""
    short = size - sum(part.shape[0] for part in parts)
    return jnp.concatenate([*parts, jnp.zeros(short, jnp.float32)])


def _variant(position: PositionPlan, step: Step, piece: Piece | None, mode: Mode) -> Branch:
    def run(moving: tuple[Array, Array, Areas], fixed: Tree) -> tuple[Array, Array]:
        first, x, areas = moving
        if piece is None:
            return x, jnp.zeros(step.sizes["stats"], jnp.float32)
        arrays = _arrays(piece, areas)

        def random(node: Node, x: Array, _: int) -> Array:
            return _random(position, node, x, fixed)

        y, new = run_nodes(piece.nodes, [first, x], arrays, arrays, train=mode.train, momentum=0, random=random)
        stats = [jnp.asarray(value) for own in new.values() for value in (own["mean"], own["var"])]
        return y, _filled(stats, step.sizes["stats"])

    return run


def _random(position: PositionPlan, node: Node, x: Array, fixed: Tree) -> Array:
    """As in the candidate's own network, where the node's number is folded into the key."""
    i = position.random.index(node.name)
    rate = node.attr.get("rate", fixed["rates"][i])
    return RANDOM[node.op](x, rate, jax.random.fold_in(fixed["key"], fixed["folds"][i]))


def _arrays(piece: Piece, areas: Areas) -> dict[str, dict[str, Array]]:
    listed = list(piece.arrays())
    parts = {part: [one for one in listed if one[0] == part] for part in PARTS}
    out: dict[str, dict[str, Array]] = {}
    for part, entries in parts.items():
        sizes = [{p: int(np.prod(shape)) if p == part else 0 for p in PARTS} for _, _, _, shape in entries]
        for (_, node, name, shape), own in zip(entries, _split(areas, sizes), strict=True):
            out.setdefault(node, {})[name] = own[part].reshape(shape)
    return out


@dataclass(frozen=True)
class SpaceTrainer(Trainer):
    """A trainer of one candidate whose packed arrays stand where the space's program has them."""

    def scored(self, state: State) -> Tree:
        return state.ema or (state.params, state.stats)


@dataclass(frozen=True, eq=False)
class SpaceProgram:
    """Compiled functions of a space. They are executables, so that clearing JAX's caches leaves them as they are."""

    plan: SpacePlan
    dataset: Dataset
    recipe: Recipe
    task: Task
    start: Callable[..., State]
    step: Callable[..., tuple[State, Array]]
    score: Callable[..., Mapping[str, Array]]
    compile_s: float
    peak_memory_bytes: int | None
    dispatch: int = 0  # steps, as `Trainer` has it

    def fit(self, arch: Arch, seed: int, report: Report = silent, checkpoint: Checkpoints | None = None) -> Fit:
        """What `nas.train.fit` gives, with `compile_s` 0. Raises ValueError where the architecture is not in the space."""
        check_fit(self.task, arch, self.dataset)
        graph = lower(arch)
        choice = self.plan.choice(arch, graph)
        trainer = SpaceTrainer(
            graph, self.dataset, self.recipe, seed, self.task, choice.params, choice.stats, checkpoint, dispatch=self.dispatch
        )
        variables = init(graph, seed)
        word = np.random.SeedSequence([seed, 1]).generate_state(1)[0]
        state = self.start(choice.params.pack(variables["params"]), choice.stats.pack(variables["stats"]), word)
        inputs = jax.device_put(_inputs(choice, trainer))

        def step(state: State, *batch: AnyArray) -> tuple[State, Array]:
            return self.step(state, *batch, inputs)

        def score(weights: Tree, *batch: AnyArray) -> Mapping[str, Array]:
            return self.score((weights, inputs), *batch)

        return finish(trainer, Program(step, score, 0.0, self.peak_memory_bytes), state, report)


def _inputs(choice: Choice, trainer: Trainer) -> dict[str, Tree]:
    names = ("groups", "variants", "folds", "rates")
    return {**{name: getattr(choice, name) for name in names}, "momentum": trainer.momentum()}


def compile_space(
    space: Space, dataset: Dataset, recipe: Recipe, task: Task | None = None, dispatch: int | None = None
) -> SpaceProgram:
    """`dispatch`: steps a dispatch, as `nas.train.fit` has it. Raises ValueError naming the gene where the space's widths are not fixed."""
    began = time.perf_counter()
    plan = plan_space(space)
    arch = space.decode(space.canonical([0] * len(space.genes)))
    task = task or task_of(arch)
    check_fit(task, arch, dataset)
    check_recipe(task, recipe)
    recipe = with_dtype(recipe)
    refuse_transfer(recipe, "the program of a space")
    task = task.weighed(recipe, dataset)
    check_own(task, arch, recipe, "switched")
    graph = lower(arch)
    choice = plan.choice(arch, graph)
    trainer = SpaceTrainer(graph, dataset, recipe, 0, task, choice.params, choice.stats).dispatching(dispatch)
    update = optimizer(recipe, trainer.steps_per_epoch)
    functions = _Functions(plan, trainer, update)
    inputs = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, _inputs(choice, trainer)))
    zeros = choice.params.empty(), choice.stats.empty()
    start = jax.jit(functions.start).lower(*zeros, np.uint32(0)).compile()
    state = jax.eval_shape(functions.start, *zeros, np.uint32(0))
    feed, rows = trainer.feed, trainer.valid_rows
    step = jax.jit(feed.wrap(functions.step), donate_argnums=0).lower(state, *feed.shapes(), inputs).compile()
    weights = (state.params, state.stats), inputs
    if trainer.dispatch:
        score = jax.jit(whole_score(functions.score)).lower(weights, *whole_split(dataset.valid, rows)).compile()
    else:
        valid = *batch_shapes(task, dataset, rows), valid_shape(rows)
        score = jax.jit(functions.score).lower(weights, *valid).compile()
    took = time.perf_counter() - began
    return SpaceProgram(plan, dataset, recipe, task, start, step, score, took, memory_bytes(step), trainer.dispatch)


@dataclass(frozen=True, eq=False)
class _Functions:
    """The pure functions that are compiled."""

    plan: SpacePlan
    trainer: Trainer
    update: optax.GradientTransformation

    def start(self, params: Packed, stats: Packed, word: Array) -> State:
        ema = (params, stats) if self.trainer.recipe.ema else ()
        state = State(params, stats, self.update.init(params), ema, np.int32(0), jax.random.key(word))
        return jax.tree.map(lambda a: jnp.array(a, copy=True), state)

    def step(self, state: State, images: Array, targets: Array, inputs: Inputs) -> tuple[State, Array]:
        recipe, task, plan = self.trainer.recipe, self.trainer.task, self.plan
        key = jax.random.fold_in(state.key, state.step)
        pairs = task.mix(recipe, normalized(images, self.trainer.dataset), targets, key)
        x = resized(pairs.images, self.trainer.graph)

        def loss_of(areas: list[Areas]) -> tuple[Array, Array]:
            logits, batch_stats = forward(plan, areas, inputs, x, key, Mode(True, jnp.dtype(recipe.dtype)))
            return training_loss(task, recipe, logits, pairs).mean(), batch_stats

        areas = self.areas(state.params, {"others": jnp.zeros(plan.sizes["stats"], jnp.float32)})
        (loss, batch_stats), grads = jax.value_and_grad(loss_of, has_aux=True)(areas)
        packed = {part: jnp.concatenate([one[part] for one in grads]) for part in PARTS[:2]}
        updates, opt = self.update.update(packed, state.opt, state.params)
        params, count = optax.apply_updates(state.params, updates), state.step + 1
        momentum = inputs["momentum"]
        decay = norm_decay(recipe, momentum, count, jax.tree.map(lambda _: 0.0, momentum))
        new_stats = {"kernels": state.stats["kernels"], "others": batch_stats}
        stats = jax.tree.map(mix, state.stats, new_stats, decay)
        ema = averaged(recipe, state.ema, (params, stats), count) if state.ema else ()
        return State(params, stats, opt, ema, count, state.key), loss

    def score(
        self, weights: tuple[tuple[Packed, Packed], Inputs], images: Array, targets: Array, valid: Array
    ) -> Mapping[str, Array]:
        trainer, ((params, stats), inputs) = self.trainer, weights
        x = prepare(images, trainer.graph, trainer.dataset)
        mode = Mode(False, jnp.dtype(trainer.recipe.dtype))
        logits, _ = forward(self.plan, self.areas(params, stats), inputs, x, None, mode)
        return trainer.task.reduce(logits, targets, valid)

    def areas(self, params: Tree, stats: Tree) -> list[Areas]:
        whole = {"kernels": params["kernels"], "others": params["others"], "stats": stats["others"]}
        return _split(whole, [position.sizes for position in self.plan.positions])
