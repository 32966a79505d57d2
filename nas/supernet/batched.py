"""Several candidates of a space, each with weights of its own, trained side by side in one program of the masked form.

    program = compile_batched(space, dataset, recipe, size=16)     # once a space
    fits = program.fit([(space.decode(genome), seed), ...])        # a `Fit` for each, or why it failed

`vmap` maps one candidate's step over weights and descriptions of candidates: arrays have the largest shapes of the space with zeros
where a candidate has none (`nas.supernet.batched_plan`), and all that can stand at a place is computed and selected.

**What is shared.** One pipeline feeds all candidates: the order of images, their augmentation, mixup and CutMix, and the key that dropout
and stochastic depth draw with, come from the program's seed and not from those of the candidates. Initial values come from a candidate's
own seed. So each is trained as `nas.train.fit(arch, dataset, recipe, seed=<the program's>, variables=init(lower(arch), <its own>),
fresh=<all nodes>)` trains it, up to rounding, whatever stands beside it. Where the width before a dropout is a choice, its draws are
others of the same distribution. Nothing is validated before the end, so that `validate_every` has no effect and `patience` is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypeAlias

import jax
import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.data.dataset import Dataset, Split
from nas.nn.network import init
from nas.nn.ops import Array
from nas.nn.weights import AnyArray
from nas.recipe import Recipe
from nas.records import JSON
from nas.space import Genome, Space
from nas.supernet.batched_plan import BatchedPlan
from nas.supernet.batched_step import BatchedStep, Network
from nas.supernet.whole import Row
from nas.tasks import MetricState, Task, check_fit, check_own, check_recipe, task_of
from nas.train.checkpoint import Checkpoints, Progress
from nas.train.feed import steps_of_dispatch
from nas.train.loop import Diverged, Fit, check_finite, run_epochs
from nas.train.optim import Layout, Packed, Tree, optimizer
from nas.train.precision import with_dtype
from nas.train.score import Score, batch_shapes, run_score, run_whole_score, valid_shape, whole_score, whole_split
from nas.train.state import State
from nas.train.trainer import Program, Trainer, memory_bytes
from nas.train.transfer import refuse_transfer

Report: TypeAlias = Callable[[int, int, int, dict[str, float]], object]  # (which candidate, step, steps, metrics so far)
TRAIN_LOSS = "train_loss"


def silent(which: int, step: int, steps: int, metrics: dict[str, float]) -> None:
    """The default report: does nothing."""


@dataclass(frozen=True)
class BatchedTrainer(Trainer):
    """A trainer whose state holds arrays of all candidates: weights (k, n), and as statistics those of norms and what became of each.

    candidates: (genome, seed) of each.
    """

    candidates: tuple[tuple[Genome, int], ...] = ()

    def dispatching(self, steps: int | None) -> Self:
        found = super().dispatching(steps)
        if steps is None and found.dispatch:
            rows = self.rows * len(self.candidates)
            return replace(found, dispatch=steps_of_dispatch(self.graph, rows, self.steps_per_epoch))
        return found

    def scored(self, state: State) -> Tree:
        params, stats = state.ema or (state.params, state.stats["norms"])
        return params, stats

    def score(self, score: Score, weights: Tree, split: Split) -> Any:
        run = run_whole_score if self.dispatch else run_score
        return run(score, weights, split, self.valid_rows, Each.of(self.task, len(self.candidates)))

    def identity(self, state: State) -> dict[str, JSON]:
        return super().identity(state) | {"candidates": [[list(genome), seed] for genome, seed in self.candidates]}

    def figures(self, state: State) -> dict[str, float]:
        """The mean loss over the epoch of each candidate that has not failed."""
        sums, failed = (np.asarray(state.stats[name]).tolist() for name in ("sums", "failed_at"))
        return {f"{TRAIN_LOSS}/{i}": total / self.steps_per_epoch for i, total in enumerate(sums) if not failed[i]}


@dataclass(frozen=True)
class Each:
    """The metrics of each candidate."""

    states: tuple[MetricState, ...]

    @classmethod
    def of(cls, task: Task, count: int) -> Self:
        return cls(tuple(task.new_metrics() for _ in range(count)))

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        for i, state in enumerate(self.states):
            state.update({name: value[i] for name, value in part.items()}, targets)


@dataclass(frozen=True, eq=False)
class BatchedProgram:
    """Compiled functions of a space for `size` candidates. They are executables, so that clearing JAX's caches leaves them as they are."""

    plan: BatchedPlan
    trainer: BatchedTrainer
    functions: BatchedStep
    step: Callable[..., tuple[State, Array]]
    scores: Callable[..., Mapping[str, Array]]
    size: int
    compile_s: float
    peak_memory_bytes: int | None

    def fit(
        self, candidates: Sequence[tuple[Arch, int]], report: Report = silent, checkpoint: Checkpoints | None = None
    ) -> list[Fit | Diverged]:
        """Trains networks and validates them.

        Args:
            candidates: Of 1 to `size` networks, each with the seed of its initial values; a program that is not full repeats the first.
            report: Called for each candidate that has not failed, as `nas.train.fit` calls it; what it returns is not heeded.
            checkpoint: Of these candidates in this order; it resumes as `nas.train.fit` does.

        Returns:
            For each what `nas.train.fit` gives, or the error that it raises: a loss that is not finite stops one candidate alone.
            `train_s` and `peak_memory_bytes` are a candidate's part of all, and `compile_s` is 0.

        Raises:
            ValueError: An architecture is none of the space.
        """
        full = [*candidates, *[candidates[0]] * (self.size - len(candidates))]
        genomes = [self.plan.space.encode(arch) for arch, _ in full]
        seeds = [seed for _, seed in full]
        trainer = replace(self.trainer, checkpoint=checkpoint, candidates=tuple(zip(genomes, seeds, strict=True)))
        rows, used, state = self._inputs(genomes, full)

        def step(state: State, *batch: AnyArray) -> tuple[State, Array]:
            return self.step(state, *batch, rows, used)

        def score(weights: Tree, *batch: AnyArray) -> Mapping[str, Array]:
            return self.scores(weights, *batch, rows)

        def each(step: int, steps: int, metrics: dict[str, float]) -> bool:
            training = [i for i in range(len(candidates)) if "epoch" not in metrics or _loss(i) in metrics]
            for i in training:
                report(i, step, steps, _own(metrics, i))
            return not training

        ended = run_epochs(trainer, Program(step, score, 0.0, self.peak_memory_bytes), state, each)
        began = time.monotonic()
        scored = trainer.score(score, trainer.scored(ended.state), trainer.dataset.valid)
        train_s = ended.train_s + time.monotonic() - began
        kept = jax.tree.map(np.asarray, ended.state._replace(key=()))
        found = list[Fit | Diverged]()
        for i, genome in enumerate(genomes[: len(candidates)]):
            try:
                one = self._fit(trainer, ended, kept, i, genome, scored.states[i])
                found.append(replace(one, train_s=train_s / len(candidates)))
            except Diverged as error:
                found.append(error)
        return found

    def _inputs(self, genomes: Sequence[Genome], candidates: Sequence[tuple[Arch, int]]) -> tuple[Row, Packed, State]:
        """(descriptions, which weights each has, the state before the first step)."""
        rows, params, used = list[Row](), list[Packed](), list[Packed]()
        for genome, (arch, seed) in zip(genomes, candidates, strict=True):
            own = init(lower(arch), seed)["params"]
            rows.append(self.plan.row(arch, genome))
            params.append(self.plan.packed(own, genome))
            used.append({part: a > 0 for part, a in self.plan.packed(jax.tree.map(np.ones_like, own), genome).items()})
        stacked = [jax.tree.map(lambda *arrays: np.stack(arrays), *many) for many in (rows, params, used)]
        key = jax.random.key(np.random.SeedSequence([self.trainer.seed, 1]).generate_state(1)[0])
        return jax.device_put(stacked[0]), jax.device_put(stacked[2]), self.functions.start(stacked[1], key)

    def _fit(self, trainer: BatchedTrainer, ended: Progress, kept: State, i: int, genome: Genome, scored: MetricState) -> Fit:
        """What a candidate left. Raises Diverged where it failed."""
        if failed_at := int(kept.stats["failed_at"][i]):
            check_finite(float(kept.stats["failed"][i]), failed_at, "training loss")
        metrics, steps = scored.compute(), int(kept.step)
        for name, value in metrics.items():
            check_finite(value, steps, f"validation {name}")
        packed, norms = jax.tree.map(lambda a: a[i], trainer.scored(kept))
        memory, curve = self.peak_memory_bytes, [_own(entry, i) for entry in ended.curve]
        return Fit(
            self.plan.params_of(packed, genome), self.plan.stats_of(norms, genome), metrics, train_loss=curve[-1][TRAIN_LOSS],
            compile_s=0.0, train_s=ended.train_s, steps=steps, peak_memory_bytes=None if memory is None else memory // self.size,
            curve=curve, epoch=len(curve),
        )  # fmt: skip


def _loss(i: int) -> str:
    return f"{TRAIN_LOSS}/{i}"


def _own(metrics: Mapping[str, float], i: int) -> dict[str, float]:
    """Of the figures of all candidates, those of one."""
    common = {name: value for name, value in metrics.items() if "/" not in name}
    return common | ({TRAIN_LOSS: metrics[_loss(i)]} if _loss(i) in metrics else {})


def compile_batched(
    space: Space | BatchedPlan, dataset: Dataset, recipe: Recipe, size: int, *, task: Task | None = None, seed: int = 0,
    dispatch: int | None = None,
) -> BatchedProgram:  # fmt: skip
    """Compiles the program of a space.

    Args:
        space: Fitted to the dataset, or its plan.
        dataset: What is trained on and validated.
        recipe: How.
        size: Candidates side by side.
        task: That of the space's heads where none is given.
        seed: Of what all candidates have in common.
        dispatch: Steps a dispatch, as `nas.train.fit` has it.

    Raises:
        ValueError: Naming the gene for what the masked form cannot hold, or a setting of the recipe.
    """
    began = time.perf_counter()
    plan = space if isinstance(space, BatchedPlan) else BatchedPlan.of(space)
    arch = plan.space.decode(plan.space.canonical([0] * len(plan.space.genes)))
    task = task or task_of(arch)
    check_fit(task, arch, dataset)
    check_recipe(task, recipe)
    if recipe.patience:
        raise ValueError(f"recipe.patience: candidates that train side by side all train to the end; leave it at 0, got {recipe.patience}")
    refuse_transfer(recipe, "a batch of candidates")
    check_own(task, arch, recipe, "batched")
    recipe = replace(with_dtype(recipe), validate_every=0)
    task, nothing = task.weighed(recipe, dataset), Layout(())
    trainer = BatchedTrainer(lower(arch), dataset, recipe, seed, task, nothing, nothing, candidates=(((), 0),) * size).dispatching(dispatch)
    functions = BatchedStep(Network(plan, recipe, task), trainer, optimizer(recipe, trainer.steps_per_epoch))
    program = BatchedProgram(plan, trainer, functions, functions, functions.score, size, 0.0, None)
    rows, used, state = program._inputs([plan.space.encode(arch)] * size, [(arch, 0)] * size)
    feed, valid = trainer.feed, trainer.valid_rows
    step = jax.jit(feed.wrap(functions), donate_argnums=0).lower(state, *feed.shapes(), rows, used).compile()
    weights = trainer.scored(state)
    if trainer.dispatch:
        batch = whole_split(dataset.valid, valid)
        score = jax.jit(lambda weights, *batch: whole_score(partial(functions.score, rows=batch[-1]))(weights, *batch[:-1]))
        scores = score.lower(weights, *batch, rows).compile()
    else:
        shapes = *batch_shapes(task, dataset, valid), valid_shape(valid)
        scores = jax.jit(functions.score).lower(weights, *shapes, rows).compile()
    took = time.perf_counter() - began
    return replace(program, step=step, scores=scores, compile_s=took, peak_memory_bytes=memory_bytes(step))
