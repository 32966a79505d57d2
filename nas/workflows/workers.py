"""Common to workflows that train in workers: the workers, and a latency predictor kept in the run's journal."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from nas.core.plugins import module_path
from nas.core.settings import build
from nas.core.yamlio import write_text
from nas.data import Dataset
from nas.data.record import KEY, DataRecord
from nas.evaluators import Context, EvaluatorSettings
from nas.journal import Journal
from nas.latency import Predictor, load_predictor, make_device, read_predictor
from nas.latency.predictors.references import networks_of
from nas.recipe import Recipe
from nas.records import JSON, Job
from nas.runtime import make_executor_settings
from nas.runtime.base import Executor
from nas.runtime.device_executors import DeviceExecutors
from nas.runtime.dispatch import run_all
from nas.runtime.machines import unlike
from nas.runtime.measure import about
from nas.runtime.spec import WorkerSpec
from nas.space import Space
from nas.workflows.progress import Progress
from nas.workflows.run_folder import Run, with_paths

ABOUT_S = 600.0  # that a worker may take to say what its device is
LARGE_ERROR = 0.15  # of a latency predictor, relative; quiet machines have .01 to .06


class Trained(Protocol):
    """A command that trains in workers."""

    @property
    def dataset(self) -> Mapping[str, JSON]: ...
    @property
    def recipe(self) -> Mapping[str, JSON]: ...
    @property
    def executor(self) -> Mapping[str, JSON]: ...
    @property
    def device(self) -> Mapping[str, JSON]: ...


def check_workers(command: Trained) -> None:
    """Raises ValueError for settings of the recipe, the executor or a device that are wrong."""
    build(Recipe, command.recipe, "recipe")
    make_executor_settings(command.executor)
    for name, device in command.device.items():
        make_device(device, f"device.{name}")


def worker_settings(command: Trained, evaluator: Mapping[str, JSON], data: DataRecord) -> dict[str, JSON]:
    """What a worker needs of a command: dataset, its record, recipe, evaluator and devices, with files named from the root."""
    devices = {name: with_paths(device) for name, device in command.device.items()}
    return {
        "dataset": with_paths(command.dataset),
        KEY: data.plain(),
        "recipe": dict(command.recipe),
        "evaluator": dict(evaluator),
        "device": devices,
    }


def start_workers(
    executor: Mapping[str, JSON], settings: Mapping[str, JSON], space: Mapping[str, JSON], plugins: Sequence[str], storage: Path,
    threads: int, dataset: Dataset | None = None, evaluator: EvaluatorSettings | None = None,
) -> Executor:  # fmt: skip
    """`settings` has what a worker needs of dataset, recipe, evaluator and device; `storage` is where it leaves its files.

    `dataset`, where it is loaded already, is shipped to nodes; otherwise every worker reads it. An `evaluator` is an object of
    this process, for executor=local alone.
    """
    storage.mkdir(parents=True, exist_ok=True)
    spec, start = worker_spec(settings, space, plugins, storage, threads), make_executor_settings(executor).start
    if evaluator is None:
        return start(spec, dataset)
    return start(spec, dataset, evaluator.make(Context(settings, storage, "", space, dataset)))


@contextlib.contextmanager
def workers(
    executor: Mapping[str, JSON], settings: Mapping[str, JSON], space: Mapping[str, JSON], plugins: Sequence[str], storage: Path,
    threads: int, run: Run, dataset: Dataset | None = None,
) -> Iterator[tuple[Executor, DeviceExecutors]]:  # fmt: skip
    """The workers, and by device those that measure on it; all end with the block."""
    started = start_workers(executor, settings, space, plugins, storage, threads, dataset)
    devices = {name: make_device(device, f"device.{name}") for name, device in settings.get("device", {}).items()}
    placed = DeviceExecutors(started, worker_spec(settings, space, plugins, storage, threads), devices)
    try:
        yield started, placed
    except KeyboardInterrupt:
        raise run.stopped("stopped") from None
    finally:
        placed.close()
        started.close()


def worker_spec(
    settings: Mapping[str, JSON], space: Mapping[str, JSON], plugins: Sequence[str], storage: Path, threads: int
) -> WorkerSpec:
    """What workers are started with. They look for modules where `module_path` says, and use the platform that JAX is set to here.

    (A command line keeps its own process off accelerators; the user's choice is in `NAS_WORKER_PLATFORMS` then.)
    """
    platform = os.environ.get("NAS_WORKER_PLATFORMS", os.environ.get("JAX_PLATFORMS", ""))
    return WorkerSpec(settings, space, tuple(plugins), module_path(plugins), str(storage), threads, platform)


def kept_predictor(
    name: str, journal: Journal, executor: Executor, seed: int, timeout_s: float | None, space: Space, saved: str | None,
    progress: Progress,
) -> Predictor:  # fmt: skip
    """The run's frozen predictor of a device, fitted by a worker the first time, or read from the file `saved`.

    How long it took stands in the journal's events. Raises ValueError where it cannot be made.
    """
    kept = journal.get(f"predictor/{name}")
    if kept is None:
        data = {"device": name, "predictor": saved and read_predictor(saved, f"device.{name}.predictor")}
        progress.message(f"{'checking' if saved else 'measuring blocks for'} the latency predictor of {name} ...")
        began = time.monotonic()
        (outcome,) = run_all(executor, [Job(-1, "fit", seed=seed, data=data)], timeout_s=timeout_s)
        journal.add_event("fit", device=name, seconds=time.monotonic() - began, saved=saved)
        if outcome.outcome != "ok":
            raise ValueError(f"device.{name}: the latency predictor could not be made: {outcome.error}")
        kept = outcome.data["predictor"]
        journal.put(f"predictor/{name}", kept)
    else:
        _check_same_machine(name, kept, executor, timeout_s or ABOUT_S)
    predictor = load_predictor(kept, space)
    count = networks_of(kept)
    error = "" if predictor.mape is None else f" to {predictor.mape:.0%} (mean error on {count} networks, each left out of its fit)"
    machine = kept.get("info", {}).get("machine", "")
    progress.message(f"latency on {name}{machine and f' ({machine})'}: predicted{error}, measured at the end")
    if line := doubt(name, predictor.mape):
        progress.message(line)
    return predictor


def doubt(name: str, error: float | None) -> str | None:
    """What people hear of a device's predictor whose mean relative error is large; None where it is not."""
    if error is None or error <= LARGE_ERROR:
        return None
    return (
        f"latency on {name}: {error:.0%} is too much to choose by, as when other work ran beside the measurements; fit it again on a quiet "
        f"machine, with run=<another folder>, or pass device.{name}.predictor=<a file of nas profile>"
    )


def _check_same_machine(name: str, kept: Mapping[str, JSON], executor: Executor, timeout_s: float) -> None:
    """Raises ValueError where the device is not what the predictor was made for: a resumed run would compare unlike latencies."""
    fingerprint, info = about(executor, name, timeout_s)
    if kept.get("fingerprint") == fingerprint:
        return
    differs = unlike(kept.get("info", {}), info) or "its settings differ"
    raise ValueError(
        f"device.{name}: the run's latencies are of an unlike machine ({differs}); resume it there, or take run=<another folder>"
    )


def written_predictor(
    device: Mapping[str, Mapping[str, JSON]], folder: Path, journal: Journal, placed: Mapping[str, Executor], seed: int,
    timeout_s: float | None, space: Space, progress: Progress,
) -> Predictor:  # fmt: skip
    """`kept_predictor` of the one device, and its file in the run's folder, which another run may be given."""
    ((name, settings),) = device.items()
    predictor = kept_predictor(name, journal, placed[name], seed, timeout_s, space, settings.get("predictor"), progress)
    write_text(folder / f"predictor-{name}.json", json.dumps(predictor.to_dict(), allow_nan=False) + "\n")
    return predictor


def not_measured(progress: Progress) -> Callable[[str, str], None]:
    """Returns a callback, given an id and an error, that reports a network that cannot be measured."""
    return lambda _, error: progress.message(f"not measured: {error}")
