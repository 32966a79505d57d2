"""Standard errors of accuracies, marks of what they do not tell apart, and test columns where there is a test split alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nas.evaluators import EVALUATORS
from nas.journal import Journal
from nas.report import front_text, report_json, summarize
from nas.report.html import page
from nas.report.noise import shown_error, standard_error
from report_makers import HOST, add, fill, new_journal


@pytest.mark.parametrize("fraction, images", [(0.5, 100), (0.9, 360), (0.99, 1000)])
def test_the_error_is_that_of_drawn_images(fraction: float, images: int) -> None:
    drawn = np.random.default_rng(0).binomial(images, fraction, 20_000) / images
    assert standard_error(fraction, images) == pytest.approx(drawn.std(), rel=0.1)


def test_nothing_is_certain() -> None:
    assert 0 < standard_error(1.0, 50) < 0.02
    assert math.isnan(standard_error(0.5, 0))
    assert math.isnan(standard_error(math.nan, 10))


@pytest.mark.parametrize(
    "name, images, text",
    [
        ("accuracy", {"valid": 360}, " +-1.59"),
        ("test_accuracy", {"valid": 9, "test": 360}, " +-1.59"),
        ("accuracy", {}, ""),
        ("miou", {"valid": 360}, ""),
        ("params", {"valid": 360}, ""),
    ],
)
def test_fractions_of_images_have_an_error(name: str, images: dict[str, int], text: str) -> None:
    assert shown_error(name, 0.9, images) == text


def noisy(folder: Path) -> Journal:
    journal = new_journal(folder, images={"valid": 400, "test": 400})
    for number, accuracy in enumerate((0.95, 0.945, 0.90, 0.80)):
        add(journal, {"accuracy": accuracy, "loss": 0.1, HOST: 4.0 - number, "params": 1e4, "macs": 1e6, "memory_bytes": 1e5})
    return journal


def test_members_within_noise_of_each_other_are_marked(memory_path: Path) -> None:
    with noisy(memory_path) as journal:
        summary = summarize(journal)
        text, html, data = front_text(summary), page(summary), report_json(journal)
    assert dict(summary.near) == {1: "trial 0"}
    assert [("within noise of trial 0" in line) for line in text.splitlines()[2:6]] == [False, True, False, False]
    assert "95.00 % +-1.1" in text
    assert text.isascii()
    assert html.count(">within noise of trial 0</span>") == 1
    assert "95.00 % \u00b1 1.1" in html
    assert [row["within_noise_of"] for row in data["front"]] == [None, "trial 0", None, None]
    assert data["front"][0]["standard_error"] == pytest.approx(0.011, abs=0.001)


def test_without_the_number_of_images_nothing_is_said(memory_path: Path) -> None:
    with new_journal(memory_path) as journal:
        fill(journal, 12)
        summary = summarize(journal)
    assert not summary.near
    assert "+-" not in front_text(summary)


def test_a_test_score_is_asked_of_those_alone_that_have_a_test_split() -> None:
    own = {"auto", "scratch", "layerwise", "switched", "batched", "supernet"}
    assert {name for name, kind in EVALUATORS.items() if kind.capabilities.tests} == own
