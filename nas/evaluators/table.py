"""Answers from published tables instead of training: whole searches in seconds, to compare controllers and to try things out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nas.arch import arch_from_dict
from nas.evaluators.base import Context, guarded
from nas.jobs import Job, Outcome, Report
from nas.tables import Table, load_table


@dataclass(frozen=True)
class AccelNasbench:
    """`evaluator=accel_nasbench`: models of 4,623 ImageNet trainings and of eight devices' times; `path` has the archive."""

    path: str
    surrogate: Literal["pairs", "trees"] = "pairs"
    noise: bool = False

    def make(self, context: Context) -> TableEvaluator:
        table = load_table("accel_nasbench", Path(self.path), surrogate=self.surrogate)
        return TableEvaluator(table, self.noise, context)


@dataclass(frozen=True)
class NasBenchMacro:
    """`evaluator=nas_bench_macro`: 3,969 distinct networks trained on CIFAR-10, looked up; `path` has the JSON file."""

    path: str
    noise: bool = False

    def make(self, context: Context) -> TableEvaluator:
        return TableEvaluator(load_table("nas_bench_macro", Path(self.path)), self.noise, context)


class TableEvaluator:
    """Metrics of a table; with `noise`, the accuracy differs from seed to seed as in the data."""

    group = 1

    def __init__(self, table: Table, noise: bool, context: Context):
        self._table, self._noise, self._worker = table, table.noise if noise else 0.0, context.worker

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        return [guarded(job, self._worker, lambda job=job: self._answer(job)) for job in jobs]

    def _answer(self, job: Job) -> Outcome:
        found = self._table.metrics([self._genome(job.arch)], self._noise if job.kind == "train" else 0.0, job.seed)
        metrics = {name: float(np.asarray(value)[0]) for name, value in found.items()}
        return Outcome(job.number, "ok", metrics=metrics, worker=self._worker)

    def _genome(self, data: Any) -> tuple[int, ...]:
        """The genome whose network this is, whatever dataset it was fitted to."""
        arch = arch_from_dict(dict(data))
        return self._table.space.fit(arch.resolution, arch.channels, arch.classes).encode(arch)
