"""What a run's models say, for its report: predictions of held-out trials against what these had, and which genes matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from nas.estimates import Effect, Learned, RunModels, effects, read_models
from nas.estimates.run import SPACE
from nas.journal import Journal
from nas.objectives import PREDICTED
from nas.records import scored
from nas.report import svg
from nas.report.axes import Axis, axis
from nas.report.curves import BOTTOM, LEFT, RIGHT, SQUARE, TOP, document, frame
from nas.report.format import axis_title, label, show
from nas.report.summary import Summary

LEAST = 10  # trials from which the section is there
GENES, OPTIONS, SMALLEST = 6, 8, 0.01  # genes and options that are drawn, and the importance of the least of these genes
WIDTH, NAMES, GAP, ROW, HEAD = 560, 120, 56, 18, 26
MOST_DRAWN = 600


def asked_section(summary: Summary, journal: Journal) -> tuple[str, str]:
    """The title and the markup of the section on a run's models; both empty where it has too few trials, or keeps no space."""
    if len({trial.arch_id for trial in scored(journal.trials())}) < LEAST or journal.get(SPACE) is None:
        return "", ""
    title = f"What the trials say of {label(summary.objectives.quality)}"
    try:
        models = read_models(journal, summary.objectives)
        if (learned := models.learned) is None:
            return "", ""
        parts = [_lead(models, learned), svg.tag("div", _figures(models, learned), class_="plots")]
    except ValueError as error:  # blocks of a plugin that is not at hand
        return title, f'<p class="note">{escape(str(error))}</p>'
    return title, "".join(parts)


def _lead(models: RunModels, learned: Learned) -> str:
    model, failed = learned.model, f" ({models.failed} failed and left out)" if models.failed else ""
    tau = "" if math.isnan(model.tau) else f"Kendall's tau of trials that were held out is {model.tau:.2f}, and "
    text = (
        f"A model of genes and costs, learned from {len(model.y)} trials{failed}. {tau}{100 * model.coverage:.0f} % of the trials lie in "
        f"90 % intervals made without them. nas estimate run=.. arch=.. asks it, nas suggest run=.. shows what it would try next."
    )
    return f'<p class="note">{escape(text)}</p>'


def _figures(models: RunModels, learned: Learned) -> str:
    figures = [
        svg.tag("figure", document(held_out_plot(learned), "predicted and observed, of trials that were held out", SQUARE)
                + svg.tag("figcaption", "Each trial, predicted without it; whiskers are 90 % intervals."))
    ]  # fmt: skip
    cost = cost_of(models)
    found = drawn_effects(models, cost)
    if found:
        markup, height = effects_plot(found, learned.name, cost)
        text = "What the options of the most important genes change on average, by the models; in brackets the part of the variance of "
        figures.append(svg.tag("figure", document(markup, "main effects of genes", (WIDTH, height))
                               + svg.tag("figcaption", escape(f"{text}{label(learned.name)} that the gene alone explains."))))  # fmt: skip
    return "".join(figures)


def held_out_plot(learned: Learned) -> str:
    """Held-out predictions against what the trials had, with intervals, on equal axes."""
    model = learned.model
    kept = np.linspace(0, len(model.y) - 1, min(len(model.y), MOST_DRAWN)).astype(int)
    ends = model.held_out_interval()
    observed, predicted, low, high = (learned.back(v)[kept].tolist() for v in (model.y, model.held_out, *ends))
    x = axis(predicted, observed, LEFT, SQUARE[0] - RIGHT, log=False)
    y = Axis(x.low, x.high, SQUARE[1] - BOTTOM, TOP)
    spans = [
        svg.tag("line", x1=x.at(a), x2=x.at(b), y1=y.at(seen), y2=y.at(seen), class_="interval")
        for seen, a, b in zip(observed, low, high, strict=True)
    ]
    pairs = zip(predicted, observed, strict=True)
    dots = [svg.tag("circle", cx=x.at(mean), cy=y.at(seen), r=3.4, class_="front") for mean, seen in pairs]
    diagonal = svg.tag("line", x1=x.start, y1=y.start, x2=x.end, y2=y.end, class_="target")
    what, name = axis_title(learned.name), learned.name
    axes = frame(x, y, name, f"predicted {what}", f"observed {what}", SQUARE[1], name)
    return axes + svg.group(spans) + diagonal + svg.group(dots)


def cost_of(models: RunModels) -> str:
    """The metric beside the main one: a latency, else another objective; empty where there is none."""
    others = [name for name in models.names if name != models.main]
    return next((name for name in others if name.startswith(PREDICTED)), next(iter(others), ""))


def drawn_effects(models: RunModels, cost: str) -> list[tuple[Effect, Effect | None]]:
    """Effects on the main metric of its most important genes, each with the gene's effect on the cost."""
    beside = {effect.gene: effect for effect in effects(models, cost)} if cost else {}
    found = effects(models, models.main)
    kept = [effect for effect in found if effect.importance >= SMALLEST][:GENES]
    return [(effect, beside.get(effect.gene)) for effect in kept]


def effects_plot(found: Sequence[tuple[Effect, Effect | None]], name: str, cost: str) -> tuple[str, int]:
    """Bars of what each option changes, of the metric and, beside it, of the cost: the inside of a picture, and its height."""
    panels = [name, *([cost] if cost else [])]
    width = (WIDTH - NAMES) / len(panels) - 2 * GAP
    starts = [NAMES + GAP + i * (width + 2 * GAP) for i in range(len(panels))]
    scales = [max(float(np.abs(pair[i].changes).max()) for pair in found if pair[i] is not None) for i in range(len(panels))]  # type: ignore[union-attr]
    parts, y = [], 40.0
    for start, panel in zip(starts, panels, strict=True):
        parts.append(svg.text(start + width / 2, 18, label(panel), class_="name", text_anchor="middle"))
    for pair in found:
        parts.append(svg.text(8, y + 4, f"{pair[0].gene} ({100 * pair[0].importance:.0f} %)", class_="name"))
        y += ROW + 2
        top = y - ROW / 2 - 2
        for row in range(min(len(pair[0].options), OPTIONS)):
            parts.append(svg.text(NAMES - 6, y + 4, _short(pair[0].options[row]), text_anchor="end"))
            for i, (start, panel, scale) in enumerate(zip(starts, panels, scales, strict=True)):
                if (effect := pair[i]) is not None:
                    parts.append(_bar(start + width / 2, y, effect.changes[row], width / 2 / scale if scale else 0.0, panel))
            y += ROW
        zeros = [start + width / 2 for start in starts]
        parts += [svg.tag("line", x1=x, x2=x, y1=top, y2=y - ROW / 2 + 2, class_="base") for x in zeros]
        y += HEAD - ROW
    return "".join(parts), int(y)


def _bar(zero: float, y: float, change: float, scale: float, name: str) -> str:
    """A bar from zero to one side, with the change behind its end."""
    end = zero + change * scale
    side, sign = (1, "+") if change >= 0 else (-1, "\u2212")
    if abs(change * scale) < 0.05:  # pixels
        sign = ""
    bar = svg.tag("rect", x=min(zero, end), y=y - 6, width=abs(end - zero), height=11, class_="dim" if side < 0 else "bar")
    return bar + svg.text(end + 5 * side, y + 4, sign + show(name, abs(change)), text_anchor="start" if side > 0 else "end")


def _short(text: str) -> str:
    return text if len(text) <= 18 else f"{text[:17]}\u2026"
