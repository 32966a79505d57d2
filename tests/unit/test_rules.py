"""What the tests themselves keep: no file imports another, nothing waits or asks a clock, and helpers hold no tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

from places import HELPERS, ROOT

TESTS = ROOT / "tests"
FOLDERS = ("unit", "conformance", "integration")
CLOCKS = {"sleep", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "process_time_ns"}


LONGEST = 330  # lines: what one can read in one go; a table of tests may be longer
SHORT = ("nas", "benchmarks", "examples", "tests/helpers", "docs")


def test_no_file_is_too_long_to_read() -> None:
    files = [path for folder in SHORT for path in (ROOT / folder).rglob("*.py") if "_build" not in path.parts]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: count for path, count in lines.items() if count > LONGEST} == {}


def test_no_test_file_imports_another() -> None:
    names = {path.stem for path in TESTS.rglob("test_*.py")}
    assert [fault for path in TESTS.rglob("*.py") for fault in imported(path, names)] == []


def imported(path: Path, names: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            given = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"{path.relative_to(ROOT)}:{node.lineno}" for name in given if name.split(".")[-1] in names)


def test_no_test_sleeps_or_reads_a_clock() -> None:
    """Code that a test gives to another process may wait for ever; a test may not wait for it to be quick."""
    files = [path for folder in FOLDERS for path in (TESTS / folder).glob("*.py")]
    assert [fault for path in files for fault in timed(path)] == []


def timed(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr=name)) if name in CLOCKS:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: time.{name}"
            case ast.ImportFrom(module="time", names=names) if CLOCKS & {alias.name for alias in names}:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: imports a clock"


def test_helpers_hold_no_tests_and_no_test_stands_outside_its_folder() -> None:
    assert not list(HELPERS.glob("test_*.py"))
    assert not list(TESTS.glob("test_*.py"))
