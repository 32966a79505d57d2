import contextlib
import csv
import io
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.journal import Journal, JournalError, diff
from nas.journal.database import APPLICATION
from nas.records import OUTCOMES, Evaluation, Measurement, Outcome, Proposal, Trial
from nas.report import summarize
from nas.report.files import trials_csv
from places import ROOT

NAN, INF = math.nan, math.inf


def trial(number, **fields):
    return Trial(number=number, genome=(number, 0, 2), arch_id=f"arch{number}", **fields)


def ok(number, **metrics):
    return trial(number, outcome="ok", metrics=metrics or {"accuracy": 0.5})


def evaluation(number, **fields):
    return Evaluation(trial=number, fidelity=0, seed=7, metrics={"accuracy": 0.5}, compile_s=1.5, train_s=2.5, **fields)


def test_an_evaluation_says_whether_native_kernels_ran(path):
    """A journal made before that was recorded is read, and continued."""
    outcome = Outcome(0, "ok", metrics={"accuracy": 0.5}, machine={"backend": "cpu", "native kernels": True})
    ran = Evaluation.of(outcome, trial(0), 7)
    assert [ran.native, Evaluation.of(replace(outcome, machine={}), trial(0), 7).native] == [True, None]
    with Journal.create(path) as journal:
        journal.settle(ok(0), [ran])
        assert journal.evaluations() == [ran]
        assert [row["native_kernels"] for row in csv.DictReader(io.StringIO(trials_csv(summarize(journal))))] == ["yes"]
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE evaluation DROP COLUMN native")
    with Journal.open(path, read_only=True) as journal:
        assert journal.evaluations() == [replace(ran, native=None)]
    with Journal.open(path) as journal:
        journal.settle(ok(1), [replace(ran, trial=1, native=False)])
        assert [one.native for one in journal.evaluations()] == [None, False]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path):
    with Journal.create(path, meta={"seed": 7}) as journal:
        yield journal


def test_a_trial_from_proposal_to_result(journal):
    proposal = Proposal((1, 0, 2), fidelity=1, parent=None, note={"log_probability": -1.5})
    begun = journal.begin(Trial.of(0, proposal, "arch0"))
    assert begun.proposal == proposal
    assert not begun.done
    assert not begun.ok
    assert journal.next_number == 1
    assert journal.evaluations() == []
    done = journal.finish(replace(begun, outcome="ok", metrics={"accuracy": 0.7}), [evaluation(0, worker="w1")])
    assert done.ok
    assert done.done
    assert journal.trials() == [done]
    assert journal.trial(0) == done
    assert done.metrics == {"accuracy": 0.7}
    assert done.proposal == proposal
    assert journal.evaluations() == [evaluation(0, worker="w1")]


@pytest.mark.parametrize("write", ["begin", "settle", "finish"])
def test_a_trial_holds_no_metric_named_like_an_objective(path, write):
    with Journal.create(path) as journal:
        if write == "finish":
            journal.begin(trial(0))
        wrong = trial(0, outcome=None if write == "begin" else "ok", metrics={"latency_ms/host": 2.0})
        with pytest.raises(AssertionError, match="metric latency_ms/host: a prediction is predicted_ms/<device>"):
            getattr(journal, write)(wrong)
        assert [t.metrics for t in journal.trials()] == [{}] * (write == "finish")


def test_everything_is_read_back_after_reopening(path):
    measurement = Measurement("arch0", "host", "cpu x jax 0.10", 1.2, 1.25, 1.75, 30, {"threads": 1})
    failed = trial(1, parent=0, fidelity=2, outcome="oom", error="out of memory: 3 GiB")
    tested = evaluation(0, purpose="test", memory_bytes=2**40, outcome="nan", error="step 3")
    with Journal.create(path, meta={"identity": {"space": "tiny", "sizes": [1, 2]}}) as journal:
        journal.settle(ok(0), [evaluation(0)])
        journal.settle(failed)
        journal.settle(trial(2, outcome="ok", metrics={"accuracy": 0.5}, repeat_of=0))
        journal.begin(trial(3))
        journal.add_evaluation(tested)
        journal.add_measurement(measurement)
        journal.add_event("interrupted", by="user")
        journal.put("predictor", {"coefficients": [0.1, 0.2]})
        journal.put("predictor", {"coefficients": [0.3]})
    for read_only in (False, True):
        with Journal.open(path, read_only=read_only) as journal:
            assert journal.trials() == [
                ok(0), failed, trial(2, outcome="ok", metrics={"accuracy": 0.5}, repeat_of=0), trial(3)
            ]  # fmt: skip
            assert journal.evaluations() == [evaluation(0), tested]
            assert journal.evaluations("test") == [tested]
            assert journal.evaluations("search") == [evaluation(0)]
            assert journal.measurements() == [measurement]
            assert [(e.kind, e.data) for e in journal.events("interrupted")] == [("interrupted", {"by": "user"})]
            assert journal.events("else") == []
            assert journal.events()[0].time > 1.7e9
            assert journal.get("identity") == {"space": "tiny", "sizes": [1, 2]}
            assert journal.get("predictor") == {"coefficients": [0.3]}
            assert journal.get("absent") is None
            assert journal.get("absent", 3) == 3
            assert journal.next_number == 4


def test_retries_are_counted_and_logged(journal):
    journal.begin(trial(0))
    journal.retry(0, "worker died")
    assert journal.retry(0, "node died").attempts == 2
    assert [event.data for event in journal.events("retry")] == [
        {"number": 0, "error": "worker died", "cause": "worker"},
        {"number": 0, "error": "node died", "cause": "worker"},
    ]
    assert journal.finish(ok(0)).attempts == 2


@pytest.mark.parametrize(
    "act",
    [
        lambda j: j.begin(trial(3)),
        lambda j: j.begin(trial(1)),
        lambda j: j.begin(ok(2)),
        lambda j: j.settle(trial(2)),
        lambda j: j.settle(trial(2, outcome="fine")),
        lambda j: j.settle(ok(2), [evaluation(1)]),
        lambda j: j.finish(ok(0)),
        lambda j: j.finish(ok(2)),
        lambda j: j.finish(trial(1)),
        lambda j: j.finish(ok(1), [evaluation(1), evaluation(0)]),
        lambda j: j.retry(0, ""),
        lambda j: j.retry(5, ""),
        lambda j: j.trial(2),
        lambda j: j.add_evaluation(evaluation(2)),
    ],
    ids=["skips a number", "number again", "begins done", "settles pending", "unknown outcome", "settles another's",
         "finishes twice", "finishes unknown", "finishes pending", "finishes another's", "retries done",
         "retries unknown", "reads unknown", "evaluates unknown"],
)  # fmt: skip
def test_wrong_calls_leave_the_journal_as_it_was(journal, act):
    journal.settle(ok(0))
    journal.begin(trial(1))
    with pytest.raises(AssertionError):
        act(journal)
    assert journal.trials() == [ok(0), trial(1)]
    assert journal.evaluations() == []
    assert journal.events() == []
    assert journal.finish(ok(1)).ok


def test_a_reader_may_not_write(journal, path):
    with Journal.open(path, read_only=True) as reader, pytest.raises(AssertionError, match="reading"):
        reader.put("a", 1)


def test_numbers_json_does_not_know(journal, path):
    metrics = {"accuracy": NAN, "loss": INF, "gain": -INF, "params": np.float32(0.1), "macs": 3}
    note = {
        "policy": [0.5, NAN, {"deep": (-INF, np.float64(INF))}],
        "array": np.arange(2),
        "proxy": MappingProxyType({}),
    }
    settled = journal.settle(trial(0, outcome="nan", metrics=metrics, note=note), [evaluation(0)])
    journal.add_measurement(Measurement("a", "host", "f", 1.0, NAN, INF, 0))
    journal.put("limits", [INF])
    with Journal.open(path, read_only=True) as reader:
        assert repr(reader.trials()) == repr([settled])
        assert repr(settled.metrics) == repr(
            {"accuracy": NAN, "loss": INF, "gain": -INF, "params": float(np.float32(0.1)), "macs": 3.0}
        )
        assert repr(settled.note) == repr({"policy": [0.5, NAN, {"deep": [-INF, INF]}], "array": [0, 1], "proxy": {}})
        assert math.isnan(reader.measurements()[0].median_ms)
        assert reader.measurements()[0].p95_ms == INF
        assert reader.get("limits") == [INF]


@pytest.mark.parametrize("note", [{"$float": "x"}, {"$float": [NAN]}, {"a": {"$float": {"$float": INF}}}, {"$float": 1, "b": 2}])
def test_our_own_mark_for_floats_may_be_anybodys_key(journal, note):
    assert repr(journal.settle(replace(ok(0), note=note)).note) == repr(note)


def test_text_that_utf8_cannot_hold(journal):
    settled = journal.settle(trial(0, outcome="error", error="bad \udcff name\0!"))
    assert settled.error == "bad \\udcff name\\0!"


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_any_trial_comes_back(journal):
    @given(
        st.lists(st.integers(0, 2**40)).map(tuple),
        st.dictionaries(st.text(), JSONS, max_size=3),
        st.dictionaries(st.text(), st.floats(), max_size=3),
        st.sampled_from(OUTCOMES),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        st.none() | st.integers(0, 10),
    )
    @settings(max_examples=100, deadline=None)
    def check(genome, note, metrics, outcome, error, parent):
        number = journal.next_number
        given_trial = Trial(number, genome, "id", 3, parent, note, outcome, error, metrics, parent, 2)
        assert repr(journal.settle(given_trial)) == repr(given_trial)
        assert repr(journal.trial(number)) == repr(given_trial)

    check()


def test_differences_in_words(tmp_path):
    def made(name, *trials):
        journal = Journal.create(tmp_path / name)
        for each in trials:
            journal.settle(each) if each.done else journal.begin(each)
        return contextlib.closing(journal)

    base = [ok(0), trial(1, outcome="nan", metrics={"accuracy": NAN}, note={"a": 1, "b": 2}), trial(2)]
    same = [replace(base[0], attempts=3, error="slow"), replace(base[1], note={"b": 2, "a": 1}), trial(2)]
    other = [replace(base[0], metrics={"accuracy": 0.25}, repeat_of=9), base[1]]
    with made("a", *base) as a, made("b", *same) as b, made("c", *other) as c:
        assert diff(a, b) == []
        assert diff(a, c) == [
            "trials: 3 != 2",
            'trial 0: metrics: {"accuracy":0.5} != {"accuracy":0.25}',
            "trial 0: repeat_of: null != 9",
        ]


def test_people_can_read_the_tables(journal, path):
    journal.settle(ok(0, accuracy=0.5), [evaluation(0)])
    with contextlib.closing(sqlite3.connect(path)) as database:
        row = database.execute("SELECT number, genome, outcome, metrics FROM trial").fetchone()
        assert row == (0, "[0,0,2]", "ok", '{"accuracy":0.5}')
        seconds = "SELECT sum(train_s), json_extract(metrics, '$.accuracy') FROM evaluation"
        assert database.execute(seconds).fetchone() == (2.5, 0.5)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("name", ["a b", "what?", "50%", "a=1,b=(2)", "#1", "%41", "ünï", "?mode=memory", "c&d;e"])
def test_strange_folder_names(tmp_path, name):
    path = tmp_path / name / "journal.sqlite"
    path.parent.mkdir()
    with Journal.create(path) as journal:
        journal.settle(ok(0))
        with Journal.open(str(path), read_only=True) as reader:
            assert reader.trials() == [ok(0)]
    assert path.is_file()
    assert [child.name for child in tmp_path.iterdir()] == [name]


def test_a_reader_sees_one_moment_of_a_journal_in_use(journal, path):
    journal.settle(ok(0))
    with Journal.open(path, read_only=True) as reader:
        journal.settle(ok(1), [evaluation(1)])
        assert [len(reader.trials()), len(reader.evaluations())] == [1, 0]
    with Journal.open(path, read_only=True) as reader:
        assert [len(reader.trials()), len(reader.evaluations())] == [2, 1]


def test_relative_paths_survive_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Journal.create("journal.sqlite") as journal:
        monkeypatch.chdir("/")
        journal.settle(ok(0))
    assert (tmp_path / "journal.sqlite").is_file()


def test_left_overs_of_a_deleted_or_half_made_journal_do_no_harm(tmp_path, path):
    with Journal.create(path) as journal:
        journal.settle(ok(0))
        left_over = {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("-wal", "-shm")}
    path.unlink()
    for suffix, content in left_over.items():
        Path(f"{path}{suffix}").write_bytes(content)
    Path(f"{path}.new").write_bytes(b"half")
    with Journal.create(path, meta={"seed": 1}) as journal:
        assert journal.trials() == []
        assert journal.get("seed") == 1
    assert sorted(child.name for child in tmp_path.iterdir()) == ["journal.sqlite", "journal.sqlite-lock"]


def made_by_sqlite(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def damaged_pages(path):
    with Journal.create(path) as journal:
        for number in range(200):
            journal.settle(ok(number))
    path.write_bytes(path.read_bytes()[:8192] + b"\xff" * 30_000)


OURS = f"PRAGMA application_id = {APPLICATION}"
BROKEN = {
    "missing": (lambda path: None, "no such file"),
    "a folder": (lambda path: path.mkdir(), "a folder"),
    "empty": (lambda path: path.touch(), "not a journal"),
    "text": (lambda path: path.write_text("number,outcome\n" * 100), "not a journal"),
    "foreign": (lambda path: made_by_sqlite(path, "CREATE TABLE trial(number)"), "not a journal"),
    "newer": (
        lambda path: made_by_sqlite(path, OURS, "PRAGMA user_version = 9"),
        "newer nas .schema 9, this one knows 2",
    ),
    "unknown": (lambda path: made_by_sqlite(path, OURS), "older nas .schema 0, this one reads 2.: .*start a new run"),
    "damaged": (damaged_pages, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("case", BROKEN)
def test_files_that_are_no_journal(path, case, read_only):
    make, message = BROKEN[case]
    make(path)
    with pytest.raises(JournalError, match=message) as caught, Journal.open(path, read_only=read_only) as journal:
        journal.trials()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "statement", ["UPDATE trial SET metrics = '{'", "UPDATE trial SET genome = 3", "ALTER TABLE trial RENAME TO t",
                  "ALTER TABLE trial DROP COLUMN note"],
)  # fmt: skip
def test_edited_tables(path, statement):
    with Journal.create(path) as journal:
        journal.settle(ok(0))
    made_by_sqlite(path, statement)
    with Journal.open(path, read_only=True) as journal, pytest.raises(JournalError, match="damaged: "):
        journal.trials()


def test_create_refuses_what_exists_and_folders_that_do_not(journal, path, tmp_path):
    with pytest.raises(JournalError, match=r"journal\.sqlite: exists already"):
        Journal.create(path)
    with pytest.raises(JournalError, match="its folder does not exist"):
        Journal.create(tmp_path / "runs" / "journal.sqlite")
    assert journal.settle(ok(0)).ok


def test_a_full_disk_is_one_clear_line_and_loses_nothing(journal, path):
    journal.settle(ok(0))
    pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match=r"journal\.sqlite: the disk is full"):
        journal.settle(trial(1, outcome="error", error="x" * 100_000), [evaluation(1)])
    journal._database.execute("PRAGMA max_page_count = 1000000")
    assert journal.trials() == [ok(0)]
    assert journal.settle(ok(1)).number == 1


@contextlib.contextmanager
def as_nobody():
    """Root may write everywhere, so it becomes nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def folder():
    """A folder that others may look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)
        os.chmod(name, 0o755)


def seal(folder):
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)


needs_users = pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")


@needs_users
@pytest.mark.parametrize("left_over", [(), ("-wal",), ("-wal", "-shm")], ids=["closed", "no index", "killed"])
def test_reading_in_a_read_only_folder(path, folder, left_over):
    with Journal.create(path) as journal:
        journal.settle(ok(0))
        for suffix in ("", *left_over):
            (folder / f"journal.sqlite{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    if not left_over:
        (folder / "journal.sqlite").write_bytes(path.read_bytes())
    before = sorted(folder.iterdir())
    seal(folder)
    with as_nobody(), Journal.open(folder / "journal.sqlite", read_only=True) as reader:
        assert reader.trials() == [ok(0)]
    assert sorted(folder.iterdir()) == before


@needs_users
def test_writing_in_a_read_only_folder(folder):
    Journal.create(folder / "journal.sqlite").close()
    seal(folder)
    with as_nobody():
        with pytest.raises(JournalError, match=r"journal\.sqlite: its folder cannot be written: Permission denied"):
            Journal.open(folder / "journal.sqlite")
        with pytest.raises(JournalError, match=r"other\.sqlite: its folder cannot be written"):
            Journal.create(folder / "other.sqlite")


@needs_users
def test_writing_a_read_only_file(folder):
    Journal.create(folder / "journal.sqlite").close()
    seal(folder)
    folder.chmod(0o777)
    (folder / "journal.sqlite-lock").chmod(0o666)
    with as_nobody(), pytest.raises(JournalError, match=r"journal\.sqlite: cannot be written: .* is read-only"):
        Journal.open(folder / "journal.sqlite")


def python(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


HOLDER = (
    "import sys; from nas.journal import Journal; j = Journal.open(sys.argv[1]); print('open', flush=True); input()"
)


def test_one_writer_at_a_time(path):
    Journal.create(path).close()
    with python(HOLDER, path) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "open\n"
        for attempt in (Journal.open, Journal.create):
            with pytest.raises(JournalError, match=rf"being written by another process .pid {holder.pid}"):
                attempt(path)
        with Journal.open(path, read_only=True) as reader:
            assert reader.trials() == []
        holder.kill()
    Journal.open(path).close()


WRITER = """
import json, sys
from dataclasses import replace
from nas.journal import Journal
from nas.records import Evaluation, Trial
with Journal.open(sys.argv[1]) as journal:
    for trial in journal.trials():
        if not trial.done:
            journal.finish(replace(trial, outcome="lost"))
    while True:
        number = journal.next_number
        trial = journal.begin(Trial(number, (number, 1), "id"))
        print(json.dumps(["begun", number]), flush=True)
        done = replace(trial, outcome="ok", metrics={"accuracy": 1 / (1 + number)})
        journal.finish(done, [Evaluation(number, 0, 7, {}, 0.0, 0.0)] * 2)
        print(json.dumps(["done", number]), flush=True)
"""


def test_no_acknowledged_trial_is_lost_to_kill(path):
    Journal.create(path).close()
    begun, done = set(), set()
    for round_ in range(3):
        with python(WRITER, path) as writer:
            assert writer.stdout
            lines = [writer.stdout.readline() for _ in range(random.Random(round_).randrange(20, 80))]
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.read().splitlines()
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):  # the line it died in
                event, number = json.loads(line)
                (begun if event == "begun" else done).add(number)
        with Journal.open(path, read_only=True) as journal:
            trials = journal.trials()
            assert [each.number for each in trials] == list(range(len(trials)))
            assert begun <= {each.number for each in trials}
            assert done <= {each.number for each in trials if each.ok}
            assert all(each.metrics == {"accuracy": 1 / (1 + each.number)} for each in trials if each.ok)
            evaluated = [each.trial for each in journal.evaluations()]
            assert evaluated == [each.number for each in trials if each.ok for _ in range(2)]
    assert len(done) > 20
