"""Lines over lines: NetAdapt's trajectory of accuracy against latency, and the curves of a training, as SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nas.report import svg

SIZE, LEFT, RIGHT, TOP, BOTTOM = (620, 380), 62, 18, 30, 46
FONT = "font:11px system-ui,sans-serif"


def trajectory_svg(points: Sequence[tuple[float, float, str]], target_ms: float, final: float | None = None) -> str:
    """(latency_ms, accuracy, change) of the seed and of every step; `final` is the accuracy after the last training."""
    xs, ys = [p[0] for p in points] + [target_ms], [p[1] for p in points] + ([] if final is None else [final])
    frame = _Frame(_range(xs), _range(ys))
    placed = [(frame.x(ms), frame.y(accuracy)) for ms, accuracy, _ in points]
    dots = [
        svg.tag("circle", svg.tag("title", escape(f"{change}: {accuracy:.4f}, {ms:.4f} ms")), cx=x, cy=y, r=4,
                fill=svg.LIGHT["accent"])
        for (x, y), (ms, accuracy, change) in zip(placed, points, strict=True)
    ]  # fmt: skip
    line = svg.path(placed, fill="none", stroke=svg.LIGHT["accent"], stroke_width=1.6)
    goal = svg.tag("line", x1=frame.x(target_ms), x2=frame.x(target_ms), y1=TOP, y2=SIZE[1] - BOTTOM, stroke=svg.LIGHT["bad"],
                   stroke_dasharray="4 3")  # fmt: skip
    star = "" if final is None else svg.tag("circle", cx=placed[-1][0], cy=frame.y(final), r=6, fill="none",
                                            stroke=svg.LIGHT["measured"], stroke_width=2)  # fmt: skip
    return _page(frame.axes("predicted latency, ms", "validation accuracy") + goal + line + "".join(dots) + star)


def curves_svg(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_title: str, y_title: str) -> str:
    """Named lines of (x, y), each in a colour of its own, with their names at the top."""
    xs, ys = [x for _, c in curves for x, _ in c], [y for _, c in curves for _, y in c]
    frame, parts = _Frame(_range(xs), _range(ys)), []
    for i, (name, curve) in enumerate(curves):
        colour = svg.LIGHT[f"s{i % svg.SERIES}"]
        parts.append(
            svg.path([(frame.x(x), frame.y(y)) for x, y in curve], fill="none", stroke=colour, stroke_width=1.6)
        )
        parts.append(svg.text(LEFT + 8 + 150 * i, TOP - 10, name, fill=colour, style=FONT))
    return _page(frame.axes(x_title, y_title) + "".join(parts))


class _Frame:
    def __init__(self, x: tuple[float, float], y: tuple[float, float]):
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        return LEFT + (value - self._x[0]) / (self._x[1] - self._x[0]) * (SIZE[0] - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return SIZE[1] - BOTTOM - (value - self._y[0]) / (self._y[1] - self._y[0]) * (SIZE[1] - BOTTOM - TOP)

    def axes(self, x_title: str, y_title: str) -> str:
        parts, ink = [], {"fill": svg.LIGHT["muted"], "style": FONT}
        for i in range(6):
            vx, vy = (low + i / 5 * (high - low) for low, high in (self._x, self._y))
            parts.append(
                svg.tag("line", x1=LEFT, x2=SIZE[0] - RIGHT, y1=self.y(vy), y2=self.y(vy), stroke=svg.LIGHT["grid"])
            )
            parts.append(svg.text(LEFT - 6, self.y(vy) + 4, f"{vy:.4g}", text_anchor="end", **ink))
            parts.append(svg.text(self.x(vx), SIZE[1] - BOTTOM + 16, f"{vx:.4g}", text_anchor="middle", **ink))
        parts.append(svg.text((LEFT + SIZE[0]) / 2, SIZE[1] - 10, x_title, text_anchor="middle", **ink))
        parts.append(svg.text(LEFT, 14, y_title, **ink))
        return "".join(parts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _page(content: str) -> str:
    paper = svg.tag("rect", width=SIZE[0], height=SIZE[1], fill=svg.LIGHT["paper"])
    return (
        svg.tag("svg", paper + content, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {SIZE[0]} {SIZE[1]}") + "\n"
    )
