"""What a run is made of, as frozen dataclasses: trials, jobs, outcomes, measurements, events. No SQLite, no JAX."""

from nas.records.events import Event, Record
from nas.records.jobs import UNPREPARED, DiskFullError, Fidelity, Job, Outcome, Report, Training, training_of
from nas.records.measurements import MACHINE_BOUND, Measurement, confirmed
from nas.records.targets import IDENTITY, LABEL, NUMBER, TargetSpec
from nas.records.trials import OUTCOMES, Evaluation, Proposal, Purpose, Trial, scored, trained
from nas.records.values import JSON

__all__ = [
    "IDENTITY",
    "JSON",
    "LABEL",
    "MACHINE_BOUND",
    "NUMBER",
    "OUTCOMES",
    "UNPREPARED",
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
    "confirmed",
    "scored",
    "trained",
    "training_of",
]
