"""The report of a run from its journal, or several runs on one page."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nas.core.yamlio import write_text
from nas.journal import Journal
from nas.report import Group, Reference, Summary, compare, compared, summarize, with_scaled, write_outputs
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


def compare_runs(runs: Sequence[str], out: Path) -> list[Group]:
    """Writes one page that compares the fronts of several runs.

    Args:
        runs: Folders of runs or of sweeps, or patterns such as `runs/seeds/*`.
        out: The HTML file to write.

    Returns:
        Runs of equal settings as groups, with means and standard deviations over their seeds.

    Raises:
        ValueError: A folder holds no run.
    """
    with opened(runs) as journals:
        write_text(out, compare(journals))
        return compared(journals)


@contextmanager
def opened(runs: Sequence[str]) -> Iterator[dict[str, Journal]]:
    """The journals of the runs that folders, sweeps and patterns name, by folder. Raises ValueError for one that names none."""
    folders = list(dict.fromkeys(folder for run in runs for folder in run_folders(run)))
    with ExitStack() as stack:
        yield {run: stack.enter_context(Journal.open(Path(run) / "journal.sqlite", read_only=True)) for run in folders}


def run_folders(name: str) -> list[str]:
    """The runs that a name stands for.

    Args:
        name: A run's folder, a folder with runs in it, at any depth, or a pattern of such folders.

    Raises:
        ValueError: There is none.
    """
    if (Path(name) / "journal.sqlite").is_file():
        return [name]
    found = [Path(path) for path in sorted(glob.glob(name))] if glob.has_magic(name) and not Path(name).is_dir() else [Path(name)]
    runs = sorted({str(path.parent) for folder in found for path in folder.rglob("journal.sqlite")})
    return runs or [str(journal_folder(name))]
