"""`nas scale`: a family of members of one architecture, by phi, by budget, or by coefficients found on the user's data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nas.arch import Arch
from nas.arch.find import find_arch
from nas.cli.console import Console
from nas.cli.invocation import Invocation
from nas.core.plugins import load_plugins
from nas.core.settings import build, check_ranges
from nas.core.text import aligned
from nas.core.versions import versions
from nas.core.yamlio import dump_yaml, write_text
from nas.cost import cost
from nas.data import load_dataset
from nas.latency import make_device
from nas.recipe import Recipe
from nas.runtime import make_executor_settings
from nas.tasks import fit_arch, task_of
from nas.workflows.log import logged
from nas.workflows.run_folder import made_folder, open_run, run_folder, with_paths
from nas.workflows.scale import Coefficients, compound, family_space, grid, preset, to_budget
from nas.workflows.scale.trainings import Trainings
from nas.workflows.workers import workers, written_predictor

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
    dataset: Mapping[str, Any]
    recipe: Mapping[str, Any]
    executor: Mapping[str, Any]
    device: Mapping[str, Any] = field(default_factory=dict)
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
            raise ValueError(f"target_ms: expected one device, such as device=[host], got {len(self.device)}")
        if self.preset and (self.macs or self.target_ms or self.grid.search):
            raise ValueError("preset: its coefficients are fixed; leave macs, target_ms and grid.search out")
        if self.preset and any(phi != int(phi) for phi in self.phi):
            raise ValueError(f"phi: preset efficientnet has whole numbers, got {list(self.phi)}")

    @property
    def in_workers(self) -> bool:
        return bool(self.grid.search or self.target_ms or self.train or self.device)


def scale(call: Invocation) -> None:
    """Prints the family; writes its members where `run` says, and always where something was measured or trained."""
    command = build(ScaleCommand, call.config, "")
    load_plugins(command.plugins, [os.getcwd()])
    coefficients = Coefficients(command.alpha, command.beta, command.gamma)
    arch = find_arch(command.arch)
    if not command.in_workers:
        family = _family(command, arch, coefficients)
        _show(family)
        if command.run is not None:
            _write(run_folder(command.run, (), call.job), family)
        return
    dataset = load_dataset(command.dataset)
    fitted = fit_arch(task_of(arch), arch, dataset, dataset.resolution)
    build(Recipe, command.recipe, "recipe")
    make_executor_settings(command.executor)
    for name, device in command.device.items():
        make_device(device, f"device.{name}")
    run, progress = call.run(command.run), Console()
    folder = run.folder
    identity = {
        k: v for k, v in call.config.items() if k not in ("run", "executor", "plugins", "timeout_s", "phi", "macs", "target_ms")
    }
    meta = {"settings": dict(call.config), "versions": versions(), "command": call.again}
    with open_run(folder, {**identity, "arch": fitted.to_dict()}, meta) as journal, logged(folder):
        space = family_space(fitted, coefficients) if command.device else None
        plain = space.to_plain() if space else {}
        started = (command.executor, _settings(command), plain, command.plugins, folder, command.threads)
        with workers(*started, run) as (executor, placed):
            trainings = Trainings(command, folder, journal, executor, progress)
            if command.grid.search:
                coefficients = trainings.grid(fitted, command.grid.coefficients())
            predict = None
            if command.target_ms and space:
                timeout_s = command.timeout_s
                predictor = written_predictor(command.device, folder, journal, placed, command.seed, timeout_s, space, progress)
                predict = predictor.predict_arch
            family = _family(command, fitted, coefficients, predict)
            measured = trainings.measure([arch for _, arch, _ in family], placed)
            _show([(phi, arch, {**figures, **measured.words(arch)}) for phi, arch, figures in family])
            _write(folder, family)
            if command.train:
                trainings.members([arch for _, arch, _ in family], measured)


def _settings(command: ScaleCommand) -> dict[str, Any]:
    devices = {name: with_paths(device) for name, device in command.device.items()}
    return {"dataset": with_paths(command.dataset), "recipe": dict(command.recipe), "evaluator": EVALUATOR, "device": devices}


def _family(
    command: ScaleCommand, arch: Arch, coefficients: Coefficients, predict: Callable[[Arch], float] | None = None
) -> Family:  # fmt: skip
    """(phi, member, figures besides params and MACs) of each member; `predict` says the ms that `target_ms` is of."""
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


def _show(family: Family) -> None:
    extra = list(family[0][2]) if family else []
    rows = [["member", "phi", "resolution", "layers", "params", "MACs (M)", *extra]]
    for phi, arch, figures in family:
        counted, layers = cost(arch), sum(stage.repeat for stage in arch.stages)
        row = [
            arch.name,
            f"{phi:.4g}",
            str(arch.resolution),
            str(layers),
            f"{counted.params:,}",
            f"{counted.macs / 1e6:,.2f}",
        ]
        rows.append([*row, *(f"{figures[key]:.4g}" for key in extra)])
    print(aligned(rows, left=1))


def _write(folder: Path, family: Family) -> None:
    made_folder(folder)
    for _, arch, _ in family:
        path = folder / f"{arch.name}.yaml"
        write_text(path, dump_yaml(arch.to_dict()))
        print(os.path.relpath(path))
