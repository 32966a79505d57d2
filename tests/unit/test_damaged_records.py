"""Records that somebody else may have written: what is not as nas writes it is one line that names the file."""

from __future__ import annotations

import ast
import json
import pickle
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.core.jsonio import parse_json
from nas.core.npzio import SMALL, check_members
from nas.data.record import DataRecord, record_from
from nas.journal import Journal, JournalError
from nas.nn.weights import load_weights
from nas.report import compare, page, summarize
from nas.train.checkpoint import Checkpoints
from places import ROOT
from report_makers import HOST, add, new_journal

DEEP = "[" * 100_000


def test_json_that_nests_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)
    assert parse_json(b'{"a": 1}', lambda found: {**found, "b": 2}) == {"a": 1, "b": 2}


# Calls of json.loads whose text this program has written a moment before, to a pipe or a string: no files.
OWN = {
    "nas/core/jsonio.py", "nas/runtime/worker.py", "nas/runtime/processes.py", "nas/train/parallel.py",
    "nas/latency/devices/xla_process.py",
}  # fmt: skip


def test_json_of_files_is_read_in_one_place() -> None:
    faults = [fault for path in (ROOT / "nas").rglob("*.py") for fault in read_directly(path)]
    assert [fault for fault in faults if fault.partition(":")[0] not in OWN] == []


def read_directly(path: Path) -> Iterator[str]:
    if "testing" in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called == "json.load" or (called == "json.loads" and not ast.unparse(node.args[0]).startswith("json.dumps(")):
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


ABOUT: dict[str, Any] = {"identity": {}, "curve": [], "train_s": 1.0, "losses": [], "best": None}
BAD_ABOUT: list[Any] = [
    DEEP, "{", "[]", "3", {**ABOUT, "identity": 3}, {**ABOUT, "identity": [["seed", 1]]}, {**ABOUT, "curve": 3}, {**ABOUT, "curve": [3]},
    {**ABOUT, "train_s": "x"}, {**ABOUT, "losses": "12"}, {**ABOUT, "losses": [None]}, {**ABOUT, "best": "x"}, {**ABOUT, "more": 1},
    {key: value for key, value in ABOUT.items() if key != "losses"},
]  # fmt: skip


@pytest.mark.parametrize("about", BAD_ABOUT, ids=str)
def test_a_damaged_checkpoint_is_left_for_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture, about: Any) -> None:
    text = about if isinstance(about, str) else json.dumps(about)
    np.savez(tmp_path / "epoch-000001.npz", about=np.frombuffer(text.encode(), np.uint8))
    start: Any = object()
    assert Checkpoints(tmp_path).restore(start, {}, 5).state is start
    assert "epoch-000001.npz: no checkpoint: " in caplog.text
    assert "trying the one before it" in caplog.text


META: dict[str, Any] = {
    "settings": [3, "x", [1]], "versions": ["x", 1], "space": ["x", {"name": 3}, {"size": "x"}, {"genes": 3}],
    "objectives": ["x", {"metrics": 3}, {"metrics": [["accuracy"]]}, {"metrics": [3]}, {"reward": 3}, {"metrics": [], "exponent": "x"}],
    "task": [[1], "x", {"name": "x"}, {"metrics": 3, "primary": "x", "name": "x"}], "command": [[1], {}], "fidelities": [3, "x"],
    "arch/000000000000": ["x", [1]],
}  # fmt: skip


def kept(folder: Path) -> Path:
    with new_journal(folder) as journal:
        add(journal, {"accuracy": 0.9, HOST: 8.0, "params": 10.0})
        add(journal, {"accuracy": 0.8, HOST: 4.0, "params": 9.0})
        return journal.path


def execute(path: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    database = sqlite3.connect(path)
    with database:
        for statement, values in statements:
            database.execute(statement, values)
    database.close()


def refused(path: Path) -> None:
    """Each way to read it ends in one line with the file's name, or with a page."""
    for read in (lambda journal: page(summarize(journal)), lambda journal: compare({"a": journal, "b": journal})):
        with Journal.open(path, read_only=True) as journal, pytest.raises(ValueError, match=r"journal\.sqlite: ") as found:
            read(journal)
        assert "\n" not in str(found.value)


@pytest.mark.parametrize("key, value", [(key, value) for key, values in META.items() for value in values])
def test_meta_of_another_kind_is_named(tmp_path: Path, key: str, value: Any) -> None:
    path = kept(tmp_path)
    execute(path, ("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value))))
    refused(path)


@pytest.mark.parametrize(
    "table, column, text",
    [("trial", "metrics", text) for text in ("[1]", '"x"', '{"accuracy": "x"}', '{"accuracy": null}', "1", DEEP, "{", '{"a": [1]}')]
    + [("trial", "genome", text) for text in ("3", DEEP)]
    + [("event", "data", text) for text in ("[1]", DEEP)],
)
def test_columns_of_another_kind_are_named(tmp_path: Path, table: str, column: str, text: str) -> None:
    path = kept(tmp_path)
    with Journal.open(path) as journal:
        journal.add_event("start")
    execute(path, (f"UPDATE {table} SET {column} = ?", (text,)))
    refused(path)


@pytest.mark.parametrize("lease", ['"x"', "[1]", '{"host": 1}', DEEP])
def test_a_lease_of_another_kind_is_named(tmp_path: Path, lease: str) -> None:
    path = kept(tmp_path)
    execute(path, ("INSERT OR REPLACE INTO meta VALUES ('lease', ?)", (lease,)))
    with pytest.raises(JournalError, match="the lease is damaged"), Journal.open(path, read_only=True) as journal:
        journal.lease()


def npy(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_weights_that_are_a_gigabyte_of_zeros_in_a_megabyte_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, size = tmp_path / "weights.npz", SMALL + 4
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("params|a|b.npy", "w") as file:
        file.write(npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size // 4},)}}"))
        file.write(bytes(size))
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda self, name: pytest.fail(f"read {name}"))
    with pytest.raises(ValueError, match=r"weights\.npz: no weights file: params\|a\|b: 67,108,.* bytes packed in .*"):
        load_weights(path)


HEADERS: dict[str, str] = {
    "deep": "{'descr': " + "(" * 3000 + ", 'shape': (1,)}", "code": "__import__('os').system('touch RAN')",
    "a terabyte": "{'descr': '<f4', 'fortran_order': False, 'shape': (300000000000,)}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "cut": "{'descr': '<f4'",
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_arrays_are_as_large_as_they_say(tmp_path: Path, header: str) -> None:
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("params|a|b.npy", npy(header))
    with pytest.raises(ValueError, match=r"w\.npz: no weights file: "):
        load_weights(path)
    np.savez(path, a=np.zeros(3))
    with zipfile.ZipFile(path) as archive:
        check_members(archive)


USUAL = {"classes": ["a", "b"], "mean": [0.5], "std": [0.3], "resolution": 8, "channels": 1, "resize": "crop", "digest": "0f"}


@pytest.mark.parametrize(
    "change",
    [{"classes": [[1]]}, {"classes": 3}, {"mean": ["x"]}, {"mean": [float("nan")]}, {"std": [0]}, {"std": [float("inf")]},
     {"resolution": 10**9}, {"resolution": "8"}, {"resolution": True}, {"resize": "shrink"}],
)  # fmt: skip
def test_what_a_bundle_says_of_images_is_checked(change: dict[str, Any]) -> None:
    read: Callable[[], object] = lambda: record_from({**USUAL, **change})  # noqa: E731
    with pytest.raises((ValueError, TypeError)):
        read()
    assert record_from(USUAL) == DataRecord(("a", "b"), (0.5,), (0.3,), 8, 1, "crop", "0f")


@pytest.mark.parametrize("name", ["w.npz", "w.pth", "w.safetensors", "w.npy"])
@pytest.mark.parametrize("content", [pickle.dumps({"a": 1}), b"PK\x03\x04 cut", b"\x08\0\0\0\0\0\0\0{}      ", b"", b"{}"])
def test_nobody_is_told_to_load_a_pickle(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="no weights file: ") as found:
        load_weights(tmp_path / name)
    assert "pickle" not in str(found.value)
