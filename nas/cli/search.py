"""`nas search`: checks everything first, then fits latency, searches, verifies the front and writes the report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.arch import dropped_strides
from nas.cli.arch import find_arch
from nas.cli.folder import log_to, open_run, run_folder, with_paths
from nas.cli.hydra_door import Invocation
from nas.cli.work import kept_predictor, start_workers, worker_spec
from nas.controllers import Problem, make_controller
from nas.cost import Costs
from nas.data import Dataset, dataset_settings, load_dataset
from nas.display import Display
from nas.evaluators import OneProgram, evaluator_settings
from nas.executors import make_executor_settings
from nas.executors.base import Executor
from nas.executors.placed import Placed
from nas.feasible import check_feasible
from nas.journal import Journal
from nas.latency import make_device
from nas.objectives import Objectives, build_objectives
from nas.plugins import load_plugins
from nas.report import front_text, summarise, write_outputs
from nas.search import Search, SearchSettings, Several
from nas.settings import build, check_ranges
from nas.space import Space, load_space
from nas.trackers import check_trackers, open_trackers
from nas.verify import Keeper, measure_front, prune_weights, test_front
from nas.versions import versions

TARGET_SAMPLES = 200


@dataclass(frozen=True)
class SearchCommand:
    """The keys of conf/search.yaml."""

    space: str
    controller: Mapping[str, Any]
    dataset: Mapping[str, Any]
    objective: Mapping[str, Any]
    recipe: Mapping[str, Any]
    evaluator: Mapping[str, Any]
    executor: Mapping[str, Any]
    device: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    resolution: int | None = None
    divisor: int | None = None
    trials: int = 24
    seed: int = 0
    run: str | None = None
    storage: str | None = None
    track: tuple[str, ...] = ("log", "tensorboard")
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self, trials=(1, 10**7), seed=(0, 2**31 - 1), resolution=(1, 8192), divisor=(1, 256))


@dataclass(frozen=True)
class Plan:
    """A command whose every part was checked, before anything is made or started."""

    command: SearchCommand
    settings: SearchSettings
    space: Space
    objectives: Objectives
    controller: Any
    devices: Mapping[str, Any]
    config: Mapping[str, Any]
    first: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    dataset: Dataset

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for a run to go on."""
        c, space = self.command, {"name": self.space.name, "fingerprint": self.space.fingerprint}
        parts = {k: self.config[k] for k in ("controller", "objective", "dataset", "recipe", "evaluator", "device")}
        search = {
            k: v
            for k, v in dataclasses.asdict(self.settings).items()
            if k in ("in_flight", "threads", "repeat", "enqueue")
        }
        return {"seed": c.seed, "resolution": c.resolution, "divisor": c.divisor, "space": space, **parts, "search": search}


def search(call: Invocation) -> None:
    """Runs a search to the end, or goes on with one. Raises ValueError for the user's mistakes."""
    plan = make_plan(call)
    folder = run_folder(plan.command.run, call.overrides, call.job).absolute()
    shown = os.path.relpath(folder)
    meta = {"settings": dict(plan.config), "versions": versions(), "command": call.again, "space": {
        "name": plan.space.name, "size": plan.space.size, "fingerprint": plan.space.fingerprint,
        "genes": [gene.name for gene in plan.space.genes]}}  # fmt: skip
    with open_run(folder, plan.identity, meta) as journal:
        log_to(folder)
        _save_config(folder, call)
        if journal.get("finished", 0) >= plan.command.trials:
            print(
                f"{shown}: this run is finished, {journal.get('finished')} trials; a larger trials= goes on from there"
            )
            print(front_text(summarise(journal)))
            return
        try:
            _run(plan, journal, folder)
        except KeyboardInterrupt:
            done = sum(trial.done for trial in journal.trials())
            journal.add_event("interrupted")
            raise KeyboardInterrupt(
                f"stopped with {done} trials on record in {shown}; the same command goes on:\n  {call.again}"
            ) from None
        print(front_text(summarise(journal)))
        print(f"\nreport  {shown}/report.html\nbest    {shown}/best.yaml   (nas train arch={shown}/best.yaml)")


def make_plan(call: Invocation) -> Plan:
    command = build(SearchCommand, call.config, "")
    load_plugins(command.plugins, [os.getcwd()])
    devices = {name: with_paths(device) for name, device in command.device.items()}
    config = {**call.config, "dataset": with_paths(command.dataset), "device": devices}
    settings = build(SearchSettings, command.search, "search")
    devices = {name: make_device(device, f"device.{name}") for name, device in devices.items()}
    objectives = build_objectives(command.objective, list(devices))
    controller = make_controller(command.controller)
    make_executor_settings(command.executor)
    check_trackers(command.track)
    evaluator = evaluator_settings(command.evaluator)
    _check_recipe(command.recipe)
    space = load_space(command.space)
    space = space.with_divisor(command.divisor) if command.divisor else space
    dataset_settings(config["dataset"])
    dataset = load_dataset(config["dataset"])
    resolution = command.resolution or (dataset.resolution if isinstance(space.resolution, int) else None)
    fitted = space.fit(resolution, dataset.channels, len(dataset.classes))
    if isinstance(evaluator, OneProgram):
        evaluator.check(fitted)
    _check_rungs(controller, evaluator, config["dataset"])
    first = tuple(fitted.encode(find_arch(name)) for name in settings.enqueue)
    return Plan(command, settings, fitted, objectives, controller, devices, config, first, _notes(space, fitted), dataset)


def _check_rungs(controller: Any, evaluator: Any, dataset: Mapping[str, Any]) -> None:
    """Trainings of several lengths need an evaluator that knows them, and images that can be had at each size."""
    rungs = getattr(controller, "rungs", ())
    if rungs and isinstance(evaluator, OneProgram):
        raise ValueError("evaluator: one_program trains all candidates for the same time; with rungs take evaluator=scratch")
    for rung in rungs:
        if rung.resolution is not None:
            dataset_settings({**dataset, "resolution": rung.resolution}, "controller.resolutions: dataset")


def _notes(space: Space, fitted: Space) -> tuple[str, ...]:
    genome = space.sample(np.random.default_rng(0))
    before, after = space.decode(genome), fitted.decode(genome)
    dropped = dropped_strides(before, after)
    if not dropped:
        return ()
    return (
        f"images of {after.resolution} pixels, the space is made for {before.resolution}: stride 1 instead of 2 in {', '.join(dropped)}",
    )


def _check_recipe(recipe: Mapping[str, Any]) -> None:
    from nas.recipe import Recipe

    build(Recipe, recipe, "recipe")


def _save_config(folder: Path, call: Invocation) -> None:
    from nas.yamlio import dump_plain, write_text

    write_text(folder / "config.yaml", f"# {call.again}\n" + dump_plain(dict(call.config)))


def _run(plan: Plan, journal: Journal, folder: Path) -> None:
    command = plan.command
    journal.add_event("start", trials=command.trials, pid=os.getpid(), executor=dict(command.executor))
    title = f"nas search  {plan.space.name} on {command.dataset.get('name')}, {command.controller.get('name')}  ({os.path.relpath(folder)})"
    print(f"{title}\n{plan.space.size:.3g} architectures, {len(plan.space.genes)} genes", flush=True)
    for note in plan.notes:
        print(note)
    settings = {k: plan.config[k] for k in ("dataset", "recipe", "evaluator", "device")}
    storage = Path(command.storage).expanduser().absolute() / folder.name if command.storage else folder
    executor = start_workers(
        command.executor, settings, plan.space.to_dict(), command.plugins, storage, plan.settings.threads, plan.dataset
    )
    spec = worker_spec(settings, plan.space.to_dict(), command.plugins, storage, plan.settings.threads)
    placed = Placed(executor, spec, plan.devices)
    if url := getattr(executor, "dashboard", ""):
        print(f"Ray's dashboard: {url}")
    try:
        problem = _problem(plan, journal, placed)
        check_feasible(problem, command.seed)
        with (
            closing(open_trackers(command.track, folder, plan.config)) as trackers,
            Display(command.trials, problem.objectives) as display,
        ):
            display.replayed(journal.trials())
            observer = Several(display, trackers, Keeper(journal, problem.objectives, storage))
            loop = Search(
                problem, plan.controller, journal, executor, plan.settings, command.seed, observer, plan.first
            )  # fmt: skip
            reason = loop.run(command.trials)
        if reason:
            print(f"ended early: {reason}")
            journal.add_event("ended", reason=reason)
        prune_weights(journal, problem.objectives, storage)
        timeouts = {name: device.timeout_s for name, device in plan.devices.items()}
        measure_front(journal, problem.objectives, placed, timeouts, print)
        test_front(journal, problem.objectives, executor, print)
        journal.add_event("finish")
        journal.put("finished", command.trials)
    finally:
        placed.close()
        executor.close()
        if journal.trials():
            write_outputs(folder, journal)


def _problem(plan: Plan, journal: Journal, placed: Mapping[str, Executor]) -> Problem:
    """The problem with frozen latency predictors and the target, made once and kept in the journal."""
    seed, limit = plan.command.seed, plan.settings.timeout_s
    predictors = {
        name: kept_predictor(name, journal, placed[name], seed, limit, plan.space, device.predictor)
        for name, device in plan.devices.items()
    }
    table = Costs(plan.space)

    def costs(genomes: np.ndarray) -> dict[str, np.ndarray]:
        latencies = {f"latency_ms/{name}": p.predict_many(plan.space, genomes) for name, p in predictors.items()}
        return {**table(genomes), **latencies}

    objectives = plan.objectives
    if objectives.needs_target:
        objectives = dataclasses.replace(objectives, target=_target(plan, journal, costs))
    journal.put("objectives", dataclasses.asdict(objectives))
    if rungs := getattr(plan.controller, "rungs", ()):
        journal.put("rungs", [dataclasses.asdict(rung) for rung in rungs])
    return Problem(plan.space, objectives, costs, table.features)


def _target(plan: Plan, journal: Journal, costs: Any) -> float:
    kept = journal.get("target")
    if kept is None:
        rng = np.random.default_rng([plan.command.seed, 2**31 + 1])
        genomes = np.array([plan.space.sample(rng) for _ in range(TARGET_SAMPLES)])
        kept = float(np.median(costs(genomes)[plan.objectives.cost]))
        journal.put("target", kept)
    unit = " ms" if plan.objectives.cost.startswith("latency_ms") else ""
    print(f"target {plan.objectives.cost} {kept:.4g}{unit} (the median of sampled architectures)")
    return kept
