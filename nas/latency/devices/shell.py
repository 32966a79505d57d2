"""The device `shell`: a phone behind adb or a board behind ssh, where LiteRT's benchmark_model times the exported .tflite file.

    adb push benchmark_model /data/local/tmp                                       # once: LiteRT's own tool, built for the phone
    nas search device=shell device.shell.reach=adb

A round of a network is one call of the tool, which reports the average of its runs; the latency is the 5th percentile of rounds.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from nas.arch.graph import Graph
from nas.latency.devices.timed import TimedDevice, check_threads, package_versions, typical_values
from nas.latency.predictors.layerwise.fitting import Bench
from nas.latency.timing import LEAST_ROUNDS, DeviceError, Program, Rounds, Timing, first_line, summarize
from nas.records import JSON

MODEL = {"adb": "getprop ro.product.model", "ssh": "tr -d '\\0' < /proc/device-tree/model || uname -n -m"}
AVERAGE = re.compile(r"\bcount=(\d+)\b.*\bavg=([\d.e+-]+)")  # microseconds; the last such line is that of the runs that count


class ToolError(ValueError):
    """A command on the way to the machine, or on it, that cannot be started or fails."""


@dataclass(frozen=True)
class Shell(TimedDevice):
    """A machine without Python: files are copied there and timed by `tool`, with `threads` CPU threads.

    reach: adb for a phone, ssh for a board.
    host: the phone's serial number, where several are connected; the board as ssh names it.
    tool: path of benchmark_model there.
    folder: where files are copied to.
    """

    reach: Literal["adb", "ssh"] = "adb"
    host: str = ""
    tool: str = "/data/local/tmp/benchmark_model"
    folder: str = "/data/local/tmp"
    threads: int = 1

    NAME: ClassVar[str] = "shell"
    FORMAT: ClassVar[str] = "tflite"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_threads(self.threads)
        if self.reach == "ssh" and not self.host:
            raise ValueError("host: expected the board as ssh names it, such as pi@raspberrypi")
        if self.host.startswith("-"):
            raise ValueError(f"host: expected a name, got {self.host!r}")

    def info(self) -> dict[str, JSON]:
        """Batch, threads, dtype, the machine that is reached, and the converter's version. Raises DeviceError where it is not."""
        try:
            machine = f"LiteRT on {_model(self.reach, self.host)}, by {self.reach}"
        except ToolError as error:
            raise DeviceError(f"device {self.NAME}: {error}") from None
        about = {"dtype": "float32", "tool": self.tool, **package_versions("litert-converter")}
        return {"device": self.NAME, "machine": machine, "batch": self.batch, "threads": self.threads, **about}

    def bench(self) -> Bench:
        """See `TimedDevice.bench`."""
        return ShellBench(self, self.how())


@dataclass(frozen=True)
class ShellBench:
    """Converts graphs to .tflite, copies them to the machine and times them there."""

    device: Shell
    how: Rounds
    clock: Callable[[], float] = time.monotonic

    def compile(self, graph: Graph, what: str) -> Program:
        """A program whose call is a round. Raises DeviceError naming `what` where it cannot be converted or copied."""
        from nas.convert import tflite_bytes

        device, there = self.device, f"{self.device.folder}/nas-{graph.id}.tflite"
        try:
            with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
                file.write(tflite_bytes(graph, typical_values(graph), device.batch))
                file.flush()
                _run(_copy(device.reach, device.host, Path(file.name), there), device.timeout_s)
        except ValueError as error:
            raise DeviceError(f"{what}: cannot be brought to the device: {first_line(error)}") from error
        options = {"graph": there, "num_threads": device.threads, "num_runs": self.how.repeats, "warmup_runs": self.how.warmup,
                   "min_secs": 0, "warmup_min_secs": 0}  # fmt: skip
        command = shlex.join([device.tool, *(f"--{key}={value}" for key, value in options.items())])

        def measured() -> float:
            return _average_ms(_shell(device.reach, device.host, command, device.timeout_s), 1 + (self.how.warmup > 0))

        return Program(measured, f"{what}: fails on the device")

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        """Rounds in turns, until all limits together are spent; three at least."""
        end = None if limits_s is None else self.clock() + sum(limits_s.get(name, 0.0) for name in programs)
        times: dict[str, list[list[float]]] = {name: [] for name in programs}
        for done in range(self.how.rounds):
            if end is not None and done >= min(LEAST_ROUNDS, self.how.rounds) and self.clock() > end:
                break
            for name, program in programs.items():
                times[name].append([_round(program)])
        return {name: summarize(rounds, name) for name, rounds in times.items()}


def _round(program: Program) -> float:
    try:
        return float(program.run())  # type: ignore[arg-type]  ours return milliseconds
    except ToolError as error:
        raise DeviceError(f"{program.failure}: {error}") from None


def _average_ms(said: str, lines: int) -> float:
    """The average of the runs that count, the last of so many lines of figures that the tool prints."""
    found = AVERAGE.findall(said)
    if len(found) < lines:
        raise ToolError(f"benchmark_model reported no average: {said.strip()[-200:] or 'it said nothing'}")
    return float(found[-1][1]) / 1e3


def _reached(reach: str, host: str) -> list[str]:
    return ["ssh", "-o", "BatchMode=yes", host] if reach == "ssh" else ["adb", *(["-s", host] if host else []), "shell"]


def _copy(reach: str, host: str, source: Path, there: str) -> list[str]:
    if reach == "ssh":
        return ["scp", "-q", "-o", "BatchMode=yes", str(source), f"{host}:{there}"]
    return ["adb", *(["-s", host] if host else []), "push", str(source), there]


def _shell(reach: str, host: str, command: str, timeout_s: float) -> str:
    return _run([*_reached(reach, host), command], timeout_s)


@cache
def _model(reach: str, host: str) -> str:
    return " ".join(_shell(reach, host, MODEL[reach], 60.0).split())


def _run(command: list[str], timeout_s: float) -> str:
    """What a command says. Raises ToolError where it cannot be started, fails, or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except OSError as error:
        raise ToolError(f"{command[0]}: {error.strerror}; it must be on the PATH") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{command[0]}: took longer than {timeout_s:g} s") from None
    if done.returncode:
        raise ToolError(f"{command[0]}: {done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else 'failed'}")
    return done.stdout + done.stderr
