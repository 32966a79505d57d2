"""Trains several candidates of a space side by side in one program, each with weights of its own: for small networks on accelerators."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from nas.arch import arch_from_dict
from nas.core.memory import machine_memory
from nas.evaluators.base import Capabilities, Context, classify, failed, guarded
from nas.evaluators.scratch import KeepsWeights, ScratchEvaluator
from nas.records import Job, Outcome, Report
from nas.space import Space

if TYPE_CHECKING:
    from nas.supernet.batched import BatchedProgram
    from nas.supernet.batched_plan import BatchedPlan
    from nas.train import Checkpoints, Fit

TOGETHER = 16  # trainings at a time where nothing else is said, as many of them side by side as fit


@dataclass(frozen=True)
class BatchedSettings(KeepsWeights):
    """`evaluator=batched`: one program trains several candidates side by side, in the masked form of their space.

    Each is trained as `scratch` would train it with the images in the order of `seed`, up to rounding, whatever stands beside it; what is
    shared is stated in `nas.supernet.batched`. It is for accelerators: on a CPU it is correct and slow.

    Args:
        group: Candidates side by side; None: as many of 16 as the memory of the device takes, by an estimate. Where memory turns out
            to be short, half as many.
        seed: Of the order of images, their augmentation, and the draws of dropout, which all candidates of a run share. Initial values
            come from a trial's own seed.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(group=TOGETHER, inspects=True, tests=True, ends_early=False)

    group: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.group is not None and not 1 <= self.group <= 1024:
            raise ValueError(f"group: expected 1 to 1024 candidates, or null, got {self.group}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed: expected 0 or more and less than 2^31, got {self.seed}")

    def trains_together(self) -> int:
        return self.group or TOGETHER

    def make(self, context: Context) -> BatchedEvaluator:
        return BatchedEvaluator(self, context)

    def check(self, space: Space) -> None:
        """Raises ValueError naming the gene for what the masked form cannot hold."""
        from nas.supernet.batched_plan import BatchedPlan

        BatchedPlan.of(space)


class BatchedEvaluator(ScratchEvaluator):
    """Keeps the compiled programs of its space; the outcomes of a group have its compilation with the first, its time in equal parts.

    A group resumes from checkpoints of its own where the same trials form it again, in the folder of the first one's checkpoints.
    """

    def __init__(self, settings: BatchedSettings, context: Context):
        super().__init__(settings, context)
        self._group, self._seed = settings.group, settings.seed
        self._most = 0  # candidates side by side, once it is known
        self._program: BatchedProgram | None = None

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        if jobs[0].kind != "train":
            return super().__call__(jobs, report)
        found = {job.number: self._refused(job) for job in jobs}
        left = [job for job in jobs if found[job.number] is None]
        while left:
            many = left[: self._limit()]
            try:
                fits = self._fits(many, report)
            except Exception as error:
                if len(many) > 1 and classify(error)[0] == "oom":
                    self._most, self._program = len(many) // 2, None
                    continue
                fits = [error] * len(many)
            found |= {job.number: self._ended(job, fit) for job, fit in zip(many, fits, strict=True)}
            left = left[len(many) :]
        return [outcome for outcome in found.values() if outcome]

    def _refused(self, job: Job) -> Outcome | None:
        """The outcome of a job whose network is none of the space, which is its own fault alone."""
        try:
            self._plan.space.encode(arch_from_dict(dict(job.arch)))
        except ValueError as error:
            return failed(job, self._context.worker, error)
        return None

    def _ended(self, job: Job, fit: Fit | Exception) -> Outcome:
        if isinstance(fit, Exception):
            return failed(job, self._context.worker, fit)
        return guarded(job, self._context.worker, lambda: self._outcome(job, fit))

    def _fit(self, job: Job, report: Report) -> Fit:
        """The training of one trial, for its test score."""
        fit = self._fits([job], report)[0]
        if isinstance(fit, Exception):
            raise fit
        return fit

    def _fits(self, jobs: Sequence[Job], report: Report) -> list[Fit | Exception]:
        """What each training left, or why it failed; the compilation is with the first."""

        def on_step(which: int, step: int, steps: int, metrics: dict[str, float]) -> None:
            report(jobs[which].number, step, steps, metrics)

        program, compile_s = self._prepared(len(jobs))
        kept = self._of_group(jobs, program.size)
        fits = program.fit([(arch_from_dict(dict(job.arch)), job.seed) for job in jobs], on_step, kept)
        kept.clear()
        with contextlib.suppress(OSError):  # where nothing else is in it
            kept.folder.parent.rmdir()
        first, *others = fits
        return [first if isinstance(first, Exception) else replace(first, compile_s=compile_s), *others]

    def _of_group(self, jobs: Sequence[Job], size: int) -> Checkpoints:
        """Named by the trials that train together: another group has other arrays."""
        first = self._context.checkpoints(jobs[0].number)
        name = hashlib.sha256(json.dumps([size, *([job.arch_id, job.seed] for job in jobs)]).encode()).hexdigest()[:12]
        return replace(first, folder=first.folder / f"group-{name}")

    @cached_property
    def _plan(self) -> BatchedPlan:
        from nas.supernet.batched_plan import BatchedPlan

        return BatchedPlan.of(Space.from_plain(self._context.space))

    def _limit(self) -> int:
        """Candidates side by side."""
        if not self._most:
            self._most = self._group or min(TOGETHER, self._fitting())
        return self._most

    def _fitting(self) -> int:
        """How many the memory takes: half of the device's, which has the images too, or of a CPU's machine an eighth."""
        from nas.train.precision import with_dtype
        from nas.train.resident import device_memory

        memory = device_memory() / 2 or machine_memory() / 8
        each = self._plan.bytes_each(with_dtype(self._recipe), min(self._recipe.batch, len(self._context.dataset.train)))
        return max(int(memory / each), 1)

    def _prepared(self, count: int) -> tuple[BatchedProgram, float]:
        """(a program for so many candidates, seconds that compiling it took now); one that is not full repeats a candidate."""
        from nas.supernet.batched import compile_batched

        if self._program and self._program.size >= count:
            return self._program, 0.0
        self._program = compile_batched(self._plan, self._context.dataset, self._recipe, count, seed=self._seed)
        return self._program, self._program.compile_s
