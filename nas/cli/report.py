"""`nas report`: the report of a run from its journal, or several runs on one page."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.core.yamlio import write_text
from nas.journal import Journal
from nas.report import Reference, compare, front_text, report_json, summarize, with_scaled, write_outputs
from nas.workflows.members import read_member, scaled_members
from nas.workflows.run_folder import journal_folder


@dataclass(frozen=True)
class ReportCommand:
    """The keys of conf/report.yaml."""

    run: str | None = None
    runs: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    scaled: tuple[str, ...] = ()
    out: str | None = None
    json: bool = False

    def __post_init__(self) -> None:
        if (self.run is None) == (not self.runs):
            raise ValueError("run: expected either run=<folder> or runs=[<folder>,..]")
        for key in ("references", "scaled"):
            if self.runs and getattr(self, key):
                raise ValueError(f"{key}: beside one run, with run=<folder>; not with runs=")


def report(call: Invocation) -> None:
    command = build(ReportCommand, call.config, "")
    if command.runs:
        _compare(command)
        return
    assert command.run is not None
    folder = journal_folder(command.run)
    with Journal.open(folder / "journal.sqlite", read_only=True) as journal:
        scaled = scaled_members(command.scaled, journal)
        if command.json:
            print(json.dumps(report_json(journal, scaled), allow_nan=False))
            return
        references = [_reference(name, journal) for name in command.references]
        print(front_text(with_scaled(summarize(journal), scaled)[0]))
        for path in write_outputs(folder, journal, references, scaled):
            print(path)


def _reference(name: str, journal: Journal) -> Reference:
    found = read_member(Path(name), journal, "references")
    return Reference(found.arch.name, found.metrics, found.measured)


def _compare(command: ReportCommand) -> None:
    with ExitStack() as stack:
        paths = [journal_folder(run) / "journal.sqlite" for run in command.runs]
        journals = [stack.enter_context(Journal.open(path, read_only=True)) for path in paths]
        if command.json:
            print(
                json.dumps(
                    {run: report_json(j) for run, j in zip(command.runs, journals, strict=True)}, allow_nan=False
                )
            )
            return
        out = Path(command.out or "compare.html")
        write_text(out, compare(dict(zip(command.runs, journals, strict=True))))
        print(out)
