"""Names of metrics: what a trial records, what an objective asks for, and which direction is better.

A trial's metrics hold `predicted_ms/<device>`, a row of the front also `measured_ms/<device>`. An objective, a constraint
or the cost of a reward is named `latency_ms/<device>`; during a search it reads the prediction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

Direction = Literal["max", "min"]

LATENCY = "latency_ms"
PREDICTED = "predicted_ms"
MEASURED = "measured_ms"

COSTS: dict[str, Direction] = {"params": "min", "macs": "min", "memory_bytes": "min"}
FRACTIONS = ("accuracy", "balanced_accuracy", "top5_accuracy", "miou", "map", "recall")  # metrics from 0 to 1, shown in percent


class TaskData(TypedDict):
    """A journal's meta `task`."""

    name: str
    metrics: dict[str, Direction]
    primary: str


@dataclass(frozen=True)
class TaskMetrics:
    """What the trainings of a task report. `metrics` maps names to the better direction; `primary` is one of them."""

    name: str
    metrics: Mapping[str, Direction]
    primary: str

    @classmethod
    def of(cls, data: TaskData | None) -> TaskMetrics:
        """From a journal; a run that ended before it had any is read as a classification."""
        return cls(data["name"], data["metrics"], data["primary"]) if data else CLASSIFICATION

    def to_data(self) -> TaskData:
        """For the journal's meta `task`."""
        return {"name": self.name, "metrics": dict(self.metrics), "primary": self.primary}


CLASSIFICATION = TaskMetrics("classification", {"accuracy": "max", "loss": "min"}, "accuracy")


def metric_of(objective: str) -> str:
    """The metric of a trial that an objective, constraint or cost reads: `predicted_ms/host` for `latency_ms/host`."""
    kind, slash, device = objective.partition("/")
    return f"{PREDICTED}{slash}{device}" if kind == LATENCY else objective


def measured_of(objective: str) -> str:
    """The metric that holds the measured value of an objective: `measured_ms/host` for `latency_ms/host`."""
    kind, slash, device = objective.partition("/")
    return f"{MEASURED}{slash}{device}" if kind == LATENCY else objective


def device_of(metric: str) -> str:
    """The device of a predicted or measured latency, `host` for `predicted_ms/host`; empty for any other metric."""
    kind, _, device = metric.partition("/")
    return device if kind in (PREDICTED, MEASURED) else ""
