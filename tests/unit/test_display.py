"""What a search shows: plain lines when not a terminal, a panel in one; both tell progress, best, front and time left."""

from __future__ import annotations

import dataclasses
import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from nas.objectives import Objectives
from nas.records import Trial
from nas.report.panel import Display, duration, si

AXES = Objectives((("accuracy", "max"), ("params", "min")), reward="first")


def trial(number: int, accuracy: float | None, params: float, outcome: str = "ok") -> Trial:
    metrics = {"params": params} | ({} if accuracy is None else {"accuracy": accuracy})
    return Trial(number, (number,), f"{number:012x}", outcome=outcome, metrics=metrics)


def test_plain_lines_tell_progress_and_front(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(4, AXES, live=False) as display:
        display.trial(trial(0, 0.5, 1000))
        display.trial(trial(1, None, 9000, "infeasible"))
        display.trial(trial(2, 0.4, 2000))
        display.trial(trial(3, None, 10, "nan"))
        display.trial(trial(4, 0.9, 3000))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # infeasible trials have no line
    assert lines[0].startswith("[1/4] trial 0: accuracy 0.5000, 1k params")
    assert "left" in lines[0]
    assert "left" not in lines[3]
    assert [line.split("front ")[1][0] for line in lines] == ["1", "1", "1", "2"]
    assert "nan" in lines[2]


def test_the_front_is_that_of_the_longest_trainings(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(5, AXES, live=False) as display:
        for number, (accuracy, params, fidelity) in enumerate([(0.5, 1000, 0), (0.6, 2000, 0), (0.55, 1000, 1), (0.9, 3000, 0)]):
            display.trial(dataclasses.replace(trial(number, accuracy, params), fidelity=fidelity))
    assert [line.split("front ")[1][0] for line in capsys.readouterr().out.splitlines()] == ["1", "2", "1", "1"]


def test_the_panel_shows_best_failures_and_what_runs() -> None:
    display = Display(10, AXES, live=False)
    display.replayed([trial(0, 0.5, 1000), trial(1, 0.7, 1500), trial(2, None, 1, "oom")])
    display.trial(Trial(3, (3,), "3"))
    display.started(3, "node7/123")
    display.progress(3, 5, 20, {"train_loss": 1.0})
    out = io.StringIO()
    Console(file=out, width=120).print(display._panel())
    text = out.getvalue()
    for words in ("3/10 trials", "front 2", "1 failed", "best  trial 1", "node7/123", "trial 3       25%", "time left unknown"):
        assert words in text, text


def test_many_workers_are_some_lines_and_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(100, AXES, live=False)
    for number in range(40):
        display.started(number, f"node{number:02d}/1")
    display.lost(3, "the node of worker node03/1 died")
    assert "trial 3 was lost: the node of worker node03/1 died" in capsys.readouterr().out
    assert len(display._workers()) == 17
    assert "23 more workers" in display._workers()[-1]


@pytest.mark.parametrize("seconds, words", [(5, "5 s"), (200, "3 min"), (7500, "2 h 5 min")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    "value, words",
    [(999, "999"), (1234, "1.23k"), (999_999, "1M"), (5_483_032, "5.48M"), (2.5e12, "2.5T"), (0.5, "0.5")],
)
def test_si(value: float, words: str) -> None:
    assert si(value) == words


@pytest.mark.parametrize(
    "reports, steps, said",
    [
        ([(40.0, 10), (44.0, 30)], 700, "about 3 min a trial, 4 h 57 min for 100 trials with 1 at a time; shorter with"),  # 38 s + 700 / 5
        ([(2.0, 10), (3.0, 110)], 100, ""),  # 102 s in all
        ([(40.0, 10), (44.0, 10)], 700, ""),  # no step between
    ],
)
def test_the_cost_of_a_search_is_told_before_it_is_paid(
    reports: list[tuple[float, int]], steps: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(sys.modules[Display.__module__], "time", SimpleNamespace(monotonic=lambda: now[0]))
    display = Display(100, AXES, live=False)
    display.started(0, "a")
    for when, step in [*reports, (reports[-1][0] + 1, reports[-1][1])]:
        now[0] = when
        display.progress(0, step, steps, {})
    text = capsys.readouterr().out
    assert text.startswith(said)
    assert text.count("\n") == bool(said)
