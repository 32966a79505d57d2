"""Plots beside the front: reward and hypervolume over the trials, and predicted against measured latency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nas.objectives import MEASURED, PREDICTED
from nas.report import svg
from nas.report.axes import Axis, axis
from nas.report.format import HYPERVOLUME, show, tick_labels
from nas.report.plots import series_of
from nas.report.summary import LatencyRow, Summary

LEFT, RIGHT, TOP, BOTTOM = 56, 18, 30, 44
SIZE = (560, 260)
SQUARE = (380, 380)


def reward_plot(summary: Summary) -> str:
    """The best reward so far as a line, each trial's own as a point."""
    best = [(entry.number, entry.best_reward) for entry in summary.progress if math.isfinite(entry.best_reward)]
    points = [row for row in series_of(summary).points if math.isfinite(row.reward)]
    members = [row for row in summary.front if math.isfinite(row.reward) and not row.name]
    cloud = [row.reward for row in points]
    y = axis(cloud, [row.reward for row in members] + [v for _, v in best[-1:]], SIZE[1] - BOTTOM, TOP, log=False)
    x = _numbers(summary)
    dots = [
        svg.tag("circle", cx=x.at(row.number), cy=y.at(row.reward), r=2.6, data_k=row.number,
                class_="cut" if y.outside(row.reward) else "dim")
        for row in points
    ]  # fmt: skip
    stars = [
        svg.tag("circle", cx=x.at(row.number), cy=y.at(row.reward), r=4, class_="front", data_k=row.number) for row in members
    ]
    line = svg.path(_stairs([(x.at(n), y.at(v)) for n, v in best], x.end), class_="step")
    axes = frame(x, y, "reward", "trial", "reward", SIZE[1])
    return axes + svg.group(dots, class_="cloud") + line + svg.group(stars)


def hypervolume_plot(lines: Sequence[tuple[str, Sequence[tuple[int, float]]]]) -> str:
    """Fractions of the box over the trials, a line a run: (color class or "", [(trial, fraction), ...])."""
    highest = max((fraction for _, entries in lines for _, fraction in entries), default=0.0)
    numbers = [n for _, entries in lines for n, _ in entries]
    x = Axis(0.0, float(max([*numbers, 1])), LEFT, SIZE[0] - RIGHT)
    y = Axis(0.0, min(1.08 * highest, 1.0) or 1.0, SIZE[1] - BOTTOM, TOP)
    drawn = [
        svg.path(_stairs([(x.at(n), y.at(v)) for n, v in _changes(entries)], x.at(entries[-1][0])),
                 class_=f"line {color}" if color else "step")
        for color, entries in lines if entries
    ]  # fmt: skip
    return frame(x, y, HYPERVOLUME, "trial", "hypervolume, fraction of the box", SIZE[1]) + "".join(drawn)


def latency_plot(rows: Sequence[LatencyRow]) -> str:
    """Predicted against measured latency on equal axes in ms; whiskers reach up to the 95th percentile."""
    rows = [row for row in rows if math.isfinite(row.predicted_ms) and math.isfinite(row.measured_ms)]
    values = [value for row in rows for value in (row.predicted_ms, row.measured_ms)]
    x = axis([], values, LEFT, SQUARE[0] - RIGHT)
    y = Axis(x.low, x.high, SQUARE[1] - BOTTOM, TOP, x.log)
    parts = [svg.tag("line", x1=x.start, y1=y.start, x2=x.end, y2=y.end, class_="target")]
    for row in rows:
        at = x.at(row.predicted_ms), y.at(row.measured_ms)
        if math.isfinite(row.p95_ms):
            parts.append(svg.tag("line", x1=at[0], x2=at[0], y1=at[1], y2=y.at(row.p95_ms), class_="span"))
        title = row.name or f"trial {row.number}"
        text = f"{title}, predicted {show(PREDICTED, row.predicted_ms)}, measured {show(MEASURED, row.measured_ms)}"
        parts.append(svg.tag("circle", cx=at[0], cy=at[1], r=4.5, class_="front", data_k=row.number, tabindex=0,
                             role="img", aria_label=text))  # fmt: skip
    return frame(x, y, MEASURED, "predicted (ms)", "measured (ms)", SQUARE[1], x_name=PREDICTED) + "".join(parts)


def latency_error(rows: Sequence[LatencyRow]) -> tuple[float, float]:
    """Errors of predictions relative to measurement.

    Args:
        rows: Predicted and measured milliseconds.

    Returns:
        (mean absolute, mean signed) fraction; nan without rows.
    """
    pairs = [(r.predicted_ms, r.measured_ms) for r in rows if math.isfinite(r.predicted_ms) and r.measured_ms > 0]
    errors = np.array([predicted / measured - 1 for predicted, measured in pairs])
    return (float(np.abs(errors).mean()), float(errors.mean())) if len(errors) else (math.nan, math.nan)


def document(body: str, text: str, size: tuple[int, int] = SIZE) -> str:
    """An <svg> of the page around the inside of a plot; `text` is what a screen reader reads."""
    return svg.tag("svg", body, class_="plot", viewBox=f"0 0 {size[0]} {size[1]}", role="group", aria_label=text)


def _numbers(summary: Summary) -> Axis:
    last = max((row.number for row in summary.trials), default=1)
    return Axis(0.0, float(max(last, 1)), LEFT, SIZE[0] - RIGHT)


def frame(x: Axis, y: Axis, y_name: str, x_title: str, y_title: str, height: int, x_name: str = "") -> str:
    """Axes with ticks, labels and titles; an x axis without a name counts."""
    parts = []
    ticks = y.ticks(6 if x_name else 4)
    for tick, text in zip(ticks, tick_labels(y_name, ticks), strict=True):
        parts.append(svg.tag("line", x1=x.start, x2=x.end, y1=y.at(tick), y2=y.at(tick), class_="grid"))
        parts.append(svg.text(x.start - 8, y.at(tick) + 4, text, text_anchor="end"))
    ticks = x.ticks(6) if x_name else x.whole_ticks(6)
    labels = tick_labels(x_name, ticks) if x_name else [f"{tick:,}" for tick in ticks]
    for tick, text in zip(ticks, labels, strict=True):
        parts.append(svg.tag("line", x1=x.at(tick), x2=x.at(tick), y1=y.start, y2=y.start + 4, class_="base"))
        parts.append(svg.text(x.at(tick), y.start + 17, text, text_anchor="middle"))
    parts.append(svg.tag("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="base"))
    parts.append(svg.text(x.start - 48, 16, y_title, class_="name"))
    parts.append(svg.text(x.end, height - 9, x_title, class_="name", text_anchor="end"))
    return "".join(parts)


def _stairs(points: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """Corners of a line that stays until it changes, drawn on to `end`."""
    corners: list[tuple[float, float]] = []
    for x, y in points:
        if not corners or corners[-1][1] != y:
            corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    return [*corners, (end, corners[-1][1])] if corners else []


def _changes(entries: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The entries whose fraction differs from the one before."""
    return [e for before, e in zip([None, *entries], entries, strict=False) if before is None or e[1] != before[1]]
