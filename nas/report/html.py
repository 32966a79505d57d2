"""The report of one run as a single page: no network, all text escaped, scripts bound by their hash."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template

from nas.arch import arch_from_dict
from nas.objectives import MEASURED
from nas.report import svg
from nas.report.curves import SQUARE, document, hypervolume_plot, latency_error, latency_plot, reward_plot
from nas.report.drawing import architecture_plot
from nas.report.format import LATER, duration, label, many, number, show
from nas.report.front import FrontRow
from nas.report.inspection import inspection
from nas.report.plots import Reference, Series, front_plot, plot_costs, series_of
from nas.report.summary import Summary, metric_names
from nas.report.tables import (
    column_label,
    events_table,
    failures_table,
    flat_table,
    front_table,
    infeasible_table,
    latency_table,
    proxy_table,
)
from nas.report.text import columns, value_of

PLOT = (560, 380)
SHORT = 15  # rows of a table that stands open beside a plot


def page(summary: Summary, references: Sequence[Reference] = (), asked: tuple[str, str] = ("", "")) -> str:
    """The HTML report of a run.

    Args:
        summary: Of the run.
        references: Known networks drawn beside the front.
        asked: Title and markup of the section on what the run's models say; empty where there are none.

    Returns:
        A self-contained page.
    """
    runs = [series_of(summary)]
    body = [
        _head(summary),
        _tiles(summary),
        "".join(f'<p class="note">{escape(note)}.</p>' for note in summary.notes),
        fronts(summary, runs, references, front_legend(summary, references)),
        _best(summary),
        _over_trials(summary),
        _latency(summary),
        section(*asked) if asked[0] else "",
        section("The front", front_table(summary)) if summary.front else "",
        _proxies(summary),
        _outcomes(summary),
        section("Settings", _details("all settings of the run", flat_table(summary.settings))),
        section("Versions", _details("what the results depend on", flat_table(summary.versions))),
        section("Events", _details(f"noted during the run: {len(summary.events)}", events_table(summary.events))),
    ]
    names, rows = tooltips(summary, runs, references)
    return render(f"{summary.name} - nas report", "\n".join(body), {"columns": names, "rows": rows})


def render(title: str, body: str, data: Mapping[str, object]) -> str:
    """Fills in the page template.

    Args:
        title: Text.
        body: Markup.
        data: What the tooltips read.

    Returns:
        A self-contained page.
    """
    script = svg.resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(svg.resource("page.html")).substitute(
        title=escape(title), light=svg.variables(svg.LIGHT), dark=svg.variables(svg.DARK), body=body, script=script,
        css=svg.resource("page.css") + svg.resource("plot.css"), script_hash=f"sha256-{digest}", data=json_in_html(data),
    )  # fmt: skip


def json_in_html(data: Mapping[str, object]) -> str:
    """JSON that can end neither its script element nor a line of it."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def tooltips(summary: Summary, runs: Sequence[Series], references: Sequence[Reference]) -> tuple[list[str], dict[str, list[str]]]:
    """Names of the columns, and by the key of each mark its heading and formatted values."""
    names = [*metric_names(summary), *(c for c in columns(summary) if c.startswith((f"{MEASURED}/", "test_", *LATER)))]
    rows: dict[str, list[str]] = {}
    for run in runs:
        for row in [*run.points, *run.front]:
            values = [value_of(row, n) if isinstance(row, FrontRow) else row.metrics.get(n, math.nan) for n in names]
            title = row.title if isinstance(row, FrontRow) else f"trial {row.number}"
            rows[f"{run.key}{row.number}"] = [
                f"{title} \u00b7 {row.id}", *(show(n, v, "") for n, v in zip(names, values, strict=True)),
                number(row.reward, ""),
            ]  # fmt: skip
    for reference in references:
        measured = {f"{MEASURED}/{device}": ms for device, ms in reference.measured.items()}
        values = {**reference.metrics, **measured}
        cells = [show(name, values.get(name, math.nan), "") for name in names]
        rows[f"ref:{reference.name}"] = [reference.name, *cells, ""]
    return [*map(column_label, names), "reward"], rows


def fronts(summary: Summary, runs: Sequence[Series], references: Sequence[Reference], legend_html: str) -> str:
    """A plot for each cost, or a word about why there is none."""
    quality = label(summary.objectives.quality)
    if not any(run.front for run in runs):
        return section("Front", "<p>There is no front yet: no trial has every metric of the objectives.</p>")
    costs = plot_costs(summary)
    if not costs:
        return section("Front", f"<p>The trials record no cost, so there is nothing to draw {escape(quality)} against.</p>")
    figures = []
    for cost in costs:
        text = f"{quality} against {label(cost)}"
        plot = document(front_plot(runs, summary.objectives, cost, references, PLOT), text, PLOT)
        figures.append(svg.tag("figure", plot))
    hidden = len(summary.points) - sum(len(run.points) + len(run.front) for run in runs)
    note = f'<p class="note">{hidden:,} of the dominated trials are left out of the plots, evenly.</p>' if hidden > 0 else ""
    grid = svg.tag("div", "".join(figures), class_="plots" + (" one" if len(figures) == 1 else ""))
    return section("Front", legend_html + grid + note)


def front_legend(summary: Summary, references: Sequence[Reference]) -> str:
    """Marks with their meaning, those alone that the plots show."""
    front = summary.front
    entries = [('<circle cx="8" cy="7" r="5" class="front"/>', "front, with a line through the front of these two objectives")]
    if len(summary.objectives.names) > 2 or len(plot_costs(summary)) > 1:
        entries.append(('<circle cx="8" cy="7" r="5" class="front off"/>', "on the front by another objective"))
    entries.append(('<circle cx="8" cy="7" r="7" class="best"/>', "best"))
    entries.append(('<circle cx="8" cy="7" r="3" class="dim"/>', "other trials (hollow at the edge: beyond it)"))
    if any(row.measured for row in front):
        entries.append(('<path d="M8 3L12 7L8 11L4 7Z" class="measured"/>', "measured on the device"))
    if any(row.violated for row in front):
        entries.append(('<circle cx="8" cy="7" r="5" class="front violated"/>', "constraint violated by measurement"))
    if any(row.name for row in front):
        entries.append(('<path d="M3 2H13V12H3Z" class="front scaled"/>', "scaled member on the front"))
    if any(reference.scaled for reference in references):
        entries.append(('<path d="M3 2H13V12H3Z" class="front scaled off"/>', "scaled member, dominated"))
    if any(not reference.scaled for reference in references):
        entries.append(('<path d="M8 2L13 7L8 12L3 7Z" class="reference"/>', "known networks"))
    return legend(entries)


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Marks, each as SVG in a box of 16 x 14, with their meaning."""
    items = [
        f'<li><svg class="plot" viewBox="0 0 16 14" aria-hidden="true">{mark}</svg>{escape(text)}</li>'
        for mark, text in entries
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def _head(summary: Summary) -> str:
    settings = summary.settings
    dataset, controller = (_name(settings.get(key)) for key in ("dataset", "controller"))
    parts = [f"space {summary.space['name']}" if summary.space.get("name") else "", dataset and f"dataset {dataset}",
             controller and f"controller {controller}"]  # fmt: skip
    if size := summary.space.get("size"):
        parts.append(f"{many(size)} architectures in {len(summary.space.get('genes') or ())} genes")
    if summary.started is not None:
        parts.append(time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(summary.started)))
    lines = [f"<h1>{escape(summary.name)}</h1>", f'<p class="lead">{escape(" · ".join(filter(None, parts)))}</p>']
    if summary.command:
        lines.append(f'<p class="lead"><code>{escape(summary.command)}</code></p>')
    return "\n".join(lines)


def _name(value: object) -> str:
    return str(value.get("name", "")) if isinstance(value, Mapping) else str(value or "")


def _tiles(summary: Summary) -> str:
    counts, objectives = summary.counts, summary.objectives
    trained = sum(counts.values()) - sum(counts.get(k, 0) for k in ("infeasible", "repeated", "pending"))
    rest = [f"{len(summary.failures)} failed" if summary.failures else ""]
    rest += [f"{counts[k]} {name}" for k, name in (("infeasible", "infeasible"), ("repeated", "repeats")) if k in counts]
    main = objectives.quality
    tiles = [("trials trained", many(trained), ", ".join(filter(None, rest)) or "none failed"),
             ("on the front", str(len(summary.front)), _labels(objectives.columns) + _scaled(summary))]  # fmt: skip
    if summary.front:
        top = summary.front[0]
        tested = f", test {show(summary.task.primary, top.test)}" if not math.isnan(top.test) else ""
        more = top.title + tested + ", constraint violated" * bool(top.violated)
        tiles.append((f"best {label(main)}", show(main, top.metrics[main]), more))
    if summary.best and not math.isnan(summary.best.reward):
        tiles.append(("best reward", number(summary.best.reward), f"trial {summary.best.number}, {objectives.reward}"))
    if summary.progress and summary.progress[-1].hypervolume > 0:
        tiles.append(("hypervolume", f"{100 * summary.progress[-1].hypervolume:.1f} %", "of the box best to worst"))
    error, _ = latency_error(summary.latencies)
    if not math.isnan(error):
        tiles.append(("latency prediction", f"\u00b1 {100 * error:.0f} %", f"mean error, {len(summary.latencies)} measured"))
    more = f"{summary.sessions} session{'s' * (summary.sessions != 1)}" + ("" if summary.wall_known else ", at least")
    if summary.sessions:
        tiles.append(("wall clock", duration(summary.wall_s), more))
    if summary.train_s:
        behind = f" ({duration(summary.hidden_s)} of it behind trainings)" if summary.hidden_s >= 1 else ""
        whose = f"{summary.workers} workers'" if summary.workers > 1 else "worker's"
        busy = "" if math.isnan(summary.busy) else f"{100 * summary.busy:.0f} % of the {whose} time, "
        tiles.append(("training", duration(summary.train_s), f"{busy}and {duration(summary.compile_s)} of compilation{behind}"))
    items = [
        f'<li><span class="what">{escape(a)}</span><span class="value">{escape(b)}</span><span class="more">{escape(c)}</span></li>'
        for a, b, c in tiles
    ]
    return f'<ul class="tiles">{"".join(items)}</ul>'


def _scaled(summary: Summary) -> str:
    count = sum(bool(row.name) for row in summary.front)
    return f"; {count} scaled" if count else ""


def _labels(names: Iterable[str]) -> str:
    return ", ".join(label(name) for name in names)


def _over_trials(summary: Summary) -> str:
    if not summary.progress:
        return ""
    figures = []
    if any(not math.isnan(entry.best_reward) for entry in summary.progress):
        figures.append(svg.tag("figure", document(reward_plot(summary), "reward over the trials")))
    fractions = [(entry.number, entry.hypervolume) for entry in summary.progress]
    figures.append(svg.tag("figure", document(hypervolume_plot([("", fractions)]), "hypervolume over the trials")))
    target = summary.objectives.target
    text = f"The reward is {summary.objectives.reward}"
    if target is not None and summary.objectives.cost:
        text += f" with a target of {show(summary.objectives.cost, target)} for {label(summary.objectives.cost)}"
    text += ". The hypervolume is the fraction of the box between the best and the worst values that the front dominates."
    return section("Over the trials", f'<p class="note">{escape(text)}</p>' + svg.tag("div", "".join(figures), class_="plots"))


def _latency(summary: Summary) -> str:
    parts = []
    for device in dict.fromkeys(row.device for row in summary.latencies):
        rows = [row for row in summary.latencies if row.device == device]
        error, bias = latency_error(rows)
        machine = summary.machines.get(device)
        text = f"{device}{f', {machine}' if machine else ''}: {len(rows)} measured"
        if not math.isnan(error):
            side = "high" if bias > 0 else "low"
            text += f", mean error of the prediction {100 * error:.1f} %, on the average {100 * abs(bias):.1f} % too {side}"
        plot = document(latency_plot(rows), f"predicted and measured latency on {device}", SQUARE)
        caption = svg.tag("figcaption", "Whiskers reach the 95th percentile.")
        figure = "" if math.isnan(error) else svg.tag("figure", plot + caption)
        listed = latency_table(rows) if len(rows) <= SHORT else _details("all measurements", latency_table(rows))
        parts.append(f'<p>{escape(text)}.</p><div class="latency">{figure}{listed}</div>')
    return section("Latency, predicted and measured", "".join(parts)) if parts else ""


def _best(summary: Summary) -> str:
    """The drawing of the best network."""
    best = summary.best
    if best is None or not best.arch:
        return ""
    markup, *size = architecture_plot(arch_from_dict(dict(best.arch)))
    plot = document(markup, f"the architecture of {best.title}", (size[0], size[1]))
    note = "Each box is a block: kernel, channels, expansion, activation, and the ratio of squeeze-excite where it has one."
    figure = svg.tag("figure", plot, style=f"max-width:{size[0]}px")
    shown = summary.inspected
    answers = inspection(shown) if shown.get("trial") == best.number and not best.name else ""
    return section(f"The best network, {best.title}", f'<p class="note">{note}</p>{figure}{answers}')


def _proxies(summary: Summary) -> str:
    if not summary.proxies:
        return ""
    text = "How short trainings rank the architectures that were trained for longer too; these were chosen by the short ones."
    return section("Short against long training", f'<p class="note">{text}</p>' + proxy_table(summary.proxies, summary.fidelities))


def _outcomes(summary: Summary) -> str:
    cells = "".join(f"<tr><td>{escape(k)}</td><td class=n>{v:,}</td></tr>" for k, v in summary.counts.items())
    parts = [f"<table><tbody>{cells}</tbody></table>" if cells else "<p>No trials.</p>"]
    text = section("Outcomes", "".join(parts))
    if summary.failures:
        text += section("Failures", failures_table(summary.failures))
    if summary.infeasible:
        text += section("Infeasible", _details(f"{len(summary.infeasible):,} proposals violate a constraint and were not trained",
                                                  infeasible_table(summary.infeasible)))  # fmt: skip
    return text


def section(title: str, content: str) -> str:
    """A section with a heading."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
