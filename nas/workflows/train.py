"""An architecture trained on a dataset; weights and figures stay in a folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nas.arch import Arch, dropped_strides
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.arch.graph import param_shapes
from nas.core.process import keep_memory, use_compile_cache
from nas.core.settings import build, check_ranges
from nas.core.versions import versions
from nas.cost import cost
from nas.data import Dataset, load_dataset
from nas.data.described import described
from nas.data.published import as_published
from nas.data.record import KEY, record_of
from nas.recipe import Recipe
from nas.records import JSON
from nas.runtime import ExecutorSettings, make_executor_settings
from nas.runtime.cluster_settings import ClusterSettings
from nas.tasks import Task, check_parts, fit_arch, task_of
from nas.workflows.custom import NOTHING, Custom
from nas.workflows.export.run import ExportCommand, Exported, export
from nas.workflows.log import logged
from nas.workflows.photographs import decided
from nas.workflows.predict import Images, Prediction, predict, trained_bundle
from nas.workflows.prepared import Normalization, form_of, prepared, with_resize_of
from nas.workflows.progress import SILENT, Progress
from nas.workflows.run_folder import Run, made_folder, use_plugins, with_paths
from nas.workflows.starting import lines_of, start_of
from nas.workflows.table import Table
from nas.workflows.teacher import find_teacher
from nas.workflows.trained import finished, leave, summary
from nas.workflows.workers import worker_spec

if TYPE_CHECKING:
    from nas.convert.fill import Imported
    from nas.train import Fit, Teacher


@dataclass(frozen=True)
class TrainResult:
    """A trained network.

    Args:
        run: Its folder, with `weights.npz`, `arch.yaml`, `curve.svg` and `result.json`.
        arch: The architecture, fitted to the dataset.
        record: The content of `result.json`.
        dataset: The dataset, where it was passed as an object.
    """

    run: Path
    arch: Arch
    record: Mapping[str, JSON]
    dataset: Dataset | None = None

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return self.run / "weights.npz"

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics on the validation split."""
        return self.record["valid"]

    @property
    def test(self) -> Mapping[str, float]:
        """Metrics on the test split, scored once."""
        return self.record["test"]

    @property
    def curve(self) -> Table:
        """A row an epoch: losses and learning rate, and metrics where it was validated."""
        return Table(tuple(self.record["curve"]))

    def export(
        self, out: str | Path | None = None, formats: Sequence[str] | None = None, *, calibrate: int = 256,
        preprocess: bool = False, postprocess: bool = False, progress: Progress = SILENT,
    ) -> Exported:  # fmt: skip
        """Writes a bundle: everything that runs the network elsewhere, each file checked against the network.

        Args:
            out: The folder, which must not exist; None: `bundle` in the folder of the training.
            formats: Of stablehlo, source, onnx, tflite, int8; None: all whose packages are installed.
            calibrate: Training images from which int8 takes the ranges of activations.
            preprocess: Whether files for runtimes take uint8 images, and those of a classifier give probabilities.
            postprocess: Whether files of ONNX give a detector's objects after suppression, a segmenter's classes of pixels.
            progress: Receives messages.

        Returns:
            The folder of the bundle, its files, and the largest difference of each format from the network.

        Raises:
            ValueError: A package is missing, or the output of a format differs from the network's.
        """
        around = {"preprocess": preprocess, "postprocess": postprocess, "out": None if out is None else str(out)}
        settings = {"weights": str(self.weights), "formats": formats, "calibrate": calibrate, **around}
        command = build(ExportCommand, settings, "")
        return export(command, progress, Custom(dataset=self.dataset, arch=self.arch))

    def predict(self, images: Images) -> list[Prediction]:
        """What the network says of images: classes, objects, masks or values.

        Args:
            images: A file, a folder, files, or an array (n, h, w, c) uint8.

        Returns:
            One prediction per image, in order.
        """
        return predict(trained_bundle(self.run), images)

    def __str__(self) -> str:
        return summary(self.record)


@dataclass(frozen=True)
class TrainCommand:
    """The keys of conf/train.yaml."""

    arch: str
    dataset: Mapping[str, JSON]
    recipe: Mapping[str, JSON]
    resolution: int | None = None
    weights: str | None = None
    normalization: Normalization = None
    teacher: str | None = None
    teacher_weights: str | None = None
    seed: int = 0
    threads: int | None = None
    run: str | None = None
    checkpoint_every: int = 1
    checkpoint_minutes: float | None = 10
    checkpoint_keep: int = 2
    devices: int = 1
    executor: Mapping[str, JSON] = field(default_factory=lambda: {"name": "local"})
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


def train(command: TrainCommand, run: Run, progress: Progress = SILENT, custom: Custom = NOTHING) -> TrainResult:
    """Trains, scores on validation and, once at the end, on test; writes weights.npz, arch.yaml, result.json.

    The same settings in the same folder resume a training that was stopped, or read one that is finished.

    Args:
        command: The settings.
        run: The folder, and the command that resumes.
        progress: Receives messages and steps.
        custom: Objects of the caller's process in place of settings.

    Returns:
        The folder, the fitted architecture and the record of the training.

    Raises:
        ValueError: A setting is wrong; raised before anything is trained.
        KeyboardInterrupt: After Ctrl-C; its message has the command that resumes.
    """
    keep_memory()
    use_compile_cache()
    use_plugins(command.plugins)
    build(Recipe, command.recipe, "recipe")
    executor = make_executor_settings(command.executor)
    if not executor.in_process and executor.cluster is None:
        raise ValueError(f"executor: a training runs in this process (local) or on ray, not in {command.executor['name']}")
    custom.check_executor(command.executor)
    arch, published = as_published(custom.arch or find_arch(command.arch, "arch"), command.weights)
    if custom.dataset is None:
        command = dataclasses.replace(command, dataset=with_resize_of(command.dataset, command.weights, arch.resolution))
    dataset, normalized = prepared(custom.dataset or load_dataset(command.dataset), command.weights, command.normalization)
    chosen, notes = decided(command.recipe, dataset)
    recipe = build(Recipe, chosen, "recipe")
    fitted = fit_arch(task_of(arch), arch, dataset, command.resolution or dataset.resolution)
    settings = {"arch": fitted.to_dict(), "recipe": dataclasses.asdict(recipe), "dataset": dict(command.dataset),
                "digest": dataset.digest,
                **{key: getattr(command, key) for key in ("seed", "weights", "normalization", "teacher", "teacher_weights")}}  # fmt: skip
    if record := finished(run.folder, settings):
        progress.message(f"{run.shown}: this training is finished")
        return TrainResult(run.folder, fitted, record, custom.dataset)
    counted = cost(fitted)
    size = f"{counted.params:,} params, {counted.macs / 1e6:.2f} M MACs, {fitted.resolution} px"
    progress.message(f"nas train  {fitted.name} on {dataset.name}: {size}")
    for line in (*described(dataset), *notes, *(line for line in (published, normalized, form_of(command.dataset, dataset)) if line)):
        progress.message(line)
    if dropped := dropped_strides(arch, fitted):
        progress.message(f"stride 1 in {', '.join(dropped)}, so that small images keep their size")
    for line in task_of(fitted).notes(fitted, dataset):
        progress.message(line)
    teacher = _teacher(command, dataset, progress) if command.teacher else None
    result = _trained(command, executor, fitted, dataset, recipe, teacher, run, progress)
    for line in task_of(fitted).advice(result.metrics):
        progress.message(line)
    record = _record(settings, result, fitted, dataset, recipe, teacher)
    leave(run.folder, fitted, {"params": result.params, "stats": result.stats}, record)
    return TrainResult(run.folder, fitted, record, custom.dataset)


def _record(
    settings: Mapping[str, JSON], result: Fit, arch: Arch, dataset: Dataset, recipe: Recipe, teacher: Teacher | None
) -> dict[str, JSON]:  # fmt: skip
    """What result.json holds: the scores, and what the training was made with."""
    from nas.train import agreement, evaluate
    from nas.train.precision import dtype_of

    variables, graph, counted = {"params": result.params, "stats": result.stats}, lower(arch), cost(arch)
    test = evaluate(graph, variables, dataset.test, dataset, recipe.batch, recipe.dtype, task=task_of(arch))
    return {
        "arch": arch.name, "valid": dict(result.metrics), "test": dict(test), "params": counted.params, "macs": counted.macs,
        "compile_s": result.compile_s, "train_s": result.train_s, **{k: v for k, v in settings.items() if k != "arch"},
        "agreement": agreement(teacher, graph, variables, dataset.test, dataset, recipe.batch) if teacher else None,
        "dtype": dtype_of(recipe.dtype),
        "epoch": result.epoch, "curve": list(result.curve), **record_of(dataset).plain(), "versions": versions(),
    }  # fmt: skip


class _Epochs:
    """Forwards the progress of a training, with the first advice of its task, and remembers its last whole epoch."""

    def __init__(self, progress: Progress, task: Task):
        self._progress, self._task, self._advised, self.last = progress, task, False, 0

    def __call__(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self.last = int(metrics.get("epoch", self.last))
        self._progress.step(step, steps, metrics)
        if not self._advised and (lines := self._task.advice(metrics)):
            self._advised = True
            for line in lines:
                self._progress.message(f"epoch {self.last}: {line}")


def _trained(command: TrainCommand, executor: ExecutorSettings, arch: Arch, dataset: Dataset, recipe: Recipe,
             teacher: Teacher | None, run: Run, progress: Progress) -> Fit:  # fmt: skip
    from nas.train import Checkpoints, DeviceMesh, fit

    mesh = DeviceMesh(command.devices)
    if executor.in_process:
        mesh.shared()
    start = _start(command, arch, dataset, progress) if command.weights else None
    frozen, _ = check_parts(recipe, lower(arch), start and start.fresh)
    if frozen:
        progress.message(_frozen(recipe, arch, frozen))
    within = None if command.checkpoint_minutes is None else 60 * command.checkpoint_minutes
    kept = Checkpoints(run.folder / "checkpoints", command.checkpoint_keep, command.checkpoint_every, within_s=within)
    work = {"arch": arch, "recipe": recipe, "seed": command.seed, "checkpoint": kept, "teacher": teacher,
            "variables": start and start.variables, "fresh": start.fresh if start else ()}  # fmt: skip
    epochs = _Epochs(progress, task_of(arch))
    made_folder(run.folder)
    try:
        if executor.cluster is None:
            return fit(dataset=dataset, **work, report=epochs, mesh=mesh)
        return _distributed(command, executor.cluster, work, dataset, run.folder, epochs)
    except KeyboardInterrupt:
        raise run.stopped(f"stopped after epoch {epochs.last}") from None
    except ArithmeticError as error:
        raise ValueError(f"recipe: the training diverged: {error}; a smaller lr (now {recipe.lr:g}) or a longer warm-up helps") from None


def _distributed(command: TrainCommand, cluster: ClusterSettings, work: Mapping[str, JSON], dataset: Dataset, folder: Path,
              epochs: _Epochs) -> Fit:  # fmt: skip
    from nas.runtime.distributed_training import train_distributed

    settings = {"dataset": with_paths(command.dataset), KEY: record_of(dataset).plain()}
    spec = worker_spec(settings, {}, command.plugins, folder, command.threads or 1)
    work = {**work, "devices": command.devices}
    with logged(folder):
        return train_distributed(cluster, spec, work, dataset, report=epochs, restarts=command.restarts)


def _teacher(command: TrainCommand, dataset: Dataset, progress: Progress) -> Teacher:
    teacher = find_teacher(command.teacher or "", command.teacher_weights, dataset)
    counted = cost(teacher.arch)
    size = f"{counted.params:,} params, {counted.macs / 1e6:.2f} M MACs, {teacher.arch.resolution} px"
    progress.message(f"teacher {teacher.arch.name} of {command.teacher}: {size}")
    return teacher


def _frozen(recipe: Recipe, arch: Arch, frozen: Collection[str]) -> str:
    """A line for people: what is frozen, how much that is, and for how long."""
    graph = lower(arch)
    sizes = {
        node.name: sum(math.prod(shape) for shape in param_shapes(node, graph.in_shapes(node)).values()) for node in graph.nodes[1:]
    }
    some, whole = sum(sizes[name] for name in frozen), sum(sizes.values())
    until = f" for {min(recipe.freeze_epochs, recipe.epochs)} of {recipe.epochs} epochs" if recipe.freeze_epochs else ""
    return f"frozen{until}: {', '.join(recipe.freeze or ())}, {some:,} of {whole:,} params"


def _start(command: TrainCommand, arch: Arch, dataset: Dataset, progress: Progress) -> Imported:
    """The weights to start from; reports what of the network they do not fill."""
    source = command.weights or ""
    imported = start_of(source, arch, dataset, command.seed)
    for line in lines_of(imported, source, arch):
        progress.message(line)
    return imported
