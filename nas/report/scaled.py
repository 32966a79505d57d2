"""Scaled members of an architecture's family in a search's report: on the front where nothing dominates them, beside it otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from nas.objectives import PREDICTED, violated
from nas.report.front import FrontRow, by_measured, in_order, reward_of, told_apart, undominated_rows
from nas.report.plots import Reference
from nas.report.summary import LatencyRow, Summary


def with_scaled(summary: Summary, members: Sequence[FrontRow]) -> tuple[Summary, list[Reference]]:
    """Puts scaled members on the front of a run.

    Trials that a member dominates leave the front. The run's own best trial and progress stay as they are.

    Args:
        summary: Of the run.
        members: Scaled members.

    Returns:
        The summary with the common front, and as references the members that are not on it or lack an objective.
    """
    objectives = summary.objectives
    rows = [
        dataclasses.replace(row, reward=reward_of(objectives, row.metrics), violated=violated(row.measured, objectives))
        for row in members
    ]
    complete = [row for row in rows if all(math.isfinite(row.metrics.get(name, math.nan)) for name in objectives.columns)]
    undominated = undominated_rows(by_measured([*summary.front, *complete], objectives)[0], objectives)
    on_it, alike = told_apart(in_order(undominated, objectives), objectives, summary.images.get("valid", 0))
    numbers = {row.number for row in on_it}
    beside = [Reference(row.name, row.metrics, row.measured, scaled=True) for row in rows if row.number not in numbers]
    measured = [
        LatencyRow(
            row.number, row.id, device, row.metrics.get(f"{PREDICTED}/{device}", math.nan), ms, row.p95.get(device, math.nan),
            name=row.name,
        )
        for row in rows for device, ms in row.measured.items()
    ]  # fmt: skip
    alike = [row for row in alike if not row.name]  # scaled ones are drawn beside the front
    latencies = (*summary.latencies, *measured)
    return dataclasses.replace(summary, front=tuple(on_it), alike=(*summary.alike, *alike), latencies=latencies), beside
