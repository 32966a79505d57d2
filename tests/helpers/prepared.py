"""A plugin whose evaluator needs a preparation. Its jobs write down every start, and die or fail as the settings say."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nas.arch import arch_from_dict
from nas.cost import cost
from nas.evaluators import Capabilities, Context, EvaluatorSettings
from nas.records import Job, Outcome, Report


@dataclass(frozen=True)
class Prepared(EvaluatorSettings):
    """`parts`: jobs of the preparation. `kill`: the part whose process kills itself at its first start; `fail`: the part that
    fails until a file `mended` is in the storage; `kill_trial`: the trial of which the same holds as of `kill`.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(needs_dataset=False, tests=True)

    parts: int = 2
    kill: int = -1
    fail: int = -1
    kill_trial: int = -1

    def preparation(self, context: Context) -> Sequence[Job]:
        return [Job(0, "", data={"part": part}) for part in range(self.parts)]

    def make(self, context: Context) -> Any:
        return _Prepared(self, context)


class _Prepared:
    def __init__(self, settings: Prepared, context: Context):
        self._settings, self._context = settings, context

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        return [self._prepare(job, report) if job.kind == "prepare" else self._evaluate(job) for job in jobs]

    def _prepare(self, job: Job, report: Report) -> Outcome:
        with open(self._context.storage / "starts.txt", "a", encoding="utf-8") as starts:
            starts.write(f"{job.data['part']}\n")
        self._die_once(f"part-{job.number}", job.number == self._settings.kill)
        if job.number == self._settings.fail and not (self._context.storage / "mended").exists():
            raise ValueError("made up")
        report(job.number, 1, 1, {})
        path = self._context.prepared(job.number) / "weights.txt"
        path.write_text(f"{job.data['part']} {job.seed}", encoding="utf-8")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Outcome(job.number, "ok", data={"path": str(path), "digest": digest})

    def _evaluate(self, job: Job) -> Outcome:
        assert len(job.prepared) == self._settings.parts
        assert all(hashlib.sha256(Path(one["path"]).read_bytes()).hexdigest() == one["digest"] for one in job.prepared)
        self._die_once(f"trial-{job.number}", job.kind == "train" and job.number == self._settings.kill_trial)
        return Outcome(job.number, "ok", metrics={"accuracy": 1 / cost(arch_from_dict(dict(job.arch))).params})

    def _die_once(self, name: str, dies: bool) -> None:
        mark = self._context.storage / f".died-{name}"
        if dies and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Inheriting(Prepared):
    """One that `nas adapt` would take if it needed no preparation."""

    capabilities: ClassVar[Capabilities] = Capabilities(inherits_weights=True)


EVALUATORS = {"prepared": Prepared, "inheriting": Inheriting}
