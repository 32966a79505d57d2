"""The front as a table for the terminal: ASCII, aligned."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nas.objectives import MEASURED, PREDICTED, device_of
from nas.report.format import LATER, show
from nas.report.front import FrontRow
from nas.report.noise import shown_error
from nas.report.proxy import proxy_text
from nas.report.summary import TEST, Summary, metric_names

HEADS = {"memory_bytes": "memory", "macs": "MACs"}


def front_text(summary: Summary, limit: int = 40) -> str:
    """The front as text for a terminal, best quality first.

    `*` marks the best member; `+-` is a standard error in points; constraints violated by measurement stand behind a row.

    Args:
        summary: Of the run.
        limit: Most rows.

    Returns:
        Lines.
    """
    lines = [counts_line(summary)]
    if not summary.front:
        return "\n".join([*lines, "no front yet: " + _why_empty(summary.counts)])
    names = columns(summary)
    heads = ["", "trial", "id", *(_head(name) for name in names)]
    rows = [_cells(row, names, row == summary.best, summary) for row in summary.front[:limit]]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row, member in zip([heads, *rows], [None, *summary.front], strict=False):
        line = "  ".join(cell.ljust(w) if i == 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join([line.rstrip(), *(_notes(member, summary.near) if member else ())]))
    lines += summary.notes
    lines += [f"latency on {device}: {machine}" for device, machine in summary.machines.items()]
    lines += proxy_text(summary.proxies, summary.fidelities)
    if len(summary.front) > limit:
        lines.append(f"... and {len(summary.front) - limit} more in front.csv")
    return "\n".join(line.encode("ascii", "replace").decode() for line in lines)


def counts_line(summary: Summary) -> str:
    """`front of 5 among 24 trials: 22 ok, 1 oom, 1 infeasible`."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in summary.counts.items())
    total = sum(summary.counts.values())
    return f"front of {len(summary.front)} among {total} trial{'s' * (total != 1)}" + (f": {counts}" if counts else "")


def columns(summary: Summary) -> list[str]:
    """Columns of a front's table: every metric, `measured_ms/<device>` behind its prediction, the test accuracy, later trainings."""
    names: list[str] = []
    measured = {device for row in summary.front for device in row.measured}
    for name in metric_names(summary):
        names.append(name)
        if name == summary.task.primary and any(not math.isnan(row.test) for row in summary.front):
            names.append(summary.test_column)
        if name == summary.task.primary:
            later = (f"{what}_{name}" for what in LATER)
            names += [column for column in later if any(column in row.later for row in summary.front)]
        if (device := device_of(name)) in measured:
            names.append(f"{MEASURED}/{device}")
    return names + [f"{MEASURED}/{d}" for d in summary.devices if d in measured and f"{MEASURED}/{d}" not in names]


def value_of(row: FrontRow, column: str) -> float:
    """The number of a front's member in a column of `columns`; nan where there is none."""
    if column.startswith(TEST):
        return row.test
    if column in row.later:
        return row.later[column]
    kind, _, device = column.partition("/")
    return row.measured.get(device, math.nan) if kind == MEASURED else row.metrics.get(column, math.nan)


def _why_empty(counts: Mapping[str, int]) -> str:
    if not counts:
        return "no trials"
    return "none of the trials has every metric of the objectives" if counts.get("ok") else "no trial ended ok"


def _head(name: str) -> str:
    if name.startswith(TEST):
        return "test"
    if name.startswith(tuple(LATER)):
        return LATER[name.partition("_")[0]]
    if not (device := device_of(name)):
        return HEADS.get(name, name)
    return f"{device} {'predicted' if name.startswith(PREDICTED) else 'measured'} ms"


def _notes(row: FrontRow, near: Mapping[int, str]) -> list[str]:
    notes = [f"within noise of {near[row.number]}"] if row.number in near else []
    notes += [f"constraint violated by measurement: {'; '.join(row.violated)}"] if row.violated else []
    return [*notes, f"scaled; {row.note}" if row.note else "scaled"] if row.name else notes


def _cells(row: FrontRow, names: list[str], best: bool, summary: Summary) -> list[str]:
    cells = ["*" if best else "", row.name or str(row.number), row.id]
    for name in names:
        value = value_of(row, name)
        cells.append(show(name, value, "-").removesuffix(" ms") + shown_error(name, value, summary.images))
    return cells
