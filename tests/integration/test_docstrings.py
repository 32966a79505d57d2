"""Every example (`>>>`) in the docstrings of what users call runs and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

PACKAGES = (
    "nas.api",
    "nas.testing",
    "nas.space",
    "nas.tasks",
    "nas.arch",
    "nas.objectives",
    "nas.cost",
    "nas.data",
    "nas.explain",
    "nas.train",
    "nas.nn",
    "nas.recipe",
)


def modules() -> list[str]:
    found = [str(name) for name in PACKAGES]
    for name in PACKAGES:
        package = importlib.import_module(name)
        found += [one.name for one in pkgutil.walk_packages(getattr(package, "__path__", []), f"{name}.")]
    return found


def test_examples_of_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failures: list[str] = []
    for name in modules():
        module = importlib.import_module(name)
        for example in finder.find(module, globs={**vars(module)}):
            runner.run(example, out=failures.append)
    assert not failures, "\n".join(failures)
    assert runner.summarize(verbose=False).attempted > 15
