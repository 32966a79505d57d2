"""What stays the same during a training: its pure step, its compiled programs, its batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nas.arch.graph import Graph, Node
from nas.data.dataset import Dataset, Split
from nas.nn.network import Outputs, Stats, apply
from nas.nn.ops import Array, Implementation
from nas.nn.weights import AnyArray, Arrays, HostVariables, Variables
from nas.recipe import Augment, Recipe
from nas.records import JSON
from nas.tasks import MetricState, Mixed, Task, training_loss
from nas.train.checkpoint import Checkpoints, identity_of
from nas.train.distill import Teacher, compared, with_features
from nas.train.features import Features
from nas.train.feed import DeviceFeed, Feed, HostFeed, steps_of_dispatch
from nas.train.optim import Packing, Tree, averaged, learning_rate, mix, norm_decay, optimizer
from nas.train.parallel import ALONE, DeviceMesh
from nas.train.precision import with_dtype
from nas.train.resident import can_reside
from nas.train.score import (
    Score,
    batch_shapes,
    compile_score,
    normalized,
    resized,
    run_score,
    run_whole_score,
    score_function,
    whole_score,
    whole_split,
)
from nas.train.state import State, Step
from nas.train.transfer import ALL_ALIKE, Phase, Transfer

NOTHING = Augment(crop_padding=0, flip=False)

LOSS = "loss"  # under which parameters hold what the task's loss alone trains; no node of a network is called so


@dataclass(frozen=True)
class Trainer:
    """Everything that stays the same during a training.

    dispatch: steps a dispatch, on images that lie on the device; 0: the host makes each batch. implementation: of
    convolutions, as `nas.nn.ops` has it, where one device trains. recipe: `dtype: auto` becomes that of the backend. transfer: what is
    frozen, how fast the rest moves, and what had been trained. features: in place of images while the layers before them are frozen.
    """

    graph: Graph
    dataset: Dataset
    recipe: Recipe
    seed: int
    task: Task
    params: Packing
    stats: Packing
    checkpoint: Checkpoints | None = None
    mesh: DeviceMesh = ALONE
    teacher: Teacher | None = None
    dispatch: int = 0
    implementation: Implementation = "auto"
    transfer: Transfer = ALL_ALIKE
    features: Features | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "recipe", with_dtype(self.recipe))

    def dispatching(self, steps: int | None) -> Self:
        """The same with so many steps a dispatch; None: what suits the platform."""
        if steps is None:
            alone = self.mesh.size == 1 and can_reside(self.dataset, self.recipe, self.task)
            steps = steps_of_dispatch(self.graph, self.rows, self.steps_per_epoch) if alone else 0
        return replace(self, dispatch=steps)

    @property
    def feed(self) -> Feed:
        return self.feed_in(self.transfer.phases[0])

    def feed_of(self, epoch: int) -> Feed:
        """That of an epoch, counted from 1."""
        return self.feed_in([phase for phase in self.transfer.phases if phase.epochs < epoch][-1])

    def feed_in(self, phase: Phase) -> Feed:
        kept = self._features(phase)
        if self.dispatch:
            split, augmented = (kept.split, NOTHING) if kept else (self.dataset.train, self.recipe.augment)
            return DeviceFeed(split, self.rows, self.order, self.dispatch, augmented, self.fill)
        images, targets = batch_shapes(self.task, self.dataset, self.rows, self.mesh.shared())
        if kept:
            shapes = kept.shape(self.rows), targets
            return HostFeed((), self.rows, self.order, lambda epoch, number, rows: kept.batch(rows), shapes)
        return HostFeed(self.dataset.train.images, self.rows, self.order, self._placed, (images, targets))

    def _features(self, phase: Phase) -> Features | None:
        return self.features if phase.frozen else None

    @property
    def fill(self) -> list[int]:
        """What cutout leaves: the mean of the training images, a channel."""
        return [round(255 * mean) for mean in self.dataset.mean]

    @property
    def rows(self) -> int:
        """Images a step; a multiple of the devices that share them. Raises ValueError where there are fewer images."""
        rows = min(self.recipe.batch, len(self.dataset.train))
        if rows < self.mesh.size:
            raise ValueError(f"recipe.batch: {rows} images are too few for {self.mesh.size} devices that share them")
        return rows // self.mesh.size * self.mesh.size

    @property
    def steps_per_epoch(self) -> int:
        return len(self.dataset.train) // self.rows

    @property
    def valid_rows(self) -> int:
        return min(self.recipe.batch, len(self.dataset.valid))

    def optimizer(self, phase: Phase) -> optax.GradientTransformation:
        """That of a phase, whose learning rates are those of its epochs."""
        return optimizer(self.recipe, self.steps_per_epoch, self.transfer.scales, phase.epochs * self.steps_per_epoch)

    def start(self, variables: Variables, update: optax.GradientTransformation) -> State:
        params, stats = self.params.pack(variables["params"], np), self.stats.pack(variables["stats"], np)
        key = jax.random.key(np.random.SeedSequence([self.seed, 1]).generate_state(1)[0])
        ema = (params, stats) if self.recipe.ema else ()
        state = State(params, stats, update.init(params), ema, np.int32(0), key)
        copied = jax.tree.map(lambda a: jnp.array(a, copy=True), state)  # a step takes its buffers over
        return self.mesh.replicated(copied)

    def restarted(self, state: State, phase: Phase) -> State:
        """A state with which a phase begins: its optimizer knows of nothing before."""
        empty = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), state.params)
        opt = jax.tree.map(lambda a: jnp.array(a, copy=True), self.optimizer(phase).init(empty))
        return state._replace(opt=self.mesh.replicated(opt))

    def step(
        self, update: optax.GradientTransformation, phase: Phase | None = None
    ) -> Callable[..., tuple[State, Array]]:
        """(state, images (n, h, w, c) uint8, targets, with a teacher its variables) -> (state, loss); pure."""
        phase = phase or self.transfer.phases[0]
        kept = self._features(phase)
        graph, recipe, task, dataset, teacher = self.graph, self.recipe, self.task, self.dataset, self.teacher
        momentum, trained, matched = self.momentum(), self.trained(), bool(teacher and recipe.match_features)
        graph = with_features(graph) if matched else graph
        # XLA cannot distribute our own machine code among devices
        implementation: Implementation = self.implementation if self.mesh.size == 1 else "portable"

        def loss_of(
            tree: Arrays, batch: Mixed, key: Array, taught: Outputs | None, stats: Arrays
        ) -> tuple[Array, Stats]:
            tree = {node: jax.lax.stop_gradient(own) if node in phase.frozen else own for node, own in tree.items()}
            seen = batch.images if kept else resized(batch.images, graph)
            outputs, batch_stats = apply(
                graph, tree, stats, seen, train=True, rng=key, dtype=jnp.dtype(recipe.dtype), momentum=0,
                implementation=implementation, frozen=phase.as_evaluated, start=kept.node if kept else 0,
            )  # fmt: skip
            own, distances = cast("Mapping[str, Array]", tree.get(LOSS, {})), None
            if matched and taught is not None:
                outputs, taught, distances = compared(outputs, taught)
            losses = training_loss(task.with_arrays(own), recipe, outputs, batch)
            losses = losses if taught is None else task.distill(outputs, taught, losses, recipe)
            return (losses if distances is None else losses + recipe.match_features * distances).mean(), batch_stats

        def step(state: State, images: Array, targets: Array, known: Variables | None = None) -> tuple[State, Array]:
            key = jax.random.fold_in(state.key, state.step)
            batch = Mixed(images, targets) if kept else task.mix(recipe, normalized(images, dataset), targets, key)
            taught = None
            if teacher and known is not None:
                taught = teacher.outputs(known, batch.images, dataset, recipe.dtype, implementation, matched)
            gradient = jax.value_and_grad(loss_of, has_aux=True)
            moving = self.stats.unpack(state.stats) if phase.as_evaluated else {}
            (loss, batch_stats), grads = gradient(self.params.unpack(state.params), batch, key, taught, moving)
            updates, opt = update.update(self.params.pack(grads), state.opt, state.params)
            params, count = optax.apply_updates(state.params, updates), state.step + 1
            decay = norm_decay(recipe, momentum, count, trained)
            stats = jax.tree.map(mix, state.stats, self.stats.pack(batch_stats), decay)
            params, stats = phase.held((state.params, state.stats), (params, stats))
            ema = state.ema
            if ema:
                own = count - phase.epochs * self.steps_per_epoch
                ema = phase.held((ema[0], ema[1]), averaged(recipe, ema, (params, stats), count, own))
            return State(params, stats, opt, ema, count, state.key), loss

        return step

    def momentum(self) -> Tree:
        """Each batch statistic's momentum, packed as the statistics are."""
        return self._of_norms(lambda node: node.attr["momentum"])

    def trained(self) -> Tree:
        """1 for the batch statistics that had been trained, 0 for those at initial values, packed as they are."""
        return self._of_norms(lambda node: node.name in self.transfer.trained)

    def _of_norms(self, value: Callable[[Node], float]) -> Tree:
        norms = [node for node in self.graph.nodes if node.op == "norm"]
        full = {node.name: np.full(node.shape[2], value(node), np.float32) for node in norms}
        return self.stats.pack({name: {"mean": array, "var": array} for name, array in full.items()}, np)

    def compile(self, state: State, variables: Variables, update: optax.GradientTransformation) -> Program:
        start = time.perf_counter()
        first, *later = self.transfer.phases
        step, memory = self._compile_step(state, update, first)
        unfrozen = None
        for phase in later:
            other, more = self._compile_step(state, self.optimizer(phase), phase)
            unfrozen = Unfrozen(phase.epochs, partial(self.restarted, phase=phase), other)
            memory = None if memory is None or more is None else max(memory, more)
        score = self._compile_score(state, variables)
        return Program(step, score, time.perf_counter() - start, memory, unfrozen)

    def _compile_step(
        self, state: State, update: optax.GradientTransformation, phase: Phase
    ) -> tuple[Step, int | None]:
        """(the step of a phase, bytes that it holds)."""
        feed = self.feed_in(phase)
        known = [self.mesh.replicated(jax.device_put(self.teacher.variables))] if self.teacher else []
        jitted = jax.jit(feed.wrap(self.step(update, phase)), donate_argnums=0, out_shardings=self.mesh.everywhere())
        compiled = jitted.lower(state, *feed.shapes(), *known).compile()

        def step(state: State, *batch: AnyArray) -> tuple[State, Array]:
            return compiled(state, *batch, *known)

        return step, memory_bytes(compiled)

    def _compile_score(self, state: State, variables: Variables) -> Score:
        if not self.dispatch:
            return compile_score(self.graph, variables, self.dataset, self.valid_rows, self.recipe.dtype, self.task)
        score = score_function(self.graph, self.dataset, self.recipe.dtype, self.task)

        def scores(weights: Tree, *batches: Array) -> Mapping[str, Array]:
            params, stats = weights
            unpacked = {"params": self.params.unpack(params), "stats": self.stats.unpack(stats)}
            return whole_score(score)(unpacked, *batches)

        whole = whole_split(self.dataset.valid, self.valid_rows)
        return jax.jit(scores).lower(self.scored(state), *whole).compile()

    def score(self, score: Score, weights: Tree, split: Split) -> MetricState:
        """The metrics of a split; where images lie on the device, of the whole split in one dispatch."""
        run = run_whole_score if self.dispatch else run_score
        return run(score, weights, split, self.valid_rows, self.task.new_metrics())

    def order(self, epoch: int) -> Iterator[np.ndarray]:
        """The rows of each batch of an epoch."""
        rng = np.random.default_rng([self.seed, 0, epoch])
        return self.task.batches(self.dataset.train, self.rows, self.recipe, rng)

    def _placed(self, epoch: int, number: int, rows: np.ndarray) -> Sequence[AnyArray]:
        return self.mesh.batch(*self.batch(epoch, number, rows))

    def batch(self, epoch: int, number: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(images uint8, targets), augmented; this process' part.

        Each batch has random numbers of its own, so that an epoch can resume within it.
        """
        train, fill = self.dataset.train, self.fill
        rng, mine = np.random.default_rng([self.seed, 0, epoch, number]), self.mesh.mine(len(rows))
        images, targets = train.images[rows[mine]], train.targets[rows[mine]]
        return self.task.augment(images, targets, rng, self.recipe.augment, fill=fill, first=mine.start, of=len(rows))

    def result(self, state: State) -> HostVariables:
        """The weights and statistics to keep, as NumPy arrays."""
        packed, stats = jax.tree.map(np.array, state.ema or (state.params, state.stats))
        params = {node: arrays for node, arrays in self.params.unpack(packed).items() if node != LOSS}
        return {"params": params, "stats": self.stats.unpack(stats)}

    def scored(self, state: State) -> Tree:
        """What the compiled score takes as its weights: on the device as they are, or else unpacked."""
        return (state.ema or (state.params, state.stats)) if self.dispatch else self.result(state)

    def identity(self, state: State) -> dict[str, JSON]:
        """What a checkpoint must agree in; `state` is that before the first step."""
        digest = self.teacher.digest if self.teacher else None
        known = identity_of(self.graph.id, self.dataset, self.recipe, self.seed, state, digest)
        return known | ({"augmented on": "the device"} if self.dispatch else {})

    def figures(self, state: State) -> dict[str, float]:
        """What a state adds to the figures of the epoch that ended with it."""
        return {}

    def progress(self, step: int, losses: list[float]) -> dict[str, float]:
        rate = learning_rate(self.recipe, self.steps_per_epoch, step - 1, np)
        return {"step": step, "train_loss": math.fsum(losses) / len(losses), "lr": float(rate)}


class Unfrozen(NamedTuple):
    """What follows where `recipe.freeze` holds for a number of epochs: the state that it begins with, and its step."""

    epochs: int
    begin: Callable[[State], State]
    step: Step


@dataclass(frozen=True)
class Program:
    """Compiled functions of one training; of `compile_s` nobody waited for `hidden_s`."""

    step: Step
    score: Score
    compile_s: float
    peak_memory_bytes: int | None
    unfrozen: Unfrozen | None = None
    hidden_s: float = 0.0


def memory_bytes(compiled: jax.stages.Compiled) -> int | None:
    counted = compiled.memory_analysis()
    if counted is None:
        return None
    sizes = counted.temp_size_in_bytes, counted.argument_size_in_bytes, counted.output_size_in_bytes
    return sum(sizes) - counted.alias_size_in_bytes
