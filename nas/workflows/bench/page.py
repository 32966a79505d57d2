"""What a contest found: a page, plots, a table as CSV, and text."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from nas.records import JSON
from nas.report import svg
from nas.report.axes import Axis
from nas.report.curves import document
from nas.report.format import label, show, tick_labels
from nas.report.html import legend, render, section
from nas.report.tables import number_cell, table
from nas.workflows.bench.contest import Contest, Yardstick
from nas.workflows.bench.statistics import Quartiles, differences, quartiles

SIZE = (560, 320)
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 30, 44
TITLES = {
    "hypervolume": "fraction of the best known hypervolume",
    "within": "best accuracy within the limit",
    "best": "best accuracy",
    "regret": "accuracy short of the best known",
}
MISSING = "\u2013"


@dataclass(frozen=True)
class Results:
    """The records of a contest, by controller in the order they were named."""

    contest: Contest
    yardstick: Yardstick
    runs: Mapping[str, Sequence[Mapping[str, JSON]]]

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the curves that are compared; the first decides."""
        return ("hypervolume", "within", "best", "regret") if self.contest.cost else ("best", "regret")

    @property
    def budgets(self) -> list[int]:
        """Numbers of evaluations at which the curves have points."""
        return next((list(run["budgets"]) for runs in self.runs.values() for run in runs), [])

    def at(self, measure: str, name: str, i: int) -> Quartiles:
        """Over the seeds, at the i-th budget; a controller that ended early keeps what it had."""
        return quartiles([run[measure][i] for run in self.runs[name]])

    def pace(self, name: str) -> float:
        """Median seconds of a controller's processor time a proposal."""
        return float(np.median([run["seconds"] / max(run["asked"], 1) for run in self.runs[name]]))


def as_csv(results: Results) -> str:
    """A row a run and budget."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["controller", "seed", "evaluations", *results.measures, "proposals", "controller_seconds"])
    for name, runs in results.runs.items():
        for run in runs:
            for i, budget in enumerate(run["budgets"]):
                found = ["" if run[m][i] is None else f"{run[m][i]:.6g}" for m in results.measures]
                writer.writerow([name, run["seed"], budget, *found, run["asked"], run["seconds"]])
    return out.getvalue()


def as_text(results: Results) -> str:
    """Medians and quartiles after the last budget, a line a controller."""
    last = len(results.budgets) - 1
    lines = [f"after {results.budgets[last]} evaluations: median (quartiles) over seeds"]
    width = max(map(len, results.runs))
    for name in results.runs:
        cells = [f"{m} {_quartiles_text(m, results.at(m, name, last))}" for m in results.measures]
        lines.append(f"  {name:<{width}}  {'   '.join(cells)}   {1000 * results.pace(name):.1f} ms a proposal")
    lines += [f"  {line}" for line in _verdicts(results)]
    return "\n".join(lines)


def page(results: Results) -> str:
    names = [*results.runs]
    figures = [svg.tag("figure", document(curve_plot(results, m), f"{TITLES[m]} over evaluations", SIZE)) for m in results.measures[:2]]
    marks = [(svg.tag("line", x1=1, x2=15, y1=7, y2=7, **_stroke(i)), name) for i, name in enumerate(names)]
    body = [
        f"<h1>{len(names)} controllers on {escape(results.contest.benchmark)}</h1>",
        f'<p class="lead">{escape(_lead(results))}</p>',
        legend(marks),
        section("Over the evaluations", f'<p class="note">{NOTE}</p>' + svg.tag("div", "".join(figures), class_="plots")),
        section("Figures", _figures(results)),
        section("Differences", "<br>".join(escape(line) for line in _verdicts(results))) if len(names) > 1 else "",
    ]
    return render(f"{results.contest.benchmark} - nas bench", "\n".join(body), {"columns": [], "rows": {}})


NOTE = "Lines are medians over seeds, bands reach from the lower to the upper quartile."


def curve_plot(results: Results, measure: str) -> str:
    """Medians as lines, quartiles as bands, over a logarithmic axis of evaluations."""
    budgets = results.budgets
    curves = {name: [results.at(measure, name, i) for i in range(len(budgets))] for name in results.runs}
    known = [v for curve in curves.values() for q in curve for v in (q.low, q.high) if np.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.01
    x = Axis(budgets[0], budgets[-1] * 1.0001, LEFT, SIZE[0] - RIGHT, log=True)
    y = Axis(low - margin, high + margin, SIZE[1] - BOTTOM, TOP)
    bands, lines = [], []
    for i, curve in enumerate(curves.values()):
        points = [(x.at(n), q) for n, q in zip(budgets, curve, strict=True) if np.isfinite(q.median)]
        upper, lower = ([(at, y.at(value)) for at, value in half] for half in _edges(points))
        corners = " ".join(f"{a:.1f},{b:.1f}" for a, b in upper + lower[::-1])
        bands.append(svg.tag("polygon", points=corners, class_=f"dot s{i % svg.SERIES}"))
        lines.append(svg.path([(at, y.at(q.median)) for at, q in points], **_stroke(i)))
    return _frame(x, y, TITLES[measure]) + svg.group(bands, fill_opacity="0.12") + "".join(lines)


def _edges(points: Sequence[tuple[float, Quartiles]]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    return [(at, q.high) for at, q in points], [(at, q.low) for at, q in points]


def _stroke(i: int) -> dict[str, str]:
    """Colors repeat after six, then with dashes."""
    dashes = ("", "7 4", "2 3")[i // svg.SERIES % 3]
    return {"class_": f"line s{i % svg.SERIES}", **({"stroke_dasharray": dashes} if dashes else {})}


def _frame(x: Axis, y: Axis, title: str) -> str:
    parts = []
    ticks = y.ticks(6)
    for tick, text in zip(ticks, tick_labels("accuracy", ticks), strict=True):
        parts.append(svg.tag("line", x1=x.start, x2=x.end, y1=y.at(tick), y2=y.at(tick), class_="grid"))
        parts.append(svg.text(x.start - 8, y.at(tick) + 4, text, text_anchor="end"))
    for tick in x.whole_ticks(6):
        parts.append(svg.tag("line", x1=x.at(tick), x2=x.at(tick), y1=y.start, y2=y.start + 4, class_="base"))
        at = min(x.at(tick), SIZE[0] - len(f"{tick:,}") * svg.CHAR_WIDTH / 2)  # a label at the edge stays inside
        parts.append(svg.text(at, y.start + 17, f"{tick:,}", text_anchor="middle"))
    parts.append(svg.tag("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="base"))
    parts.append(svg.text(x.start - 54, 16, title, class_="name"))
    parts.append(svg.text(x.end, SIZE[1] - 9, "evaluations", class_="name", text_anchor="end"))
    return "".join(parts)


def curves_svg(results: Results, measure: str) -> str:
    """The plot as a file of its own, with its legend."""
    rows = -(-len(results.runs) // 4)
    marks = [
        svg.tag("line", x1=LEFT + 126 * (i % 4), x2=LEFT + 20 + 126 * (i % 4), y1=SIZE[1] + 12 + 18 * (i // 4),
                y2=SIZE[1] + 12 + 18 * (i // 4), **_stroke(i))
        + svg.text(LEFT + 25 + 126 * (i % 4), SIZE[1] + 16 + 18 * (i // 4), name)
        for i, name in enumerate(results.runs)
    ]  # fmt: skip
    height = SIZE[1] + 18 * rows + 8
    return svg.standalone(curve_plot(results, measure) + "".join(marks), SIZE[0], height, f"{TITLES[measure]} over evaluations")


def _lead(results: Results) -> str:
    contest, yardstick = results.contest, results.yardstick
    seeds = sorted({len(runs) for runs in results.runs.values()})
    count = f"{seeds[0]} seeds" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
    parts = [count, f"best known accuracy {show('accuracy', yardstick.best)}"]
    if contest.cost:
        learned = " (learned)" if contest.learn_cost else " (known before training)"
        parts.insert(0, f"accuracy and {label(contest.cost)}{learned}")
        parts.append(f"limit {show(contest.cost, yardstick.limit or 0.0)}: best known {show('accuracy', yardstick.within)}")
    if contest.benchmark == "accel_nasbench":
        parts.append(f"surrogate {contest.surrogate}: accuracies over 67.05 % are its extrapolations")
    return " \u00b7 ".join(parts) + (" \u00b7 observed with the noise of one training, scored without" if contest.noise else "")


def _figures(results: Results) -> str:
    """A table a measure, after about a quarter, a half, and all of the evaluations; and what controllers take."""
    budgets = results.budgets
    picked = sorted({min(range(len(budgets)), key=lambda i: abs(budgets[i] - fraction * budgets[-1])) for fraction in (0.25, 0.5, 1)})
    heads = [("controller", False), *((f"after {budgets[i]}", True) for i in picked)]
    parts = []
    for measure in results.measures:
        rows = [_row(name, [_cell(measure, results.at(measure, name, i)) for i in picked]) for name in results.runs]
        parts.append(f"<p>{escape(TITLES[measure].capitalize())}</p>" + table(heads, rows, "sortable"))
    paces = [_row(name, [number_cell(1000 * results.pace(name), f"{1000 * results.pace(name):.1f}")]) for name in results.runs]
    own = table([("controller", False), ("ms", True)], paces, "sortable")
    return "".join(parts) + "<p>Processor time of the controller a proposal, median</p>" + own


def _row(name: str, cells: Sequence[str]) -> str:
    return f'<tr><td data-v="{escape(name)}">{escape(name)}</td>{"".join(cells)}</tr>'


def _cell(measure: str, q: Quartiles) -> str:
    return number_cell(q.median, _quartiles_text(measure, q))


def _quartiles_text(measure: str, q: Quartiles) -> str:
    if not np.isfinite(q.median):
        return MISSING
    digits = 3 if measure == "regret" else 2
    return f"{100 * q.median:.{digits}f} % ({100 * q.low:.{digits}f} to {100 * q.high:.{digits}f})"


def _verdicts(results: Results) -> list[str]:
    """The best by the first measure after all evaluations, and how surely it is."""
    measure = results.measures[0] if results.contest.cost else "best"
    finals = {name: [run[measure][-1] for run in runs] for name, runs in results.runs.items()}
    if len(finals) < 2:
        return []
    best, against = differences(finals)
    lines = [f"best by {TITLES[measure]}: {best}; Mann-Whitney tests against it, corrected for their number (Holm):"]
    for name, found in against.items():
        sure = "differs" if found.p < 0.05 else "may be as good"
        lines.append(f"{name}: {sure}, p = {found.p:.3g}, wins {found.wins:.0%} of the pairs of seeds")
    return lines
