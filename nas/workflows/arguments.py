"""Arguments of the Python API as settings and objects: names, dicts, dataclasses, arrays, functions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.arch.find import find_arch
from nas.controllers import CONTROLLERS
from nas.core.settings import build
from nas.data import DATASETS, Dataset, DatasetSettings, load_dataset
from nas.data.array_parts import Array
from nas.data.arrays import dataset_of_arrays
from nas.data.record import DataRecord
from nas.evaluators import EVALUATORS, EvaluatorSettings
from nas.evaluators.function import FunctionSettings, Made
from nas.objectives import COSTS, LATENCY, Direction
from nas.records import JSON
from nas.space import Space, load_space
from nas.tasks import task_of
from nas.workflows.custom import Custom, dataset_identity, described
from nas.workflows.defaults import Settings, compose
from nas.workflows.prepared import as_recorded
from nas.workflows.progress import SILENT, Callback, Progress, Reporting
from nas.workflows.run_folder import Run, run_folder, use_plugins
from nas.workflows.search.continued import continued, keys_given, recorded

UNSAID = (("trials", 24), ("seed", 0), ("space", "tiny"), ("devices", 1), ("restarts", 3), ("checkpoint_every", 1),
          ("checkpoint_minutes", 10), ("checkpoint_keep", 2))  # fmt: skip
UNLIMITED = ("timeout_s", "checkpoint_minutes")  # None is a value of theirs, not the default
Arrays = tuple[Array, Array] | Mapping[str, Any]
Function = Callable[[Arch], Mapping[str, float]]
SpaceLike = str | Path | Mapping[str, JSON] | Space
ArchLike = str | Path | Mapping[str, JSON] | Arch
Command = TypeVar("Command")


@dataclass(frozen=True)
class Arguments:
    """What a call of the API stands for: settings as the command line has them, objects, and how the call reads."""

    config: Settings
    custom: Custom
    overrides: tuple[str, ...]
    call: str

    def prepared(self, kind: type[Command], run: str | Path | None, progress: Reporting) -> tuple[Command, Run, Progress]:
        """What a workflow starts with: its checked settings, the run, by default named after the arguments, and progress."""
        folder = run_folder(None if run is None else str(run), self.overrides)
        return build(kind, self.config, ""), Run(folder.absolute(), self.call, "call"), make_progress(progress)


def settings_among(kind: type, arguments: Mapping[str, JSON]) -> dict[str, JSON]:
    """Those of a function's arguments that are settings of a command."""
    return {key: value for key, value in arguments.items() if key in kind.__dataclass_fields__}


def search_arguments(
    given: Mapping[str, JSON], objectives: Mapping[str, Direction] | None, constraints: Mapping[str, float] | None,
    evaluate: Function | None, version: str | None, run: str | Path | None = None,
) -> Arguments:  # fmt: skip
    """The arguments of `nas.search` by name, without those that no file in conf/ has; what is None is as the run has it."""
    known = recorded(Path(run)) if run is not None else {}
    shown = {**given, "objectives": objectives, "constraints": constraints, "evaluate": evaluate}
    use_plugins(given["plugins"] or known.get("plugins") or ())
    changes = plain(given)
    set_ = keys_given({**changes, "run": None})
    given = {**given, "space": given["space"] or known.get("space") or "tiny"}
    if evaluate is not None and given.get("evaluator") is not None:
        raise ValueError("evaluate: a function in place of an evaluator; expected one of the two")
    metrics = objectives if objectives is not None else {k: way for k, way in _metrics(known).items() if way}
    function = None if evaluate is None else FunctionSettings(evaluate, _custom_metrics(given["space"], metrics))
    custom, replaced = _objects(given, function, version)
    changes = _of_the_run({**changes, **replaced}, known)
    set_ += [key for key, value in replaced.items() if isinstance(value, Mapping) and key not in set_]
    if evaluate is not None and objectives is None and changes.get("objective") is None:
        changes["objective"] = "params"
    if evaluate is not None and changes.get("device") is None:
        changes["device"] = []
    if named := [*dict.fromkeys(_devices_of(objectives, constraints))]:
        changes["device"] = changes.get("device") or named
        set_ += [] if set(named) <= set(known.get("device") or ()) else ["device"]
    if custom.evaluator is not None or custom.dataset is not None:
        changes["executor"] = changes.get("executor") or "local"
    config = compose("search", {**changes, **_marks(replaced)})
    config |= {key: value for key, value in replaced.items() if isinstance(value, Mapping)}
    if run is not None:
        config = continued(Path(run), config, set_)
    config["objective"] = _objective(config["objective"], objectives, constraints)
    return Arguments(config, custom, overrides_of(shown), call_of("search", shown))


def _metrics(known: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """The objectives of a run, of which None is none."""
    return (known.get("objective") or {}).get("metrics") or {}


def _of_the_run(changes: Settings, known: Mapping[str, JSON]) -> Settings:
    """Settings that change a choice change that of the run."""
    return {
        key: {**known[key], **value}
        if isinstance(value, Mapping) and "name" not in value and isinstance(known.get(key), Mapping) and "name" in known[key]
        else value
        for key, value in changes.items()
    }


def _objects(given: Mapping[str, JSON], function: FunctionSettings | None, version: str | None) -> tuple[Custom, Settings]:
    """The objects among arguments, and what their keys hold instead."""
    space = None if isinstance(given["space"], str | Path) else load_space(given["space"])
    dataset = as_dataset(given["dataset"])
    replaced: Settings = {"space": str(given["space"]) if space is None else space.name}
    if dataset is not None:
        replaced["dataset"] = dataset_identity(dataset)
    controller, evaluator = given["controller"], given["evaluator"]
    custom_controller = custom_evaluator = None
    if is_object(controller):
        known = registered(CONTROLLERS, controller)
        replaced["controller"], custom_controller = known or described(controller, version), None if known else controller
    if is_object(evaluator):
        known = registered(EVALUATORS, evaluator)
        replaced["evaluator"], custom_evaluator = known or described(evaluator, version), None if known else evaluator
    if function is not None:
        replaced["evaluator"], custom_evaluator = described(function.function, version), function
    custom = Custom(space, None, dataset, custom_controller, _settings_of(custom_evaluator))
    return custom, replaced


def _settings_of(evaluator: Any) -> EvaluatorSettings | None:
    """An evaluator, or settings that make one, as settings."""
    return evaluator if evaluator is None or hasattr(evaluator, "make") else Made(evaluator)


def _marks(replaced: Settings) -> Settings:
    """Keys of objects are set after the files were read: no file has them."""
    return dict.fromkeys((key for key, value in replaced.items() if isinstance(value, Mapping)))


def _objective(settings: Settings, objectives: Mapping[str, Direction] | None, constraints: Mapping[str, float] | None) -> Settings:
    """The settings of the objective with these metrics in place of its own, and a reward that fits them."""
    if constraints is not None:
        settings = {**settings, "constraints": {**dict.fromkeys(settings.get("constraints", {})), **constraints}}
    if objectives is None:
        return settings
    costs = [name for name, way in objectives.items() if way == "min" and _is_cost(name)]
    settings = {**settings, "metrics": {**dict.fromkeys(settings["metrics"]), **objectives}}
    if settings.get("cost") in objectives:
        return settings
    if "max" not in objectives.values() or not costs:
        return {**settings, "reward": "first"}
    return {**settings, "cost": costs[0]}


def _custom_metrics(space: SpaceLike, objectives: Mapping[str, Direction] | None) -> dict[str, Direction]:
    """Objectives that neither nas nor the task of the space knows: what a function reports."""
    known = task_of(load_space(space).base).metrics
    return {name: way for name, way in (objectives or {}).items() if name not in known and not _is_cost(name)}


def _is_cost(name: str) -> bool:
    return name in COSTS or name.partition("/")[0] == LATENCY


def _devices_of(*named: Mapping[str, object] | None) -> list[str]:
    """Devices in the names of metrics."""
    names = [name for names in named if names for name in names]
    return [device for name in names for kind, _, device in [name.partition("/")] if kind == LATENCY and device]


def registered(registry: Mapping[str, type], thing: object) -> Settings | None:
    """The settings of an object whose class has a name in a registry: workers can make it again."""
    name = next((name for name, cls in registry.items() if type(thing) is cls), None)
    if name is None or not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        return None
    return {"name": name, **json.loads(json.dumps(dataclasses.asdict(thing)))}


def is_object(value: object) -> bool:
    return value is not None and not isinstance(value, str | Path | Mapping)


def as_dataset(dataset: object) -> Dataset | None:
    """A dataset that was passed as an object; None for a name or settings."""
    if isinstance(dataset, Dataset):
        return dataset
    if isinstance(dataset, tuple) or (isinstance(dataset, Mapping) and "x_train" in dataset):
        return dataset_of_arrays(dataset)
    return None


def plain(given: Mapping[str, JSON]) -> Settings:
    """Arguments as settings: paths as text, iterables as lists, settings dataclasses as mappings."""
    return {key: _plain(value) for key, value in given.items()}


def _plain(value: object) -> JSON:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, DatasetSettings):
        return registered(DATASETS, value) or value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    return value


def overrides_of(given: Mapping[str, JSON]) -> tuple[str, ...]:
    """The arguments that were set as `key=value`, from which a run is named."""
    return tuple(
        f"{key}={text}"
        for key, value in given.items()
        if value is not None and (text := _word(value)) and (key, value) not in UNSAID
    )


def _word(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}_{_word(item)}" for key, item in value.items()) if "x_train" not in value else "arrays"
    if isinstance(value, str | int | float | Path):
        return str(value)
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    named = getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__
    return str(named)


def call_of(function: str, given: Mapping[str, JSON]) -> str:
    """The call as one would write it, with objects by their names."""
    set_ = {key: value for key, value in given.items() if value is not None and value != ()}
    return f"nas.{function}({', '.join(f'{key}={_shown(value)}' for key, value in set_.items())})"


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool) else _word(value) if is_object(value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def train_arguments(given: Mapping[str, JSON], shortcuts: Mapping[str, JSON]) -> Arguments:
    """The arguments of `nas.train` by name; `shortcuts` are keys of the recipe, None where they were not given."""
    use_plugins(given["plugins"])
    arch: ArchLike = given["arch"]
    found, dataset = find_arch(arch, "arch"), as_dataset(given["dataset"])
    changes = plain({**given, "arch": found.name})
    if set_ := {key: value for key, value in shortcuts.items() if value is not None}:
        recipe = changes.get("recipe")
        changes["recipe"] = {**({"name": recipe} if isinstance(recipe, str) else recipe or {}), **set_}
    replaced = {} if dataset is None else {"dataset": dataset_identity(dataset)}
    config = compose("train", {**changes, **_marks(replaced)}) | replaced | _unlimited(changes)
    named = str(arch) if isinstance(arch, str | Path) else f"{found.name}-{arch_id(found)[:6]}"
    shown = {**given, "arch": named, **shortcuts}
    return Arguments(config, Custom(arch=found, dataset=dataset), ("train", *overrides_of(shown)), call_of("train", shown))


def _unlimited(changes: Settings) -> Settings:
    return {key: changes[key] for key in UNLIMITED if key in changes}


def recorded_dataset(dataset: object, kept: JSON, data: DataRecord | None = None) -> Dataset:
    """A dataset by any of its forms; None: the one that a training's record names.

    Where the settings leave open how images become square, and how large, these become so as those of `data`.

    Raises:
        ValueError: Where there is none.
    """
    if (found := as_dataset(dataset)) is not None:
        return found
    chosen = compose("train", {"dataset": _plain(dataset), "arch": "-"})["dataset"] if dataset is not None else kept
    if not isinstance(chosen, Mapping) or "content" in chosen:
        raise ValueError("dataset: expected the dataset, such as dataset='digits'; the weights come with no record of one")
    return load_dataset(chosen if data is None else as_recorded(chosen, data))


def make_progress(progress: Reporting) -> Progress:
    """What `progress=` of the Python API stands for: None or False, True (a bar), a function, or a `Progress`."""
    if not progress:
        return SILENT
    if progress is True:
        from nas.workflows.bar import Bar

        return Bar()
    return Callback(progress) if callable(progress) else progress


def workflow_arguments(command: str, given: Mapping[str, JSON], arch: Arch | None = None, space: Space | None = None) -> Arguments:
    """The arguments of a workflow by name; an architecture, a space and arrays as objects."""
    changes, dataset = plain(given), as_dataset(given.get("dataset"))
    use_plugins(changes.get("plugins") or ())
    replaced = {} if dataset is None else {"dataset": dataset_identity(dataset)}
    if dataset is not None:
        changes["executor"] = changes.get("executor") or "local"
    named = {"arch": arch.name} if arch is not None else {"space": space.name} if space is not None else {}
    shown = {**given, **({"arch": f"{arch.name}-{arch_id(arch)[:6]}"} if arch is not None else named)}
    config = compose(command, {**changes, **named, **_marks(replaced)}) | replaced | _unlimited(changes)
    return Arguments(config, Custom(space, arch, dataset), (command, *overrides_of(shown)), call_of(command, shown))
