"""Caches of compiled code: shared by processes, bounded, and never the cause of a failure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
