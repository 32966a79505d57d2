"""`nas train`: an architecture trained on a dataset; weights and figures stay in a folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.arch import Arch, dropped_strides
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.cli.epochs import Epochs
from nas.core.machine import keep_memory, use_compile_cache
from nas.core.plugins import load_plugins
from nas.core.settings import build, check_ranges
from nas.core.versions import versions
from nas.cost import cost
from nas.data import Dataset, load_dataset
from nas.nn.weights import Variables
from nas.recipe import Recipe
from nas.runtime import make_executor_settings
from nas.runtime.cluster import ClusterSettings
from nas.runtime.local import LocalSettings
from nas.tasks import fit_arch, task_of
from nas.workflows.invocation import Invocation
from nas.workflows.run_folder import log_to, made_folder, run_folder, with_paths
from nas.workflows.teacher import find_teacher
from nas.workflows.trained import finished, leave, summary
from nas.workflows.workers import worker_spec

if TYPE_CHECKING:
    from nas.train import Fit, Teacher


@dataclass(frozen=True)
class TrainCommand:
    """The keys of conf/train.yaml."""

    arch: str
    dataset: Mapping[str, Any]
    recipe: Mapping[str, Any]
    resolution: int | None = None
    weights: str | None = None
    teacher: str | None = None
    teacher_weights: str | None = None
    seed: int = 0
    threads: int | None = None
    run: str | None = None
    checkpoint_every: int = 1
    checkpoint_minutes: float | None = 10
    checkpoint_keep: int = 2
    devices: int = 1
    executor: Mapping[str, Any] = field(default_factory=lambda: {"name": "local"})
    restarts: int = 3
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(
            self, seed=(0, 2**31 - 1), resolution=(1, 8192), threads=(1, 1024), devices=(1, 4096),
            checkpoint_every=(1, 10**6), checkpoint_minutes=(0, 10**6), checkpoint_keep=(1, 10**6),
            restarts=(0, 10**6),
        )  # fmt: skip
        if self.teacher_weights and not self.teacher:
            raise ValueError("teacher_weights: needs teacher=, the architecture that they are of")


def train(call: Invocation) -> None:
    """Trains, tells accuracy on validation and, once at the end, on test; writes weights.npz, arch.yaml, result.json."""
    command = build(TrainCommand, call.config, "")
    keep_memory()
    use_compile_cache()
    load_plugins(command.plugins, [os.getcwd()])
    recipe = build(Recipe, command.recipe, "recipe")
    executor = make_executor_settings(command.executor)
    if not isinstance(executor, LocalSettings | ClusterSettings):
        raise ValueError(f"executor: a training runs in this process (local) or on ray, not in {command.executor['name']}")
    arch = find_arch(command.arch)
    dataset = load_dataset(command.dataset)
    task = task_of(arch)
    fitted = fit_arch(task, arch, dataset, command.resolution or dataset.resolution)
    folder = run_folder(command.run, ("train", *call.overrides), call.job)
    settings = {"arch": fitted.to_dict(), "recipe": dataclasses.asdict(recipe), "dataset": dict(command.dataset),
                **{key: getattr(command, key) for key in ("seed", "weights", "teacher", "teacher_weights")}}  # fmt: skip
    if finished(folder, settings):
        return
    counted = cost(fitted)
    size = f"{counted.params:,} params, {counted.macs / 1e6:.2f} M MACs, {fitted.resolution} px"
    print(f"nas train  {fitted.name} on {dataset.name}: {size}")
    if dropped := dropped_strides(arch, fitted):
        print(f"stride 1 in {', '.join(dropped)}, so that small images keep their size")
    teacher = _teacher(command, dataset) if command.teacher else None
    result = _trained(call, command, executor, fitted, dataset, recipe, teacher, folder)
    from nas.train import agreement, evaluate

    variables, graph = {"params": result.params, "stats": result.stats}, lower(fitted)
    test = evaluate(graph, variables, dataset.test, dataset, recipe.batch, recipe.dtype, task=task)
    record = {
        "arch": fitted.name, "valid": dict(result.metrics), "test": dict(test), "params": counted.params, "macs": counted.macs,
        "compile_s": result.compile_s, "train_s": result.train_s, **{k: v for k, v in settings.items() if k != "arch"},
        "agreement": agreement(teacher, graph, variables, dataset.test, dataset, recipe.batch) if teacher else None,
        "epoch": result.epoch, "curve": list(result.curve), "classes": list(dataset.classes), "mean": list(dataset.mean),
        "std": list(dataset.std), "versions": versions(),
    }  # fmt: skip
    leave(folder, fitted, variables, record)
    print(summary(record))
    print(f"weights {folder / 'weights.npz'}")


def _trained(call: Invocation, command: TrainCommand, executor: Any, arch: Arch, dataset: Dataset, recipe: Recipe,
             teacher: Teacher | None, folder: Path) -> Fit:  # fmt: skip
    from nas.train import Checkpoints, DeviceMesh, fit

    mesh = DeviceMesh(command.devices)
    if isinstance(executor, LocalSettings):
        mesh.shared()
    start = _start(command, arch) if command.weights else None
    within = None if command.checkpoint_minutes is None else 60 * command.checkpoint_minutes
    kept = Checkpoints(folder.absolute() / "checkpoints", command.checkpoint_keep, command.checkpoint_every, within_s=within)
    work = {"arch": arch, "recipe": recipe, "seed": command.seed, "variables": start, "checkpoint": kept, "teacher": teacher}
    epochs = Epochs()
    made_folder(folder)
    try:
        if isinstance(executor, LocalSettings):
            return fit(dataset=dataset, **work, report=epochs, mesh=mesh)
        return _together(command, executor, work, dataset, folder, epochs)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped after epoch {epochs.shown}; the same command resumes:\n  {call.again}") from None


def _together(command: TrainCommand, executor: ClusterSettings, work: Mapping[str, Any], dataset: Dataset, folder: Path,
              epochs: Epochs) -> Fit:  # fmt: skip
    from nas.runtime.distributed_training import train_distributed

    log_to(folder)
    settings = {"dataset": with_paths(command.dataset)}
    spec = worker_spec(settings, {}, command.plugins, folder.absolute(), command.threads or 1)
    work = {**work, "devices": command.devices}
    return train_distributed(executor, spec, work, dataset, report=epochs, restarts=command.restarts)


def _teacher(command: TrainCommand, dataset: Dataset) -> Teacher:
    teacher = find_teacher(command.teacher or "", command.teacher_weights, dataset)
    counted = cost(teacher.arch)
    size = f"{counted.params:,} params, {counted.macs / 1e6:.2f} M MACs, {teacher.arch.resolution} px"
    print(f"teacher {teacher.arch.name} of {command.teacher}: {size}")
    return teacher


def _start(command: TrainCommand, arch: Arch) -> Variables:
    """The weights to start from; says what of the network they do not fill."""
    from nas.convert import starting_weights

    source = command.weights or ""
    try:
        imported = starting_weights(source, lower(arch), command.seed)
    except ValueError as error:
        raise ValueError(f"weights: {error}") from None
    print(f"weights of {source}")
    if imported.fresh:
        print(
            f"{', '.join(imported.fresh)}: not in these weights for {arch.classes} classes, starts from initial values"
        )
    return imported.variables
