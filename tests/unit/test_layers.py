"""The six layers: a module imports from its own layer and those below, in one direction within a layer, without cycles."""

import ast
import functools
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = next(parent for parent in Path(__file__).resolve().parents if (parent / "pyproject.toml").exists())
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "nas").rglob("*.py"))
}
LAYERS = (
    ("core", "records"),
    ("arch", "space", "cost", "objectives", "problem", "recipe", "journal"),
    ("nn", "convert", "data", "tasks", "train", "supernet", "explain"),
    ("surrogates", "controllers", "latency", "tabular", "estimates"),
    ("evaluators", "runtime"),
    ("report", "workflows"),
    ("api", "cli", "__init__", "__main__"),
)
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
APART = {"testing"}  # may import anything; nothing imports it


def imports(module: str, tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(module of nas, line) of every import in a file, those inside functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name.split(".")[0] == "nas")
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: relative import"
            base = node.module or ""
            if base.split(".")[0] == "nas":
                yield from (
                    (f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base, node.lineno)
                    for alias in node.names
                )


@functools.cache
def all_imports() -> dict[str, set[tuple[str, int]]]:
    """Of every module; read by the one process that runs these tests, not by all that collect them."""
    return {name: set(imports(name, ast.parse(path.read_text(encoding="utf-8")))) for name, path in MODULES.items()}


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_every_room_has_a_layer() -> None:
    rooms = {room_of(module) for module in MODULES} - APART
    assert rooms <= LAYER.keys(), f"no layer for {sorted(rooms - LAYER.keys())}: add it to LAYERS"
    assert len(rooms | APART) <= 30


def test_imports_point_down() -> None:
    faults = [
        f"{module}:{line}: {room_of(module)} may not import {other}"
        for module, found in all_imports().items()
        for other, line in sorted(found)
        if room_of(module) not in APART
        and (room_of(other) in APART or LAYER[room_of(other)] > LAYER[room_of(module)])
    ]
    assert not faults, "\n".join(faults)


def _acyclic(graph: dict[str, set[str]], what: str) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle of {what}: {' -> '.join(error.args[1])}")


def test_rooms_make_no_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for module, found in all_imports().items():
        graph.setdefault(room_of(module), set()).update(room_of(other) for other, _ in found)
    _acyclic({room: others - {room} for room, others in graph.items()}, "packages")


def test_modules_make_no_cycle() -> None:
    """Imports inside functions count too, but for a registry that is asked for by name from below."""
    graph = {module: {other for other, _ in found} - {module, "nas"} for module, found in all_imports().items()}
    _acyclic(graph, "modules")
