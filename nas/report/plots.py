"""The picture of a front: the quality against one cost, all trials, the members, references, target and constraints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.objectives import PREDICTED, Objectives, device_of, metric_of
from nas.objectives.pareto import non_dominated
from nas.report import svg
from nas.report.axes import Axis, axis
from nas.report.format import axis_title, is_fraction, label, show, tick_labels
from nas.report.front import FrontRow
from nas.report.summary import Summary, TrialRow, metric_names

MAX_POINTS = 2500
MARGIN = {"left": 56, "right": 18, "top": 30, "bottom": 44}


@dataclass(frozen=True)
class Reference:
    """A network drawn beside the front, a known one or a scaled member; metrics under their full names, measured ms by device."""

    name: str
    metrics: Mapping[str, float]
    measured: Mapping[str, float] = field(default_factory=dict)
    scaled: bool = False


@dataclass(frozen=True)
class Series:
    """What one run puts into a plot. `key` comes before trial numbers where several runs share a page."""

    points: Sequence[TrialRow]
    front: Sequence[FrontRow]
    best: int | None = None
    key: str = ""
    color: str = ""


@dataclass(frozen=True)
class Frame:
    """The axes of one plot."""

    x_name: str
    y_name: str
    x: Axis
    y: Axis
    objectives: Objectives
    references: Sequence[Reference] = field(default=())

    def has(self, metrics: Mapping[str, float]) -> bool:
        return all(math.isfinite(metrics.get(name, math.nan)) for name in (self.x_name, self.y_name))

    def place(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        return self.x.at(metrics[self.x_name]), self.y.at(metrics[self.y_name])


def plot_costs(summary: Summary) -> list[str]:
    """Metrics to draw the quality against: the other objectives, then the other known costs that trials have."""
    known = [n for n in metric_names(summary) if n.partition("/")[0] in (PREDICTED, "params", "macs", "memory_bytes")]
    names = dict.fromkeys([*summary.objectives.columns, *known])
    return [n for n in names if n != summary.objectives.quality and any(n in row.metrics for row in summary.points)]


def series_of(summary: Summary, key: str = "", color: str = "") -> Series:
    """The run's points, thinned evenly where there are more than can be drawn, and its front."""
    on_front = {row.number for row in summary.front}
    points = [row for row in summary.points if row.number not in on_front]
    if len(points) > MAX_POINTS:
        points = [points[i] for i in np.linspace(0, len(points) - 1, MAX_POINTS).astype(int)]
    best = summary.best.number if summary.best else None
    return Series(points, summary.front, best, key, color)


def front_plot(
    runs: Sequence[Series], objectives: Objectives, cost: str, references: Sequence[Reference] = (),
    size: tuple[int, int] = (560, 380), top: int = MARGIN["top"],
) -> str:  # fmt: skip
    """The inside of one plot: trials, fronts and references in quality against a cost.

    Args:
        runs: What to draw, later ones on top.
        objectives: Name the quality and its direction.
        cost: Metric of the horizontal axis.
        references: Known networks.
        size: Width and height in pixels.
        top: Margin above in pixels.

    Returns:
        SVG elements without a root.
    """
    frame = _frame(runs, objectives, cost, references, size, top)
    parts = [*_grid(frame), *_rules(frame)]
    for run in runs:
        parts.append(svg.group(list(_cloud(frame, run)), class_="cloud"))
    for run in runs:
        parts.append(svg.path(_steps(frame, run), class_=f"line {run.color}" if run.color else "step"))
        parts.append(svg.group(list(_measured(frame, run)), class_="whiskers"))
        parts.append(svg.group(list(_members(frame, run)), class_="members"))
    named = [row for run in runs for row in run.front if row.name and frame.has(row.metrics)]
    return "".join([*parts, *_references(frame), *_names(frame, [*frame.references, *named])])


def front_svg(summary: Summary, cost: str | None = None, references: Sequence[Reference] = (), title: str = "") -> str:
    """A stand-alone picture of the front.

    Args:
        summary: Of the run.
        cost: Metric of the horizontal axis; by default the first of `plot_costs`.
        references: Known networks.
        title: A heading instead of the run's name.

    Returns:
        An SVG document.

    Raises:
        ValueError: An unknown cost; the message has the known ones.
    """
    costs = plot_costs(summary)
    cost = cost and metric_of(cost)
    if cost is not None and cost not in costs:
        raise ValueError(f"cost: expected one of {', '.join(costs) or 'none'}, got {cost!r}")
    width, height, top = 720, 460, 88
    text = title or f"{summary.name}: {label(summary.objectives.quality)} against {label(cost or (costs or ['cost'])[0])}"
    head = svg.text(20, 26, text, class_="heading")
    if not summary.front or not costs:
        return svg.standalone(head + svg.text(20, 60, "no front yet"), width, height, text)
    body = front_plot([series_of(summary)], summary.objectives, cost or costs[0], references, (width, height), top)
    return svg.standalone(head + _legend(summary, any(not r.scaled for r in references)) + body, width, height, text)


def _legend(summary: Summary, references: bool) -> str:
    parts, x = [], 24.0
    marks = [("dim", 3.0, f"{len(summary.points)} trials"), ("front", 5.0, f"front of {len(summary.front)}")]
    marks += [("measured", 4.0, "measured on the device")] if any(row.measured for row in summary.front) else []
    marks += [("front scaled", 4.0, "scaled members")] if any(row.name for row in summary.front) else []
    marks += [("reference", 4.0, "known networks")] if references else []
    for kind, radius, text in marks:
        shape = _square(x, 44) if "scaled" in kind else _diamond(x, 44, 5) if kind in ("measured", "reference") else None
        mark = svg.tag("path", d=shape, class_=kind) if shape else svg.tag("circle", cx=x, cy=44, r=radius, class_=kind)
        parts += [mark, svg.text(x + 10, 48, text)]
        x += 34 + svg.CHAR_WIDTH * len(text)
    return "".join(parts)


def _frame(
    runs: Sequence[Series], objectives: Objectives, cost: str, references: Sequence[Reference], size: tuple[int, int], top: int
) -> Frame:
    quality = objectives.quality
    width, height = size
    device = device_of(cost)
    shown = [r for r in references if all(math.isfinite(r.metrics.get(name, math.nan)) for name in (cost, quality))]
    members = [row for run in runs for row in run.front]
    extra = [ms for row in [*members, *shown] for name, ms in row.measured.items() if name == device]
    kept_x = [*_column(members, cost), *_column(shown, cost), *extra]
    if cost == metric_of(objectives.cost) and objectives.target is not None:
        kept_x.append(objectives.target)
    points = [row for run in runs for row in run.points]
    ceiling = 1.0 if is_fraction(quality) else math.inf
    return Frame(
        cost, quality,
        axis(_column(points, cost), kept_x, MARGIN["left"], width - MARGIN["right"]),
        axis(_column(points, quality), [*_column(members, quality), *_column(shown, quality)],
             height - MARGIN["bottom"], top, ceiling, log=False),
        objectives, shown,
    )  # fmt: skip


def _column(rows: Sequence[TrialRow | FrontRow | Reference], name: str) -> list[float]:
    return [value for row in rows if math.isfinite(value := row.metrics.get(name, math.nan))]


def _grid(frame: Frame) -> Iterator[str]:
    x, y = frame.x, frame.y
    ticks = y.ticks(5)
    for tick, text in zip(ticks, tick_labels(frame.y_name, ticks), strict=True):
        yield svg.tag("line", x1=x.start, x2=x.end, y1=y.at(tick), y2=y.at(tick), class_="grid")
        yield svg.text(x.start - 8, y.at(tick) + 4, text, text_anchor="end")
    ticks = x.ticks(int((x.end - x.start) / 70))
    for tick, text in zip(ticks, tick_labels(frame.x_name, ticks), strict=True):
        yield svg.tag("line", x1=x.at(tick), x2=x.at(tick), y1=y.start, y2=y.start + 4, class_="base")
        yield svg.text(x.at(tick), y.start + 17, text, text_anchor="middle")
    yield svg.tag("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="base")
    yield svg.text(x.start - 48, y.end - 14, axis_title(frame.y_name), class_="name")
    scale = ", log scale" if x.log else ""
    yield svg.text(x.end, y.start + 35, axis_title(frame.x_name) + scale, class_="name", text_anchor="end")


def _rules(frame: Frame) -> Iterator[str]:
    """Upright lines at the target and at the constraint of this cost, where they are within the plot."""
    objectives, x, y = frame.objectives, frame.x, frame.y
    lines = [("constraint", value) for name, value in objectives.constraints if metric_of(name) == frame.x_name]
    if frame.x_name == metric_of(objectives.cost) and objectives.target is not None:
        lines.append(("target", objectives.target))
    for place, (kind, value) in enumerate(lines):
        if not x.outside(value):
            right = x.at(value) > (x.start + x.end) / 2
            text = f"{kind} {show(frame.x_name, value)}"
            yield svg.tag("line", x1=x.at(value), x2=x.at(value), y1=y.start, y2=y.end, class_=kind)
            yield svg.text(
                x.at(value) + (-5 if right else 5), y.start - 6 - 14 * place, text, class_="halo",
                text_anchor="end" if right else "start",
            )  # fmt: skip


def _cloud(frame: Frame, run: Series) -> Iterator[str]:
    for row in run.points:
        if frame.has(row.metrics):
            x, y = frame.place(row.metrics)
            cut = frame.x.outside(row.metrics[frame.x_name]) or frame.y.outside(row.metrics[frame.y_name])
            kind = "cut" if cut else f"dot {run.color}" if run.color else "dim"
            yield svg.tag("circle", cx=x, cy=y, r=2.6, class_=kind, data_k=f"{run.key}{row.number}")


def _steps(frame: Frame, run: Series) -> list[tuple[float, float]]:
    """The staircase through the members that are best in these two objectives, extended to the worse edge."""
    rows = flat_front(frame, run.front)
    points: list[tuple[float, float]] = []
    for x, y in (frame.place(row.metrics) for row in rows):
        points += [(x, points[-1][1])] if points else []
        points.append((x, y))
    worse = frame.x.start if frame.objectives.direction(frame.x_name) == "max" else frame.x.end
    return [*points, (worse, points[-1][1])] if points else []


def flat_front(frame: Frame, members: Sequence[FrontRow]) -> list[FrontRow]:
    """Members that no other dominates in the plot's two objectives alone, from the best cost on."""
    rows = [row for row in members if frame.has(row.metrics)]
    if not rows:
        return []
    names = (frame.x_name, frame.y_name)
    signs = [-1 if frame.objectives.direction(name) == "max" else 1 for name in names]
    values = np.array([[sign * row.metrics[name] for sign, name in zip(signs, names, strict=True)] for row in rows])
    order = np.lexsort(values.T[::-1])
    mask = non_dominated(values)
    return [rows[i] for i in order if mask[i]]


def _measured(frame: Frame, run: Series) -> Iterator[str]:
    device = device_of(frame.x_name)
    for row in run.front:
        if device in row.measured and frame.has(row.metrics):
            x, y = frame.place(row.metrics)
            end = frame.x.at(row.measured[device])
            yield svg.tag("line", x1=x, x2=end, y1=y, y2=y, class_="span")
            yield svg.tag("path", d=_diamond(end, y, 4), class_="measured", data_k=f"{run.key}{row.number}")


def _members(frame: Frame, run: Series) -> Iterator[str]:
    on_line = {row.number for row in flat_front(frame, run.front)}
    for row in run.front:
        if not frame.has(row.metrics):
            continue
        x, y = frame.place(row.metrics)
        if row.number == run.best:
            yield svg.tag("circle", cx=x, cy=y, r=9, class_="best")
        state = " violated" if row.violated else "" if row.number in on_line else " off"
        text = f"{row.title}, {', '.join(f'{label(n)} {show(n, row.metrics[n])}' for n in (frame.y_name, frame.x_name))}"
        shape = {"d": _square(x, y)} if row.name else {"cx": x, "cy": y, "r": 5}
        kind = f"front{f' {run.color}' if run.color else state}{' scaled' * bool(row.name)}"
        yield svg.tag(
            "path" if row.name else "circle", **shape, class_=kind, tabindex=0, role="img", aria_label=text,
            data_k=f"{run.key}{row.number}",
        )  # fmt: skip


def _references(frame: Frame) -> Iterator[str]:
    for reference in frame.references:
        x, y = frame.place(reference.metrics)
        if (device := device_of(frame.x_name)) in reference.measured:
            end = frame.x.at(reference.measured[device])
            yield svg.tag("line", x1=x, x2=end, y1=y, y2=y, class_="span")
            yield svg.tag("path", d=_diamond(end, y, 4), class_="measured", data_k=f"ref:{reference.name}")
        shape, kind = (_square(x, y), "front scaled off") if reference.scaled else (_diamond(x, y, 5), "reference")
        yield svg.tag("path", d=shape, class_=kind, tabindex=0, data_k=f"ref:{reference.name}")


def _names(frame: Frame, named: Sequence[Reference | FrontRow]) -> Iterator[str]:
    """A label for each, beside its mark if nothing is in the way, over other labels otherwise."""
    taken: list[tuple[float, float, float]] = []
    for one in sorted(named, key=lambda r: r.metrics[frame.x_name]):
        x, y = frame.place(one.metrics)
        width = svg.CHAR_WIDTH * len(one.name)
        spots = [(x + 9, y + 4), (x - 9 - width, y + 4), (x - width / 2, y - 10), (x - width / 2, y + 19)]
        scaled = isinstance(one, FrontRow) or one.scaled
        if isinstance(one, FrontRow):  # nothing is up and to the left of a front's member; its line continues to the right
            spots.insert(0, (x - 5 - width, y - 7))
        inside = [s for s in spots if s[0] >= frame.x.start and s[0] + width <= frame.x.end + MARGIN["right"]] or spots[1:2]
        left, base = next((s for s in inside if not _overlaps(s, width, taken)), inside[0])
        taken.append((left, base, width))
        yield svg.text(left, base, one.name, class_="halo named scaled" if scaled else "halo named")


def _overlaps(spot: tuple[float, float], width: float, taken: Sequence[tuple[float, float, float]]) -> bool:
    return any(spot[0] < x + w and x < spot[0] + width and abs(spot[1] - y) < 13 for x, y, w in taken)


def _square(x: float, y: float, r: float = 4.8) -> str:
    return f"M{x - r:.1f} {y - r:.1f}H{x + r:.1f}V{y + r:.1f}H{x - r:.1f}Z"


def _diamond(x: float, y: float, r: float) -> str:
    return f"M{x:.1f} {y - r:.1f}L{x + r:.1f} {y:.1f}L{x:.1f} {y + r:.1f}L{x - r:.1f} {y:.1f}Z"
