"""What travels between the driver and its workers: plain data, so that a job can be sent, printed and run alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nas.records.values import JSON

Report = Callable[[int, int, int, Mapping[str, float]], None]  # (job number, step, steps, metrics so far)


UNPREPARED = "unprepared"  # key of an outcome's data: why its worker has no evaluator, which no candidate is to blame for


class DiskFullError(ValueError):
    """A disk is full: no fault of a candidate, so the run stops, and resumes when there is space."""


@dataclass(frozen=True)
class Job:
    """One piece of work.

    `kind`: `train` (a trial), `test`, `inspect` (answers on the validation split), `score` (given weights), `prepare` (an
    evaluator's preparation), `further` (a member of the front trained after the search), `fit` (a predictor), `measure`.
    """

    number: int
    kind: str
    arch: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    arch_id: str = ""
    fidelity: int = 0
    seed: int = 0
    data: Mapping[str, JSON] = field(default_factory=dict[str, JSON])

    @property
    def prepared(self) -> Sequence[Mapping[str, JSON]]:
        """The `data` that each job of the evaluator's preparation returned, in order; empty where there is none."""
        return self.data.get("prepared", ())

    def to_dict(self) -> dict[str, JSON]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Fidelity:
    """How much of a training a fidelity is: epochs, the fraction of the training images, the image size (None: as it is)."""

    epochs: int
    fraction: float = 1.0
    resolution: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs: expected 1 or more, got {self.epochs}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fractions: expected fractions above 0 up to 1, got {self.fraction:g}")
        if self.resolution is not None and not 1 <= self.resolution <= 8192:
            raise ValueError(f"resolutions: expected 1 to 8192 pixels, got {self.resolution}")


@dataclass(frozen=True)
class Training:
    """What a job of a run with fidelities carries in `data`.

    `horizon` is the number of epochs that the learning rate is scheduled for, `root` the trial that the training began with,
    from whose checkpoint it resumes. `more`: a later fidelity may resume from this one.
    """

    fidelity: Fidelity
    horizon: int
    root: int
    more: bool = False

    @classmethod
    def of(cls, data: Mapping[str, JSON]) -> Training | None:
        """From a job's data; None where its run has no fidelities."""
        kept = data.get("training")
        return cls(Fidelity(**kept["fidelity"]), kept["horizon"], kept["root"], kept["more"]) if kept else None

    def to_data(self) -> dict[str, JSON]:
        return {"training": dataclasses.asdict(self)}


def training_of(fidelities: Sequence[Fidelity], fidelity: int, root: int) -> dict[str, JSON]:
    """The data of a training on that fidelity; empty for a run without fidelities."""
    if not fidelities:
        return {}
    level = min(fidelity, len(fidelities) - 1)
    chosen = fidelities[level]
    after = fidelities[level + 1] if level + 1 < len(fidelities) else None
    more = after is not None and (after.fraction, after.resolution) == (chosen.fraction, chosen.resolution)
    return Training(chosen, max(r.epochs for r in fidelities), root, more).to_data()


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `outcome` is one of `nas.records.OUTCOMES`; times in seconds, `memory_bytes` the backend's peak.

    Of `compile_s` nobody waited for `hidden_s`: another training ran meanwhile. `machine` is what a training depends on beside its
    settings: backend, versions, whether native kernels ran; empty for others.
    """

    number: int
    outcome: str
    error: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    compile_s: float = 0.0
    hidden_s: float = 0.0
    train_s: float = 0.0
    memory_bytes: int | None = None
    worker: str = ""
    machine: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    data: Mapping[str, JSON] = field(default_factory=dict[str, JSON])

    def to_dict(self) -> dict[str, JSON]:
        return dataclasses.asdict(self)
