"""The device `host`: XLA, running the exported model.stablehlo, compiled for JAX's default backend, until its result is there.

On a CPU it runs in a process of its own, in the thread that calls it: see `nas.latency.devices.xla_process`. JAX is imported
when the first network is compiled or the device is asked for its `info`.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np

from nas.arch.graph import Graph
from nas.latency.devices.timed import FileBench, TimedDevice
from nas.latency.devices.xla_process import Loaded, loaded, xla_process
from nas.latency.predictors.layerwise.fitting import Bench
from nas.latency.timing import Program, Timing
from nas.nn.weights import Variables
from nas.records import JSON


@dataclass(frozen=True)
class Host(TimedDevice):
    """XLA on JAX's default backend, with the StableHLO that `nas export` writes. Threads are those of the process."""

    NAME: ClassVar[str] = "host"
    FORMAT: ClassVar[str] = "stablehlo"

    def info(self) -> dict[str, JSON]:
        """Batch, dtype, backend, kind of device, processor, threads and versions."""
        about = _machine()
        machine = f"XLA on {about['processor'] if about['backend'] == 'cpu' else about['kind']}"
        return {"device": self.NAME, "machine": machine, "batch": self.batch, "dtype": "float32", **about}

    def bench(self) -> Bench:
        """See `TimedDevice.bench`."""
        return HostBench(self.batch, self.how())


class HostBench(FileBench):
    """Exports graphs as StableHLO and compiles them ahead of time, for `batch` images."""

    RUNTIME: ClassVar[str] = "XLA"

    def artifact(self, graph: Graph, values: Variables) -> bytes:
        from nas.convert import stablehlo_bytes

        return stablehlo_bytes(graph, values)

    def load(self, model: bytes, images: np.ndarray) -> Callable[[], object]:
        import jax

        return xla_process().load(model, images) if jax.default_backend() == "cpu" else loaded(model, images)

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        """See `FileBench.time`."""
        apart = {name: (one.run.number, one.failure) for name, one in programs.items() if isinstance(one.run, Loaded)}
        return xla_process().time(apart, self.how, limits_s) if apart else super().time(programs, limits_s)


def _machine() -> dict[str, JSON]:
    import jax

    backend = jax.default_backend()
    return {
        "backend": backend,
        **({"dispatch": "calling thread"} if backend == "cpu" else {}),
        "kind": jax.devices()[0].device_kind,
        "processor": processor(),
        "threads": _threads(),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _threads() -> int:
    """The threads that XLA starts on a CPU: NPROC, or else the processors that this process may use."""
    if os.environ.get("NPROC", "").isdecimal():
        return int(os.environ["NPROC"])
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as the system has it; of a board that names none, the board's."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    with contextlib.suppress(OSError):
        return Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    return platform.processor() or platform.machine()
