"""The settings of a search as a plan: everything that can be wrong is checked before anything is made or started."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nas.arch import dropped_strides
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.controllers import Controller, make_controller
from nas.core.settings import build, check_ranges
from nas.data import Dataset, dataset_settings, load_dataset
from nas.evaluators import EvaluatorSettings, Search, evaluator_settings
from nas.latency import Device, make_device
from nas.nn.weights import SUPERNET, split_source
from nas.objectives import Objectives, TaskMetrics, build_objectives
from nas.recipe import Recipe
from nas.records import JSON
from nas.report.trackers import check_trackers
from nas.runtime import make_executor_settings
from nas.space import Space, load_space
from nas.tasks import check_parts, check_recipe, example, fit_space, task_of
from nas.workflows.custom import NOTHING, Custom
from nas.workflows.photographs import decided
from nas.workflows.prepared import as_recorded, prepared, with_resize_of
from nas.workflows.recorded import recorded
from nas.workflows.run_folder import as_config, use_plugins, with_paths
from nas.workflows.search.loop import SearchSettings
from nas.workflows.starting import lines_of


@dataclass(frozen=True)
class SearchCommand:
    """The keys of conf/search.yaml."""

    space: str
    controller: Mapping[str, JSON]
    dataset: Mapping[str, JSON]
    objective: Mapping[str, JSON]
    recipe: Mapping[str, JSON]
    evaluator: Mapping[str, JSON]
    executor: Mapping[str, JSON]
    device: Mapping[str, JSON] = field(default_factory=dict)
    search: Mapping[str, JSON] = field(default_factory=dict)
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
    """A command whose every part was checked. Where the evaluator needs no dataset, there is none.

    images: settings of the dataset as workers read it, with what weights say of the form of images.
    """

    command: SearchCommand
    settings: SearchSettings
    space: Space
    objectives: Objectives
    controller: Controller
    devices: Mapping[str, Device]
    config: Mapping[str, JSON]
    first: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    dataset: Dataset | None
    evaluator: EvaluatorSettings
    custom: Custom = NOTHING
    images: Mapping[str, JSON] | None = None

    @property
    def identity(self) -> dict[str, JSON]:
        """What must be equal for a run to resume."""
        c, space = self.command, {"name": self.space.name, "fingerprint": self.space.fingerprint}
        parts = {k: self.config[k] for k in ("controller", "objective", "dataset", "recipe", "evaluator", "device")}
        search = {
            k: v
            for k, v in dataclasses.asdict(self.settings).items()
            if k in ("in_flight", "threads", "repeat", "enqueue") or (k == "stratified" and v)  # runs from before it resume
        }
        data = {"digest": self.dataset.digest} if self.dataset else None
        sizes = {"resolution": c.resolution, "divisor": c.divisor}
        return {"seed": c.seed, **sizes, "space": space, **parts, "data": data, "search": search}


def make_plan(command: SearchCommand, custom: Custom = NOTHING) -> Plan:
    """Checks every setting and reads the dataset. Raises ValueError naming the first that is wrong."""
    use_plugins(command.plugins)
    devices = {name: with_paths(device) for name, device in command.device.items()}
    dataset = command.dataset if custom.dataset else with_paths(command.dataset)
    config = {**as_config(command), "dataset": dataset, "device": devices, "evaluator": with_paths(command.evaluator)}
    settings = build(SearchSettings, command.search, "search")
    devices = {name: make_device(device, f"device.{name}") for name, device in devices.items()}
    controller = custom.controller or make_controller(command.controller)
    custom.check_executor(command.executor)
    check_trackers(command.track)
    evaluator = custom.evaluator or evaluator_settings(config["evaluator"])
    recipe = build(Recipe, command.recipe, "recipe")
    space = custom.space or load_space(command.space)
    task = task_of(space)
    reported = TaskMetrics(task.name, task.metrics, task.primary)
    objectives = _objectives(command, list(devices), evaluator, reported)
    evaluator.capabilities.check_task(task)
    check_recipe(task, recipe, taught=evaluator.teaches or settings.finetune_distill)
    evaluator.capabilities.check_recipe(recipe, command.evaluator.get("name"))
    workers = make_executor_settings(command.executor)
    evaluator.capabilities.check_workers(workers.devices, workers.asks_ahead, command.evaluator.get("name"))
    space = space.with_divisor(command.divisor) if command.divisor else space
    needs_dataset = evaluator.capabilities.needs_dataset
    if not custom.dataset and needs_dataset:
        dataset_settings(config["dataset"])
    if not evaluator.capabilities.further and (settings.finetune_epochs or settings.scratch_epochs):
        key = "finetune" if settings.finetune_epochs else "scratch"
        name = command.evaluator.get("name")
        raise ValueError(f"search.{key}_epochs: evaluator={name} trains candidates by itself; expected evaluator=supernet")
    if settings.finetune_distill and not (settings.finetune_epochs and task.distills):
        no_loss = f"the task {task.name} has no loss for teachers"
        why = no_loss if settings.finetune_epochs else "has no effect with search.finetune_epochs=0"
        raise ValueError(f"search.finetune_distill: {why}; leave it out")
    _check_fidelities(controller, evaluator, None if custom.dataset else config["dataset"])
    if not needs_dataset:
        _check_sizes(evaluator, command)
        evaluator.check(space)
        config, images = {**config, "dataset": None, "recipe": None}, None
        fitted, loaded, notes = space.fit(command.resolution), None, (evaluator.note,) if evaluator.note else ()
    else:
        images = images_as(config["dataset"], evaluator.images_of(), space)
        loaded, form = prepared(custom.dataset or load_dataset(images), evaluator.images_of())
        fitted, size_notes = fitted_space(space, loaded, command.resolution)
        recorded, photo_notes = decided(command.recipe, loaded)
        config = {**config, "recipe": recorded}
        notes = (*size_notes, *photo_notes, *filter(None, [form]))
        one = example(fitted)
        begun = evaluator.begins(one, 0)
        check_parts(recipe, lower(one), begun and begun.fresh)  # of initial values none can be frozen
        notes = (*notes, *lines_of(begun, evaluator.images_of() or "", one)) if begun else notes
    special = bool(controller.fidelities or recipe.freeze or recipe.lr_scale or recipe.fixed_norms)
    if instead := evaluator.decided(Search(fitted, command.trials, special or workers.devices > 1 or workers.asks_ahead)):
        config, notes = {**config, "evaluator": instead[0]}, (*notes, instead[1])
        evaluator = evaluator_settings(instead[0])
    evaluator.check(fitted)
    first = tuple(fitted.encode(find_arch(name, "search.enqueue")) for name in settings.enqueue)
    return Plan(
        command, settings, fitted, objectives, controller, devices, config, first, notes, loaded, evaluator, custom, images
    )  # fmt: skip


def images_as(settings: Mapping[str, JSON], source: str | None, space: Space) -> Mapping[str, JSON]:
    """Settings of a dataset whose images are made ready for weights, where it leaves that open."""
    if source is not None and split_source(source)[0] == SUPERNET and (data := recorded(source)) is not None:
        return as_recorded(settings, data)
    return with_resize_of(settings, source, space.resolution if isinstance(space.resolution, int) else None)


def fitted_space(space: Space, dataset: Dataset, resolution: int | None) -> tuple[Space, tuple[str, ...]]:
    """A space for the images of a dataset, and lines for people. `resolution`: of the networks; None: as images or space have it."""
    resolution = resolution or (dataset.resolution if isinstance(space.resolution, int) else None)
    task = task_of(space)
    fitted = fit_space(task, space, dataset, resolution)
    return fitted, (*_notes(space, fitted), *task.notes(example(fitted), dataset))


def _objectives(command: SearchCommand, devices: list[str], evaluator: EvaluatorSettings,
                task: TaskMetrics) -> Objectives:  # fmt: skip
    timed = evaluator.timed()
    if twice := [name for name in timed if name in devices]:
        raise ValueError(f"evaluator.devices: {twice[0]} is among device= too; its times can come from one of them")
    return build_objectives(command.objective, [*devices, *timed], task, evaluator.capabilities.metrics)


def _check_sizes(evaluator: EvaluatorSettings, command: SearchCommand) -> None:
    for key, value in (("resolution", command.resolution), ("divisor", command.divisor)):
        if evaluator.capabilities.fixed_networks and value is not None:
            name = command.evaluator.get("name")
            raise ValueError(f"{key}: the networks of {name} were trained as they are; leave it out")


def _check_fidelities(controller: Controller, evaluator: EvaluatorSettings, dataset: Mapping[str, JSON] | None) -> None:
    """Trainings of several lengths need an evaluator that knows them, and images that can be had at each size."""
    fidelities = controller.fidelities
    if fidelities and not evaluator.capabilities.fidelities:
        raise ValueError("evaluator: knows trainings of one length only; with fidelities take evaluator=scratch or layerwise")
    for fidelity in fidelities:
        if fidelity.resolution is None:
            continue
        if dataset is None:
            raise ValueError("controller.resolutions: images of an array are of one size; expected a dataset by name")
        dataset_settings({**dataset, "resolution": fidelity.resolution}, "controller.resolutions: dataset")


def _notes(space: Space, fitted: Space) -> tuple[str, ...]:
    genome = space.sample(np.random.default_rng(0))
    before, after = space.decode(genome), fitted.decode(genome)
    dropped = dropped_strides(before, after)
    if not dropped:
        return ()
    return (
        f"images of {after.resolution} pixels, the space is made for {before.resolution}: stride 1 instead of 2 in {', '.join(dropped)}",
    )
