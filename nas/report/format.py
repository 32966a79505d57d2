"""Metrics for people: labels, units, and numbers with SI suffixes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from nas.objectives import FRACTIONS, LATENCY, MEASURED, PREDICTED

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
LATENCIES = {LATENCY: "latency", PREDICTED: "predicted latency", MEASURED: "measured latency"}
LATER = {"finetuned": "fine-tuned", "scratch": "from scratch"}  # trainings after a search with shared weights, by their prefix
BEFORE = ("test_", "inherited_", *(f"{what}_" for what in LATER))  # of the names of a task's metrics
DIGITS = 18  # any two floats differ in 17 significant digits
HYPERVOLUME = "hypervolume"  # a fraction of the box between the best and the worst values
LABELS = {
    "params": "parameters",
    "macs": "multiply-adds",
    "memory_bytes": "peak activation memory",
    "balanced_accuracy": "balanced accuracy",
}


def label(name: str) -> str:
    """`predicted_ms/host` as `predicted latency on host`, `macs` as `multiply-adds`; custom names stay as they are."""
    if name.startswith("test_"):
        return f"test {label(name.removeprefix('test_'))}"
    what, _, metric = name.partition("_")
    if what in LATER and metric:
        return f"{label(metric)}, {LATER[what]}"
    kind, _, device = name.partition("/")
    return f"{LATENCIES[kind]} on {device}" if kind in LATENCIES and device else LABELS.get(name, name)


def is_fraction(name: str) -> bool:
    """Whether a metric lies between 0 and 1 and is shown in percent."""
    kind = name.partition("/")[0]
    bare = next((kind.removeprefix(before) for before in BEFORE if kind.startswith(before)), kind)
    return bare in (*FRACTIONS, HYPERVOLUME)


def unit(name: str) -> str:
    """The unit that numbers carry: `%`, `ms`, `B` or none."""
    kind = name.partition("/")[0]
    if kind in LATENCIES:
        return "ms"
    return "%" if is_fraction(name) else "B" if kind == "memory_bytes" else ""


def si(value: float, digits: int = 3, even: bool = True) -> str:
    """`1234567` as `1.23M`, with so many significant digits; `even=False` drops the zeros at the end."""
    scale, suffix = next(((s, p) for s, p in PREFIXES if abs(value) >= s * (1 - 0.5 * 10.0**-digits)), (1.0, ""))
    return f"{_plain(value / scale, digits, even)}{suffix}"


def show(name: str, value: float, missing: str = "\u2013") -> str:
    """A metric with its unit: `71.24 %`, `2.31 ms`, `91.2k`, `1.2 MB`; `missing` for nan."""
    if math.isnan(value):
        return missing
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if is_fraction(name):
        return f"{100 * value:.2f} %"
    if unit(name) == "B":
        text = si(value) if abs(value) >= 1000 else f"{value:.0f}"
        return f"{text[:-1]} {text[-1]}B" if text[-1].isalpha() else f"{text} B"
    return f"{_plain(value, 3)} ms" if unit(name) == "ms" else number(value)


def number(value: float, missing: str = "\u2013") -> str:
    """A plain number of four significant digits, large ones with an SI suffix."""
    if math.isnan(value):
        return missing
    if float(value).is_integer() and abs(value) < 1000:
        return str(int(value))
    return si(value) if abs(value) >= 1000 and math.isfinite(value) else _plain(value, 4)


def tick_labels(name: str, ticks: Sequence[float]) -> list[str]:
    """Labels of one axis, as short as keeps each within a thousandth of a step of its tick, so that no two are equal."""
    if is_fraction(name):
        return [f"{text}%" for text in _even([100 * tick for tick in ticks])]
    if unit(name) == "ms":
        return _even(ticks)
    texts = _faithful(ticks, ([si(tick, digits, even=False) for tick in ticks] for digits in range(4, DIGITS)))
    return [f"{t[:-1]} {t[-1]}B" if t[-1].isalpha() else t for t in texts] if unit(name) == "B" else texts


def axis_title(name: str) -> str:
    """The axis in words; ms stand here, other units at the ticks."""
    return f"{label(name)} (ms)" if unit(name) == "ms" else label(name)


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 5 min` or `3 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def many(value: float) -> str:
    """A count of any size: `24`, `12,345`, `3.2 x 10^17`."""
    if value < 1e7:
        return f"{int(value):,}"
    power = len(str(int(value))) - 1
    return f"{int(value) / 10**power:.1f} \u00d7 10^{power}"


def _plain(value: float, digits: int, even: bool = True) -> str:
    """Significant digits without an exponent for the magnitudes that metrics have."""
    text = f"{value:{'#' if even else ''}.{digits}g}".removesuffix(".")
    return f"{value:.0f}" if "e" in text and abs(value) >= 1 else text


def _even(values: Sequence[float]) -> list[str]:
    """With equal decimals; with significant digits where that would take more than nine."""
    return _faithful(
        values,
        (
            *([f"{value:.{decimals}f}" for value in values] for decimals in range(10)),
            *([f"{value:.{digits}g}" for value in values] for digits in range(3, DIGITS)),
        ),
    )


def _faithful(values: Sequence[float], choices: Iterable[list[str]]) -> list[str]:
    """The first texts that stay within a thousandth of the smallest step of the values; the last ones where none do."""
    steps = [abs(b - a) for a, b in pairwise(sorted(values))]
    tolerance = 1e-3 * min(steps, default=max(map(abs, values), default=0.0))
    texts: list[str] = []
    for texts in choices:
        if all(abs(_read(text) - value) <= tolerance for text, value in zip(texts, values, strict=True)):
            break
    return texts


def _read(text: str) -> float:
    scale = next((scale for scale, suffix in PREFIXES if text.endswith(suffix)), 0.0)
    return float(text[:-1]) * scale if scale else float(text)
