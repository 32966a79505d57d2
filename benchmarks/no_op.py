"""A plugin whose evaluator does nothing, or sleeps: what is left is the driver's own cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from nas.evaluators import Context, EvaluatorSettings
from nas.records import Job, Outcome, Report


@dataclass(frozen=True)
class NoOp(EvaluatorSettings):
    """`seconds`: how long a trial sleeps."""

    seconds: float = 0.0

    def make(self, context: Context) -> _NoOp:
        return _NoOp(self.seconds)


class _NoOp:
    def __init__(self, seconds: float):
        self._seconds = seconds

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        time.sleep(self._seconds)
        return [Outcome(job.number, "ok", metrics={"accuracy": job.seed % 1000 / 1000}) for job in jobs]


EVALUATORS = {"no_op": NoOp}
