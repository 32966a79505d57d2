"""Names of metrics: what a trial records, what an objective asks for, and which way each is better.

A trial's metrics hold `predicted_ms/<device>`, a row of the front also `measured_ms/<device>`. An objective, a constraint
or the cost of a reward says `latency_ms/<device>`; during a search it reads the prediction.
"""

from __future__ import annotations

from typing import Literal

Direction = Literal["max", "min"]

LATENCY = "latency_ms"
PREDICTED = "predicted_ms"
MEASURED = "measured_ms"

QUALITY: dict[str, Direction] = {"accuracy": "max", "loss": "min"}  # of classification, the task where none is named
DIRECTIONS: dict[str, Direction] = {
    "params": "min",
    "macs": "min",
    "memory_bytes": "min",
}


def metric_of(objective: str) -> str:
    """The metric of a trial that an objective, constraint or cost reads: `predicted_ms/host` for `latency_ms/host`."""
    kind, slash, device = objective.partition("/")
    return f"{PREDICTED}{slash}{device}" if kind == LATENCY else objective


def device_of(metric: str) -> str:
    """The device of a predicted or measured latency, `host` for `predicted_ms/host`; empty for any other metric."""
    kind, _, device = metric.partition("/")
    return device if kind in (PREDICTED, MEASURED) else ""
