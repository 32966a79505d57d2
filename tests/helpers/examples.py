"""Runs a script of examples/ at toy size, as its user would."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from places import ROOT

EXAMPLES = ROOT / "examples"


def run_example(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the script leaves in its namespace. It works in `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--toy"])
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
