"""Trials of a search: what a controller proposes, what became of it, and each training of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from nas.records.jobs import Outcome
from nas.records.values import JSON

OUTCOMES = ("ok", "infeasible", "oom", "nan", "compile_error", "timeout", "lost", "error")

Purpose = Literal["search", "test"]


@dataclass(frozen=True)
class Proposal:
    """What a controller asks for. `fidelity` is a number, 0 the lowest; `note` is the controller's own JSON and comes back with
    the trial."""

    genome: tuple[int, ...]
    fidelity: int = 0
    parent: int | None = None
    note: Mapping[str, JSON] = field(default_factory=dict[str, JSON])


@dataclass(frozen=True)
class Trial:
    """A numbered proposal and what became of it; `outcome` is one of OUTCOMES, or None while in flight.

    `metrics` holds what the controller observes: deterministic values only, no measured time; a predicted latency is
    `predicted_ms/<device>`. `repeat_of` is the trial whose result answered this one; `attempts` counts lost ones.
    """

    number: int
    genome: tuple[int, ...]
    arch_id: str
    fidelity: int = 0
    parent: int | None = None
    note: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    outcome: str | None = None
    error: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    repeat_of: int | None = None
    attempts: int = 0

    @classmethod
    def of(cls, number: int, proposal: Proposal, arch_id: str, **rest: Any) -> Self:
        """The trial that carries out a proposal."""
        return cls(number, proposal.genome, arch_id, proposal.fidelity, proposal.parent, proposal.note, **rest)

    @property
    def proposal(self) -> Proposal:
        return Proposal(self.genome, self.fidelity, self.parent, self.note)

    @property
    def done(self) -> bool:
        return self.outcome is not None

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


def scored(trials: Iterable[Trial]) -> list[Trial]:
    """Trials with a result of their own, without repeats.

    Only those of the highest fidelity that has results: metrics of a short and a long training do not compare.
    """
    found = [trial for trial in trials if trial.ok and trial.repeat_of is None]
    longest = max((trial.fidelity for trial in found), default=0)
    return [trial for trial in found if trial.fidelity == longest]


def trained(trial: Trial) -> bool:
    """Whether it counts as a training: neither infeasible nor answered by another trial's result."""
    return trial.repeat_of is None and trial.outcome != "infeasible"


@dataclass(frozen=True)
class Evaluation:
    """One training of a trial's architecture: times in seconds, `memory_bytes` the peak where the backend reports it.

    Of `compile_s` nobody waited for `hidden_s`; None where it is not known. `native`: whether it ran with native kernels; None where
    nothing was trained, or by the caller's own means.
    """

    trial: int
    fidelity: int
    seed: int
    metrics: Mapping[str, float]
    compile_s: float
    train_s: float
    worker: str = ""
    outcome: str = "ok"
    error: str = ""
    memory_bytes: int | None = None
    purpose: Purpose = "search"
    native: bool | None = None
    hidden_s: float | None = None

    @classmethod
    def of(cls, outcome: Outcome, trial: Trial, seed: int, purpose: Purpose = "search") -> Self:
        """What became of a job for a trial.

        Args:
            outcome: As the worker reports it.
            trial: Whose architecture was evaluated.
            seed: Of the training.
            purpose: `search` for a training that the search asked for, `test` for the test split.
        """
        return cls(
            trial.number, trial.fidelity, seed, outcome.metrics, outcome.compile_s, outcome.train_s, outcome.worker,
            outcome.outcome, outcome.error, outcome.memory_bytes, purpose, outcome.machine.get("native kernels"),
            outcome.hidden_s,
        )  # fmt: skip
