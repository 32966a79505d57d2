"""Caches of compiled code: shared by processes, bounded, and never the cause of a failure."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.core import process
from nas.latency.devices.lock import machine_lock
from nas.latency.timing import DeviceError
from nas.nn.native import emit

CODE = """
import jax, jax.numpy as jnp, logging
from nas.core import process
from nas.nn import ops
logging.basicConfig(level=logging.DEBUG)
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
print("folder", process.use_compile_cache() is not None)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
x, w = jnp.ones((2, 4, 4, 8)), jnp.ones((3, 3, 1, 8))
print("value", float(jax.jit(lambda x: ops.conv(x, w, groups=8).sum())(x)))
print("compiled", "/jax/compilation_cache/cache_misses" in events)
"""


def run(cache: Path | str) -> dict[str, str]:
    environment = {**os.environ, "NAS_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def test_the_second_process_compiles_nothing(tmp_path: Path) -> None:
    assert run(tmp_path) == {"folder": "True", "value": "1600.0", "compiled": "True"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("native-*/*.o")}
    assert before
    assert run(tmp_path) == {"folder": "True", "value": "1600.0", "compiled": "False"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("native-*/*.o")} == before


def test_damaged_files_are_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-7] + b"damaged")
    assert run(tmp_path)["value"] == "1600.0"
    assert all(len(path.read_bytes()) > 7 for path in tmp_path.glob("native-*/*.o"))
    assert not any(path.read_bytes().endswith(b"damaged") for path in tmp_path.glob("native-*/*.o"))


@pytest.mark.parametrize("where", ["off", "/proc/nowhere", __file__])
def test_without_a_folder_everything_still_runs(where: str) -> None:
    assert run(where) == {"folder": "False", "value": "1600.0", "compiled": "False"}


def linked(folder: Path) -> None:
    (folder.parent / "real").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "real")


@pytest.mark.parametrize(
    "make, mine",
    [
        (lambda folder: None, True),
        (lambda folder: folder.mkdir(mode=0o700), True),
        (lambda folder: (folder.mkdir(), folder.chmod(0o755)), True),
        (lambda folder: (folder.mkdir(), folder.chmod(0o775)), False),
        (lambda folder: (folder.mkdir(), folder.chmod(0o777)), False),
        (lambda folder: (folder.mkdir(), folder.chmod(0o1777)), False),
        (linked, False),
        (lambda folder: folder.write_text(""), False),
    ],
)
def test_a_folder_is_the_users_own_or_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], mine: bool
) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    folder = tmp_path / "cache" / f"native-{process.processor()}"
    make(folder)
    process.cache_folder.cache_clear()
    assert process.cache_folder("native") == (folder if mine else None)
    assert (emit._place("code") is not None) is mine, "where machine code is read from and written to"
    if mine:
        assert folder.stat().st_mode & 0o777 == 0o700
    process.cache_folder.cache_clear()


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)
    process.cache_folder.cache_clear()
    assert process.cache_folder("kind") is None
    process.cache_folder.cache_clear()


def test_locks_are_in_a_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    with machine_lock():
        assert [path.name.startswith("measuring-") for path in (tmp_path / "cache" / "locks").iterdir()] == [True]
        assert not list((tmp_path / "tmp").iterdir())
    monkeypatch.setenv("NAS_CACHE", "/proc/nowhere")
    with machine_lock():
        (folder,) = (tmp_path / "tmp").iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(DeviceError, match="others can write it"), machine_lock():
        pass
