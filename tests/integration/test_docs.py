"""README and documentation are true: commands resolve, snippets run, links lead somewhere, quoted messages exist.

A page's fences are read as a user reads them. Files are the fences whose first line names them (`# my_blocks.py`); commands
are the lines of `sh` fences. `<!-- skip: reason -->` before a fence says why it cannot run here; the settings of skipped
commands are checked all the same.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import nas
from documents import CALLS, DOCS, PAGES, commands, fences, shown, write_files
from nas.arch.files import load_arch
from nas.cli import COMMANDS, run
from nas.core.plugins import REGISTRIES, load_plugins
from nas.core.yamlio import parse_yaml
from nas.space import load_space
from places import ROOT

for _module in set(REGISTRIES.values()):
    importlib.import_module(_module)  # what is loaded before a test is as it was after it

# What makes a page's own commands small enough to run here; later settings win.
SMALL = {"search": ["executor=local", "track=[]"], "profile": ["samples=6", "holdout=2"]}
EXTENDING = sorted(page for page in (DOCS / "extending").glob("*.md") if page.stem != "index")
TOY = {"trials": 2, "recipe": {"name": "quick", "epochs": 1}, "executor": "local"}
TOY_DEVICE = {"onnxruntime": {"samples": 4, "networks": 2, "seconds": 1}}
GUESS = DOCS / "extending" / "evaluator.md"  # its evaluator needs no training


every_page = pytest.mark.parametrize("page", PAGES, ids=shown)
@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder on the import path, whose modules and blocks are forgotten after the test."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["nas"])
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_every_command_is_shown_and_described() -> None:
    assert len(CALLS) > 60
    assert {call.split()[1] for call, _ in CALLS} >= set(COMMANDS)
    described = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert all(f"`nas {name}`" in described for name in COMMANDS)
    readme = PAGES[0].read_text(encoding="utf-8")
    assert "\nmake search" in readme
    assert "report in runs/default/" in readme
    assert "run=runs/default " in (DOCS.parent / "Makefile").read_text(encoding="utf-8")
    assert "\nmake test" in readme


@every_page
def test_the_settings_of_every_command_resolve(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of searches and contests stand in tests/integration/test_doc_commands.py, which plans them too."""
    write_files(page, folder)
    for call in (call for call, where in CALLS if where == page and call.split()[1] not in ("search", "bench")):
        assert run([*resolvable(shlex.split(call)[1:]), "--cfg", "job"]) == 0, f"{call}: {capsys.readouterr().err}"
        capsys.readouterr()


def resolvable(words: Sequence[str]) -> list[str]:
    """The words of a command whose settings can be shown: of a sweep the first value."""
    return [word.split(",")[0] if re.match(r"seed=\d", word) else word for word in words if word != "-m"]


@pytest.mark.parametrize("page", EXTENDING, ids=shown)
def test_a_page_on_extending_works(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of it, but that searches score by the evaluator of docs/extending/evaluator.md instead of training.

    Of the page on tasks, whose metrics that evaluator does not have, the files alone.
    """
    write_files(GUESS, folder)
    walk(page, folder, capsys, (lambda words: []) if page.stem == "task" else untrained)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "page", [page for page in EXTENDING if "recipe=quick" in page.read_text(encoding="utf-8")], ids=shown
)
def test_a_page_on_extending_works_as_it_stands(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk(page, folder, capsys, lambda words: words)


@every_page
def test_calls_of_the_python_api_have_arguments_that_it_takes(page: Path) -> None:
    for fence in (f for f in fences(page) if f.language == "python"):
        for call in (node for node in ast.walk(ast.parse(fence.body)) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "nas":
                given = {keyword.arg: None for keyword in call.keywords if keyword.arg}
                inspect.signature(getattr(nas, call.func.attr)).bind_partial(*call.args, **given)


@pytest.mark.nightly
@pytest.mark.parametrize("page", [PAGES[0], DOCS / "quickstart.md"], ids=shown)
def test_the_python_of_a_page_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it as one script, but that trainings are short."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    search, train = nas.search, nas.train
    monkeypatch.setattr(nas, "search", lambda *a, **k: search(*a, **{**k, **TOY, "device": TOY_DEVICE}))
    monkeypatch.setattr(nas, "train", lambda *a, **k: train(*a, **{**k, "recipe": "quick", "epochs": 1}))
    (folder / "docs").symlink_to(DOCS)
    script = "".join(f.body for f in fences(page) if f.language == "python" and not f.skip)
    exec(compile(script, shown(page), "exec"), {})
    assert (folder / "bundle" / "model.tflite").is_file()


def untrained(words: list[str]) -> list[str]:
    """A search whose candidates are not trained."""
    if words[0] != "search" or any(word.startswith("evaluator=") for word in words):
        return words
    return [word.replace("plugins=[", "plugins=[my_evaluator,") for word in words] + ["evaluator=guess"]


def walk(
    page: Path, folder: Path, capsys: pytest.CaptureFixture[str], changed: Callable[[list[str]], list[str]]
) -> None:
    """Writes the files of a page, then runs its tests and commands in their order."""
    assert any(name.startswith("my_") for name in write_files(page, folder))
    done = 0
    for fence in (f for f in fences(page) if not f.skip):
        if fence.language == "python" and fence.file is not None:
            runpy.run_path(str(folder / fence.file), run_name="__main__")
            done += 1
        for call in commands(fence):
            if not (words := changed(shlex.split(call)[1:])):
                continue
            code = run([*words, *SMALL.get(words[0], [])])
            assert code == 0, f"{call}: {capsys.readouterr().err}"
            done += 1
    assert done, "the page shows nothing that runs"


@every_page
def test_example_architectures_and_spaces_can_be_read(page: Path, folder: Path) -> None:
    write_files(page, folder)
    plugins = [name.removesuffix(".py") for f in fences(page) if (name := f.file or "").startswith(("my_blocks", "my_task"))]
    if plugins:
        load_plugins(plugins, [str(folder)])
    for fence in fences(page):
        if fence.language != "yaml" or fence.file is None:
            continue
        data = parse_yaml(fence.body, fence.file)
        if "one_of" in fence.body:
            assert load_space(fence.file).size >= 4
        elif "stages" in data:
            assert load_arch(fence.file).stages


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), f"{shown(page)}: {target}"


def test_messages_of_the_faq_are_those_of_the_program() -> None:
    """Headings in code are what users see: their fixed text must be in the source, or the answer has become stale."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "nas").rglob("*.py"))
    headings = re.findall(r"^### (.*`.*)$", (DOCS / "faq.md").read_text(encoding="utf-8"), re.MULTILINE)
    messages = [
        text for heading in headings for text in re.findall(r"`([^`]+)`", heading) if " " in text and "zsh:" not in text
    ]
    missing = [text for text in messages if text not in source]
    assert len(messages) > 20
    assert not missing, f"docs/faq.md quotes what nas/ does not say (any more): {missing}"


@pytest.mark.parametrize("path", sorted((DOCS / "_ext").glob("*.py")), ids=shown)
def test_extensions_need_nothing_but_sphinx(path: Path) -> None:
    """`make docs` reads conf/ and nas/ as files: a package that cannot be imported here is no reason to have no reference."""
    assert not re.search(r"^(import|from) nas", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=shown)
def test_the_configuration_reference_has_every_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    reference = importlib.import_module("config_reference")
    listed = {entry.key for entry in reference.read(path).entries}
    assert listed >= set(leaves(parse_yaml(path.read_text(encoding="utf-8"), path.name))) - {"name"}


def leaves(data: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Dotted keys of a file that have a value; what is written in one line with its braces is one value."""
    for key, value in data.items():
        if key == "defaults":
            continue
        if isinstance(value, dict) and key not in ("metrics", "constraints", "base_settings"):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


@pytest.mark.nightly
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-n", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reference" / "configuration.html").is_file()
