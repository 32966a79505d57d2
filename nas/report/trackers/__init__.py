"""What a run reports to other tools while it runs. `TRACKERS` maps the names of `track=[..]` to functions that open one.

A custom tracker is a `Sink`, opened by a function of the run's folder and settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nas.core.settings import nearest
from nas.records import JSON
from nas.report.trackers.base import Sink, Tracking
from nas.report.trackers.log import TrialLogs
from nas.report.trackers.services import open_mlflow, open_wandb
from nas.report.trackers.tensorboard import TensorBoard

TRACKERS: dict[str, Callable[[Path, Mapping[str, JSON]], Sink]] = {
    "log": lambda folder, settings: TrialLogs(folder),
    "tensorboard": lambda folder, settings: TensorBoard(folder),
    "mlflow": open_mlflow,
    "wandb": open_wandb,
}


def check_trackers(names: Sequence[str]) -> None:
    """Raises ValueError naming the first that there is not."""
    for name in names:
        if name not in TRACKERS:
            near = nearest(name, TRACKERS)
            hint = f"did you mean {near!r}?" if near else f"known: {', '.join(TRACKERS)}"
            raise ValueError(f"track: no such tracker {name!r}; {hint}")


def open_trackers(names: Sequence[str], folder: Path, settings: Mapping[str, JSON]) -> Tracking:
    """An observer that feeds all of them. Raises ValueError where one is not installed, with what to install."""
    sinks: dict[str, Sink] = {}
    for name in names:
        try:
            sinks[name] = TRACKERS[name](folder, settings)
        except ImportError as error:
            raise ValueError(f"track: {name} needs {error.name}: pip install 'nas[{name}]'") from None
    return Tracking(sinks)


__all__ = ["TRACKERS", "Sink", "Tracking", "check_trackers", "open_trackers"]
