"""Lines over lines: NetAdapt's trajectory of a metric against latency, and the curves of a training, as SVG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape

from nas.report import svg
from nas.report.axes import axis
from nas.report.format import label, tick_labels

SIZE, LEFT, RIGHT, TOP, BOTTOM = (620, 380), 62, 24, 36, 46
FONT = "font:11px system-ui,sans-serif"
INK = {"fill": svg.LIGHT["muted"], "style": FONT}
HALO = {"fill": svg.LIGHT["ink"], "style": f"{FONT};paint-order:stroke;stroke:{svg.LIGHT['paper']};stroke-width:3px"}

Labels = Callable[[Sequence[float]], Sequence[str]]


def trajectory_svg(points: Sequence[tuple[float, float, str]], target_ms: float, final: float | None, metric: str) -> str:
    """A metric against latency over the steps of an adaptation.

    Args:
        points: (latency in ms, value of the metric, change) of the seed and of every step.
        target_ms: Milliseconds.
        final: Its value after the final training.
        metric: Its name.

    Returns:
        An SVG document.
    """
    xs, ys = [p[0] for p in points] + [target_ms], [p[1] for p in points] + ([] if final is None else [final])
    frame = _Frame(xs, ys)
    placed = [(frame.x.at(ms), frame.y.at(value)) for ms, value, _ in points]
    dots = [
        svg.tag("circle", svg.tag("title", escape(f"{change}: {value:.4f}, {ms:.4f} ms")), cx=x, cy=y, r=4,
                fill=svg.LIGHT["accent"])
        + svg.text(x + 7, y - 7, "seed" if i == 0 else str(i), text_anchor="middle" if i == 0 else "start", **HALO)
        for i, ((x, y), (ms, value, change)) in enumerate(zip(placed, points, strict=True))
    ]  # fmt: skip
    line = svg.path(placed, fill="none", stroke=svg.LIGHT["accent"], stroke_width=1.6)
    axes = frame.axes("predicted latency (ms), by step", f"validation {label(metric)}", _latencies, partial(tick_labels, metric))
    return _page(axes + _goal(frame, target_ms)
                 + line + "".join(dots) + _after(frame, placed[-1], final))  # fmt: skip


def _goal(frame: _Frame, target_ms: float) -> str:
    at = frame.x.at(target_ms)
    line = svg.tag("line", x1=at, x2=at, y1=TOP, y2=SIZE[1] - BOTTOM, stroke=svg.LIGHT["bad"], stroke_dasharray="4 3")
    return line + svg.text(at + 5, SIZE[1] - BOTTOM - 8, f"target {target_ms:.4g} ms", fill=svg.LIGHT["bad"], style=FONT)


def _after(frame: _Frame, last: tuple[float, float], final: float | None) -> str:
    """Up from the last step to where the last training took it."""
    if final is None:
        return ""
    x, y, color = last[0], frame.y.at(final), svg.LIGHT["measured"]
    rise = svg.tag("line", x1=x, x2=x, y1=last[1], y2=y, stroke=color, stroke_width=1.2)
    ring = svg.tag("circle", cx=x, cy=y, r=5, fill=svg.LIGHT["paper"], stroke=color, stroke_width=2)
    return rise + ring + svg.text(x + 10, y + 4, "after the final training", fill=color, style=FONT)


def _latencies(ticks: Sequence[float]) -> Sequence[str]:
    return tick_labels("latency_ms", list(ticks))


def curves_svg(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_title: str, y_title: str) -> str:
    """Named lines of points, each in its own color.

    Args:
        curves: (name, [(x, y), ...]) of each line.
        x_title: Of the horizontal axis.
        y_title: Of the vertical axis.

    Returns:
        An SVG document.
    """
    frame, parts = _Frame([x for _, c in curves for x, _ in c], [y for _, c in curves for _, y in c]), []
    for i, (name, curve) in enumerate(curves):
        color = svg.LIGHT[f"s{i % svg.SERIES}"]
        placed = [(frame.x.at(x), frame.y.at(y)) for x, y in curve]
        parts.append(svg.path(placed, fill="none", stroke=color, stroke_width=1.6))
        parts.append(svg.text(LEFT + 60 + 150 * i, 16, name, fill=color, style=FONT))
    return _page(frame.axes(x_title, y_title, _latencies, _latencies) + "".join(parts))


class _Frame:
    """Linear axes around the values, with round ticks."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]):
        self.x = axis([], xs, LEFT, SIZE[0] - RIGHT, log=False)
        self.y = axis([], ys, SIZE[1] - BOTTOM, TOP, log=False)
        self._counted = all(float(x).is_integer() for x in xs)  # epochs

    def axes(self, x_title: str, y_title: str, x_labels: Labels, y_labels: Labels) -> str:
        parts, bottom = [], SIZE[1] - BOTTOM
        ticks = self.y.ticks(5)
        for value, text in zip(ticks, y_labels(ticks), strict=True):
            y = self.y.at(value)
            parts.append(svg.tag("line", x1=LEFT, x2=SIZE[0] - RIGHT, y1=y, y2=y, stroke=svg.LIGHT["grid"]))
            parts.append(svg.text(LEFT - 6, y + 4, text, text_anchor="end", **INK))
        ticks: Sequence[float] = self.x.whole_ticks(7) if self._counted else self.x.ticks(7)
        for value, text in zip(ticks, x_labels(ticks), strict=True):
            x = self.x.at(value)
            parts.append(svg.tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, stroke=svg.LIGHT["dim"]))
            parts.append(svg.text(x, bottom + 17, text, text_anchor="middle", **INK))
        parts.append(svg.tag("line", x1=LEFT, x2=SIZE[0] - RIGHT, y1=bottom, y2=bottom, stroke=svg.LIGHT["dim"]))
        parts.append(svg.text(SIZE[0] - RIGHT, SIZE[1] - 8, x_title, text_anchor="end", **INK))
        parts.append(svg.text(10, 16, y_title, **INK))
        return "".join(parts)


def _page(content: str) -> str:
    paper = svg.tag("rect", width=SIZE[0], height=SIZE[1], fill=svg.LIGHT["paper"])
    return (
        svg.tag("svg", paper + content, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {SIZE[0]} {SIZE[1]}") + "\n"
    )
