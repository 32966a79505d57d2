"""A family of members of one architecture, by phi, by budget, or by coefficients found on the user's data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.core.settings import build, check_ranges
from nas.core.text import aligned
from nas.core.versions import versions
from nas.core.yamlio import dump_yaml, write_text
from nas.cost import cost
from nas.data import load_dataset
from nas.data.described import described
from nas.data.record import KEY, record_of
from nas.recipe import Recipe
from nas.records import JSON
from nas.tasks import check_parts, fit_arch, task_of
from nas.workflows.custom import NOTHING, Custom
from nas.workflows.default_device import with_device
from nas.workflows.log import logged
from nas.workflows.photographs import decided
from nas.workflows.progress import SILENT, Progress
from nas.workflows.run_folder import Run, as_config, made_folder, open_run, use_plugins
from nas.workflows.scale import Coefficients, compound, family_space, grid, preset, to_budget
from nas.workflows.scale.trainings import Trainings
from nas.workflows.workers import check_workers, worker_settings, workers, written_predictor

EVALUATOR = {"name": "scratch", "keep_weights": True}
Family = Sequence[tuple[float, Arch, Mapping[str, float]]]


@dataclass(frozen=True)
class Grid:
    """The keys under `grid`."""

    search: bool = False
    step: float = 0.05
    product: float = 2.0
    tolerance: float = 0.1

    def coefficients(self) -> list[Coefficients]:
        """Returns the combinations of the grid. Raises ValueError where there is none."""
        found = list(grid(self.step, self.tolerance, self.product))
        if not found:
            raise ValueError(
                f"grid: no alpha beta^2 gamma^2 in steps of {self.step:g} is {self.product:g} +- {self.tolerance:g}"
            )
        return found


@dataclass(frozen=True)
class ScaleCommand:
    """The keys of conf/scale.yaml."""

    arch: str
    dataset: Mapping[str, JSON]
    recipe: Mapping[str, JSON]
    executor: Mapping[str, JSON]
    device: Mapping[str, JSON] = field(default_factory=dict)
    phi: tuple[float, ...] = (1, 2, 3)
    preset: Literal["efficientnet"] | None = None
    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15
    divisor: int = 8
    macs: tuple[float, ...] = ()
    target_ms: tuple[float, ...] = ()
    grid: Grid = field(default_factory=Grid)
    train: bool = False
    seed: int = 0
    threads: int = 1
    timeout_s: float | None = 3600
    run: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self, seed=(0, 2**31 - 1), threads=(1, 1024), divisor=(1, 256))
        for key in ("macs", "target_ms"):
            if any(not 0 < value < float("inf") for value in getattr(self, key)):
                raise ValueError(f"{key}: expected numbers above 0, got {list(getattr(self, key))}")
        if self.macs and self.target_ms:
            raise ValueError("macs: expected either macs or target_ms, got both")
        if self.target_ms and len(self.device) != 1:
            raise ValueError(f"target_ms: expected one device, such as device=[onnxruntime], got {len(self.device)}")
        if self.preset and (self.macs or self.target_ms or self.grid.search):
            raise ValueError("preset: its coefficients are fixed; leave macs, target_ms and grid.search out")
        if self.preset and any(phi != int(phi) for phi in self.phi):
            raise ValueError(f"phi: preset efficientnet has whole numbers, got {list(self.phi)}")

    @property
    def in_workers(self) -> bool:
        """Whether anything is trained or measured."""
        return bool(self.grid.search or self.target_ms or self.train or self.device)


@dataclass(frozen=True)
class Member:
    """One of a family: its phi, the architecture, and figures such as predicted and measured ms by name."""

    phi: float
    arch: Arch
    figures: Mapping[str, float]


@dataclass(frozen=True)
class ScaleResult:
    """A family.

    Args:
        members: Members in the order they were asked for.
        files: A YAML file a member, where they were written.
        run: Their folder; None where nothing was written.
    """

    members: tuple[Member, ...]
    files: tuple[Path, ...] = ()
    run: Path | None = None

    def __str__(self) -> str:
        return _table(self.members)


def scale(command: ScaleCommand, run: Run, progress: Progress = SILENT, custom: Custom = NOTHING) -> ScaleResult:
    """Scales an architecture; writes the members where `run` is set, and where something was measured or trained.

    Args:
        command: The settings.
        run: The folder, and the command that resumes.
        progress: Receives messages and steps.
        custom: Objects of the caller's process in place of settings.

    Returns:
        The members in the order they were asked for, and their files.

    Raises:
        ValueError: A setting is wrong, or no combination of the grid could be trained.
        KeyboardInterrupt: After Ctrl-C; its message has the command that resumes.

    Source:
        EfficientNet, arXiv:1905.11946, section 3.3.
    """
    use_plugins(command.plugins)
    command, line = with_device(command, run.folder)
    if line:
        progress.message(line)
    coefficients = Coefficients(command.alpha, command.beta, command.gamma)
    arch = custom.arch or find_arch(command.arch, "arch")
    if not command.in_workers:
        family = _family(command, arch, coefficients)
        files = () if command.run is None else _write(run.folder, family)
        return ScaleResult(_members(family), files, run.folder if files else None)
    dataset = load_dataset(command.dataset)
    fitted = fit_arch(task_of(arch), arch, dataset, dataset.resolution)
    check_workers(command)
    recipe, notes = decided(command.recipe, dataset)
    check_parts(build(Recipe, recipe, "recipe"), lower(fitted))  # members start from initial values, none can be frozen
    command = dataclasses.replace(command, recipe=recipe)
    folder = run.folder
    config = as_config(command)
    identity = {
        k: v for k, v in config.items() if k not in ("run", "executor", "plugins", "timeout_s", "phi", "macs", "target_ms")
    }
    data = record_of(dataset)
    for line in (*described(dataset), *notes):
        progress.message(line)
    meta = {"settings": config, "versions": versions(), "command": run.again, KEY: data.plain()}
    with (
        open_run(folder, {**identity, "arch": fitted.to_dict(), "data": {"digest": data.digest}}, meta) as journal,
        logged(folder),
    ):
        space = family_space(fitted, coefficients) if command.device else None
        plain = space.to_plain() if space else {}
        settings = worker_settings(command, EVALUATOR, data)
        started = (command.executor, settings, plain, command.plugins, folder, command.threads)
        with workers(*started, run) as (executor, placed):
            trainings = Trainings(command, data, folder, journal, executor, progress)
            if command.grid.search:
                coefficients = trainings.grid(fitted, command.grid.coefficients())
            predict = None
            if command.target_ms and space:
                timeout_s = command.timeout_s
                predictor = written_predictor(command.device, folder, journal, placed, command.seed, timeout_s, space, progress)
                predict = predictor.predict_arch
            family = _family(command, fitted, coefficients, predict)
            measured = trainings.measure([arch for _, arch, _ in family], placed, space)
            family = [(phi, arch, {**figures, **measured.columns(arch)}) for phi, arch, figures in family]
            files = _write(folder, family)
            if command.train:
                trainings.members([arch for _, arch, _ in family], measured)
            return ScaleResult(_members(family), files, folder)


def _members(family: Family) -> tuple[Member, ...]:
    return tuple(Member(*one) for one in family)


def _family(
    command: ScaleCommand, arch: Arch, coefficients: Coefficients, predict: Callable[[Arch], float] | None = None
) -> Family:  # fmt: skip
    """(phi, member, figures besides params and MACs) of each member; `predict` returns the latency in ms that `target_ms` bounds."""
    if command.preset:
        return [(phi, preset(arch, int(phi)), {}) for phi in command.phi]
    if command.macs:
        found = [
            to_budget(arch, macs, lambda a: cost(a).macs, coefficients, divisor=command.divisor)
            for macs in command.macs
        ]
        return [(phi, member, {}) for phi, member in found]
    if command.target_ms:
        assert predict is not None
        (name,) = command.device
        found = [to_budget(arch, ms, predict, coefficients, divisor=command.divisor) for ms in command.target_ms]
        return [(phi, member, {f"predicted ms on {name}": predict(member)}) for phi, member in found]
    return [(phi, compound(arch, phi, coefficients, divisor=command.divisor), {}) for phi in command.phi]


def _table(members: Sequence[Member]) -> str:
    extra = list(members[0].figures) if members else []
    rows = [["member", "phi", "resolution", "layers", "params", "MACs (M)", *extra]]
    for one in members:
        counted, layers = cost(one.arch), sum(stage.repeat for stage in one.arch.stages)
        row = [
            one.arch.name,
            f"{one.phi:.4g}",
            str(one.arch.resolution),
            str(layers),
            f"{counted.params:,}",
            f"{counted.macs / 1e6:,.2f}",
        ]
        rows.append([*row, *(f"{one.figures[key]:.4g}" for key in extra)])
    return aligned(rows, left=1)


def _write(folder: Path, family: Family) -> tuple[Path, ...]:
    made_folder(folder)
    files = tuple(folder / f"{arch.name}.yaml" for _, arch, _ in family)
    for path, (_, arch, _) in zip(files, family, strict=True):
        write_text(path, dump_yaml(arch.to_dict()))
    return files
