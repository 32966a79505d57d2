"""Faults of the environment and of the command line: each is one line that says what to do, and nothing is left running."""

from __future__ import annotations

import importlib
import os
import select
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.cli import run
from nas.cli.hydra_door import check_spaces, explain
from nas.cli.invocation import Invocation
from nas.core import process
from nas.records import Job
from nas.runtime.cluster import Cluster
from nas.runtime.cluster_settings import ClusterSettings
from nas.runtime.placement import Placement
from nas.runtime.processes import ProcessExecutor
from nas.runtime.spec import WorkerSpec
from nas.train.loop import Diverged
from places import HELPERS, ROOT

ARCH = "name: net\nresolution: 8\nstem: {op: conv, width: 4}\nstages: [{op: conv, width: 4}]\nhead: {op: classifier}\n"


def said(capsys: pytest.CaptureFixture[str], args: list[str]) -> str:
    assert run(args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "args, meant",
    [
        (["trials=", "3"], "trials=3"), (["trials", "=3"], "trials=3"), (["trials", "=", "3"], "trials=3"),
        (["seed=1", "run=", "my run"], "'run=my run'"), (["run=", "x"], "run=x"),
    ],
)  # fmt: skip
def test_blanks_around_an_equals_sign_are_shown(args: list[str], meant: str) -> None:
    with pytest.raises(ValueError, match=r"no blanks around =, as in ") as found:
        check_spaces(args)
    assert str(found.value).endswith(f"as in {meant}")


@pytest.mark.parametrize(
    "args", [["trials=3"], ["run="], ["run=", "trials=3"], ["--config-dir", "conf", "trials=3"], ["run=", "-m"], ["run=", "~recipe.flip"],
             ["-m", "seed=1,2"], ["run=", "+recipe.flip=true"], ["objective.reward=", "device=[]"], []]
)  # fmt: skip
def test_other_words_are_left_to_hydra(args: list[str]) -> None:
    check_spaces(args)


def test_the_blank_is_told_on_the_command_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, ["cost", "arch=", "lenet5"]) == "nas: arch: no blanks around =, as in arch=lenet5"


@pytest.mark.parametrize(
    "overrides", [("trials=3",), ("run='a b'",), ("plugins=[mine]", "arch=a'b.yaml"), ('track="[log]"', "x=$HOME;ls"), ("run=a\\ b", "*")]
)
def test_the_command_that_is_printed_can_be_pasted(overrides: tuple[str, ...]) -> None:
    again = Invocation({}, overrides, "", "search").again
    assert shlex.split(again) == ["nas", "search", *overrides]


def jax_that(error: Exception | None) -> Any:
    def devices() -> list[str]:
        if error is not None:
            raise error
        return ["cpu"]

    return SimpleNamespace(devices=devices, config=SimpleNamespace(jax_platforms="cuda"))


@pytest.mark.parametrize(
    "error, words",
    [(RuntimeError("Unable to initialize backend 'cuda': why\nmore"), "Unable to initialize backend 'cuda': why"),
     (AssertionError(), "it is not installed"), (None, None)],
)  # fmt: skip
def test_a_platform_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, error: Exception | None, words: str | None) -> None:
    monkeypatch.setitem(sys.modules, "jax", jax_that(error))
    assert process.platform_fault() == (words and f"JAX_PLATFORMS=cuda: no such backend here: {words}")


def test_a_platform_that_is_not_there_explains_what_a_command_ends_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", jax_that(RuntimeError("Unable to initialize")))
    assert explain("train", [], RuntimeError("anything")) == "JAX_PLATFORMS=cuda: no such backend here: Unable to initialize"
    monkeypatch.setitem(sys.modules, "jax", jax_that(None))
    assert explain("train", [], RuntimeError("anything")) is None, "a fault of ours stays one"


def test_a_training_that_diverges(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any, **__: Any) -> None:
        raise Diverged("the training loss is nan after step 2", 2)

    importlib.import_module("nas.train")
    monkeypatch.setattr(sys.modules["nas.train"], "fit", fit)
    Path("net.yaml").write_text(ARCH)
    line = said(capsys, ["train", "arch=net.yaml", "dataset=digits", "recipe=quick", "recipe.lr=9", "run=t"])
    assert line.startswith("nas: recipe: the training diverged: the training loss is nan after step 2; a smaller lr (now 9)")


def test_a_path_that_is_too_long_for_rays_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(*_: Any, **__: Any) -> None:
        raise OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /long")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ValueError, match="set TMPDIR or RAY_TMPDIR to a folder with a short path"):
        Cluster(ClusterSettings(), 1)


def test_letters_that_a_terminal_lacks_are_shown_by_their_codes() -> None:
    code = "from nas.cli import run; run(['version']); print('猫, größe')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True
    )
    assert done.stdout.splitlines()[1] == "\\u732b, größe".encode("latin-1")


# What a dead process started is dead too: it holds the writing end of a pipe, which is closed with it.

WAITS = "import os, sys; os.write(int(sys.argv[-1]), b'.'); import select; select.select([], [], [], 120)"


def closes(pipe: int) -> bool:
    """Whether all that write to it end; a minute is for a machine that is very busy."""
    ready, _, _ = select.select([pipe], [], [], 60)
    return bool(ready) and os.read(pipe, 1) == b""


PARENT = """
import os, signal, subprocess, sys
child = [sys.executable, "-c", "import os, sys; sys.path.insert(0, sys.argv[1]); import tflite_process as t;"
         "t.end_with_parent(int(sys.argv[2]));" + sys.argv[1], sys.argv[2], str(os.getpid()), sys.argv[3]]
held = subprocess.Popen(child, stdin=subprocess.PIPE, pass_fds=[int(sys.argv[3])])
os.close(int(sys.argv[3]))
sys.stdin.read(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a signal at the parent's death is Linux's")
def test_a_converter_ends_with_whoever_started_it() -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-c", PARENT, WAITS, str(ROOT / "nas" / "convert"), str(writing)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[writing]) as parent:
        os.close(writing)
        assert os.read(reading, 1) == b"."
        assert parent.stdin is not None
        parent.stdin.write(b"x")
        parent.stdin.close()
    assert closes(reading)
    os.close(reading)


def test_what_a_worker_started_ends_with_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    spec = WorkerSpec({"dataset": {"name": "digits"}, "evaluator": {"name": "waiting", "fifo": str(fifo)}}, {}, ("waiting",),
                      (str(HELPERS), str(ROOT)), str(tmp_path), 1, "cpu")  # fmt: skip
    executor = ProcessExecutor(spec, Placement("cpu", (), 1))
    executor.submit([Job(0, "train")])
    executor.poll(0)
    reading = os.open(fifo, os.O_RDONLY)
    assert os.read(reading, 1) == b"."
    executor.close()
    assert closes(reading)
    os.close(reading)
