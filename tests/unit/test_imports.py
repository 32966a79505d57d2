"""Heavy libraries are imported in few packages, and data is never code; the layers are in test_layers."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from places import ROOT

FILES = sorted((ROOT / "nas").rglob("*.py"))
MODULES = {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in FILES}

# Heavy library -> packages that may import it when they are loaded, and those that may do so at all.
JAX = {"nn", "train", "convert", "explain", "latency", "evaluators", "supernet", "testing"}
WHEN_LOADED = {"jax": JAX, "jaxlib": JAX, "flax": JAX, "optax": JAX}
ANYWHERE = {"ray": {"runtime"}, "hydra": {"cli"}, "omegaconf": {"cli"}}

PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_YAML = {"Loader", "CLoader", "FullLoader", "CFullLoader", "UnsafeLoader", "CUnsafeLoader"} | {
    f"{kind}_load{every}" for kind in ("full", "unsafe") for every in ("", "_all")
}


class Import(NamedTuple):
    module: str
    line: int
    loads: bool  # executed when the file is imported: outside functions and TYPE_CHECKING


def imports(path: Path, tree: ast.AST, loads: bool = True) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, loads) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            yield from (Import(_target(base, alias.name), node.lineno, loads) for alias in node.names)
        elif (called := _import_module(node)) is not None:
            yield Import(called, getattr(node, "lineno", 0), loads)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(path, ast.Module(node.body, []), False)
            yield from imports(path, ast.Module(node.orelse, []), loads)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(path, node, loads and not inside)


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
    return ".".join((*package, *(node.module.split(".") if node.module else ())))


def _target(base: str, name: str) -> str:
    return f"{base}.{name}" if f"{base}.{name}" in MODULES else base


def _import_module(node: ast.AST) -> str | None:
    """The name in `importlib.import_module("name")` or `__import__("name")`."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return name
    return None


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_libraries_are_imported_where_they_belong() -> None:
    faults = []
    for path in FILES:
        own = path.relative_to(ROOT / "nas").parts[0].removesuffix(".py")
        for found in imports(path, parsed(path)):
            library = found.module.split(".")[0]
            places = ANYWHERE.get(library) or (WHEN_LOADED.get(library) if found.loads else None)
            if places is not None and own not in places:
                remedy = "; elsewhere import it inside a function" if library in WHEN_LOADED else ""
                faults.append(f"{shown(path)}:{found.line}: {library} belongs to {', '.join(sorted(places))}{remedy}")
    assert not faults, "\n".join(faults)


def test_data_is_never_code() -> None:
    faults = []
    for path in FILES:
        tree = parsed(path)
        found = [f"{one.line}: imports {one.module}" for one in imports(path, tree) if _is_pickle(one.module)]
        found += [f"{node.lineno}: {fault}" for node in expressions(tree) for fault in unsafe(node)]
        faults += [f"{shown(path)}:{fault}" for fault in found]
    assert not faults, "\n".join(faults)


def _is_pickle(module: str) -> bool:
    return module.split(".")[0] in PICKLES


def expressions(tree: ast.AST) -> Iterator[ast.expr]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.expr))


def unsafe(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
            yield f"{name}()"
        case ast.Attribute(value=ast.Name(id="yaml"), attr=name) if name in UNSAFE_YAML:
            yield f"yaml.{name}"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "load_all")):
            loaders = [*node.args[1:], *(word.value for word in node.keywords if word.arg == "Loader")]
            if not any(ast.unparse(loader).endswith("SafeLoader") for loader in loaders):
                yield "yaml.load without a SafeLoader"
        case ast.Call(keywords=words):
            if any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in words):
                yield "allow_pickle"


@pytest.mark.parametrize(
    "code, fault",
    [
        ("eval('1')", "eval()"),
        ("yaml.load(text)", "yaml.load without a SafeLoader"),
        ("yaml.load(text, Loader=yaml.FullLoader)", "yaml.load without a SafeLoader"),
        ("yaml.load(text, yaml.CSafeLoader)", None),
        ("yaml.unsafe_load(text)", "yaml.unsafe_load"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("np.load(path, allow_pickle=False)", None),
        ("model.eval()", None),
    ],
)
def test_the_check_for_code_in_data_sees(code: str, fault: str | None) -> None:
    found = [f for node in expressions(ast.parse(code)) for f in unsafe(node)]
    assert (fault in found) if fault else not found


@pytest.mark.parametrize(
    "code, expected",
    [
        ("import jax.numpy as jnp", [("jax.numpy", True)]),
        ("def f():\n    import jax", [("jax", False)]),
        ("class A:\n    import jax", [("jax", True)]),
        ("try:\n    import ray\nexcept ImportError:\n    ray = None", [("ray", True)]),
        ("if TYPE_CHECKING:\n    import jax\nelse:\n    import ray", [("jax", False), ("ray", True)]),
        ("from nas import arch, __version__", [("nas.arch", True), ("nas", True)]),
        ("from . import arch", [("nas.arch", True)]),
        ("importlib.import_module('ray')", [("ray", True)]),
    ],
)
def test_the_check_for_imports_sees(code: str, expected: list[tuple[str, bool]]) -> None:
    found = imports(ROOT / "nas" / "problem.py", ast.parse(code))
    assert [(one.module, one.loads) for one in found] == expected


def test_light_modules_load_no_heavy_library() -> None:
    """What the source does not show: a light module that imports a library that imports JAX."""
    light = [name for name in MODULES if room_of(name) not in {*JAX, "cli", "__main__", "runtime"}]
    code = f"import json, sys, {', '.join(light)}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not {"jax", "flax", "ray", "hydra"} & set(json.loads(done.stdout))


def test_training_needs_neither_ray_nor_hydra() -> None:
    """The library layers are usable without what runs and configures a search."""
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in ("ray", "hydra", "omegaconf"))
    code = f"import sys; {blocked}; import nas.convert, nas.data, nas.nn.network, nas.tasks, nas.train, nas.evaluators"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
