"""Trains candidates of a space of fixed widths in one program, compiled once a worker and kept between trials."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from nas.arch import arch_from_dict
from nas.evaluators.base import Capabilities, Context
from nas.evaluators.scratch import KeepsWeights, ScratchEvaluator
from nas.records import Job, Report
from nas.space import Space


@dataclass(frozen=True)
class SwitchedSettings(KeepsWeights):
    """`evaluator=switched`: one program for all candidates of a space; results are those of `scratch`.

    Args:
        fallback: Trains from scratch where one program cannot hold the space; otherwise such a space is refused.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(tests=True)

    fallback: bool = False

    def make(self, context: Context) -> SwitchedEvaluator:
        return SwitchedEvaluator(self, context)

    def check(self, space: Space) -> None:
        """Raises ValueError naming the gene where one program cannot hold the space, unless `fallback` is set."""
        from nas.train.compilation.switched_plan import plan_space

        if not self.fallback:
            plan_space(space)


class SwitchedEvaluator(ScratchEvaluator):
    """Keeps the compiled program of its space; the first trial's `compile_s` has its compilation, the others' is 0."""

    def __init__(self, settings: SwitchedSettings, context: Context):
        super().__init__(settings, context)
        self._fallback = settings.fallback
        self._program: Any = None
        self._without = False

    def _fit(self, job: Job, report: Report) -> Any:
        compile_s = 0.0 if self._program or self._without else self._prepare()
        if self._without:
            return super()._fit(job, report)

        def on_step(step: int, steps: int, metrics: dict[str, float]) -> None:
            report(job.number, step, steps, metrics)

        checkpoint = self._context.checkpoints(job.number)
        fit = self._program.fit(arch_from_dict(dict(job.arch)), job.seed, on_step, checkpoint)
        return dataclasses.replace(fit, compile_s=compile_s)

    def _prepare(self) -> float:
        """Seconds that compiling the space took."""
        from nas.train.compilation.switched import compile_space
        from nas.train.compilation.switched_plan import plan_space

        space = Space.from_plain(self._context.space)
        try:
            plan_space(space)
        except ValueError:
            if not self._fallback:
                raise
            self._without = True
            return 0.0
        self._program = compile_space(space, self._context.dataset, self._recipe)
        return self._program.compile_s
