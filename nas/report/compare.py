"""Several runs on one page: their fronts over each other, their figures side by side, and what was set differently."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import numpy as np

from nas.journal import Journal
from nas.objectives import Objectives, values_of
from nas.records import scored
from nas.report import svg
from nas.report.curves import document, hypervolume_plot
from nas.report.format import duration, label, number, show
from nas.report.front import box_of, hypervolumes
from nas.report.html import PLOT, legend, render, section, tooltips
from nas.report.plots import MAX_POINTS, Reference, Series, front_plot, plot_costs, series_of
from nas.report.seeds import Group, groups_of, mean_text
from nas.report.summary import Summary, summarize
from nas.report.tables import flat, number_cell, table, word

MISSING = "\u2013"


def compare(journals: Mapping[str, Journal], references: Sequence[Reference] = ()) -> str:
    """An HTML page that compares runs.

    Hypervolumes are fractions of one box over all runs, in the objectives that all of them have.

    Args:
        journals: Journals by the names that runs get in it.
        references: Known networks drawn beside the fronts.

    Returns:
        A self-contained page.
    """
    summaries = {name: summarize(journal) for name, journal in journals.items()}
    shared = _shared_objectives(list(summaries.values()))
    grown = _volumes(journals, shared) if shared else {}
    runs = [_series(summary, i, len(summaries)) for i, summary in enumerate(summaries.values())]
    body = [
        f"<h1>{len(summaries)} runs compared</h1>",
        _legend(list(summaries)),
        _fronts(list(summaries.values()), runs, shared, references),
        section("Figures", _figures(summaries, grown)),
        _seeds(groups_of(summaries, last_volumes(grown))),
        _growth(grown),
        section("Settings that differ", _differences(summaries)),
    ]
    return render("runs compared - nas report", "\n".join(body), _tips(summaries, runs, references))


def _color(i: int) -> str:
    return f"s{i % svg.SERIES}"


def _series(summary: Summary, i: int, count: int) -> Series:
    drawn = series_of(summary, f"{i}-", _color(i))
    step = max(1, math.ceil(len(drawn.points) * count / MAX_POINTS))
    return replace(drawn, points=drawn.points[::step], best=None)


def _shared_objectives(summaries: Sequence[Summary]) -> Objectives | None:
    """The first run's objectives without those that other runs lack, and without targets and constraints that differ."""
    if not summaries:
        return None
    first = summaries[0].objectives
    metrics = tuple(m for m in first.metrics if all(m in s.objectives.metrics for s in summaries))
    same = len({(s.objectives.target, s.objectives.constraints, s.objectives.cost) for s in summaries}) == 1
    kept = first if same else replace(first, target=None, constraints=(), reward="first", cost="")
    return replace(kept, metrics=metrics) if metrics else None


def _volumes(journals: Mapping[str, Journal], shared: Objectives) -> dict[str, list[tuple[int, float]]]:
    trials = {name: scored(journal.trials()) for name, journal in journals.items()}
    values = {name: values_of(found, shared) for name, found in trials.items()}
    best, worst = box_of(np.concatenate(list(values.values())))
    return {
        name: list(zip([t.number for t in found], hypervolumes(values[name], best, worst).tolist(), strict=True))
        for name, found in trials.items()
    }


def _legend(names: Sequence[str]) -> str:
    return legend([(svg.tag("circle", cx=8, cy=7, r=5, class_=f"front {_color(i)}"), name) for i, name in enumerate(names)])


def _fronts(
    summaries: Sequence[Summary], runs: Sequence[Series], shared: Objectives | None, references: Sequence[Reference]
) -> str:
    costs = [cost for cost in plot_costs(summaries[0]) if all(cost in plot_costs(s) for s in summaries)] if summaries else []
    if shared is None or not costs or not any(run.front for run in runs):
        return section("Fronts", "<p>The runs share no two metrics, or have no front yet: nothing to draw together.</p>")
    quality = label(shared.quality)
    figures = [
        svg.tag("figure", document(front_plot(runs, shared, cost, references, PLOT), f"{quality} against {label(cost)}", PLOT))
        for cost in costs if cost != shared.quality
    ]  # fmt: skip
    return section("Fronts", svg.tag("div", "".join(figures), class_="plots" + (" one" if len(figures) == 1 else "")))


def _figures(summaries: Mapping[str, Summary], grown: Mapping[str, list[tuple[int, float]]]) -> str:
    heads = [("run", False), ("trials", True), ("ok", True), ("front", True), ("best", True), ("its test", True),
             ("best reward", True), ("hypervolume", True), ("wall clock", True)]  # fmt: skip
    return table(heads, [_figures_row(name, s, grown.get(name, [])) for name, s in summaries.items()], "sortable")


def _figures_row(name: str, summary: Summary, grown: Sequence[tuple[int, float]]) -> str:
    main, top = summary.objectives.quality, summary.front[0] if summary.front else None
    reward = summary.best.reward if summary.best else math.nan
    total, volume = sum(summary.counts.values()), grown[-1][1] if grown else math.nan
    quality, tested = (top.metrics[main], top.test) if top else (math.nan, math.nan)
    cells = [
        number_cell(total, f"{total:,}"),
        number_cell(summary.counts.get("ok", 0), f"{summary.counts.get('ok', 0):,}"),
        number_cell(len(summary.front), str(len(summary.front))),
        number_cell(quality, show(main, quality)),
        number_cell(tested, show(summary.task.primary, tested)),
        number_cell(reward, number(reward)),
        number_cell(volume, MISSING if math.isnan(volume) else f"{100 * volume:.1f} %"),
        number_cell(summary.wall_s, duration(summary.wall_s) if summary.sessions else MISSING),
    ]
    return f'<tr><td data-v="{escape(name)}">{escape(name)}</td>{"".join(cells)}</tr>'


def last_volumes(grown: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, float]:
    """The hypervolume at the end of each run that has any."""
    return {name: entries[-1][1] for name, entries in grown.items() if entries}


def compared(journals: Mapping[str, Journal]) -> list[Group]:
    """Runs of equal settings as groups, with means and standard deviations over their seeds."""
    summaries = {name: summarize(journal) for name, journal in journals.items()}
    shared = _shared_objectives(list(summaries.values()))
    return groups_of(summaries, last_volumes(_volumes(journals, shared)) if shared else {})


def _seeds(groups: Sequence[Group]) -> str:
    if not any(group.runs > 1 for group in groups):
        return ""
    names = list(groups[0].figures)
    heads = [("settings", False), ("runs", True), *((label(name), True) for name in names)]
    rows = [
        f"<tr><td>{escape(group.name)}</td>{number_cell(group.runs, str(group.runs))}"
        + "".join(number_cell(group.figures[n][0], mean_text(n, group.figures[n], "\u00b1")) for n in names if n in group.figures)
        + "</tr>"
        for group in groups
    ]
    note = '<p class="note">Means and standard deviations over the runs that differ in their seed alone.</p>'
    return section("Over seeds", note + table(heads, rows, "sortable"))


def _growth(grown: Mapping[str, list[tuple[int, float]]]) -> str:
    if not any(grown.values()):
        return ""
    lines = [(_color(i), entries) for i, entries in enumerate(grown.values())]
    figure = svg.tag("figure", document(hypervolume_plot(lines), "hypervolume over the trials"))
    text = "The fraction of one box, between the best and the worst value of all runs in every objective they share."
    return section("Over the trials", f'<p class="note">{text}</p><div class="plots half">{figure}</div>')


def _differences(summaries: Mapping[str, Summary]) -> str:
    flats = [{key: word(value) for key, value in flat(summary.settings)} for summary in summaries.values()]
    keys = [key for key in dict.fromkeys(k for f in flats for k in f) if len({f.get(key) for f in flats}) > 1]
    if not keys:
        return "<p>None.</p>"
    rows = [
        f"<tr><td class=mono>{escape(key)}</td>{''.join(f'<td class=mono>{escape(f.get(key, MISSING))}</td>' for f in flats)}</tr>"
        for key in keys
    ]
    return table([("", False), *((name, False) for name in summaries)], rows)


def _tips(
    summaries: Mapping[str, Summary], runs: Sequence[Series], references: Sequence[Reference]
) -> dict[str, dict[str, list[str]] | list[str]]:
    columns: list[str] = []
    rows: dict[str, list[str]] = {}
    for (name, summary), run in zip(summaries.items(), runs, strict=True):
        own_columns, own = tooltips(summary, [run], references)
        columns += [c for c in own_columns if c not in columns]
        for key, (head, *cells) in own.items():
            by_name = dict(zip(own_columns, cells, strict=True))
            rows[key] = [head if key.startswith("ref:") else f"{name}, {head}", *(by_name.get(c, "") for c in columns)]
    return {"columns": columns, "rows": rows}
