"""`nas report`: the report of a run from its journal, or several runs on one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.core.text import aligned
from nas.journal import Journal
from nas.report import Group, compared, front_text, mean_text, report_json
from nas.report.format import label
from nas.workflows.members import scaled_members
from nas.workflows.report import compare_runs, opened, report_run
from nas.workflows.run_folder import journal_folder


@dataclass(frozen=True)
class ReportCommand:
    """The keys of conf/report.yaml."""

    run: str | None = None
    runs: tuple[str, ...] | str = ()
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
        if self.out is not None and (self.run is not None or self.json):
            what = "json=true prints" if self.json else "the report of a run lies in its folder"
            raise ValueError(f"out: names the page that compares runs=[..]; {what}")
        if self.references and self.json:
            raise ValueError("references: are drawn on the page; json=true makes none")


def report(call: Invocation) -> None:
    command = build(ReportCommand, call.config, "")
    if command.runs:
        _compare(command)
        return
    assert command.run is not None
    if command.json:
        with Journal.open(journal_folder(command.run) / "journal.sqlite", read_only=True) as journal:
            print(json.dumps(report_json(journal, scaled_members(command.scaled, journal)), allow_nan=False))
        return
    summary, files = report_run(command.run, command.references, command.scaled)
    print(front_text(summary))
    print("\n".join(map(str, files)))


def _compare(command: ReportCommand) -> None:
    runs = [command.runs] if isinstance(command.runs, str) else command.runs
    if not command.json:
        out = Path(command.out or "compare.html")
        print(_over_seeds(compare_runs(runs, out)))
        print(out)
        return
    with opened(runs) as journals:
        found = {run: report_json(journal) for run, journal in journals.items()}
        print(json.dumps({"runs": found, "groups": [group.to_dict() for group in compared(journals)]}, allow_nan=False))


def _over_seeds(groups: Sequence[Group]) -> str:
    """A line for the runs of equal settings: means and standard deviations over their seeds."""
    names = list(dict.fromkeys(name for group in groups for name in group.figures))
    rows = [[g.name, str(g.runs), *(mean_text(n, g.figures.get(n, (nan, nan))) for n in names)] for g in groups]
    return aligned([["", "runs", *map(label, names)], *rows])
