"""What a run is made of, as frozen dataclasses: trials, jobs, outcomes, measurements, events. No SQLite, no JAX."""

from nas.records.jobs import Job, NoRoom, Outcome, Report, Rung, Training, WorkerSpec, training_of
from nas.records.trials import (
    JSON,
    OUTCOMES,
    Evaluation,
    Event,
    Measurement,
    Proposal,
    Purpose,
    Record,
    Trial,
    scored,
    trained,
)

__all__ = [
    "JSON",
    "OUTCOMES",
    "Evaluation",
    "Event",
    "Job",
    "Measurement",
    "NoRoom",
    "Outcome",
    "Proposal",
    "Purpose",
    "Record",
    "Report",
    "Rung",
    "Training",
    "Trial",
    "WorkerSpec",
    "scored",
    "trained",
    "training_of",
]
