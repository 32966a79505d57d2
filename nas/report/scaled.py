"""Scaled members of an architecture's family in a search's report: on the front where no other beats them, beside it otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from nas.objectives import PREDICTED
from nas.objectives.pareto import non_dominated
from nas.report.front import FrontRow, broken_by_measurement, in_order, reward_of
from nas.report.plots import Reference
from nas.report.summary import LatencyRow, Summary


def with_scaled(summary: Summary, members: Sequence[FrontRow]) -> tuple[Summary, list[Reference]]:
    """The summary with the front of trials and members together, and the members that are not on it.

    Trials that a member beats become dominated ones. What the run itself reached, its best trial and its growth, stays as
    it is. A member that lacks one of the axes stands beside the front.
    """
    objectives = summary.objectives
    rows = [
        dataclasses.replace(row, reward=reward_of(objectives, row.metrics), demoted=broken_by_measurement(row, objectives))
        for row in members
    ]
    complete = [row for row in rows if all(math.isfinite(row.metrics.get(name, math.nan)) for name in objectives.columns)]
    joined = [*summary.front, *complete]
    values = np.array([objectives.values(row.metrics) for row in joined], float).reshape(len(joined), len(objectives.names))
    on_it = [row for row, on in zip(joined, non_dominated(values) if joined else [], strict=True) if on]
    numbers = {row.number for row in on_it}
    beside = [Reference(row.name, row.metrics, row.measured, scaled=True) for row in rows if row.number not in numbers]
    measured = [
        LatencyRow(
            row.number, row.id, device, row.metrics.get(f"{PREDICTED}/{device}", math.nan), ms, row.p95.get(device, math.nan),
            name=row.name,
        )
        for row in rows for device, ms in row.measured.items()
    ]  # fmt: skip
    front = tuple(in_order(on_it, objectives))
    return dataclasses.replace(summary, front=front, latencies=(*summary.latencies, *measured)), beside
