"""The summary says when another controller would serve better, by the tables of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.core.paths import CONF
from nas.report import front_text, page, summarize
from nas.report.hints import LEADS_FROM
from report_makers import fill, new_journal

FIGURES = CONF.parent / "docs" / "guides" / "controller-figures.md"


def tables() -> Iterator[tuple[list[int], dict[str, list[float]], bool]]:
    """(evaluations, medians by controller, whether smaller is better) of each table that compares controllers."""
    section = ""
    for block in FIGURES.read_text(encoding="utf-8").split("\n\n"):
        if block.startswith("## "):
            section = block
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if line.startswith("|")]
        if not rows or rows[0][0] != "controller":
            continue
        budgets = [int(head) for head in rows[0][1:-1]]
        medians = {row[0].strip("`"): [float((re.match(r"[\d.]+", cell) or ["nan"])[0]) for cell in row[1:-1]] for row in rows[2:]}
        yield budgets, medians, "NAS-Bench-Macro" in section


def test_the_hint_holds_in_every_table_of_the_figures() -> None:
    """From `LEADS_FROM` evaluations on `bayesian` is ahead or level in each column, and not in each column before."""
    compared, before = 0, []
    for budgets, medians, smaller in tables():
        for column, budget in enumerate(budgets):
            sign = -1 if smaller else 1
            own = sign * medians["bayesian"][column]
            others = [sign * values[column] for name, values in medians.items() if name != "bayesian" and values[column] == values[column]]
            if own != own or not others:
                continue
            if budget >= LEADS_FROM:
                assert own >= max(others)
                compared += 1
            else:
                before.append(own > max(others))
    assert compared >= 15
    assert not all(before)


@pytest.mark.parametrize("name, said", [("mnasnet", True), ("bayesian", False), ("nsga2", False)])
def test_the_summary_of_the_default_controller_says_when_another_serves_better(memory_path: Path, name: str, said: bool) -> None:
    with new_journal(memory_path, settings={"controller": {"name": name}}) as journal:
        fill(journal, 6)
        summary = summarize(journal)
    for text in (front_text(summary), page(summary)):
        assert ("controller=bayesian would serve better for a front of 50 trials or more" in text) == said
