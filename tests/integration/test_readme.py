"""The README's commands: every one is understood, its links lead somewhere, its example space and block work."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from nas.arch import blocks
from nas.cli import COMMANDS, run
from nas.core.yamlio import parse_yaml
from nas.space import load_space
from places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
CALLS = sorted({line.split("#")[0].strip() for line in LINES if line.startswith("nas ")})


def test_there_are_commands_to_try() -> None:
    assert len(CALLS) > 12
    assert {call.split()[1] for call in CALLS} >= {"search", "report"}
    assert all(f"`nas {name}" in README for name in COMMANDS)
    assert "make search" in README
    assert "make test" in README


@pytest.mark.parametrize("call", CALLS)
def test_the_settings_of_every_command_resolve(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_parts.py").write_text(_example("my_parts.py"))
    monkeypatch.setattr(sys, "argv", ["nas"])
    monkeypatch.setattr(blocks, "BLOCKS", dict(blocks.BLOCKS))
    words = [word for word in shlex.split(call)[1:] if word != "-m"]
    sweep = [word.split(",")[0] if re.match(r"seed=\d", word) else word for word in words]
    code = run([*sweep, "--cfg", "job"])
    captured = capsys.readouterr()
    assert code == 0, captured.err


def _example(name: str) -> str:
    return re.search(rf"```\w+\n# {re.escape(name)}\n(.*?)```", README, re.DOTALL)[1]  # type: ignore[index]


def test_the_example_space_is_one(tmp_path: Path) -> None:
    path = tmp_path / "my_space.yaml"
    path.write_text(_example("my_space.yaml"))
    space = load_space(str(path))
    assert space.size > 10
    assert parse_yaml(path.read_text(), "x")["forbid"]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_table_of_blocks_names_ours() -> None:
    named: Any = re.findall(r"`(\w+)`", "".join(line for line in README.splitlines() if line.startswith("| ") and "`" in line))
    assert {"conv", "sepconv", "mbconv", "classifier", "mobilenet_v3"} <= set(named)
