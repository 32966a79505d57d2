"""`track=[mlflow]` and `track=[wandb]`: the search's metrics over the trial's number, where those tools keep them.

Both read their own environment variables (MLFLOW_TRACKING_URI, WANDB_PROJECT, WANDB_MODE, ...); a resumed run continues in
the same run of theirs. Training curves stay in the trial's log and in TensorBoard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.records import JSON, Trial


class _Results:
    """Of a run, only results."""

    def started(self, number: int, worker: str) -> None: ...
    def curve(self, number: int, step: int, metrics: Mapping[str, float]) -> None: ...
    def lost(self, number: int, error: str) -> None: ...


class Mlflow(_Results):
    def __init__(self, client: Any, run_id: str):
        self._client, self._run = client, run_id

    def result(self, trial: Trial) -> None:
        for name, value in trial.metrics.items() if trial.ok else ():
            self._client.log_metric(self._run, name, value, step=trial.number)

    def close(self) -> None:
        self._client.set_terminated(self._run)


class Wandb(_Results):
    def __init__(self, run: Any):
        self._run = run

    def result(self, trial: Trial) -> None:
        if trial.ok:
            self._run.log({**trial.metrics, "trial": trial.number})

    def close(self) -> None:
        self._run.finish()


def open_mlflow(folder: Path, settings: Mapping[str, JSON]) -> Mlflow:
    """A run in the experiment `nas`, found again by the tag `nas.folder`."""
    from mlflow.tracking import MlflowClient  # type: ignore[reportMissingImports]

    client = MlflowClient()
    found = client.get_experiment_by_name("nas")
    experiment = found.experiment_id if found else client.create_experiment("nas")
    runs = client.search_runs([experiment], f"tags.`nas.folder` = '{_name(folder)}'", max_results=1)
    if runs:
        return Mlflow(client, runs[0].info.run_id)
    run = client.create_run(experiment, run_name=folder.name, tags={"nas.folder": _name(folder)})
    for key in ("space", "seed", "trials"):
        client.log_param(run.info.run_id, key, settings.get(key))
    return Mlflow(client, run.info.run_id)


def open_wandb(folder: Path, settings: Mapping[str, JSON]) -> Wandb:
    import wandb  # type: ignore[reportMissingImports]

    return Wandb(wandb.init(name=folder.name, id=_name(folder), resume="allow", config=dict(settings), dir=str(folder)))


def _name(folder: Path) -> str:
    return f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
