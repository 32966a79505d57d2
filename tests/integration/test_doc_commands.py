"""Commands in README and documentation as far as they go without data and devices: searches are planned, tables are searched.

That their settings resolve, that the pages on extending work and that snippets run, tests/integration/test_docs.py sees to.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from documents import CALLS, PAGES, commands, fences, shown, write_files
from nas.cli import run
from nas.data import Dataset, load_dataset
from nas.journal import Journal
from nas.records import JSON
from nas.workflows.bench.run import BenchCommand, checked_controllers
from nas.workflows.default_device import with_device
from nas.workflows.search.plan import SearchCommand, make_plan
from places import ROOT
from table_makers import write_accel, write_macro

NOT_HERE = re.compile(r"no such file|does not exist|no file|cannot import|unknown '\w+'.*needs plugins")  # the reader's own files
OTHERS = [(page, call) for page in PAGES for f in fences(page) for call in commands(f) if not call.startswith("nas ")]


@functools.cache
def loaded(settings: str) -> Dataset:
    return load_dataset(json.loads(settings))


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, here: Path) -> list[SearchCommand]:
    """Searches that are planned and go no further; bench commands that are checked."""
    done: list[SearchCommand] = []

    def search(command: SearchCommand, *_: object) -> SimpleNamespace:
        make_plan(with_device(command)[0])
        done.append(command)
        return SimpleNamespace(best=None)

    def load(settings: Mapping[str, JSON]) -> Dataset:
        return loaded(json.dumps(dict(settings)))

    def bench(command: BenchCommand, *arguments: Any) -> tuple[None, list[Path]]:
        command.contest.check()
        assert dict(checked_controllers(command, arguments[1]))
        return None, []

    monkeypatch.setattr("nas.workflows.search.plan.load_dataset", load)
    monkeypatch.setattr("nas.cli.search.run_search", search)
    monkeypatch.setattr("nas.cli.bench.run_bench", bench)
    monkeypatch.setattr("nas.cli.bench.as_text", str)
    for name, write in (("accel_nasbench", write_accel), ("nas_bench_macro", write_macro)):
        (here / "downloads" / name).mkdir(parents=True)
        write(here / "downloads" / name)
    return done


def test_every_search_and_contest_is_planned(planned: list[SearchCommand], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = [(page, call) for call, page in CALLS if call.split()[1] in ("search", "bench")]
    for page, call in calls:
        write_files(page, here)
        words = [word.split(",")[0] if re.match(r"seed=\d", word) else word for word in shlex.split(call)[1:] if word != "-m"]
        code, said = run(words), capsys.readouterr().err
        assert code == 0 or NOT_HERE.search(said), f"{shown(page)}: {call}: {said}"
        assert code == 0 or "downloads" not in call or "plugins" in call, f"{shown(page)}: {call}: {said}"
    assert len(planned) > 15


def test_the_published_tables_are_there_for_the_commands(planned: list[SearchCommand]) -> None:
    assert sum("downloads" in call for call, _ in CALLS) >= 5


@pytest.mark.parametrize("page, call", OTHERS, ids=lambda value: value[:30] if isinstance(value, str) else shown(value))
def test_other_commands_name_what_there_is(page: Path, call: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    match shlex.split(call):
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        case ["pip", "install", what]:
            extra = re.search(r"\[(\w+)\]", what)
            assert extra is None or re.search(rf"^{extra[1]} = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
        case ["ray", "job", "submit", *words]:
            assert run([*words[words.index("nas") + 1 :], "--cfg", "job"]) == 0, capsys.readouterr().err
        case ["sqlite3", "-readonly", _, query]:
            Journal.create(here / "journal.sqlite").close()
            with sqlite3.connect(here / "journal.sqlite") as database:
                database.execute(query)
            database.close()
        case ["tail", "-f", file] | ["tensorboard", "--logdir", file]:
            assert re.fullmatch(r"runs/\w+/(trials/trial-\d{6}\.jsonl|tensorboard)", file)
        case ["adb" | "scp", *words]:  # a device that only users have; `shell` runs this program there
            assert "benchmark_model" in words
        case words:
            pytest.fail(f"{shown(page)}: {words}: no test knows this command")
