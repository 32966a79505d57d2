"""The page of `nas profile`: predicted against measured on networks held out, and the machine's own repeatability."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from nas.report import svg
from nas.report.curves import SQUARE, document, latency_plot
from nas.report.html import render, section
from nas.report.summary import LatencyRow
from nas.report.tables import flat_table, latency_table, table

if TYPE_CHECKING:
    from nas.latency.profile import Accuracy, Profile

HEADS = [("", False), ("Kendall's tau", True), ("Spearman", True), ("mean error", True), ("within 5 %", True), ("within 10 %", True)]


def profile_page(found: Profile, space: str, command: str) -> str:
    """The HTML report of a latency predictor.

    Args:
        found: Predictions and measurements of held-out networks.
        space: Its name.
        command: The command that repeats it.

    Returns:
        A self-contained page.
    """
    rows = [
        LatencyRow(i, row.arch_id, found.device, row.predicted_ms, row.again_ms, row.again_p95_ms)
        for i, row in enumerate(found.rows)
    ]
    lead = f"{space} on {found.device}: {found.samples} networks measured to fit to, {len(rows)} held out, {found.seconds / 60:.1f} min"
    body = [
        f"<h1>Latency of {escape(space)} on {escape(found.device)}</h1>",
        f'<p class="lead">{escape(lead)}</p><p class="lead"><code>{escape(command)}</code></p>',
        section("How good it is", _accuracies(found)),
        section("Networks held out", f'<div class="latency">{_figure(rows)}{latency_table(rows)}</div>'),
        section("What the times hold for", flat_table(found.info)),
    ]
    if found.failures:
        body.append(section("Not measured", flat_table(found.failures)))
    tips = {str(row.number): [row.id, f"{row.predicted_ms:.3g} ms", f"{row.measured_ms:.3g} ms"] for row in rows}
    return render(f"{space} on {found.device} - nas profile", "\n".join(body), {"columns": ["predicted", "measured"], "rows": tips})


def _figure(rows: list[LatencyRow]) -> str:
    if not rows:
        return ""
    plot = document(latency_plot(rows), "predicted and measured latency of networks held out", SQUARE)
    return svg.tag("figure", plot + svg.tag("figcaption", "Whiskers reach the 95th percentile."))


def _accuracies(found: Profile) -> str:
    lines = [_line("predicted", found.predicted), _line("measured before", found.repeated)]
    note = (
        "Both are compared with a second measurement, compiled anew: how well the first measurement predicts it is the"
        " machine's own repeatability, which no predictor can beat."
    )
    return table(HEADS, lines) + f'<p class="note">{note}</p>'


def _line(name: str, a: Accuracy) -> str:
    cells = [f"{a.tau:.3f}", f"{a.spearman:.3f}", f"{a.mape:.1%}", f"{a.within_5:.0%}", f"{a.within_10:.0%}"]
    return f"<tr><td>{name}</td>{''.join(f'<td class=n>{cell}</td>' for cell in cells)}</tr>"
