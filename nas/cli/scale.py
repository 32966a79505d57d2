"""`nas scale`: a family of members of one architecture, by phi, by budget, or by coefficients found on the user's data."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nas.arch import Arch
from nas.blocks import arch_id
from nas.cli.arch import find_arch
from nas.cli.folder import log_to, open_run, run_folder, with_paths
from nas.cli.hydra_door import Invocation
from nas.cli.table import aligned
from nas.cli.work import kept_predictor, start_workers
from nas.cost import cost
from nas.data import load_dataset
from nas.executors import make_executor_settings
from nas.executors.base import Executor
from nas.executors.recorded import job_seed, run_recorded
from nas.jobs import Job
from nas.journal import Journal, Trial
from nas.latency import make_device
from nas.plugins import load_plugins
from nas.recipe import Recipe
from nas.scale import Coefficients, compound, family_space, grid, preset, to_budget
from nas.settings import build, check_ranges
from nas.versions import versions
from nas.yamlio import dump_yaml, write_text

EVALUATOR = {"name": "scratch", "keep_weights": True}


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
    run: str | None = None
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self, seed=(0, 2**31 - 1), threads=(1, 1024), divisor=(1, 256))
        for key in ("macs", "target_ms"):
            if any(not 0 < value < float("inf") for value in getattr(self, key)):
                raise ValueError(f"{key}: wanted numbers above 0, got {list(getattr(self, key))}")
        if self.macs and self.target_ms:
            raise ValueError("macs: wanted either macs or target_ms, got both")
        if self.target_ms and len(self.device) != 1:
            raise ValueError(f"target_ms: wanted one device, such as device=[host], got {len(self.device)}")
        if self.preset and (self.macs or self.target_ms or self.grid.search):
            raise ValueError("preset: its coefficients are fixed; leave macs, target_ms and grid.search out")
        if self.preset and any(phi != int(phi) for phi in self.phi):
            raise ValueError(f"phi: preset efficientnet has whole numbers, got {list(self.phi)}")

    @property
    def in_workers(self) -> bool:
        return bool(self.grid.search or self.target_ms or self.train)


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
    fitted = arch.with_io(dataset.resolution, dataset.channels, len(dataset.classes))
    build(Recipe, command.recipe, "recipe")
    make_executor_settings(command.executor)
    for name, device in command.device.items():
        make_device(device, f"device.{name}")
    folder = run_folder(command.run, ("scale", *call.overrides), call.job).absolute()
    identity = {
        k: v for k, v in call.config.items() if k not in ("run", "executor", "plugins", "phi", "macs", "target_ms")
    }
    meta = {"settings": dict(call.config), "versions": versions(), "command": call.again}
    with open_run(folder, {**identity, "arch": fitted.to_dict()}, meta) as journal:
        log_to(folder)
        with _workers(command, fitted, folder) as executor:
            if command.grid.search:
                coefficients = _search_grid(command, fitted, journal, executor)
            family = _family(command, fitted, coefficients, journal, executor)
            _show(family)
            _write(folder, family)
            if command.train:
                _train(command, family, folder, journal, executor)


@contextlib.contextmanager
def _workers(command: ScaleCommand, arch: Arch, folder: Path) -> Iterator[Executor]:
    settings = {"dataset": with_paths(command.dataset), "recipe": dict(command.recipe), "evaluator": EVALUATOR}
    space = (
        family_space(arch, Coefficients(command.alpha, command.beta, command.gamma)).to_dict()
        if command.target_ms
        else {}
    )
    settings = {**settings, "device": dict(command.device)}
    executor = start_workers(command.executor, settings, space, command.plugins, folder, command.threads)
    try:
        yield executor
    finally:
        executor.close()


def _family(
    command: ScaleCommand, arch: Arch, coefficients: Coefficients, journal: Journal | None = None,
    executor: Executor | None = None,
) -> list[tuple[float, Arch, dict[str, float]]]:  # fmt: skip
    """(phi, member, figures besides params and MACs) of each member."""
    if command.preset:
        return [(phi, preset(arch, int(phi)), {}) for phi in command.phi]
    if command.macs:
        found = [
            to_budget(arch, macs, lambda a: cost(a).macs, coefficients, divisor=command.divisor)
            for macs in command.macs
        ]
        return [(phi, member, {}) for phi, member in found]
    if command.target_ms:
        assert journal is not None
        assert executor is not None
        (name,) = command.device
        predict = kept_predictor(name, journal, executor, command.seed).predict_arch
        found = [to_budget(arch, ms, predict, coefficients, divisor=command.divisor) for ms in command.target_ms]
        return [(phi, member, {f"predicted ms on {name}": predict(member)}) for phi, member in found]
    return [(phi, compound(arch, phi, coefficients, divisor=command.divisor), {}) for phi in command.phi]


def _show(family: Sequence[tuple[float, Arch, Mapping[str, float]]]) -> None:
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


def _write(folder: Path, family: Sequence[tuple[float, Arch, Mapping[str, float]]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for _, arch, _ in family:
        path = folder / f"{arch.name}.yaml"
        write_text(path, dump_yaml(arch.to_dict()))
        print(os.path.relpath(path))


def _trial(number: int, arch: Arch, seed: int, genome: tuple[int, ...], note: Mapping[str, Any]) -> tuple[Trial, Job]:
    counted, found = cost(arch), arch_id(arch)
    trial = Trial(number, genome, found, note=note, metrics={"params": counted.params, "macs": counted.macs})
    return trial, Job(number, "train", arch.to_dict(), found, 0, seed)


def _search_grid(command: ScaleCommand, arch: Arch, journal: Journal, executor: Executor) -> Coefficients:
    """The coefficients whose member at phi 1 is the most accurate on the validation split; the cheaper one of equals."""
    tried = command.grid.coefficients()
    print(f"{len(tried)} combinations of alpha, beta and gamma, each trained at phi 1 ...", flush=True)
    seed, wanted = job_seed(command.seed, 0), []
    for i, c in enumerate(tried):
        genome = (round(100 * c.alpha), round(100 * c.beta), round(100 * c.gamma))
        note = {"alpha": c.alpha, "beta": c.beta, "gamma": c.gamma}
        wanted.append(_trial(i, compound(arch, 1, c, divisor=command.divisor), seed, genome, note))

    def told(trial: Trial) -> None:
        named = ", ".join(f"{k} {v:g}" for k, v in trial.note.items())
        print(f"{named}: {trial.metrics.get('accuracy', trial.error)}", flush=True)

    done = [trial for trial in run_recorded(journal, executor, wanted, told=told) if trial.ok]
    if not done:
        raise ValueError("grid: none of the trainings succeeded; log.txt in the run's folder has the reasons")
    best = max(done, key=lambda trial: (trial.metrics["accuracy"], -trial.metrics["macs"]))
    c = tried[best.number]
    print(
        f"best: alpha {c.alpha:g}, beta {c.beta:g}, gamma {c.gamma:g} (product {c.product:.3f}), {best.metrics['accuracy']:.4f}"
    )
    return c


def _train(
    command: ScaleCommand, family: Sequence[tuple[float, Arch, Any]], folder: Path, journal: Journal, executor: Executor
) -> None:
    """Each member's folder is one of `nas train`, which a report takes as a reference."""
    first = len(command.grid.coefficients()) if command.grid.search else 0
    seed = job_seed(command.seed, 0)
    known = {trial.arch_id: trial.number for trial in journal.trials() if trial.number >= first}
    wanted = []
    for _, arch, _ in family:
        number = known.setdefault(arch_id(arch), first + len(known))
        wanted.append(_trial(number, arch, seed, (number,), {"member": arch.name}))
    wanted = sorted({trial.number: (trial, job) for trial, job in wanted}.values(), key=lambda pair: pair[0].number)
    trained = {trial.arch_id: trial for trial in run_recorded(journal, executor, wanted)}
    for _, arch, _ in family:
        trial = trained[arch_id(arch)]
        if not trial.ok:
            print(f"{arch.name}: {trial.outcome}: {trial.error}")
            continue
        member = folder / arch.name
        member.mkdir(exist_ok=True)
        write_text(member / "arch.yaml", dump_yaml(arch.to_dict()))
        record = {
            "arch": arch.name, "valid": {k: trial.metrics[k] for k in ("accuracy", "loss") if k in trial.metrics},
            "params": trial.metrics["params"], "macs": trial.metrics["macs"], "seed": seed, "recipe": dict(command.recipe),
            "dataset": dict(command.dataset), "versions": versions(),
        }  # fmt: skip
        write_text(member / "result.json", json.dumps(record, indent=1) + "\n")
        weights = folder / "checkpoints" / f"trial-{trial.number:06d}.npz"
        if weights.exists():
            os.replace(weights, member / "weights.npz")
        print(f"{arch.name}: validation accuracy {trial.metrics['accuracy']:.4f}, in {os.path.relpath(member)}")
