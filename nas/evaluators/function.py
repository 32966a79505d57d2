"""An evaluator that is a function of the caller: `nas.search(space, evaluate=lambda arch: {"accuracy": ..})`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from nas.arch import Arch, arch_from_dict
from nas.evaluators.base import Capabilities, Context, Evaluator, EvaluatorSettings, guarded
from nas.objectives import Direction
from nas.records import Job, Outcome, Report

Function = Callable[[Arch], Mapping[str, float]]


@dataclass(frozen=True)
class FunctionSettings(EvaluatorSettings):
    """Makes a `FunctionEvaluator`; `metrics` are those that nas does not know by name."""

    source: ClassVar[str] = "a function"

    function: Function
    metrics: Mapping[str, Direction] = field(default_factory=dict)

    @property
    def capabilities(self) -> Capabilities:  # pyright: ignore[reportIncompatibleVariableOverride]
        """No dataset is needed."""
        return Capabilities(needs_dataset=False, metrics=self.metrics)

    def make(self, context: Context) -> FunctionEvaluator:
        return FunctionEvaluator(self.function, context.worker)


@dataclass(frozen=True)
class Made(EvaluatorSettings):
    """Settings that stand for an evaluator which there is already."""

    evaluator: Evaluator

    def make(self, context: Context) -> Evaluator:
        return self.evaluator


class FunctionEvaluator:
    """Calls `function(arch)` for the metrics of an architecture, in the process of the search."""

    def __init__(self, function: Function, worker: str = ""):
        self._function, self._worker = function, worker

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        return [guarded(job, self._worker, lambda job=job: self._evaluate(job)) for job in jobs]

    def _evaluate(self, job: Job) -> Outcome:
        found = self._function(arch_from_dict(dict(job.arch)))
        if not isinstance(found, Mapping):
            raise ValueError(f"expected metrics by name, such as {{'accuracy': 0.9}}, got {type(found).__name__}")
        metrics = {str(name): float(value) for name, value in found.items()}
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if bad:
            return Outcome(job.number, "nan", f"{bad[0]} is {metrics[bad[0]]}", worker=self._worker)
        return Outcome(job.number, "ok", metrics=metrics, worker=self._worker)
