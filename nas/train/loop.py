"""`fit`: a pure step, compiled ahead of time, run over the epochs of a recipe.

Weights, order of images, augmentation and dropout come from the seed alone: on one machine with a fixed number of threads
the result is a function of (arch, dataset, recipe, seed).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.arch import Arch
from nas.blocks import lower
from nas.data.dataset import Dataset
from nas.network import Variables, init
from nas.ops import Array
from nas.recipe import Recipe
from nas.train.checkpoint import Checkpoints, Progress
from nas.train.optim import Layout, optimizer
from nas.train.score import run_score
from nas.train.task import CLASSIFICATION, Task
from nas.train.trainer import Program, State, Trainer

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
    training step by XLA's own count, None where the backend gives none. curve: one dict an epoch.
    """

    params: dict[str, dict[str, np.ndarray]]
    stats: dict[str, dict[str, np.ndarray]]
    metrics: dict[str, float]
    train_loss: float
    compile_s: float
    train_s: float
    steps: int
    peak_memory_bytes: int | None
    curve: list[dict[str, float]]


def silent(step: int, steps: int, metrics: dict[str, float]) -> None:
    """The default report: nothing, and go on."""


def fit(arch: Arch, dataset: Dataset, recipe: Recipe, seed: int, *, report: Report = silent,
        task: Task = CLASSIFICATION, variables: Variables | None = None, checkpoint: Checkpoints | None = None,
        devices: int = 1) -> Fit:  # fmt: skip
    """Trains a network and validates it; `variables` are the values to start from (None: initial values from the seed).

    With `checkpoint` it goes on where an earlier call was killed, or from a shorter training; the result is that of a call
    left in peace, bit for bit on a CPU. `devices`: local ones that share each batch, batch norm's statistics being those of
    the whole batch. `report(step, steps, metrics)` is called after every epoch, then with the key
    `epoch`, and about once a second; True from it ends the training, and what was reached is validated. Raises Diverged
    for a loss that is NaN or infinite, ValueError where the architecture's channels or classes are not the dataset's.
    """
    check_io(arch, dataset)
    graph = lower(arch)
    variables = init(graph, seed) if variables is None else variables
    layouts = Layout.of(variables["params"]), Layout.of(variables["stats"])
    trainer = Trainer(graph, dataset, recipe, seed, task, *layouts, checkpoint, devices)
    update = optimizer(recipe, trainer.steps_per_epoch)
    state = trainer.start(variables, update)
    program = trainer.compile(state, variables, update)
    return finish(trainer, program, state, report)


def finish(trainer: Trainer, program: Program, state: State, report: Report) -> Fit:
    """Runs all epochs with compiled functions, from the trainer's checkpoint where there is one, and validates."""
    start = time.perf_counter()
    state, curve, train_s = _run(trainer, program, state, report)
    metrics = {name: value for name, value in curve[-1].items() if name in trainer.task.metrics}
    metrics = metrics or _validate(trainer, program, state)
    return Fit(**trainer.result(state), metrics=metrics, train_loss=curve[-1]["train_loss"],
               compile_s=program.compile_s, train_s=train_s + time.perf_counter() - start, steps=int(state.step),
               peak_memory_bytes=program.peak_memory_bytes, curve=curve)  # fmt: skip


def check_io(arch: Arch, dataset: Dataset) -> None:
    wanted = {"channels": dataset.channels, "classes": len(dataset.classes)}
    for key, value in wanted.items():
        if getattr(arch, key) != value:
            fix = f"arch.with_io(channels={wanted['channels']}, classes={wanted['classes']})"
            got = f"the architecture {getattr(arch, key)}"
            raise ValueError(f"{arch.name}: {key}: {dataset.name} has {value}, {got}; fit it by {fix}")


def _run(trainer: Trainer, program: Program, state: State,
         report: Report) -> tuple[State, list[dict[str, float]], float]:  # fmt: skip
    """Epochs until the recipe ends or `report` says so; an entry of the curve for each; seconds of earlier calls."""
    epochs, every, kept = trainer.recipe.epochs, trainer.recipe.validate_every, trainer.checkpoint
    steps, identity = epochs * trainer.steps_per_epoch, trainer.identity(state) if kept else {}
    done = kept.restore(state, identity, epochs) if kept else Progress(state)
    state, curve, began = done.state, list(done.curve), time.monotonic()
    saved_at = began
    if curve and report(int(state.step), steps, dict(curve[-1])):
        return state, curve, done.train_s
    for epoch in range(done.epoch + 1, epochs + 1):
        if stale(curve, trainer.recipe.patience):
            break
        state, losses, stop = _run_epoch(trainer, program, state, epoch, report)
        curve.append({"epoch": epoch, **trainer.progress(int(state.step), losses)})
        if every and epoch % every == 0 and not stop:
            curve[-1].update(_validate(trainer, program, state))
        if kept and not stop and kept.due(epoch, epochs, saved_at):
            kept.save(Progress(state, tuple(curve), done.train_s + time.monotonic() - began), identity)
            saved_at = time.monotonic()
        if stop or report(int(state.step), steps, dict(curve[-1])):
            break
    return state, curve, done.train_s


def stale(curve: Sequence[Mapping[str, float]], patience: int) -> bool:
    """Whether the last `patience` validations brought no better accuracy; 0 means never."""
    seen = [entry["accuracy"] for entry in curve if "accuracy" in entry]
    return bool(patience) and len(seen) > patience and max(seen[-patience:]) <= max(seen[:-patience])


def _run_epoch(trainer: Trainer, program: Program, state: State, epoch: int,
               report: Report) -> tuple[State, list[float], bool]:  # fmt: skip
    """(state, losses of its steps, whether `report` ended it). A loss is read when the device is some steps further."""
    before, steps = (epoch - 1) * trainer.steps_per_epoch, trainer.recipe.epochs * trainer.steps_per_epoch
    losses: list[float] = []
    pending: deque[Array] = deque()

    def settle(keep: int) -> None:
        while len(pending) > keep:
            losses.append(float(pending.popleft()))
            _check_finite(losses[-1], before + len(losses), "training loss")

    last_report = time.monotonic()
    for images, labels in trainer.batches(epoch):
        state, loss = program.step(state, images, labels)
        pending.append(loss)
        settle(IN_FLIGHT)
        if losses and time.monotonic() - last_report > REPORT_S:
            last_report = time.monotonic()
            done = before + len(losses)
            if report(done, steps, trainer.progress(done, losses)):
                settle(0)
                return state, losses, True
    settle(0)
    return state, losses, False


def _validate(trainer: Trainer, program: Program, state: State) -> dict[str, float]:
    metrics = run_score(program.score, trainer.scored(state), trainer.dataset.valid, trainer.valid_rows)
    for name, value in metrics.items():
        _check_finite(value, int(state.step), f"validation {name}")
    return metrics


def _check_finite(value: float, step: int, what: str) -> None:
    if not math.isfinite(value):
        raise Diverged(f"the {what} is {value} after step {step}", step)
