"""`fit`: a pure step, compiled ahead of time, run over the epochs of a recipe.

Weights, order of images, augmentation and dropout come from the seed alone: on one machine with a fixed number of threads
the result is a function of (arch, dataset, recipe, seed).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.data.dataset import Dataset, Split
from nas.nn.network import init
from nas.nn.ops import Array
from nas.nn.weights import HostArrays, HostVariables, Variables
from nas.recipe import Recipe
from nas.tasks import MetricState, Task, check_fit, check_recipe, task_of
from nas.train.ahead import Ahead
from nas.train.checkpoint import Best, Checkpoints, Progress
from nas.train.distill import Teacher, check_features
from nas.train.features import features_of
from nas.train.optim import Layout
from nas.train.parallel import ALONE, DeviceMesh
from nas.train.precision import with_dtype
from nas.train.state import State, Step
from nas.train.trainer import LOSS, Program, Trainer
from nas.train.transfer import transfer_of

IN_FLIGHT = 2  # steps given to the device ahead of the one whose loss is read
REPORT_S = 1.0

Report = Callable[[int, int, dict[str, float]], bool | None]


class Diverged(ArithmeticError):
    """A loss became NaN or infinite; `step` counts the updates until then."""

    def __init__(self, message: str, step: int):
        super().__init__(message, step)
        self.step = step

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True, eq=False)
class Fit:
    """What a training left.

    params, stats: NumPy arrays by node and name, the moving averages where the recipe has them. metrics: of the
    validation split. train_loss: mean over the last epoch. steps: updates made. peak_memory_bytes: of the compiled
    training step by XLA's own count, None where the backend gives none. curve: one dict an epoch. epoch: after which the
    weights were these, the last or the best.
    """

    params: HostArrays
    stats: HostArrays
    metrics: dict[str, float]
    train_loss: float
    compile_s: float
    train_s: float
    steps: int
    peak_memory_bytes: int | None
    curve: list[dict[str, float]]
    epoch: int
    hidden_s: float = 0.0


def silent(step: int, steps: int, metrics: dict[str, float]) -> None:
    """The default report: does nothing, and the training continues."""


def fit(arch: Arch, dataset: Dataset, recipe: Recipe, seed: int, *, report: Report = silent,
        task: Task | None = None, variables: Variables | None = None, fresh: Collection[str] = (),
        checkpoint: Checkpoints | None = None, mesh: DeviceMesh = ALONE, teacher: Teacher | None = None,
        dispatch: int | None = None, ahead: Ahead | None = None) -> Fit:  # fmt: skip
    """Trains a network and validates it; `variables` are the values to start from (None: initial values from the seed).

    `fresh`: names of the nodes whose values among `variables` were never trained, which `recipe.freeze` may not name. `task`:
    that of the architecture's head where none is given.

    With `checkpoint` it resumes where an earlier call was killed, or from a shorter training; the result is that of a call
    that was not killed, bit for bit on a CPU. `mesh`: devices, and processes, that share each batch, batch norm's statistics
    being those of the whole batch; one process writes. `teacher`: a trained network whose answers the loss follows too.
    `dispatch`: steps that one dispatch runs, on images that lie on the device; 0: the host makes every batch; None: the first
    on an accelerator where the images fit, and else the second. Both draw from the same distribution, but not the same draws.
    `ahead`: programs that were compiled while other networks trained (`compile_ahead`), of which this training takes its own.
    `report(step, steps, metrics)` is called after every epoch, then with the key `epoch`, and about once a second; True from
    it ends the training, and what was reached is validated. Raises Diverged for a loss that is NaN or infinite, ValueError
    where the architecture's, or the teacher's, channels or classes are not the dataset's, and for parts that cannot be frozen.
    """
    trainer, start, trained = _ready(
        arch, dataset, recipe, seed, task=task, variables=variables, fresh=fresh, checkpoint=checkpoint, mesh=mesh, teacher=teacher,
        dispatch=dispatch,
    )  # fmt: skip
    update = trainer.optimizer(trainer.transfer.phases[0])
    state = trainer.start(trained, update)
    program = ahead.take(_key(trainer)) if ahead else None
    return finish(trainer, program or trainer.compile(state, start, update), state, report)


def compile_ahead(ahead: Ahead, arch: Arch, dataset: Dataset, recipe: Recipe, mesh: DeviceMesh = ALONE) -> None:
    """Begins to compile, in a thread, what `fit` of a network from initial values will take from `ahead`. Returns at once."""

    trainer, start, trained = _ready(arch, dataset, recipe, 0, mesh=mesh)

    def made() -> Program:
        update = trainer.optimizer(trainer.transfer.phases[0])
        return trainer.compile(trainer.start(trained, update), start, update)

    ahead.begin(_key(trainer), made)


def _ready(
    arch: Arch, dataset: Dataset, recipe: Recipe, seed: int, *, task: Task | None = None, variables: Variables | None = None,
    fresh: Collection[str] = (), checkpoint: Checkpoints | None = None, mesh: DeviceMesh = ALONE, teacher: Teacher | None = None,
    dispatch: int | None = None,
) -> tuple[Trainer, Variables, Variables]:  # fmt: skip
    """(what trains a network, the values that it starts from, these with the loss's own). Raises as `fit` does."""
    task, recipe = task or task_of(arch), with_dtype(recipe)
    check_fit(task, arch, dataset)
    check_recipe(task, recipe, taught=teacher is not None)
    task = task.weighed(recipe, dataset)
    if teacher:
        teacher.check(dataset)
    graph = lower(arch)
    if teacher and recipe.match_features:
        check_features(teacher, arch)
    start: Variables = init(graph, seed) if variables is None else variables
    own = task.arrays(recipe, arch, seed)
    trained: Variables = {**start, "params": {**start["params"], LOSS: own}} if own else start
    layouts = Layout.of(trained["params"]), Layout.of(trained["stats"])
    transfer = transfer_of(recipe, graph, layouts, tuple(start["params"]) if variables is None else fresh)
    frozen, alone = transfer.phases[0].frozen, mesh.size == 1 and teacher is None
    features = features_of(recipe, graph, dataset, task, frozen, start) if frozen and alone else None
    trainer = Trainer(graph, dataset, recipe, seed, task, *layouts, checkpoint, mesh, teacher, transfer=transfer, features=features)
    return trainer.dispatching(dispatch), start, trained


def _key(trainer: Trainer) -> Hashable:
    """What a training's program depends on."""
    data, teacher = trainer.dataset, trainer.teacher
    images = data.digest, tuple(data.mean), tuple(data.std)
    more = trainer.mesh, trainer.dispatch, teacher and teacher.digest, trainer.features is not None, str(trainer.transfer)
    return trainer.graph.id, repr(trainer.recipe), trainer.task.name, images, more


def finish(trainer: Trainer, program: Program, state: State, report: Report) -> Fit:
    """Runs all epochs with compiled functions, from the trainer's checkpoint where there is one, and validates."""
    run = _Run(trainer, program, state, report)
    run.epochs()
    variables, metrics, epoch = run.kept()
    return Fit(variables["params"], variables["stats"], metrics, train_loss=run.now.curve[-1]["train_loss"], epoch=epoch,
               compile_s=program.compile_s, hidden_s=program.hidden_s, train_s=run.train_s, steps=int(run.now.state.step),
               peak_memory_bytes=program.peak_memory_bytes, curve=list(run.now.curve))  # fmt: skip


def run_epochs(trainer: Trainer, program: Program, state: State, report: Report) -> Progress:
    """As `finish`, but that nothing is validated: where the training ends, with its seconds."""
    run = _Run(trainer, program, state, report)
    run.epochs()
    return dataclasses.replace(run.now, train_s=run.train_s)


def stale(task: Task, curve: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether the last `patience` validations brought no better value of the task's primary metric; 0 means never."""
    seen = [entry[task.primary] for entry in curve if task.primary in entry]
    if not patience or len(seen) <= patience:
        return False
    best = max if task.metrics[task.primary] == "max" else min
    return not task.better(best(seen[-patience:]), best(seen[:-patience]))


class _Run:
    """One call of `finish`: `now` moves from the start, or from a checkpoint, to the end."""

    def __init__(self, trainer: Trainer, program: Program, state: State, report: Report):
        self._trainer, self._program, self._report = trainer, program, report
        kept, self._steps = trainer.checkpoint, trainer.recipe.epochs * trainer.steps_per_epoch
        self._began = time.monotonic()
        self._identity = trainer.identity(state) if kept else {}
        self.now = kept.restore(state, self._identity, trainer.recipe.epochs) if kept else Progress(state)
        trainer.mesh.agree((self.now.epoch, len(self.now.losses)), str(kept.folder) if kept else "")
        self._before_s, self._saved_at = self.now.train_s, time.monotonic()

    @property
    def train_s(self) -> float:
        """Seconds of this call and of those before it."""
        return self._before_s + time.monotonic() - self._began

    @property
    def _written(self) -> Checkpoints | None:
        """Where this process writes; of those that train together one does."""
        return self._trainer.checkpoint if self._trainer.mesh.leads else None

    def epochs(self) -> None:
        """To the end of the recipe, or to where `report` or the recipe's patience ends it."""
        recipe, kept = self._trainer.recipe, self._written
        if self.now.curve and self._report(int(self.now.state.step), self._steps, dict(self.now.curve[-1])):
            return
        for epoch in range(self.now.epoch + 1, recipe.epochs + 1):
            if stale(self._trainer.task, self.now.curve, recipe.patience):
                return
            stopped = self._epoch(epoch)
            if recipe.validate_every and epoch % recipe.validate_every == 0 and not stopped:
                self._validated()
            if kept and not stopped and kept.due(epoch, recipe.epochs, self._saved_at):
                self._save(kept)
            if stopped or self._report(int(self.now.state.step), self._steps, dict(self.now.curve[-1])):
                return

    def kept(self) -> tuple[HostVariables, dict[str, float], int]:
        """(weights, their validation, after which epoch they were): the last ones, or the best where the recipe has patience."""
        trainer, best, curve = self._trainer, self.now.best, self.now.curve
        names, main = trainer.task.metrics, trainer.task.primary
        metrics = {name: value for name, value in curve[-1].items() if name in names}
        metrics = metrics or _validate(trainer, self._program, self.now.state)
        if best is None or trainer.task.better(metrics[main], curve[best.epoch - 1][main]):
            return trainer.result(self.now.state), metrics, len(curve)
        return best.variables, {name: curve[best.epoch - 1][name] for name in names}, best.epoch

    def _epoch(self, epoch: int) -> bool:
        """Whether `report` ended it. A loss is read when the device is some steps further."""
        step = self._step(epoch)
        trainer, kept, state, losses = self._trainer, self._written, self.now.state, list(self.now.losses)
        before, stopped, reported_at = (epoch - 1) * trainer.steps_per_epoch, False, time.monotonic()
        pending = deque[tuple[int, Array]]()

        def settle(keep: int) -> None:
            while len(pending) > keep:
                count, loss = pending.popleft()
                for value in np.asarray(loss).reshape(-1)[:count].tolist():
                    losses.append(value)
                    check_finite(value, before + len(losses), "training loss")

        with contextlib.closing(trainer.feed_of(epoch).batches(epoch, len(losses))) as batches:
            for count, batch in batches:
                state, loss = step(state, *batch)
                pending.append((count, loss))
                settle(IN_FLIGHT)
                if kept and kept.due_within(self._saved_at):
                    settle(0)
                    if len(losses) < trainer.steps_per_epoch:
                        self._moved(state, losses=tuple(losses))
                        self._save(kept)
                if losses and time.monotonic() - reported_at > REPORT_S:
                    reported_at, done = time.monotonic(), before + len(losses)
                    if stopped := bool(self._report(done, self._steps, trainer.progress(done, losses))):
                        break
        settle(0)
        entry = {"epoch": epoch, **trainer.progress(int(state.step), losses), **trainer.figures(state)}
        self._moved(state, losses=(), curve=(*self.now.curve, entry))
        return stopped

    def _step(self, epoch: int) -> Step:
        """That of an epoch; the optimizer begins anew with the first in which nothing is frozen any more."""
        later = self._program.unfrozen
        if later is None or epoch <= later.epochs:
            return self._program.step
        if epoch == later.epochs + 1 and not self.now.losses:
            self._moved(later.begin(self.now.state))
        return later.step

    def _validated(self) -> None:
        trainer, state, curve = self._trainer, self.now.state, self.now.curve
        entry = {**curve[-1], **_validate(trainer, self._program, state)}
        curve, best = (*curve[:-1], entry), self.now.best
        main = trainer.task.primary
        if trainer.recipe.patience and (best is None or trainer.task.better(entry[main], curve[best.epoch - 1][main])):
            best = Best(len(curve), trainer.result(state))
        self._moved(state, curve=curve, best=best)

    def _moved(self, state: State, **changes: object) -> None:
        self.now = dataclasses.replace(self.now, state=state, **changes)

    def _save(self, kept: Checkpoints) -> None:
        kept.save(dataclasses.replace(self.now, train_s=self.train_s), self._identity)
        self._saved_at = time.monotonic()


def _validate(trainer: Trainer, program: Program, state: State) -> dict[str, float]:
    weights = trainer.scored(state)

    def score(split: Split) -> MetricState:
        return trainer.score(program.score, weights, split)

    metrics = trainer.mesh.metrics(trainer.dataset.valid, score, trainer.task)
    for name, value in metrics.items():
        check_finite(value, int(state.step), f"validation {name}")
    return metrics


def check_finite(value: float, step: int, what: str) -> None:
    """Raises Diverged for a value that is NaN or infinite."""
    if not math.isfinite(value):
        raise Diverged(f"the {what} is {value} after step {step}", step)
