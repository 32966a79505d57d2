"""A folder that people work in may hold anything: its modules are imported only where they are named as plugins, and then last."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.core.plugins import load_plugins, module_path
from nas.records import Job
from nas.runtime import make_executor_settings
from nas.runtime.dispatch import run_all
from nas.workflows.workers import worker_spec

RunNas = Callable[..., "subprocess.CompletedProcess[str]"]
# Ours and Python's own, which commands and workers import once they run.
NAMES = ("yaml", "hydra", "omegaconf", "numpy", "scipy", "sklearn", "jax", "jaxlib", "flax", "optax", "PIL", "pyarrow", "llvmlite", "rich",
         "threadpoolctl", "tensorboardX", "filelock", "ray", "optuna", "mlflow", "struct", "queue", "selectors", "socket", "hashlib",
         "tempfile", "concurrent", "multiprocessing")  # fmt: skip


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, full of modules that tell when they are imported."""
    for name in NAMES:
        script = f"import os\nopen({str(tmp_path / 'RAN')!r}, 'a').write({name!r} + ' ')\nraise ImportError\n"
        (tmp_path / f"{name}.py").write_text(script)
    (tmp_path / "mine.py").write_text("import jax\nBLOCKS = {'mine': lambda *args: None}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_none_ran(folder: Path) -> None:
    ran = folder / "RAN"
    assert not ran.exists(), ran.read_text()


def test_a_command_imports_nothing_that_is_not_named(trapped: Path, run_nas: RunNas) -> None:
    done = run_nas("cost", "arch=lenet5")
    check_none_ran(trapped)
    assert done.returncode == 0, done.stderr


def test_a_worker_imports_the_plugin_and_nothing_else(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    spec = worker_spec({"dataset": {"name": "digits"}, "evaluator": {"name": "none"}}, {}, ("mine",), trapped, 1)
    executor = make_executor_settings({"name": "processes", "workers": 1}).start(spec)
    try:
        (outcome,) = run_all(executor, [Job(0, "train")], timeout_s=60)
    finally:
        executor.close()
    check_none_ran(trapped)
    assert "evaluator.name: unknown 'none'" in outcome.error, "the worker came as far as its job"


@pytest.mark.parametrize(
    "before, plugins, last",
    [([""], [], False), (["{here}"], [], True), ([""], ["mine"], True), (["{here}"], ["mine"], True), ([], ["mine"], True)],
)
def test_workers_look_in_the_working_folder_last(
    trapped: Path, monkeypatch: pytest.MonkeyPatch, before: list[str], plugins: list[str], last: bool
) -> None:
    monkeypatch.setattr(sys, "path", [*(folder.format(here=trapped) for folder in before), "/some/where", *sys.path])
    path = module_path(plugins)
    assert "" not in path
    assert (str(trapped) == path[-1]) is last
    assert path.count(str(trapped)) == last
    assert path[0] == "/some/where"


def test_plugins_are_looked_for_last(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    load_plugins([], [os.getcwd()])
    assert sys.path == before
    load_plugins(["mine"], [os.getcwd(), "", os.getcwd()])
    assert sys.path == [*before, str(trapped)]
    sys.modules.pop("mine")
