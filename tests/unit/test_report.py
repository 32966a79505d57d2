"""The report: front, outcomes and figures from the journal alone, and pages that stay sound whatever the journal holds."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from nas.arch import arch_from_dict
from nas.journal import Journal, Lease
from nas.objectives import TaskMetrics, front
from nas.objectives.pareto import hypervolume
from nas.records import Evaluation, Event, Trial
from nas.report import (
    FrontRow,
    Reference,
    compare,
    front_svg,
    front_text,
    page,
    report_json,
    summarize,
    with_scaled,
    write_outputs,
)
from nas.report.axes import Axis, axis
from nas.report.files import train_command
from nas.report.format import many, show, si, tick_labels
from nas.report.front import hypervolumes
from report_makers import ARCH, HOST, LATENCY, OBJECTIVES, add, arch_id, fill, measure, new_journal, score_on_test

EVIL = "</script><script>alert('x')</script><img src=http://example.com onerror=alert(1)>&\"'\0"


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Makes journals in folders of their own, with meta data of one's choice; closes them in the end."""
    with ExitStack() as stack:
        yield lambda name="run", **meta: stack.enter_context(new_journal(tmp_path / name, **meta))


@pytest.fixture
def journal(new: Callable[..., Journal]) -> Journal:
    return new()


def three(journal: Journal) -> list[Trial]:
    """Two members of the front and one trial that both beat."""
    points = [(0.90, 8.0), (0.80, 4.0), (0.79, 9.0)]
    return [add(journal, {"accuracy": a, HOST: ms, "params": 1000.0 + ms, "loss": 1 - a}) for a, ms in points]


class Page(HTMLParser):
    """What a browser would make of a page: its elements with attributes, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str, **expected: str) -> list[dict[str, str | None]]:
        return [a for tag, a in self.elements if tag == name and all(v in (a.get(k) or "") for k, v in expected.items())]


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def check_sound(html: str) -> Page:
    """One script that runs, bound by its hash; nothing from anywhere else; every mark has its tooltip."""
    seen = Page(html)
    assert len(seen.all("script")) == 2
    assert not [tag for tag, _ in seen.elements if tag in ("img", "iframe", "link", "object", "base", "form")]
    assert not [a for _, a in seen.elements for key in a if key.startswith("on")]
    assert all(str(a["href"]).startswith("front/") for a in seen.all("a"))
    rows = data_of(html)["rows"]
    assert {a["data-k"] for _, a in seen.elements if "data-k" in a} <= rows.keys()
    return seen


def test_the_front_is_what_no_trial_beats_best_accuracy_first(journal: Journal) -> None:
    three(journal)
    add(journal, {"accuracy": 0.99, HOST: math.nan})
    add(journal, {"params": 10.0}, "oom", "no memory")
    summary = summarize(journal)
    assert [row.number for row in summary.front] == [0, 1]
    assert summary.front[0].arch == {**ARCH, "resolution": 32}


def test_the_front_is_the_one_that_the_search_measures(journal: Journal) -> None:
    fill(journal, 60)
    add(journal, dict(journal.trial(0).metrics), journal.trial(0).outcome or "", repeat_of=0, id=arch_id(0))
    summary = summarize(journal)
    assert sorted(r.number for r in summary.front) == [t.number for t in front(journal.trials(), summary.objectives)]


def test_counts_cover_every_trial_once(journal: Journal) -> None:
    three(journal)
    add(journal, {}, "oom", "no memory")
    add(journal, {}, "infeasible", "params 2 M > constraint 1 M")
    add(journal, {"accuracy": 0.9, HOST: 8.0}, repeat_of=0, id=arch_id(0))
    journal.begin(Trial(6, (6,), arch_id(6)))
    summary = summarize(journal)
    assert summary.counts == {"ok": 3, "oom": 1, "infeasible": 1, "repeated": 1, "pending": 1}
    assert [(row.number, row.outcome, row.error) for row in summary.failures] == [(3, "oom", "no memory")]
    assert [row.number for row in summary.infeasible] == [4]


@pytest.mark.parametrize(
    "objectives, best",
    [
        ({}, 0),  # 0.9 * (8 / 4)^-0.07 = 0.857, 0.8 * (4 / 4)^-0.07 = 0.8
        ({"target": 8.0, "reward": "mnas_hard", "exponent": -1.0}, 0),
        ({"target": 4.0, "reward": "mnas_hard", "exponent": -1.0}, 1),
        ({"reward": "first"}, 0),
        ({"target": None}, 0),
        ({"reward": "absolute", "target": 9.0, "beta": -10.0}, 2),  # the reward peaks at its target, off the front
    ],
)
def test_best_has_the_highest_reward(new: Callable[..., Journal], objectives: dict[str, Any], best: int) -> None:
    journal = new("run", objectives={**OBJECTIVES, **objectives})
    three(journal)
    found = summarize(journal).best
    assert found is not None
    assert found.number == best


def test_a_member_that_measures_over_its_limit_is_demoted_and_not_best(tmp_path: Path, new: Callable[..., Journal]) -> None:
    objectives = {**OBJECTIVES, "constraints": [[LATENCY, 9.0]], "reward": "first"}
    journal = new("run", objectives=objectives)
    trials = three(journal)
    measure(journal, trials[0], 8.5)
    measure(journal, trials[0], 9.5)
    measure(journal, trials[1], 4.1)
    summary = summarize(journal)
    assert [bool(row.violated) for row in summary.front] == [True, False]
    assert summary.front[0].measured == {"host": 9.5}
    assert summary.best is not None
    assert summary.best.number == 1
    write_outputs(tmp_path / "run", journal)
    assert "9.5" in rows_of(tmp_path / "run")[0]["violated"]
    assert "constraint violated by measurement" in front_text(summary)
    assert Page(page(summary)).all("span", **{"class": "violated"})


def test_predicted_stands_beside_measured(journal: Journal) -> None:
    trials = three(journal)
    measure(journal, trials[0], 10.0)
    measure(journal, trials[2], 9.0, "phone")
    rows = {(row.number, row.device): (row.predicted_ms, row.measured_ms) for row in summarize(journal).latencies}
    assert rows[0, "host"] == (8.0, 10.0)
    assert math.isnan(rows[2, "phone"][0])


def test_wall_clock_sums_sessions_and_tells_when_one_was_killed() -> None:
    events = [Event(0, "start"), Event(10, "interrupted"), Event(100, "start"), Event(105, "retry"), Event(200, "start")]
    summary = summarize(cast(Journal, stub([], events)))
    assert (summary.sessions, summary.wall_s, summary.wall_known) == (3, 15.0, False)
    summary = summarize(cast(Journal, stub([], [*events[:2], Event(100, "start"), Event(130, "finish")])))
    assert (summary.wall_s, summary.wall_known) == (40.0, True)


def test_wall_clock_of_killed_sessions_and_of_one_that_runs_comes_from_heartbeats() -> None:
    events = [Event(0, "start"), Event(3, "retry"), Event(60, "killed"), Event(100, "start")]
    lease = Lease("host", 1, "x", since=100, time=120)
    summary = summarize(cast(Journal, stub([], events, lease=lease)))
    assert (summary.wall_s, summary.wall_known) == (80.0, True)


def stub(
    trials: list[Trial], events: list[Event], meta: dict[str, Any] | None = None, lease: Lease | None = None
) -> SimpleNamespace:
    """A journal of plain lists."""
    return SimpleNamespace(
        path=Path("runs/stub/journal.sqlite"), trials=lambda: trials, events=lambda: events, measurements=list,
        evaluations=lambda purpose: [], lease=lambda: lease,
        get=lambda key, default=None: (meta or {"objectives": OBJECTIVES}).get(key, default),
    )  # fmt: skip


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=25))
def test_hypervolume_over_trials_ends_at_that_of_the_whole(points: list[tuple[float, float, float]]) -> None:
    values = np.array(points)
    shares = hypervolumes(values, np.zeros(3), np.full(3, 0.9))
    assert (np.diff(shares) >= -1e-12).all()
    assert shares[-1] == pytest.approx(hypervolume(values / 0.9, np.ones(3)), abs=1e-9)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "front.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_files(journal: Journal, tmp_path: Path) -> None:
    trials = three(journal)
    measure(journal, trials[0], 8.4)
    score_on_test(journal, trials[0], 0.88)
    written = write_outputs(tmp_path / "run", journal)
    folder = tmp_path / "run"
    members = [f"front/{arch_id(number)}.yaml" for number in (0, 1)]
    assert written == [folder / name for name in ("front.csv", "trials.csv", *members, "best.yaml", "report.html")]
    rows = rows_of(folder)
    assert list(rows[0]) == ["number", "id", "accuracy", HOST, "loss", "params", "measured_ms/host", "test_accuracy"]
    assert rows[0] == {
        "number": "0", "id": arch_id(0), "accuracy": "0.9", HOST: "8.0", "loss": repr(1 - 0.9), "params": "1008",
        "measured_ms/host": "8.4", "test_accuracy": "0.88",
    }  # fmt: skip
    assert (rows[1]["measured_ms/host"], rows[1]["test_accuracy"]) == ("", "")
    assert not list(folder.rglob("*.tmp"))


def test_yaml_files_are_architectures_that_tell_how_to_train_them(journal: Journal, tmp_path: Path) -> None:
    trials = three(journal)
    measure(journal, trials[1], 4.25)
    write_outputs(tmp_path / "run", journal)
    path = tmp_path / "run" / "front" / f"{arch_id(1)}.yaml"
    text = path.read_text()
    assert arch_from_dict(yaml.safe_load(text)).to_dict() == {**ARCH, "resolution": 33}
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert "trial 1 of run" in comment[0]
    assert "accuracy 80.00 %" in comment[1]
    assert "measured on host 4.25 ms" in comment[1]
    assert f"nas train arch={path} dataset=digits" in comment[2]


@pytest.mark.parametrize(
    "path, settings, expected",
    [
        ("/a/best.yaml", {}, "nas train arch=/a/best.yaml"),
        ("/a (b)/c=1.yaml", {}, "nas train 'arch=\"/a (b)/c=1.yaml\"'"),
        ("/a'b.yaml", {}, "nas train 'arch=\"/a'\\''b.yaml\"'"),
        ("/a.yaml", {"dataset": {"name": "npz", "path": "/d.npz"}, "plugins": ["mine"]},
         "nas train arch=/a.yaml dataset=npz dataset.path=/d.npz 'plugins=[mine]'"),
        ("/a.yaml", {"dataset": {"name": "x\nop: evil"}}, "nas train arch=/a.yaml 'dataset=\"x op: evil\"'"),
    ],
)  # fmt: skip
def test_the_command_can_be_pasted(path: str, settings: dict[str, Any], expected: str) -> None:
    assert train_command(Path(path), settings) == expected


def test_members_that_left_lose_their_file_and_others_keep_theirs(journal: Journal, tmp_path: Path) -> None:
    three(journal)
    write_outputs(tmp_path / "run", journal)
    (tmp_path / "run" / "front" / "mine.yaml").write_text("name: mine\n")
    add(journal, {"accuracy": 0.95, HOST: 3.0})
    write_outputs(tmp_path / "run", journal)
    assert sorted(p.name for p in (tmp_path / "run" / "front").iterdir()) == [f"{arch_id(3)}.yaml", "mine.yaml"]


@pytest.mark.parametrize("bad", ["../../escape", "a/b", "", "x" * 100])
def test_ids_that_lead_elsewhere_are_refused(journal: Journal, tmp_path: Path, bad: str) -> None:
    add(journal, {"accuracy": 0.9, HOST: 1.0}, id=bad)
    with pytest.raises(ValueError, match="trial 0: the id"):
        write_outputs(tmp_path / "run", journal)


def test_a_folder_that_cannot_be_written_is_named(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file"):
        write_outputs(tmp_path / "file", journal)


def test_json_is_json(journal: Journal) -> None:
    trials = three(journal)
    add(journal, {"accuracy": math.nan, HOST: 3.0, "loss": math.inf})
    add(journal, {}, "timeout", "took longer than 5 s")
    measure(journal, trials[0], 8.4)
    found = json.loads(json.dumps(report_json(journal), allow_nan=False))
    assert [(row["number"], row["measured_ms"]) for row in found["front"]] == [(0, {"host": 8.4}), (1, {})]
    assert found["front"][1]["test_accuracy"] is None
    assert found["counts"] == {"ok": 4, "timeout": 1}
    assert found["settings"]["controller"]["name"] == "mnasnet"
    assert found["best"]["id"] == arch_id(found["best"]["number"])


def test_page_shows_all_of_a_run(journal: Journal) -> None:
    trials = three(journal)
    add(journal, {}, "oom", "no memory for <it>")
    measure(journal, trials[0], 8.4)
    html = page(summarize(journal), [Reference("mnasnet_a1", {"accuracy": 0.85, HOST: 5.0})])
    seen = check_sound(html)
    assert [a["href"] for a in seen.all("a")] == [f"front/{arch_id(n)}.yaml" for n in (0, 1)]
    members = seen.all("circle", **{"class": "front", "tabindex": "0"})
    assert len([a for a in members if "predicted latency on host" in str(a["aria-label"])]) == 2
    for words in ("no memory for <it>", "controller.clip", "jax", "8.40 ms", "mnasnet_a1", "nas search space=tiny trials=24"):
        assert words in seen.text, words
    assert data_of(html)["rows"]["0"][0] == f"trial 0 \u00b7 {arch_id(0)}"


def test_texts_of_the_journal_stay_texts(new: Callable[..., Journal]) -> None:
    settings = {EVIL: EVIL, "dataset": {"name": EVIL}, "controller": {"name": EVIL}}
    journal = new("run", settings=settings, versions={EVIL: EVIL}, command=EVIL, space={"name": EVIL, "size": 3})
    add(journal, {"accuracy": 0.9, HOST: 8.0, EVIL: 1.0, f"predicted_ms/{EVIL}": 2.0})
    add(journal, {"accuracy": 0.8, HOST: 4.0}, id="<b>")
    measure(journal, journal.trial(0), 3.0, EVIL)
    add(journal, {}, "error", EVIL)
    add(journal, {}, "error", EVIL * 100)
    add(journal, {}, "infeasible", EVIL)
    journal.add_event(EVIL, note=EVIL)
    references = [Reference(EVIL, {"accuracy": 0.85, HOST: 5.0})]
    check_sound(page(summarize(journal), references))
    check_sound(compare({EVIL: journal, "b": journal}, references))
    ElementTree.fromstring(front_svg(summarize(journal), references=references, title=EVIL.replace("\0", "")).replace("\0", ""))


@pytest.mark.parametrize(
    "points, words",
    [
        ([], "There is no front yet"),
        ([{"accuracy": 0.9}], "There is no front yet"),
        ([{"accuracy": 0.9, HOST: 8.0}], "best accuracy"),
        ([{"accuracy": 1.0, HOST: 0.0, "params": 0.0}] * 3, "best accuracy"),
        ([{"accuracy": 0.9, HOST: 1e-9}, {"accuracy": 1.0, HOST: 1e12}], "best accuracy"),
    ],
)
def test_pages_of_hardly_any_trials(journal: Journal, points: list[dict[str, float]], words: str) -> None:
    for i, metrics in enumerate(points):
        add(journal, metrics, id=arch_id(i))
    summary = summarize(journal)
    assert words in check_sound(page(summary)).text
    ElementTree.fromstring(front_svg(summary))
    assert front_text(summary).isascii()


def test_a_journal_without_objectives_has_a_report(new: Callable[..., Journal]) -> None:
    journal = new("run", objectives=None)
    add(journal, {"accuracy": 0.9})
    assert "record no cost" in page(summarize(journal))


def test_ten_thousand_trials_stay_a_small_page() -> None:
    rng = np.random.default_rng(0)
    axes = {**OBJECTIVES, "metrics": [*OBJECTIVES["metrics"], ["params", "min"]]}
    trials = [
        Trial(i, (i,), arch_id(i), outcome="ok", metrics={"accuracy": a, HOST: 9 * ms, "params": 1e6 * p, "macs": 1e8 * p})
        for i, (a, ms, p) in enumerate(rng.random((10_000, 3)).tolist())
    ]
    summary = summarize(cast(Journal, stub(trials, [], {"objectives": axes})))
    html = page(summary)
    assert len(html) < 3_000_000
    seen = check_sound(html)
    assert "left out of the plots" in seen.text
    drawn = {a["data-k"] for a in seen.all("circle", **{"class": "front"}) if "data-k" in a}
    assert {str(row.number) for row in summary.front} == drawn


def test_runs_side_by_side(new: Callable[..., Journal]) -> None:
    journals = {name: new(name, settings={"controller": {"name": name}, "seed": 0}) for name in ("a", "b")}
    three(journals["a"])
    add(journals["b"], {"accuracy": 0.95, HOST: 3.0, "macs": 5.0})
    seen = check_sound(html := compare(journals))
    assert "2 runs compared" in seen.text
    assert set(data_of(html)["rows"]) == {"0-0", "0-1", "0-2", "1-0"}
    differences = html.partition("Settings that differ")[2]
    assert "controller.name" in differences
    assert "seed" not in differences


def test_runs_with_other_objectives_are_compared_on_shared_axes(new: Callable[..., Journal]) -> None:
    a = new("a")
    b = new("b", objectives={**OBJECTIVES, "metrics": [["accuracy", "max"], ["params", "min"]], "cost": "params"})
    c = new("c", objectives={"metrics": [["loss", "min"]], "reward": "first"})
    for journal in (a, b, c):
        three(journal)
    check_sound(compare({"a": a, "b": b}))
    assert "nothing to draw together" in check_sound(compare({"a": a, "c": c})).text


def test_picture_of_a_front(journal: Journal) -> None:
    three(journal)
    picture = front_svg(summarize(journal), references=[Reference("known", {"accuracy": 0.85, HOST: 5.0}), Reference("elsewhere", {})])
    tree = ElementTree.fromstring(picture)
    assert tree.get("width") == "720"
    assert "var(" not in picture
    assert "known" in picture
    assert "elsewhere" not in picture
    assert len([e for e in tree.iter() if e.get("tabindex") == "0" and e.tag.endswith("circle")]) == 2
    assert "parameters" in front_svg(summarize(journal), "params")
    with pytest.raises(ValueError, match=r"cost: expected one of predicted_ms/host, params, got 'macs'"):
        front_svg(summarize(journal), "macs")


def test_text_table_is_aligned(journal: Journal) -> None:
    trials = three(journal)
    measure(journal, trials[0], 8.4)
    lines = front_text(summarize(journal)).splitlines()
    assert lines[0] == "front of 2 among 3 trials: 3 ok"
    assert lines[1].split() == ["trial", "id", "accuracy", "host", "predicted", "ms", "host", "measured", "ms", "loss", "params"]
    assert lines[2].split() == ["*", "0", arch_id(0), "90.00", "%", "8.00", "8.40", "0.1000", "1.01k"]
    assert len({len(line) for line in lines[1:4]}) == 1
    assert "... and 1 more" in front_text(summarize(journal), limit=1)


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("accuracy", 0.71239, "71.24 %"), (HOST, 2.3, "2.30 ms"), (HOST, 1234.5, "1234 ms"), (HOST, 0.01234, "0.0123 ms"),
        ("params", 5_288_548, "5.29M"), ("params", 999, "999"), ("params", 999_900, "1.00M"), ("macs", 390_005_648, "390M"),
        ("memory_bytes", 1_204_224, "1.20 MB"), ("memory_bytes", 512, "512 B"), ("loss", 1.23456, "1.235"),
        ("loss", math.inf, "inf"), ("accuracy", math.nan, "\u2013"), ("own", 0.0, "0"), ("own", -2500.0, "-2.50k"),
    ],
)  # fmt: skip
def test_numbers_for_people(name: str, value: float, text: str) -> None:
    assert show(name, value) == text


@pytest.mark.parametrize(
    "value, text", [(24, "24"), (497_664, "497,664"), (32 * 10**16, "3.2 \u00d7 10^17"), (10**400, "1.0 \u00d7 10^400")]
)
def test_sizes_of_spaces(value: int, text: str) -> None:
    assert many(value) == text


@given(st.floats(1e-3, 1e12))
def test_si_keeps_three_digits(value: float) -> None:
    text = si(value)
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1], 1.0)
    assert float(text.rstrip("kMGT")) * scale == pytest.approx(value, rel=5.1e-3)


@given(st.floats(0, 1e12), st.floats(1e-6, 1e12), st.booleans())
@example(0.001953125, 1e-6, True)  # once four equal labels
def test_ticks_are_few_distinct_and_on_the_axis(low: float, width: float, log: bool) -> None:
    values = [low, low + max(width, low * 1e-3)]
    drawn = axis(values, values, 50, 500, log=log)
    ticks = drawn.ticks()
    assert 2 <= len(ticks) <= 8
    assert all(50 - 1e-3 <= drawn.at(tick) <= 500 + 1e-3 for tick in ticks)
    for name in (HOST, "accuracy", "params", "memory_bytes"):
        assert len(set(tick_labels(name, ticks))) == len(ticks), name
    assert 50 <= drawn.at(values[0]) < drawn.at(values[1]) <= 500


@given(st.floats(1e-6, 1e12), st.floats(0, 1e-3), st.sampled_from([HOST, "accuracy", "params", "memory_bytes", "own"]))
@example(1.0, 4e-16, HOST)
@example(1_000_000.0, 1e-7, "params")
def test_values_that_differ_by_little_get_labels_that_differ(low: float, share: float, name: str) -> None:
    values = [low, low * (1 + share)]
    ticks = axis(values, values, 50, 500).ticks()
    assert len(ticks) >= 2
    assert len(set(tick_labels(name, ticks))) == len(ticks)


@pytest.mark.parametrize(
    "name, ticks, labels",
    [
        (HOST, [0.0019532, 0.0019534], ["0.0019532", "0.0019534"]),
        (HOST, [1e-12, 2e-12], ["1e-12", "2e-12"]),
        ("accuracy", [0.5, 0.75], ["50%", "75%"]),
        ("accuracy", [0.95, 0.955], ["95.0%", "95.5%"]),
        ("params", [999_950.0, 1_000_000.0, 1_000_050.0], ["999.95k", "1M", "1.00005M"]),
        ("memory_bytes", [1000.0, 1002.5], ["1 kB", "1.0025 kB"]),
        ("own", [], []),
        ("own", [0.0], ["0"]),
    ],
)
def test_tick_labels_are_short_and_tell_ticks_apart(name: str, ticks: list[float], labels: list[str]) -> None:
    assert tick_labels(name, ticks) == labels


def test_wrecks_do_not_squeeze_the_axis() -> None:
    drawn = axis([0.1, *np.linspace(0.8, 0.9, 50).tolist()], [0.9], 300, 0, ceiling=1.0)
    assert drawn.low > 0.7
    assert drawn.outside(0.1)
    assert drawn.at(0.1) == 300
    assert replace(drawn, low=0.0).at(0.1) < 300


def test_axis_goes_down_the_page() -> None:
    assert Axis(0, 1, 300, 0).at(0.25) == 225
    assert Axis(1, 100, 0, 200, log=True).at(10) == pytest.approx(100)


def scaled(number: int, accuracy: float, ms: float, **rest: Any) -> FrontRow:
    return FrontRow(-number, f"{number:x}" * 12, {"accuracy": accuracy, HOST: ms}, arch=ARCH, name=f"net_phi{number}", **rest)


def test_a_scaled_member_stands_on_the_front_where_nothing_beats_it(new: Callable[..., Journal], tmp_path: Path) -> None:
    journal = new("run")
    add(journal, {"accuracy": 0.9, HOST: 8.0, "params": 10.0})
    add(journal, {"accuracy": 0.8, HOST: 4.0, "params": 8.0})
    members = [
        scaled(1, 0.85, 3.9, measured={"host": 4.1}, p95={"host": 5.0}), scaled(2, 0.7, 9.0), scaled(3, 0.99, math.inf),
        scaled(4, 0.95, 12.0, note="epochs 60, not 5"),
    ]  # fmt: skip
    summary, beside = with_scaled(summarize(journal), members)
    assert [row.title for row in summary.front] == ["net_phi4", "trial 0", "net_phi1"]
    assert [reference.name for reference in beside] == ["net_phi2", "net_phi3"]
    assert summary.best == summarize(journal).best, "what the search found stays what it was"
    text = front_text(summary)
    assert "net_phi4" in text
    assert "scaled; epochs 60, not 5" in text
    folder = journal.path.parent
    write_outputs(folder, journal, scaled=members)
    seen = check_sound((folder / "report.html").read_text(encoding="utf-8"))
    marks = [str(a["class"]) for a in seen.all("path", **{"class": "front scaled", "tabindex": "0"})]
    assert sorted(marks) == ["front scaled", "front scaled", "front scaled off"], "one has no latency to be drawn at"
    for words in ("scaled: net_phi1", "scaled: net_phi4; epochs 60, not 5", "scaled member, dominated", "3.90 ms"):
        assert words in seen.text, words
    assert {path.stem for path in (folder / "front").iterdir()} == {arch_id(0), "1" * 12, "4" * 12}
    assert "net_phi4" in (folder / "front.csv").read_text()
    assert [row["scaled"] for row in report_json(journal, members)["front"]] == ["net_phi4", None, "net_phi1"]
    write_outputs(folder, journal)
    assert {path.stem for path in (folder / "front").iterdir()} == {arch_id(0), arch_id(1)}, "without them they are gone again"


def test_a_report_of_a_regression(tmp_path: Path, new: Callable[..., Journal]) -> None:
    task = TaskMetrics("regression", {"rmse": "min", "mae": "min"}, "rmse")
    objectives = {"metrics": [["rmse", "min"], [LATENCY, "min"]], "reward": "first", "trained": [["rmse", "min"], ["mae", "min"]]}
    journal = new(task=task.to_data(), objectives=objectives)
    for rmse, ms in ((2.5, 4.0), (1.5, 8.0), (3.0, 9.0)):
        add(journal, {"rmse": rmse, "mae": 0.8 * rmse, HOST: ms})
    journal.add_evaluation(Evaluation(1, 0, 1, {"rmse": 1.75}, 0.0, 1.0, purpose="test"))
    summary = summarize(journal)
    assert [row.number for row in summary.front] == [1, 0], "the smallest error first"
    assert summary.best == summary.front[0]
    assert front_text(summary).splitlines()[1].split()[:4] == ["trial", "id", "rmse", "test"]
    write_outputs(tmp_path / "run", journal)
    rows = rows_of(tmp_path / "run")
    assert list(rows[0]) == ["number", "id", "rmse", HOST, "mae", "measured_ms/host", "test_rmse"]
    assert rows[0]["test_rmse"] == "1.75"
    html = page(summary)
    assert "best rmse" in html
    assert "rmse against predicted latency on host" in html
    assert "accuracy" not in html
