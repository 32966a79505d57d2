"""What a search found: its front, its best member and all its trials, read from the journal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.arch import Arch, arch_from_dict
from nas.journal import Journal
from nas.objectives import PREDICTED, device_of
from nas.records import Trial
from nas.report import FrontRow, Summary, front_svg, front_text, summarize, write_outputs
from nas.workflows.table import Table

if TYPE_CHECKING:
    from pandas import DataFrame  # pyright: ignore[reportMissingImports]


@dataclass(frozen=True)
class Candidate:
    """A member of the front.

    Args:
        number: Number of its trial.
        id: Id of its architecture.
        metrics: What the search observed, such as accuracy on the validation split, params and macs, by name.
        predicted_ms: Predicted latency by device.
        measured_ms: Latency measured on the device after the search, by device.
        test: Metrics on the test split, empty where it was not scored.
        reward: What the controller maximized, nan where there is none.
        violated: Constraints that its measured latency violates.
        arch: The architecture, to train, export or count.
    """

    number: int
    id: str
    metrics: Mapping[str, float]
    predicted_ms: Mapping[str, float]
    measured_ms: Mapping[str, float]
    test: Mapping[str, float]
    reward: float
    violated: tuple[str, ...]
    arch: Arch

    @property
    def params(self) -> int:
        """Parameters."""
        return int(self.metrics["params"])

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return int(self.metrics["macs"])

    def row(self) -> dict[str, object]:
        """The numbers by the names of `front.csv`."""
        others = {key: value for key, value in self.metrics.items() if not key.startswith(f"{PREDICTED}/")}
        return {
            "number": self.number,
            "id": self.id,
            **others,
            **{f"predicted_ms/{device}": ms for device, ms in self.predicted_ms.items()},
            **{f"measured_ms/{device}": ms for device, ms in self.measured_ms.items()},
            **{f"test_{name}": value for name, value in self.test.items()},
        }


@dataclass(frozen=True)
class Front(Sequence[Candidate]):
    """The members of the front, best on the first objective first."""

    members: tuple[Candidate, ...]

    def __getitem__(self, index: int) -> Candidate:  # type: ignore[override]
        return self.members[index]

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.members)

    @property
    def table(self) -> Table:
        """The numbers of all members as rows."""
        return Table(tuple(member.row() for member in self.members))

    def to_pandas(self) -> DataFrame:
        """The numbers as a data frame. Raises ValueError where pandas is not installed."""
        return self.table.to_pandas()

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


@dataclass(frozen=True)
class SearchResult:
    """A finished or interrupted search.

    Args:
        run: Its folder, with `report.html`, `front.csv`, `best.yaml`, the weights and the journal.
        front: Members that no other trial dominates.
        best: The one with the highest reward; None where no trial succeeded.
        trials: Every trial as a row: number, outcome, error, metrics, and the parameters of its genome.
        summary: The content of the report.
    """

    run: Path
    front: Front
    best: Candidate | None
    trials: Table
    summary: Summary

    def to_pandas(self) -> DataFrame:
        """All trials as a data frame. Raises ValueError where pandas is not installed."""
        return self.trials.to_pandas()

    def report(self) -> Path:
        """Writes report.html, front.csv and best.yaml into the folder of the run; returns the page."""
        with Journal.open(self.run / "journal.sqlite", read_only=True) as journal:
            return write_outputs(self.run, journal)[-1]

    def __str__(self) -> str:
        return front_text(self.summary)

    def _repr_html_(self) -> str:
        """The picture of the front over its table, for notebooks."""
        return f"{front_svg(self.summary)}{self.front._repr_html_()}"


def read_result(journal: Journal, folder: Path) -> SearchResult:
    """Reads the result of a run, finished or not.

    Args:
        journal: The journal of the run.
        folder: The folder of the run.

    Returns:
        The front, the best member, and all trials so far.
    """
    summary = summarize(journal)
    front = tuple(candidate(row, summary.task.primary) for row in summary.front if row.arch is not None)
    best = candidate(summary.best, summary.task.primary) if summary.best and summary.best.arch is not None else None
    return SearchResult(folder, Front(front), best, _trials(journal, summary), summary)


def candidate(row: FrontRow, primary: str) -> Candidate:
    """Converts a row of the report.

    Args:
        row: A row that has an architecture.
        primary: Name of the task's primary metric, under which the test score is returned.

    Returns:
        The member with its latencies in ms by device.
    """
    assert row.arch is not None
    predicted = {device: value for key, value in row.metrics.items() if (device := device_of(key))}
    test = {} if math.isnan(row.test) else {primary: row.test}
    arch = arch_from_dict(dict(row.arch), row.title)
    return Candidate(
        row.number, row.id, dict(row.metrics), predicted, dict(row.measured), test, row.reward, row.violated, arch
    )  # fmt: skip


def _trials(journal: Journal, summary: Summary) -> Table:
    names = [str(name) for name in summary.space.get("genes", ())]
    options = summary.space.get("options", ())
    return Table(tuple(_row(trial, names, options) for trial in journal.trials()))


def _row(trial: Trial, names: Sequence[str], options: Sequence[Sequence[object]]) -> dict[str, object]:
    """A trial: what it was, what became of it, its metrics, and a column a gene."""
    chosen = [options[i][value] if i < len(options) else value for i, value in enumerate(trial.genome)]
    head: dict[str, object] = {"number": trial.number, "id": trial.arch_id, "outcome": trial.outcome, "error": trial.error}
    return {**head, "fidelity": trial.fidelity, **trial.metrics, **dict(zip(names, chosen, strict=False))}
