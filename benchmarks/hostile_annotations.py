"""Broken annotations and masks for hostile_files.py: a process reads many of them, since each is small.

    python benchmarks/hostile_annotations.py KIND FIRST COUNT FOLDER     # a line of JSON a dataset

They are those of the tests, by seed. `nas train` gets a classifier, so that it refuses what happens to be whole too, by its task.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile_makers import NET

KINDS = ("voc", "coco", "yolo", "masks")
FIRST, TOGETHER = 1000, 50  # the first seed; datasets of a process
HELPERS = Path(__file__).resolve().parent.parent / "tests" / "helpers"
WHOLE = "the task classification expects"  # how a dataset that can be read is refused


@dataclass(frozen=True)
class Read:
    """What the command made of a dataset; megabytes are the process's largest so far."""

    seed: int
    code: int
    said: str
    ran: bool
    seconds: float
    megabytes: float

    @property
    def how(self) -> str:
        lines = self.said.strip().splitlines()
        if self.ran:
            return "executed"
        if "Traceback" in self.said or "internal error" in self.said:
            return "traceback"
        if self.code != 2 or len(lines) != 1:
            return f"exit {self.code}, {len(lines)} lines"
        return "whole" if WHOLE in self.said else "refused"


def parts(count: int) -> list[range]:
    """The seeds of each process."""
    seeds = range(FIRST, FIRST + count)
    return [seeds[i : i + TOGETHER] for i in range(0, count, TOGETHER)]


def in_process(kind: str, seeds: range, folder: Path) -> list[Read]:
    """Datasets of a kind, read by a process of its own."""
    command = [sys.executable, __file__, kind, str(seeds[0]), str(len(seeds)), str(folder / f"{kind}-{seeds[0]}")]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NAS_CACHE": str(folder / "cache")}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=environment, check=False
    )
    found = [Read(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith('{"seed"')]
    if len(found) < len(seeds):  # the process ended, by what it was reading then
        found.append(Read(seeds[len(found)], done.returncode, done.stderr[-1000:] or "the process ended", False, 0.0, 0.0))
    return found


def read(kind: str, seed: int, folder: Path) -> Read:
    """Makes a broken dataset in the folder and has `nas train` read it."""
    from broken_annotations import BROKEN
    from nas.cli import run

    settings, said, start = BROKEN[kind](folder / str(seed), random.Random(seed)), io.StringIO(), time.perf_counter()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = run(["train", "arch=net.yaml", "recipe=quick", "executor=local", "run=run", *_arguments(settings)])
    seconds = time.perf_counter() - start
    shutil.rmtree(folder / str(seed))
    return Read(seed, code, said.getvalue(), any(folder.rglob("RAN*")), seconds, _largest())


def _largest() -> float:
    """Megabytes, of Linux alone. `getrusage` would count what the parent held when it started this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _arguments(settings: Mapping[str, Any]) -> list[str]:
    """The settings of a dataset as a command line has them."""
    values = {key: value for key, value in settings.items() if key != "name" and value is not None}
    return [f"dataset={settings['name']}", *(f"dataset.{key}={_text(value)}" for key, value in values.items())]


def _text(value: Any) -> str:
    return f"[{','.join(value)}]" if isinstance(value, tuple) else str(value)


def main() -> None:
    kind, first, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    sys.path.insert(0, str(HELPERS))
    folder.mkdir(parents=True)
    os.chdir(folder)  # where what is executed would leave its file
    Path("net.yaml").write_text(NET)
    for seed in range(first, first + count):
        print(json.dumps(vars(read(kind, seed, folder))), flush=True)


if __name__ == "__main__":
    main()
