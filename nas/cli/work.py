"""What commands that train in workers share: the workers, and a latency predictor kept in the run's journal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.executors import make_executor_settings
from nas.executors.base import Executor
from nas.executors.dispatch import run_all
from nas.jobs import Job, WorkerSpec
from nas.journal import Journal
from nas.latency import Predictor, load_predictor
from nas.space import Space


def start_workers(
    executor: Mapping[str, Any], settings: Mapping[str, Any], space: Mapping[str, Any], plugins: Sequence[str], storage: Path,
    threads: int, dataset: Any = None,
) -> Executor:  # fmt: skip
    """`settings` has what a worker needs of dataset, recipe, evaluator and device; `storage` is where it leaves its files.

    `dataset`, where it is loaded already, is shipped to nodes; otherwise every worker reads it.
    """
    storage.mkdir(parents=True, exist_ok=True)
    started = make_executor_settings(executor).start(worker_spec(settings, space, plugins, storage, threads), dataset)
    if executor.get("name") != "local":
        os.environ["JAX_PLATFORMS"] = "cpu"  # accelerators are the workers'
    return started


def worker_spec(
    settings: Mapping[str, Any], space: Mapping[str, Any], plugins: Sequence[str], storage: Path, threads: int
) -> WorkerSpec:
    return WorkerSpec(
        settings, space, tuple(plugins), tuple(p or os.getcwd() for p in sys.path), str(storage), threads,
        os.environ.get("NAS_WORKER_PLATFORMS", ""),
    )  # fmt: skip


def kept_predictor(
    name: str, journal: Journal, executor: Executor, seed: int, timeout_s: float | None = None, space: Space | None = None,
    saved: str | None = None,
) -> Any:  # fmt: skip
    """The run's frozen predictor of a device, fitted by a worker the first time, or read from the file `saved`.

    `space` is the one that a learnt predictor is of; without it there is only the sum of layers, which fits any. How long
    it took stands in the journal's events. Raises ValueError where it cannot be made.
    """
    kept = journal.get(f"predictor/{name}")
    if kept is None:
        data = {"device": name, "predictor": _read(name, saved)}
        print(f"{'checking' if saved else 'measuring blocks for'} the latency predictor of {name} ...", flush=True)
        began = time.monotonic()
        (outcome,) = run_all(executor, [Job(-1, "fit", seed=seed, data=data)], timeout_s=timeout_s)
        journal.add_event("fit", device=name, seconds=time.monotonic() - began, saved=saved)
        if outcome.outcome != "ok":
            raise ValueError(f"device.{name}: the latency predictor could not be made: {outcome.error}")
        kept = outcome.data["predictor"]
        journal.put(f"predictor/{name}", kept)
    predictor = Predictor.from_dict(kept) if space is None else load_predictor(kept, space)
    error = "" if predictor.mape is None else f" to {predictor.mape:.0%} (mean error on networks left out of the fit)"
    print(f"latency on {name}: predicted{error}, measured at the end", flush=True)
    return predictor


def _read(name: str, path: str | None) -> Any:
    """The data of `device.<name>.predictor`; which device and space it is of is checked where the device is."""
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"device.{name}.predictor: {path}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"device.{name}.predictor: {path}: no file of nas profile") from None
