"""Tables of the page, every cell escaped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from urllib.parse import quote

from nas.objectives import MEASURED
from nas.records import JSON, Event
from nas.report.format import label, number, show
from nas.report.front import FrontRow
from nas.report.noise import shown_error
from nas.report.proxy import ProxyRow, fidelity_text
from nas.report.summary import LatencyRow, Summary, TrialRow
from nas.report.text import columns, value_of

MAX_ROWS = 500
LONG = 240


def front_table(summary: Summary) -> str:
    """The members, each with a link to its file; a click on a heading sorts."""
    names = columns(summary)
    heads = [("trial", True), ("architecture", False), *((column_label(n), True) for n in names), ("reward", True)]
    rows = [_member(row, names, summary) for row in summary.front]
    note = "Train one with <code>nas train arch=front/&lt;id&gt;.yaml</code>; each file begins with its whole command."
    return table(heads, rows, "sortable") + f'<p class="note">{note}</p>'


def _member(row: FrontRow, names: Sequence[str], summary: Summary) -> str:
    tags = '<span class="tag best">best</span>' if summary.best and row.number == summary.best.number else ""
    if row.name:
        tags += f'<span class="tag scaled" title="{escape(row.note or "trained as the search trains")}">{escape(_marked(row))}</span>'
    if row.number in summary.near:
        text = f"within noise of {summary.near[row.number]}"
        why = "They differ by less than the standard error of their difference."
        tags += f'<span class="tag" title="{why}">{escape(text)}</span>'
    if row.violated:
        tags += f'<span class="tag violated" title="{escape("; ".join(row.violated))}">constraint violated</span>'
    anchor = f'<span class="mono">{escape(row.id)}</span>'
    if row.arch:
        anchor = f'<a href="front/{quote(row.id)}.yaml">{anchor}</a>'
    own = number_cell(math.nan, "\u2013") if row.name else number_cell(row.number, str(row.number))
    cells = [own, f'<td class="id" data-v="{escape(row.id)}">{anchor}{tags}</td>']
    for name in names:
        value = value_of(row, name)
        shown = show(name, value) + shown_error(name, value, summary.images).replace("+-", "\u00b1 ")
        broken = name.startswith("measured_ms/") and row.violated
        cells.append(number_cell(value, shown, "n bad" if broken else "n"))
    return f'<tr data-k="{row.number}">{"".join(cells)}{number_cell(row.reward, number(row.reward))}</tr>'


def _marked(row: FrontRow) -> str:
    return f"scaled: {row.name}" + (f"; {row.note}" if row.note else "")


def column_label(name: str) -> str:
    """The heading of a column of `nas.report.text.columns`."""
    return label(name)


def latency_table(rows: Sequence[LatencyRow]) -> str:
    """Predicted and measured latencies."""
    heads = [("trial", True), ("architecture", False), ("predicted", True), ("measured", True), ("95th percentile", True), ("error", True)]
    memory, energy = (any(not math.isnan(getattr(r, name)) for r in rows) for name in ("memory_bytes", "energy_mj"))
    heads += [("activations", True), ("compiled memory", True)] * memory + [("energy", True)] * energy
    lines = []
    for row in rows:
        error = row.predicted_ms / row.measured_ms - 1 if row.measured_ms > 0 else math.nan
        trial = None if row.name else row.number
        cells = [number_cell(math.nan if trial is None else trial, "" if trial is None else str(trial)),
                 f'<td class="mono" data-v="{escape(row.id)}">{escape(row.name or row.id)}</td>']  # fmt: skip
        cells += [number_cell(ms, show(MEASURED, ms)) for ms in (row.predicted_ms, row.measured_ms, row.p95_ms)]
        cells.append(number_cell(error, "\u2013" if math.isnan(error) else f"{100 * error:+.1f} %"))
        cells += [number_cell(b, show("memory_bytes", b)) for b in (row.counted_bytes, row.memory_bytes) if memory]
        cells += [number_cell(row.energy_mj, f"{number(row.energy_mj)} mJ")] * energy
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return table(heads, lines, "sortable")


def failures_table(rows: Sequence[TrialRow]) -> str:
    """Trials that did not end ok, the first of them where there are very many."""
    heads = [("trial", True), ("architecture", False), ("outcome", False), ("error", False)]
    lines = [
        f'<tr>{number_cell(row.number, str(row.number))}<td class="mono" data-v="{escape(row.id)}">{escape(row.id)}</td>'
        f'<td data-v="{escape(row.outcome)}">{escape(row.outcome)}</td>'
        f'<td class="wide" data-v="{escape(row.error[:80])}">{_long(row.error)}</td></tr>'
        for row in rows[:MAX_ROWS]
    ]
    return table(heads, lines, "sortable") + _more(len(rows))


def infeasible_table(rows: Sequence[TrialRow]) -> str:
    """Infeasible trials with the constraints that they violate."""
    lines = [f"<tr>{number_cell(r.number, str(r.number))}<td class=wide>{_long(r.error)}</td></tr>" for r in rows[:MAX_ROWS]]
    return table([("trial", True), ("constraint", False)], lines) + _more(len(rows))


def events_table(events: Sequence[Event]) -> str:
    """Start, interruptions, retries and whatever else was noted, in UTC."""
    lines = []
    for event in events[:MAX_ROWS]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event.time))
        what = ", ".join(f"{key} {word(value)}" for key, value in event.data.items())
        lines.append(f"<tr><td>{when}</td><td>{escape(event.kind)}</td><td class=wide>{_long(what)}</td></tr>")
    return table([("time (UTC)", False), ("event", False), ("", False)], lines) + _more(len(events))


def flat_table(data: Mapping[str, JSON]) -> str:
    """Nested settings as one table of dotted keys."""
    lines = [
        f"<tr><td class=mono>{escape(key)}</td><td class='mono wide'>{escape(word(value))}</td></tr>" for key, value in flat(data)
    ]
    return table([], lines)


def flat(data: Mapping[str, JSON], prefix: str = "") -> Iterator[tuple[str, JSON]]:
    """(dotted key, value) pairs of nested settings."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def word(value: JSON) -> str:
    """A value of settings as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def number_cell(value: float, shown: str, kind: str = "n") -> str:
    """A cell with a number: `value` sorts, `shown` is read."""
    return f'<td class="{kind}" data-v="{"" if math.isnan(value) else repr(value)}">{escape(shown)}</td>'


def _long(text: str) -> str:
    """Long messages fold behind their first line."""
    if len(text) <= LONG:
        return escape(text)
    first = text.strip().splitlines()[0][: LONG // 2]
    kept = text if len(text) <= 20_000 else text[:20_000] + " ..."
    return f"<details><summary>{escape(first)} ...</summary>{escape(kept)}</details>"


def _more(count: int) -> str:
    return f'<p class="note">The first {MAX_ROWS} of {count:,}; the journal has all.</p>' if count > MAX_ROWS else ""


def table(heads: Sequence[tuple[str, bool]], rows: Iterable[str], kind: str = "") -> str:
    """An HTML table.

    Args:
        heads: (heading, whether it is flush right); empty for none.
        rows: `<tr>` elements.
        kind: CSS class; with one, a click on a heading sorts.

    Returns:
        Markup.
    """
    cells = "".join(
        f"<th{' class=n' if right else ''}>{f'<button>{escape(text)}</button>' if kind else escape(text)}</th>"
        for text, right in heads
    )
    head = f"<thead><tr>{cells}</tr></thead>" if heads else ""
    return f'<div class="scroll"><table class="{kind}">{head}<tbody>{"".join(rows)}</tbody></table></div>'


def proxy_table(rows: Sequence[ProxyRow], fidelities: Sequence[Mapping[str, JSON]]) -> str:
    """As HTML; `fidelities` are the journal's fidelities."""
    names = ("architectures", "Kendall tau", "Spearman rho", "best half kept")
    heads = [("short", False), ("long", False), *((name, True) for name in names)]
    lines = [
        f"<tr><td>{fidelity_text(row.short, fidelities)}</td><td>{fidelity_text(row.long, fidelities)}</td>"
        + number_cell(row.count, str(row.count)) + _correlation(row.tau) + _correlation(row.rho) + _correlation(row.kept) + "</tr>"
        for row in rows
    ]  # fmt: skip
    return table(heads, lines)


def _correlation(value: float) -> str:
    return number_cell(value, "\u2013" if math.isnan(value) else f"{value:.2f}")
