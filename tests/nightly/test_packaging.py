"""The wheel holds what it should, and works where there is no checkout: installed in an empty environment elsewhere.

Its libraries are lent by the environment of the tests, so that the test needs no network and takes seconds;
NAS_TEST_FULL_INSTALL=1 installs them from the package index instead.
"""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from places import ROOT

FULL = os.environ.get("NAS_TEST_FULL_INSTALL") == "1"
HELD = {"conf": ("*.py", "*.yaml"), "search_spaces": ("*.yaml",), "nas": ("*.py",)}  # folder -> files the wheel holds

Nas = Callable[..., "subprocess.CompletedProcess[str]"]


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} in {cwd} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def build(out: Path, *options: str) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", out, ROOT, cwd=out)
    (wheel,) = out.glob("*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a release makes it: from the sdist."""
    return build(tmp_path_factory.mktemp("dist"))


def test_wheel_holds_package_configuration_and_spaces(wheel: Path) -> None:
    files = contents(wheel)
    expected = {
        ("" if folder == "nas" else "nas/") + path.relative_to(ROOT).as_posix()
        for folder, patterns in HELD.items()
        for pattern in patterns
        for path in (ROOT / folder).rglob(pattern)
    }
    assert expected <= set(files)
    assert {"nas/conf/search.yaml", "nas/search_spaces/tiny.yaml"} <= expected
    info = wheel.name.rsplit("-py3", 1)[0] + ".dist-info"
    assert {name.split("/")[0] for name in files} == {"nas", info}, "only the package itself goes to site-packages"
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc")]
    assert b"Apache License" in files[f"{info}/licenses/LICENSE"]
    assert b"nas = nas.cli:main" in files[f"{info}/entry_points.txt"]
    assert b"License-Expression: Apache-2.0" in files[f"{info}/METADATA"]


def test_sdist_gives_the_wheel_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    assert contents(build(tmp_path, "--wheel")) == contents(wheel)


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel; its path has a space, as users' paths do."""
    home = tmp_path_factory.mktemp("installed") / "an environment"
    python = home / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home.parent)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet")
    env = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}  # pip's own cache is welcome
    run(*pip, *([] if FULL else ["--no-deps"]), wheel, cwd=home.parent, env=env)
    if not FULL:
        # Folders named in a .pth file have their own .pth files ignored: an editable install of the checkout stays out.
        lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (site,) = home.glob("lib/python*/site-packages")
        (site / "lent_by_the_tests.pth").write_text("\n".join(sorted(lent)) + "\n", encoding="utf-8")
    return home


@pytest.fixture
def installed(home: Path, tmp_path: Path) -> Nas:
    """Runs a program of that environment in an empty folder, with nothing that could lead back to the checkout."""
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return lambda program, *args: run(home / "bin" / program, *args, cwd=empty, env=env)


def test_installed_package_finds_its_own_files(home: Path, installed: Nas) -> None:
    code = "import nas, nas.core.paths as p; print(nas.__file__, p.CONF / 'search.yaml', p.SPACES / 'tiny.yaml', sep='\\n')"
    for line in installed("python", "-c", code).stdout.splitlines():
        assert Path(line).is_relative_to(home.resolve())
        assert Path(line).is_file()


def test_installed_command_tells_costs(installed: Nas) -> None:
    cost = json.loads(installed("nas", "cost", "arch=mnasnet_a1", "json=true").stdout)
    assert cost["params"] == 3_887_038  # MnasNet-A1 at 224 px, 1000 classes (arXiv:1807.11626, table 1: 3.9M)


@pytest.mark.slow
def test_installed_command_searches(installed: Nas, tmp_path: Path) -> None:
    out = tmp_path / "a run (1)"
    installed("nas", "search", "trials=2", f"run={out}", "recipe.epochs=1")
    assert (out / "best.yaml").is_file()
    assert (out / "report.html").is_file()
