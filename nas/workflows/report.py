"""The report of a run from its journal, or several runs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from nas.core.yamlio import write_text
from nas.journal import Journal
from nas.report import Reference, Summary, compare, summarize, with_scaled, write_outputs
from nas.workflows.members import read_member, scaled_members
from nas.workflows.run_folder import journal_folder


def report_run(run: str, references: Sequence[str] = (), scaled: Sequence[str] = ()) -> tuple[Summary, list[Path]]:
    """Writes the report of a run from its journal.

    Args:
        run: The folder of the run.
        references: Folders of trainings, drawn beside the front.
        scaled: Folders of scaled members, which stand on the front where nothing beats them.

    Returns:
        The summary of the run, and the files that were written.

    Raises:
        ValueError: A folder holds no run, or no training on the same dataset.
    """
    folder = journal_folder(run)
    with Journal.open(folder / "journal.sqlite", read_only=True) as journal:
        members = scaled_members(scaled, journal)
        found = [read_member(Path(name), journal, "references") for name in references]
        known = [Reference(one.arch.name, one.metrics, one.measured) for one in found]
        summary, _ = with_scaled(summarize(journal), members)
        return summary, write_outputs(folder, journal, known, members)


def compare_runs(runs: Sequence[str], out: Path) -> Path:
    """Writes one page that compares the fronts of several runs.

    Args:
        runs: Folders of runs.
        out: The HTML file to write.

    Returns:
        `out`.

    Raises:
        ValueError: A folder holds no run.
    """
    with ExitStack() as stack:
        paths = [journal_folder(run) / "journal.sqlite" for run in runs]
        journals = [stack.enter_context(Journal.open(path, read_only=True)) for path in paths]
        write_text(out, compare(dict(zip(runs, journals, strict=True))))
    return out
