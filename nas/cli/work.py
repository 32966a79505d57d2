"""What commands that train in workers share: the workers, and a latency predictor kept in the run's journal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.executors import make_executor_settings
from nas.executors.base import Executor
from nas.executors.dispatch import run_all
from nas.jobs import Job, WorkerSpec
from nas.journal import Journal
from nas.latency import Predictor


def start_workers(
    executor: Mapping[str, Any], settings: Mapping[str, Any], space: Mapping[str, Any], plugins: Sequence[str], storage: Path,
    threads: int, dataset: Any = None,
) -> Executor:  # fmt: skip
    """`settings` has what a worker needs of dataset, recipe, evaluator and device; `storage` is where it leaves its files.

    `dataset`, where it is loaded already, is shipped to nodes; otherwise every worker reads it.
    """
    storage.mkdir(parents=True, exist_ok=True)
    spec = WorkerSpec(
        settings, space, tuple(plugins), tuple(p or os.getcwd() for p in sys.path), str(storage), threads,
        os.environ.get("NAS_WORKER_PLATFORMS", ""),
    )  # fmt: skip
    started = make_executor_settings(executor).start(spec, dataset)
    if executor.get("name") != "local":
        os.environ["JAX_PLATFORMS"] = "cpu"  # accelerators are the workers'
    return started


def kept_predictor(
    name: str, journal: Journal, executor: Executor, seed: int, timeout_s: float | None = None
) -> Predictor:
    """The run's frozen predictor of a device, fitted by a worker the first time. Raises ValueError where that fails."""
    kept = journal.get(f"predictor/{name}")
    if kept is None:
        print(f"measuring blocks on {name} for the latency predictor ...", flush=True)
        (outcome,) = run_all(executor, [Job(-1, "fit", seed=seed, data={"device": name})], timeout_s=timeout_s)
        if outcome.outcome != "ok":
            raise ValueError(f"device.{name}: the latency predictor could not be made: {outcome.error}")
        kept = outcome.data["predictor"]
        journal.put(f"predictor/{name}", kept)
    predictor = Predictor.from_dict(kept)
    error = "" if predictor.mape is None else f" to {predictor.mape:.0%} (mean error on networks left out of the fit)"
    print(f"latency on {name}: predicted{error}, measured at the end", flush=True)
    return predictor


def absolute_path(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Workers have other working folders."""
    path = dataset.get("path")
    return {**dataset, "path": str(Path(path).expanduser().absolute())} if isinstance(path, str) else dict(dataset)
