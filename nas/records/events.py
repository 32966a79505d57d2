"""Events of a run, and the kinds of records that a journal holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from nas.records.measurements import Measurement
from nas.records.trials import Evaluation, Trial
from nas.records.values import JSON


@dataclass(frozen=True)
class Event:
    """Something that happened to the run; `time` in Unix seconds."""

    time: float
    kind: str
    data: Mapping[str, JSON] = field(default_factory=dict[str, JSON])


Record = TypeVar("Record", Trial, Evaluation, Measurement, Event)
