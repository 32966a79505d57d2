"""What a run claims after it measured: front, rewards and the best member; and what the controllers see of it, which is nothing."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nas
from boards import SPEED, Board, score
from nas.journal import Journal
from nas.latency import DEVICES
from nas.objectives.alike import Step, stand_ins
from nas.report import Summary, front_text, page, report_json, summarize, write_outputs
from report_makers import HOST, add, arch_id, measure, new_journal

NAN = math.nan


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with new_journal(tmp_path / "made") as journal:
        yield journal


def rows_of(folder: Path, name: str = "front.csv") -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def summary_of(journal: Journal, points: list[tuple[float, float, float]]) -> Summary:
    """Of trials with (accuracy, predicted ms, measured ms, nan where it was not measured)."""
    for accuracy, predicted, measured in points:
        trial = add(journal, {"accuracy": accuracy, HOST: predicted})
        if not math.isnan(measured):
            measure(journal, trial, measured)
    return summarize(journal)


@pytest.mark.parametrize(
    "points, front, best, demoted",
    [
        ([(0.9, 8.0, NAN), (0.8, 4.0, 4.2)], [0, 1], 0, []),  # not all are measured: by prediction
        ([(0.9, 8.0, 8.4), (0.8, 4.0, 4.2)], [0, 1], 0, []),
        ([(0.9, 5.0, 4.5), (0.8, 4.0, 4.6)], [0], 0, [1]),  # the measurement of 0 dominates 1
        ([(0.83, 4.2, 40.0), (0.8, 4.0, 4.0)], [0, 1], 1, []),  # the first is best by prediction alone
        ([(0.83, 4.2, 4.2), (0.8, 3.8, 3.8), (0.7, 9.0, NAN)], [0, 1], 0, []),  # no member: it need not be measured
    ],
)
def test_front_and_best_go_by_measured_latency(
    journal: Journal, tmp_path: Path, points: list[tuple[float, float, float]], front: list[int], best: int, demoted: list[int]
) -> None:
    summary = summary_of(journal, points)
    assert [row.number for row in summary.front] == front
    assert summary.best is not None
    assert summary.best.number == best
    assert [row.number for row in summary.demoted] == demoted
    whole = all(not math.isnan(measured) for _, _, measured in points[:2])
    accuracy, *ms = points[best]
    assert summary.best.reward == pytest.approx(accuracy * (ms[whole] / 4) ** -0.07)
    write_outputs(tmp_path / "run", journal)
    assert f"trial {best} of made" in (tmp_path / "run" / "best.yaml").read_text()
    assert [int(row["number"]) for row in rows_of(tmp_path / "run")] == front
    assert [row[HOST] for row in rows_of(tmp_path / "run")] == [str(points[number][1]) for number in front]


@pytest.mark.parametrize(
    "points, note",
    [
        ([(0.9, 3.0, 3.9)], ""),
        ([(0.9, 3.0, 4.38)], "trial 0, the best, is over the target: 4.38 ms measured on host, 9.5 % over the target of 4.00 ms"),
        ([(0.9, 5.0, NAN)], "trial 0, the best, is over the target: 5.00 ms predicted on host, 25.0 % over the target of 4.00 ms"),
    ],
)
def test_a_missed_target_is_named(journal: Journal, points: list[tuple[float, float, float]], note: str) -> None:
    summary = summary_of(journal, points)
    assert ("is over the target" in front_text(summary)) == bool(note)
    assert note in front_text(summary)
    assert note in page(summary)


def test_members_off_the_front_by_measurement_are_named(journal: Journal) -> None:
    summary = summary_of(journal, [(0.9, 5.0, 4.5), (0.8, 4.0, 4.6)])
    assert f"off the front by measured latency: trial 1 ({arch_id(1)})" in front_text(summary)


@pytest.mark.parametrize(
    "points, members, alike",
    [
        ([(0.90, 2.0), (0.80, 1.0)], [0, 1], []),
        ([(0.90, 2.0), (0.89, 1.0)], [1], [0]),  # one image of 100 better, at twice the latency
        ([(0.90, 2.0), (0.88, 1.0)], [0, 1], []),  # two images
        ([(0.90, 2.0), (0.80, 1.9)], [0], [1]),  # 5 % faster, ten images worse
        ([(0.90, 2.0), (0.80, 1.85)], [0, 1], []),
        ([(0.90, 2.0), (0.89, 1.5), (0.88, 1.1)], [0, 2], [1]),  # a chain of single images keeps every second one
        ([(0.90, 2.2), (0.80, 2.1), (0.70, 2.0)], [0, 2], [1]),  # and a chain of small steps in latency
    ],
)
def test_a_front_holds_no_member_that_is_no_better_than_another(
    tmp_path: Path, points: list[tuple[float, float]], members: list[int], alike: list[int]
) -> None:
    with new_journal(tmp_path / "made", images={"valid": 100}) as journal:
        summary = summary_of(journal, [(accuracy, ms, ms) for accuracy, ms in points])
        write_outputs(tmp_path / "run", journal)
        data = report_json(journal)
    assert [row.number for row in summary.front] == members
    assert [row.number for row in summary.alike] == alike
    assert [int(row["number"]) for row in rows_of(tmp_path / "run")] == members
    places = dict.fromkeys(members, "member") | dict.fromkeys(alike, "alike")
    assert [row["front"] for row in rows_of(tmp_path / "run", "trials.csv")] == [places[number] for number in range(len(points))]
    assert [row["number"] for row in data["alike"]] == alike
    for text in (front_text(summary), page(summary)):
        assert ("left off, better by no more than one validation image or 8 % of a measured latency: trial" in text) == bool(alike)


def test_costs_that_are_exact_and_accuracies_of_unknown_images_are_told_apart(journal: Journal) -> None:
    summary = summary_of(journal, [(0.9001, 1.01, NAN), (0.9, 1.0, NAN)])
    assert [row.number for row in summary.front] == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_members_are_a_step_apart_and_each_other_row_has_one_that_stands_for_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.column_stack([-np.sort(rng.uniform(0.9, 1.0, 60)), np.sort(rng.uniform(1.0, 3.0, 60))])
    found = stand_ins(values, [Step(absolute=0.005), Step(relative=0.08)])
    members = values[np.unique(found)]
    assert 5 <= len(members) < 60
    assert (found[np.unique(found)] == np.unique(found)).all()
    assert (np.diff(-members[:, 0]) >= 0.005).all()
    assert (members[1:, 1] / members[:-1, 1] >= 1.08).all()
    assert (values[found] <= values + [0.005, 0.0] + [0.0, 0.08] * values).all()


def test_controllers_never_see_a_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a run is extended: with measurements that are off by half, proposals are the same, and the claims are not."""
    monkeypatch.setitem(DEVICES, "board", Board)
    genomes, best = {}, {}
    for speed in (1.0, 1.5):
        monkeypatch.setitem(SPEED, "now", speed)
        run = tmp_path / str(speed)
        for trials in (3, 6):
            result = nas.search(
                "tiny", evaluate=score, device={"board": {"name": "board"}}, trials=trials, run=run, executor="local",
                objectives={"accuracy": "max", "latency_ms/board": "min"}, resolution=8,
            )  # fmt: skip
            assert result.summary.measured
        with Journal.open(run / "journal.sqlite", read_only=True) as journal:
            genomes[speed] = [trial.genome for trial in journal.trials()]
        assert result.best is not None
        best[speed] = result.best.measured_ms["board"], result.best.predicted_ms["board"]
    assert genomes[1.0] == genomes[1.5]
    assert best[1.0][0] == pytest.approx(best[1.0][1], rel=0.2)
    assert best[1.5][0] > 1.25 * best[1.5][1]
