"""Training any candidate with programs of single layers, each compiled once and kept between candidates.

    layerwise = Layerwise(dataset, recipe, task_of(arch))   # once a worker
    fitted = layerwise.fit(arch, seed=0)                    # compiles only those layers that no candidate had before

A network is cut into segments: stem, layers and head hand one tensor on, and the last gives the outputs; a head that reads earlier
feature maps is one segment with all the layers after the first of them. Each has a program forward, which also gives what its
backward pass needs; one backward, which also updates the segment's weights; and one for scoring. Segments that compute the same on
the same shapes share them wherever they stand. Widths may be choices: nothing is switched, masked or computed twice.
The steps are those of `fit` but for rounding; initial weights, order of images, augmentation and dropout are the same.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import Graph, Node
from nas.data.dataset import Dataset
from nas.nn.network import RANDOM, Random, init, output_of, values_of
from nas.nn.ops import Array
from nas.nn.weights import AnyArray, HostVariables, Variables
from nas.recipe import Recipe
from nas.tasks import Mixed, Task, check_fit, check_own, check_recipe, training_loss
from nas.train.checkpoint import Checkpoints
from nas.train.compilation.segments import Segment, SegmentedGraph, SegmentLayouts, cut
from nas.train.loop import Fit, Report, finish, silent
from nas.train.optim import Packed, Tree, averaged, mix, norm_decay, optimizer
from nas.train.precision import with_dtype
from nas.train.score import Score, batch_shapes, normalized, prepare, resized, valid_shape
from nas.train.state import State, Step
from nas.train.trainer import Program, Trainer, memory_bytes
from nas.train.transfer import Transfer, refuse_transfer, trained_norms

Outputs: TypeAlias = Array | Mapping[str, Array]
Draws: TypeAlias = tuple[Tree, Tree]  # (number, rate) of each node that needs random numbers
Own: TypeAlias = tuple[Tree, Tree, Tree, Tree]  # a segment's parameters, statistics, optimizer, moving average
Pull: TypeAlias = Callable[[Array], tuple[Packed, Array]]  # gradient of the output -> of the parameters and of the input
Executable: TypeAlias = jax.stages.Compiled
Compiled: TypeAlias = tuple[Executable, Tree]  # with the shapes of its results
KEPT = 1000  # programs of a worker; those not used for longest go first


@dataclass(frozen=True)
class LayerwiseTrainer(Trainer):
    """A trainer whose state holds a tuple, an entry a segment, where others hold one packed vector."""

    def result(self, state: State) -> HostVariables:
        pairs = state.ema or tuple(zip(state.params, state.stats, strict=True))
        arrays = jax.tree.map(np.array, pairs)
        params, stats = tuple(one[0] for one in arrays), tuple(one[1] for one in arrays)
        return {"params": self.params.unpack(params), "stats": self.stats.unpack(stats)}

    def scored(self, state: State) -> Tree:
        return state.ema or tuple(zip(state.params, state.stats, strict=True))


@dataclass(frozen=True, eq=False)
class Functions:
    """The pure functions of a segment that are compiled."""

    segment: Segment
    dataset: Dataset
    recipe: Recipe
    task: Task
    update: optax.GradientTransformation

    def _run(self, packed: Packed, x: Array, key: Array, step: Array, random: Draws) -> tuple[Outputs, Packed]:
        folded, places = jax.random.fold_in(key, step), [n.name for n in self.segment.nodes if n.op in RANDOM]

        def draw(node: Node, x: Array, _: int) -> Array:
            number, rate = (column[places.index(node.name)] for column in random)
            return RANDOM[node.op](x, rate, jax.random.fold_in(folded, number))

        tree = self.segment.params.unpack(packed)
        y, stats = self._given(x, tree, {}, True, draw)
        return y, self.segment.stats.pack(stats)

    def _given(self, x: Array, params: Tree, stats: Tree, train: bool, random: Random) -> tuple[Outputs, Tree]:
        """(what the segment hands on, or of the last one the outputs of the network; statistics of its norms)."""
        nodes, named = self.segment.nodes, dict(self.segment.outputs)
        ends = (*named.values(),) or ((len(nodes),) if self.segment.last else ())
        values, found = values_of(
            nodes, [x], params, stats, train=train, momentum=0 if train else None, random=random, implementation="auto", outputs=ends
        )
        if not self.segment.last:
            return values[-1], found
        outputs = {name: output_of(nodes[i - 1], values[i]) for name, i in named.items()}
        return outputs or output_of(nodes[-1], values[-1]), found

    def start(self, params: Packed, stats: Packed) -> Own:
        """The segment's own arrays before the first step."""
        copied = jax.tree.map(lambda a: jnp.array(a, copy=True), (params, stats))
        return params, stats, self.update.init(params), copied if self.recipe.ema else ()

    def forward(self, packed: Packed, x: Array, key: Array, step: Array, random: Draws) -> tuple[Outputs, Packed, Pull]:
        """(output, batch statistics, the backward pass as a tree of what it needs)."""
        y, pull, stats = jax.vjp(lambda p, x: self._run(p, x, key, step, random), packed, x, has_aux=True)
        return y, stats, pull

    def backward(self, pull: Pull, g: Array, own: Own, batch_stats: Packed, step: Array, trained: Packed) -> tuple[Array, Own]:
        """(gradient of the input, own parameters, statistics, optimizer and moving average after the step)."""
        grads, dx = pull(g)
        return (jnp.zeros(()) if self.segment.first else dx), self._updated(grads, own, batch_stats, step, trained)

    def end(
        self, own: Own, pairs: Mixed, x: Array, key: Array, step: Array, random: Draws, trained: Packed
    ) -> tuple[Array, Array, Own]:
        """The last segment both ways: (loss, gradient of its input, own arrays after the step)."""

        def loss_of(packed: Packed, x: Array) -> tuple[Array, Packed]:
            outputs, stats = self._run(packed, x, key, step, random)
            return training_loss(self.task, self.recipe, outputs, pairs).mean(), stats

        (loss, stats), (grads, dx) = jax.value_and_grad(loss_of, (0, 1), has_aux=True)(own[0], x)
        return loss, dx, self._updated(grads, own, stats, step, trained)

    def _updated(self, grads: Packed, own: Own, batch_stats: Packed, step: Array, trained: Packed) -> Own:
        params, stats, opt, ema = own
        updates, opt = self.update.update(grads, opt, params)
        params, count, recipe = optax.apply_updates(params, updates), step + 1, self.recipe
        decay = norm_decay(recipe, self.segment.momentum, count, trained)
        stats = jax.tree.map(mix, stats, batch_stats, decay)
        ema = averaged(recipe, ema, (params, stats), count) if recipe.ema else ()
        return params, stats, opt, ema

    def score(self, own: tuple[Packed, Packed], x: Array) -> Outputs:
        params, stats = own
        tree, moving = self.segment.params.unpack(params), self.segment.stats.unpack(stats)
        return self._given(x, tree, moving, False, _never)[0]

    def metrics(self, own: tuple[Packed, Packed], x: Array, targets: Array, valid: Array) -> Mapping[str, Array]:
        return self.task.reduce(self.score(own, x), targets, valid)


@dataclass(frozen=True, eq=False)
class Batches:
    """From stored images to what the first segment takes."""

    graph: Graph
    dataset: Dataset
    recipe: Recipe
    task: Task

    def seen(self, images: Array) -> Array:
        return prepare(images, self.graph, self.dataset).astype(jnp.dtype(self.recipe.dtype))

    def mixed(self, images: Array, targets: Array, key: Array, step: Array) -> tuple[Array, Mixed]:
        """(images for the first segment, targets for the last)."""
        pairs = self.task.mix(self.recipe, normalized(images, self.dataset), targets, jax.random.fold_in(key, step))
        inputs = resized(pairs.images, self.graph)
        return inputs.astype(jnp.dtype(self.recipe.dtype)), pairs._replace(images=jnp.zeros(()))


def _never(node: Node, x: Array, index: int) -> Array:
    raise AssertionError(f"{node.name}: no random numbers outside training")


class Layerwise:
    """The compiled programs of a worker. They are executables, so that clearing JAX's caches leaves them as they are."""

    def __init__(self, dataset: Dataset, recipe: Recipe, task: Task):
        check_recipe(task, recipe)
        refuse_transfer(recipe, "layer-wise compilation")
        recipe = with_dtype(recipe)
        self._dataset, self._recipe, self._task = dataset, recipe, task.weighed(recipe, dataset)
        self._programs: OrderedDict[Hashable, Compiled] = OrderedDict()
        self.traces = 0

    def fit(self, arch: Arch, seed: int, report: Report = silent, checkpoint: Checkpoints | None = None,
            variables: Variables | None = None, fresh: Collection[str] = (), epochs: int | None = None) -> Fit:  # fmt: skip
        """What `nas.train.fit` gives; `compile_s` counts the segments that are new. `epochs`: how many, if not the recipe's."""
        task = self._task.of(arch)  # candidates may differ in what their outputs mean, as by default boxes
        check_fit(task, arch, self._dataset)
        check_own(task, arch, self._recipe, "layerwise")
        graph = lower(arch)
        segmented = cut(graph)
        layouts = SegmentLayouts.of(segmented, "params"), SegmentLayouts.of(segmented, "stats")
        recipe = self._recipe
        if epochs is not None:
            recipe = replace(recipe, epochs=epochs, schedule_epochs=recipe.horizon)
        transfer = Transfer(trained=frozenset() if variables is None else trained_norms(graph, fresh))
        trainer = LayerwiseTrainer(graph, self._dataset, recipe, seed, task, *layouts, checkpoint, transfer=transfer)
        update = optimizer(self._recipe, trainer.steps_per_epoch)
        began = time.perf_counter()
        state = self._start(segmented, trainer, init(graph, seed) if variables is None else variables, update)
        step, score, held = self._compile(segmented, trainer, state, update)
        program = Program(step, score, time.perf_counter() - began, held)
        return finish(trainer, program, state, report)

    def _functions(self, segment: Segment, task: Task, update: optax.GradientTransformation) -> Functions:
        return Functions(segment, self._dataset, self._recipe, task, update)

    def _start(self, segmented: SegmentedGraph, trainer: Trainer, variables: Variables, update: optax.GradientTransformation) -> State:
        packed = zip(
            trainer.params.pack(variables["params"], np), trainer.stats.pack(variables["stats"], np), strict=True
        )
        owns = [
            self._program((segment, "start"), self._functions(segment, trainer.task, update).start, own)[0](*own)
            for segment, own in zip(segmented.segments, packed, strict=True)
        ]
        params, stats, opt, ema = _columns(owns)
        key = jax.random.key(np.random.SeedSequence([trainer.seed, 1]).generate_state(1)[0])
        return State(params, stats, opt, ema if self._recipe.ema else (), np.int32(0), key)

    def _program(
        self, key: Hashable, function: Callable[..., Tree], args: Sequence[Tree], donate: tuple[int, ...] = ()
    ) -> Compiled:
        """(executable, shapes of its results), compiled where no equal segment was before."""
        if key not in self._programs:
            self.traces += 1
            lowered = jax.jit(function, donate_argnums=donate).lower(*args)
            self._programs[key] = lowered.compile(), lowered.out_info
            while len(self._programs) > KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]

    def _compile(
        self, segmented: SegmentedGraph, trainer: Trainer, state: State, update: optax.GradientTransformation
    ) -> tuple[Step, Score, int | None]:
        """(step, score, bytes held at once: weights, what the backward pass needs, and the largest program's own)."""
        count, key = jax.ShapeDtypeStruct((), jnp.int32), _shapes(state.key)
        shapes = [batch_shapes(trainer.task, self._dataset, rows) for rows in (trainer.rows, trainer.valid_rows)]
        images, targets = zip(*shapes, strict=True)
        size, batches = segmented.segments[0].in_shape, Batches(trainer.graph, self._dataset, self._recipe, trainer.task)
        mix_in, (x, pairs) = self._program((size, "mixed"), batches.mixed, (images[0], targets[0], key, count))
        see, seen = self._program((size, "seen"), batches.seen, (images[1],))
        x, pairs, seen = _shapes((x, pairs, seen))
        ways, held, largest, trained = [], 0, 0, jax.device_put(trainer.trained())
        for i, segment in enumerate(segmented.segments):
            functions = self._functions(segment, trainer.task, update)
            own, random = _shapes(_own(state, i)), _shapes(_random(segmented.random[i]))
            held += _bytes(own)
            if segment.last:
                args = own, pairs, x, key, count, random, trained[i]
                way = [self._program((segment, "end"), functions.end, args, (0,))[0]]
                score = self._program(
                    (segment, "metrics"),
                    functions.metrics,
                    (own[:2], seen, targets[1], valid_shape(trainer.valid_rows)),
                )[0]
            else:
                forward, (y, stats, pull) = self._program(
                    (segment, "forward"), functions.forward, (own[0], x, key, count, random)
                )
                y, stats, pull = _shapes((y, stats, pull))
                backward = self._program((segment, "backward"), functions.backward, (pull, y, own, stats, count, trained[i]), (2,))[
                    0
                ]
                way, held, x = [forward, backward], held + _bytes((y, pull)), y
                score, seen = self._program((segment, "score"), functions.score, (own[:2], seen))
                seen = _shapes(seen)
            largest = max([largest, *(memory_bytes(one) or 0 for one in way)])
            ways.append((way, score, _random(segmented.random[i]), trained[i]))
        return _step(mix_in, ways), _score(see, [score for _, score, *_ in ways]), held + largest


def _own(state: State, i: int) -> Own:
    return state.params[i], state.stats[i], state.opt[i], state.ema[i] if state.ema else ()


def _columns(owns: Sequence[Own]) -> list[Tree]:
    return [tuple(column) for column in zip(*owns, strict=True)]


def _random(places: Sequence[tuple[int, float]]) -> Draws:
    numbers, rates = zip(*places, strict=True) if places else ((), ())
    return np.array(numbers, np.int32), np.array(rates, np.float32)


def _shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def _bytes(tree: Tree) -> int:
    sizes = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.number)]
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in sizes)


def _step(mix_in: Executable, ways: Sequence[tuple[list[Executable], Executable, Draws, Packed]]) -> Step:
    def step(state: State, images: AnyArray, targets: AnyArray) -> tuple[State, Array]:
        key, count = state.key, np.int32(state.step)
        x, pairs = mix_in(images, targets, key, count)
        saved, after = [], []
        for i, ((forward, *_), _, random, _) in enumerate(ways[:-1]):
            x, stats, pull = forward(state.params[i], x, key, count, random)
            saved.append((stats, pull))
        (end,), _, random, trained = ways[-1]
        loss, g, own = end(_own(state, len(ways) - 1), pairs, x, key, count, random, trained)
        after.append(own)
        for i in reversed(range(len(saved))):
            stats, pull = saved.pop()
            g, own = ways[i][0][1](pull, g, _own(state, i), stats, count, ways[i][3])
            del pull
            after.append(own)
        params, stats, opt, ema = _columns(after[::-1])
        return State(params, stats, opt, ema if state.ema else (), np.int32(count + 1), key), loss

    return step


def _score(see: Executable, programs: Sequence[Executable]) -> Score:
    def score(weights: Tree, images: AnyArray, targets: AnyArray, valid: AnyArray) -> Mapping[str, Array]:
        x = see(images)
        for own, program in zip(weights[:-1], programs, strict=False):
            x = program(own, x)
        return programs[-1](weights[-1], x, targets, valid)

    return score
