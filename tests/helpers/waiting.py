"""A plugin: an evaluator that starts a process and waits for it, longer than any test does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from nas.evaluators import Context, EvaluatorSettings
from nas.records import Job, Outcome, Report

CODE = "import sys; file = open(sys.argv[1], 'wb', 0); file.write(b'.'); import select; select.select([], [], [], 120)"


@dataclass(frozen=True)
class Waiting(EvaluatorSettings):
    """fifo: what the process holds open."""

    fifo: str

    def make(self, context: Context) -> Waiting:
        return self

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        subprocess.run([sys.executable, "-c", CODE, self.fifo], stdin=subprocess.PIPE, check=True)
        return []


EVALUATORS = {"waiting": Waiting}
