"""SVG as text: elements with escaped attributes and contents, and the colors of the plots."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

LIGHT = {
    "paper": "#ffffff", "ink": "#1b1f24", "muted": "#5b6470", "grid": "#e7eaee", "dim": "#9aa5b1", "accent": "#1f5fd0",
    "measured": "#b4560b", "bad": "#c2262d", "reference": "#7a3fb0", "s0": "#1f5fd0", "s1": "#c2550a", "s2": "#0f8267",
    "s3": "#a63a86", "s4": "#6f6a12", "s5": "#3d4752",
}  # fmt: skip
DARK = {
    "paper": "#14171c", "ink": "#e8eaed", "muted": "#9aa4b0", "grid": "#2a2f37", "dim": "#66707c", "accent": "#79a8ff",
    "measured": "#f0a35c", "bad": "#ff7b7f", "reference": "#c79bff", "s0": "#79a8ff", "s1": "#f0a35c", "s2": "#57cfae",
    "s3": "#f09bd4", "s4": "#d3cb5c", "s5": "#c2cad3",
}  # fmt: skip
SERIES = 6
CHAR_WIDTH = 6.3  # of the labels' 11 px sans serif, a little too wide on the average


def tag(name: str, content: str | None = None, /, **attributes: str | float | None) -> str:
    """One element. `content` is markup already; attributes are escaped, None leaves one out, `_` stands for `-`."""
    parts = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items() if value is not None
    ]  # fmt: skip
    return f"<{name}{''.join(parts)}/>" if content is None else f"<{name}{''.join(parts)}>{content}</{name}>"


def text(x: float, y: float, content: str, **attributes: str | float | None) -> str:
    """Text at a point; its content is escaped."""
    return tag("text", escape(content), x=x, y=y, **attributes)


def group(parts: list[str], **attributes: str | float | None) -> str:
    """A group of elements; nothing for none."""
    return tag("g", "".join(parts), **attributes) if parts else ""


def path(points: list[tuple[float, float]], **attributes: str | float | None) -> str:
    """A line through the points; nothing for fewer than two."""
    if len(points) < 2:
        return ""
    return tag("path", d="M" + "L".join(f"{_text(x)} {_text(y)}" for x, y in points), **attributes)


def resource(name: str) -> str:
    """A file that lies beside this one in the package."""
    return (files("nas.report") / name).read_text(encoding="utf-8")


def variables(palette: dict[str, str]) -> str:
    """Declarations of CSS variables."""
    return "".join(f"--{name}:{color};" for name, color in palette.items())


def standalone(markup: str, width: int, height: int, title: str) -> str:
    """A stand-alone document with literal light colors, for viewers without CSS variables."""
    style = re.sub(r"var\(--(\w+)\)", lambda found: LIGHT[found[1]], resource("plot.css"))
    return tag(
        "svg",
        f"<title>{escape(title)}</title><style>{style}</style>"
        + tag("rect", width=width, height=height, rx=8, fill=LIGHT["paper"])
        + markup,
        xmlns="http://www.w3.org/2000/svg", width=width, height=height, viewBox=f"0 0 {width} {height}", class_="plot",
    )  # fmt: skip


def _text(value: str | float) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
