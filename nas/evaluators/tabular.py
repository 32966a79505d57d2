"""Answers from published tables instead of training: whole searches in seconds, to compare controllers and to try things out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from nas.arch import arch_from_dict
from nas.core.settings import did_you_mean
from nas.evaluators.base import Capabilities, Context, EvaluatorSettings, guarded
from nas.objectives import PREDICTED
from nas.problem import CostsOf
from nas.records import JSON, Job, Outcome, Report
from nas.space import Space, load_space
from nas.tabular import Table, load_table
from nas.tabular.accel_nasbench import DEVICES


@dataclass(frozen=True)
class TabularSettings(EvaluatorSettings):
    """What evaluators have in common that look up a published table. The networks are those that were trained: no dataset
    changes their shape.

    Args:
        path: Holds the table's file.
        noise: Accuracies differ from seed to seed as in the data.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(needs_dataset=False, tasks=("classification",), fixed_networks=True)
    source: ClassVar[str] = "published results"

    path: str
    noise: bool = False

    NAME: ClassVar[str] = ""

    def table(self) -> Table:
        """Raises ValueError where the file is missing."""
        return load_table(self.NAME, Path(self.path))

    def timed(self) -> tuple[str, ...]:
        """Devices whose published times are metrics of a search, the main one first."""
        return ()

    def known(self) -> CostsOf:
        """Maps (n, genes) genomes to the times of those devices, (n,) milliseconds by metric name, before any training."""
        times, names = self.table().times, {f"{PREDICTED}/{device}" for device in self.timed()}
        return lambda genomes: {name: ms for name, ms in times(genomes).items() if name in names}

    def check(self, space: Space) -> None:
        """Raises ValueError for a space that is not the table's own, or a file that cannot be read."""
        if space.fingerprint != load_space(self.NAME).fingerprint:
            raise ValueError(f"space: expected {self.NAME}, whose networks evaluator={self.NAME} knows, got {space.name}")
        try:
            self.table()
        except ValueError as error:
            raise ValueError(f"evaluator.{error}") from None

    def make(self, context: Context) -> TabularEvaluator:
        return TabularEvaluator(self.table(), self.noise, context)


@dataclass(frozen=True)
class AccelNasbenchSettings(TabularSettings):
    """`evaluator=accel_nasbench`: models of 4,623 ImageNet trainings and of six devices' times; `path` has the archive.

    The times of `devices` are exact costs of a search: objectives, constraints and targets that no training is needed for.
    """

    surrogate: Literal["pairs", "trees"] = "pairs"
    devices: tuple[str | int, ...] = ("a100",)

    NAME: ClassVar[str] = "accel_nasbench"
    note: ClassVar[str] = "the best record has 67.05 %; accuracies above it are extrapolations"

    def __post_init__(self) -> None:
        for i, device in enumerate(self.timed()):
            if device not in DEVICES:
                known = f"(known: {', '.join(DEVICES)})"
                raise ValueError(f"devices[{i}]: unknown {device!r}{did_you_mean(device, DEVICES)} {known}")
            if device in self.timed()[:i]:
                raise ValueError(f"devices[{i}]: {device} is there twice")

    def table(self) -> Table:
        return load_table(self.NAME, Path(self.path), surrogate=self.surrogate)

    def timed(self) -> tuple[str, ...]:
        return tuple(map(str, self.devices))  # 3090 is a number to YAML


@dataclass(frozen=True)
class NasBenchMacroSettings(TabularSettings):
    """`evaluator=nas_bench_macro`: 3,969 distinct networks trained on CIFAR-10, looked up; `path` has the JSON file."""

    NAME: ClassVar[str] = "nas_bench_macro"


class TabularEvaluator:
    """Accuracies of a table."""

    def __init__(self, table: Table, noise: bool, context: Context):
        self._table, self._noise, self._worker = table, table.noise if noise else 0.0, context.worker

    def __call__(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        return [guarded(job, self._worker, lambda job=job: self._answer(job)) for job in jobs]

    def _answer(self, job: Job) -> Outcome:
        found = self._table.metrics([self._genome(job.arch)], self._noise if job.kind == "train" else 0.0, job.seed)
        return Outcome(job.number, "ok", metrics={"accuracy": float(found["accuracy"][0])}, worker=self._worker)

    def _genome(self, data: Mapping[str, JSON]) -> tuple[int, ...]:
        """The genome whose network this is, whatever dataset it was fitted to."""
        arch = arch_from_dict(dict(data))
        return self._table.space.fit(arch.resolution, arch.channels, arch.classes).encode(arch)
