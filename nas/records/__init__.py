"""What a run is made of, as frozen dataclasses: trials, jobs, outcomes, measurements, events. No SQLite, no JAX."""

from nas.records.jobs import DiskFullError, Fidelity, Job, Outcome, Report, Training, training_of
from nas.records.targets import LABEL, NUMBER, TargetSpec
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
    "LABEL",
    "NUMBER",
    "OUTCOMES",
    "DiskFullError",
    "Evaluation",
    "Event",
    "Fidelity",
    "Job",
    "Measurement",
    "Outcome",
    "Proposal",
    "Purpose",
    "Record",
    "Report",
    "TargetSpec",
    "Training",
    "Trial",
    "scored",
    "trained",
    "training_of",
]
