"""NetAdapt from a trained network to a latency target; the end points are measured, not only predicted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nas.arch import Arch
from nas.arch.blocks import arch_id, lower
from nas.arch.find import find_arch
from nas.core.settings import build, check_ranges
from nas.core.versions import versions
from nas.core.yamlio import dump_yaml, write_text
from nas.data import Dataset, load_dataset
from nas.data.described import described
from nas.data.published import as_published
from nas.data.record import KEY, DataRecord, record_of
from nas.evaluators import EVALUATORS, Context, evaluator_settings
from nas.journal import Journal
from nas.latency import make_device
from nas.nn.weights import Variables, save_weights, split_source
from nas.recipe import Recipe
from nas.records import JSON, Job
from nas.report.trajectory import trajectory_svg
from nas.runtime import make_executor_settings
from nas.runtime.base import Executor
from nas.runtime.device_executors import DeviceExecutors
from nas.runtime.dispatch import run_all
from nas.space import Space
from nas.tasks import check_parts, check_recipe, fit_arch, task_of
from nas.workflows.adapt import Adapter, AdaptSettings, Point, absolute, shrunk_space
from nas.workflows.adapt.final import PLACE, check_final, decided_changes, final_recipe
from nas.workflows.default_device import with_device
from nas.workflows.log import logged
from nas.workflows.over_time import measure_over_time, not_confirmed
from nas.workflows.photographs import decided
from nas.workflows.prepared import form_of, prepared, with_resize_of
from nas.workflows.progress import SILENT, Progress
from nas.workflows.recorded import recorded
from nas.workflows.run_folder import Run, as_config, open_run, use_plugins
from nas.workflows.starting import start_of
from nas.workflows.workers import check_workers, worker_settings, workers, written_predictor


@dataclass(frozen=True)
class AdaptKeys(AdaptSettings):
    """The keys under `adapt`; final_lr: the highest rate of the last training, a cosine; final_recipe: what else differs in it."""

    final_lr: float = 0.02
    final_recipe: Mapping[str, JSON] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.final_lr < float("inf"):
            raise ValueError(f"final_lr: expected a number above 0, got {self.final_lr}")


@dataclass(frozen=True)
class AdaptCommand:
    """The keys of conf/adapt.yaml."""

    weights: str
    dataset: Mapping[str, JSON]
    recipe: Mapping[str, JSON]
    executor: Mapping[str, JSON]
    device: Mapping[str, JSON]
    evaluator: Mapping[str, JSON]
    arch: str | None = None
    target: float = 0.7
    target_ms: float | None = None
    adapt: AdaptKeys = field(default_factory=AdaptKeys)
    seed: int = 0
    threads: int = 1
    timeout_s: float | None = 3600
    run: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self, seed=(0, 2**31 - 1), threads=(1, 1024))
        if not 0 < self.target < 1:
            raise ValueError(f"target: expected a fraction between 0 and 1, got {self.target}")
        if self.target_ms is not None and self.target_ms <= 0:
            raise ValueError(f"target_ms: expected more than 0 or null, got {self.target_ms}")
        if len(self.device) != 1:
            raise ValueError(f"device: expected one device, such as device=[onnxruntime], got {len(self.device)}")
        if not self.evaluator.get("keep_weights", True):
            raise ValueError("evaluator.keep_weights: expected true, each step begins with the weights of the one before")

    @property
    def final_recipe(self) -> dict[str, JSON]:
        """The last training's: the recipe over `final_epochs`, its rate falling from `final_lr`, and what `final_recipe` changes."""
        return final_recipe(self.recipe, self.adapt.final_epochs, self.adapt.final_lr, self.adapt.final_recipe or {})


@dataclass(frozen=True)
class AdaptResult:
    """A shrunk network.

    Args:
        run: Its folder, with `arch.yaml`, `weights.npz`, the steps and their trajectory.
        path: The network before and after every step.
        last: The network at the end, trained.
        measured_ms: Latency of the first and the last network on the device; None where it could not be measured.
        test: The primary metric of both on the test split.
        device: The device.
    """

    run: Path
    path: tuple[Point, ...]
    last: Point
    measured_ms: tuple[float | None, ...]
    test: tuple[float | None, ...]
    device: str

    @property
    def arch(self) -> Arch:
        """The architecture at the end."""
        return self.last.arch

    @property
    def weights(self) -> Path:
        """Its weights."""
        return self.run / "weights.npz"

    def __str__(self) -> str:
        first, lines = self.path[0], []
        for name, point, ms, test in zip(("seed", "adapted"), (first, self.last), self.measured_ms, self.test, strict=True):
            f = point.figures()
            real = "not measured" if ms is None else f"{ms:.4f} ms measured"
            score = "" if test is None else f", test {test:.4f}"
            lines.append(f"{name:<8} {f['params']:>9,} params  {f['macs'] / 1e6:.2f} M MACs  {point.predicted_ms:.4f} ms predicted, "
                         f"{real} on {self.device}  validation {point.score:.4f}{score}")  # fmt: skip
        before, after = self.measured_ms
        if before and after:
            ratio = self.last.predicted_ms / first.predicted_ms
            lines.append(f"latency   {ratio:.1%} of the seed's predicted, {after / before:.1%} measured")
        return "\n".join(lines)


def adapt(command: AdaptCommand, run: Run, progress: Progress = SILENT) -> AdaptResult:
    """Shrinks a trained network until it meets a latency, or resumes it.

    Args:
        command: The settings.
        run: The folder, and the command that resumes.
        progress: Receives messages and steps.

    Returns:
        The network before and after every step, the last one trained, and both ends measured (ms) and tested.

    Raises:
        ValueError: A setting is wrong, or the target cannot be reached.
        KeyboardInterrupt: After Ctrl-C; its message has the command that resumes.

    Source:
        NetAdapt, arXiv:1804.03230; as in MobileNetV3, arXiv:1905.02244, section 4.2.
    """
    use_plugins(command.plugins)
    _check_evaluator(command)
    command, line = with_device(command, run.folder)
    if line:
        progress.message(line)
    check_workers(command)
    arch = find_arch(command.arch or str(split_source(command.weights)[1].with_name("arch.yaml")), "arch")
    command = dataclasses.replace(command, dataset=with_resize_of(command.dataset, command.weights, arch.resolution))
    dataset, trained_with = load_dataset(command.dataset), recorded(command.weights)
    dataset = trained_with.normalized(dataset) if trained_with else prepared(dataset, command.weights)[0]
    data = record_of(dataset)
    recipe, notes = decided(command.recipe, dataset)
    command = dataclasses.replace(command, recipe=recipe)
    if command.adapt.final_recipe:
        changes = decided_changes(command.adapt.final_recipe, command.final_recipe, dataset)
        command = dataclasses.replace(command, adapt=dataclasses.replace(command.adapt, final_recipe=changes))
    for line in (*described(dataset), *notes, *filter(None, [form_of(command.dataset, dataset)])):
        progress.message(line)
    arch, line = as_published(arch, command.weights)
    if line:
        progress.message(line)
    arch = absolute(fit_arch(task_of(arch), arch, dataset, dataset.resolution))
    check_parts(short := build(Recipe, recipe, "recipe"), lower(arch), fresh=())
    check_recipe(task_of(arch), short)
    if command.adapt.final_epochs:
        last = build(Recipe, command.final_recipe, PLACE)
        check_parts(last, lower(arch), fresh=(), where=PLACE)
        check_final(arch, last, command.adapt.final_distill, command.adapt.kinds)
    folder = run.folder
    config = as_config(command)
    start, digest = _start(command, arch, dataset)
    identity = {
        k: v for k, v in config.items() if k not in ("run", "executor", "plugins", "timeout_s", "weights", "arch")
    }
    identity["data"] = {"digest": data.digest}
    meta = {"settings": config, "versions": versions(), "command": run.again, "arch": arch.to_dict(), KEY: data.plain()}
    settings, space = worker_settings(command, command.evaluator, data), shrunk_space(arch)
    _check_unprepared(command.evaluator, Context(settings, folder, "", space.to_plain(), dataset))
    with open_run(folder, {**identity, "arch": arch_id(arch), "weights": digest}, meta) as journal, logged(folder):
        save_weights(folder / "seed.npz", start)
        started = (command.executor, settings, space.to_plain(), command.plugins, folder, command.threads)
        with workers(*started, run) as (executor, placed):
            return _run(command, arch, data, space, run, journal, executor, placed, progress)


def _check_evaluator(command: AdaptCommand) -> None:
    settings = command.evaluator
    capabilities = evaluator_settings(settings).capabilities
    asked = make_executor_settings(command.executor)
    capabilities.check_workers(asked.devices, asked.asks_ahead, settings["name"])
    capabilities.check_recipe(build(Recipe, command.recipe, "recipe"), settings["name"])
    if command.adapt.final_epochs:
        capabilities.check_recipe(build(Recipe, command.final_recipe, PLACE), settings["name"], PLACE)
        if command.adapt.final_distill and not capabilities.teachers:
            able = [name for name, kind in EVALUATORS.items() if kind.capabilities.teachers]
            raise ValueError(f"adapt.final_distill: evaluator={settings['name']} knows no teachers; take evaluator={' or '.join(able)}")
    elif command.adapt.final_recipe:
        raise ValueError(f"{PLACE}: has no effect with adapt.final_epochs=0; leave it out")
    if not capabilities.inherits_weights:
        able = [name for name, kind in EVALUATORS.items() if kind.capabilities.inherits_weights]
        raise ValueError(f"evaluator: expected {' or '.join(able)}, which train inherited weights, got {settings['name']}")


def _check_unprepared(settings: Mapping[str, JSON], context: Context) -> None:
    if evaluator_settings(settings).preparation(context):
        raise ValueError(f"evaluator: {settings['name']} needs a preparation, which nas search runs and nas adapt does not")


def _start(command: AdaptCommand, arch: Arch, dataset: Dataset) -> tuple[Variables, str]:
    """The trained weights, and a digest of them."""
    imported = start_of(command.weights, arch, dataset, command.seed)
    if imported.fresh:
        raise ValueError(
            f"weights: {', '.join(imported.fresh)} do not fit {arch.classes} classes; train the network on them first"
        )
    digest = hashlib.sha256()
    for nodes in imported.variables.values():
        for arrays in nodes.values():
            for array in arrays.values():
                digest.update(array.tobytes())
    return imported.variables, digest.hexdigest()[:16]


def _run(
    command: AdaptCommand, arch: Arch, data: DataRecord, space: Space, run: Run, journal: Journal, executor: Executor,
    placed: DeviceExecutors, progress: Progress,
) -> AdaptResult:  # fmt: skip
    (name,), folder = command.device, run.folder
    predictor = written_predictor(command.device, folder, journal, placed, command.seed, command.timeout_s, space, progress)

    def weights(number: int) -> Path:
        return folder / "checkpoints" / f"trial-{number:06d}.npz"

    target_ms = command.target_ms or command.target * predictor.predict_arch(arch)
    adapter = Adapter(
        predictor.predict_arch, name, journal, executor, command.adapt, command.seed, weights, folder / "seed.npz", command.timeout_s,
        progress.message,
    )  # fmt: skip
    path = adapter.run(arch, target_ms)
    last = adapter.finish(command.final_recipe) if command.adapt.final_epochs else path[-1]
    _write_steps(folder, path, last, target_ms)
    measured = _measured(command, [path[0].arch, last.arch], journal, placed[name], space, progress)
    tests = _tested([path[0], last], journal, executor)
    record = {
        "target_ms": target_ms, "device": name, "predictor_error": predictor.mape, "steps": [point.figures() for point in path],
        "final": last.figures(), "measured_ms": measured, "test": tests, "seed": command.seed,
        "valid": {task_of(last.arch).primary: last.score}, "arch": last.arch.name,
        "dataset": dict(command.dataset), "recipe": dict(command.recipe) if last is path[-1] else command.final_recipe,
        **data.plain(), "versions": versions(),
    }  # fmt: skip
    write_text(folder / "result.json", json.dumps(record, indent=1) + "\n")
    _publish_weights(folder, weights(last.number))
    return AdaptResult(folder, tuple(path), last, tuple(measured), tuple(tests), name)


def _write_steps(folder: Path, path: Sequence[Point], last: Point, target_ms: float) -> None:
    steps = folder / "steps"
    steps.mkdir(exist_ok=True)
    for point in path:
        write_text(
            steps / f"{point.step:03d}.yaml", dump_yaml(point.arch.to_dict(), f"step {point.step}: {point.change}")
        )
    metric = task_of(last.arch).primary
    rows = [f"step,change,{metric},predicted_ms,params,macs"]
    for point in path:
        f = point.figures()
        rows.append(f'{f["step"]},"{f["change"]}",{point.score:.6f},{f["predicted_ms"]:.6f},{f["params"]},{f["macs"]}')
    write_text(folder / "trajectory.csv", "\n".join(rows) + "\n")
    shown = [(point.predicted_ms, point.score, point.change) for point in path]
    write_text(folder / "trajectory.svg", trajectory_svg(shown, target_ms, None if last is path[-1] else last.score, metric))
    named = dataclasses.replace(last.arch, name=f"{last.arch.name}_adapted")
    write_text(folder / "arch.yaml", dump_yaml(named.to_dict()))


def _measured(
    command: AdaptCommand, archs: Sequence[Arch], journal: Journal, executor: Executor, space: Space, progress: Progress
) -> list[float | None]:
    """Milliseconds of whole networks over time, with networks of the fit beside them; kept in the journal."""
    ((device, settings),) = command.device.items()
    known = {m.arch_id for m in journal.measurements() if m.device == device}
    if missing := [(arch_id(arch), arch.to_dict()) for arch in archs if arch_id(arch) not in known]:
        timeout_s = make_device(settings, f"device.{device}").timeout_s
        measure_over_time(journal, executor, device, missing, timeout_s, space, progress.message)
    for arch in archs:
        for line in not_confirmed(journal, arch_id(arch)):
            progress.message(f"{arch.name}: {line}")
    times = {m.arch_id: m.latency_ms for m in journal.measurements() if m.device == device}
    return [times.get(arch_id(arch)) for arch in archs]


def _tested(points: Sequence[Point], journal: Journal, executor: Executor) -> list[float | None]:
    """The primary metric of the end points on the test split, asked for once."""
    kept = journal.get("test")
    if kept is None:
        jobs = [Job(point.number, "test", point.arch.to_dict(), arch_id(point.arch)) for point in points]
        kept = [outcome.metrics.get(task_of(points[0].arch).primary) for outcome in run_all(executor, jobs)]
        journal.put("test", kept)
    return kept


def _publish_weights(folder: Path, weights: Path) -> None:
    """Publishes the weights of the last network as weights.npz of the run."""
    (temporary := folder / f".weights.npz.{os.getpid()}.tmp").hardlink_to(weights)
    os.replace(temporary, folder / "weights.npz")
