"""The device `host`: XLA, running the exported model.stablehlo, compiled for JAX's default backend, until its result is there.

JAX is imported when the first network is compiled or the device is asked for its `info`.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nas.arch.graph import Graph
from nas.latency.devices.timed import FileBench, TimedDevice
from nas.latency.predictors.layerwise.fitting import Bench
from nas.nn.weights import Variables
from nas.records import JSON

if TYPE_CHECKING:
    import jax

MEMORY_PARTS = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes", "generated_code_size_in_bytes")


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
        from jax import export

        placed, call = jax.device_put(images), jax.jit(export.deserialize(bytearray(model)).call)
        memory = _memory(call.lower(placed).compile())

        def run() -> object:
            """Through `jax.jit`, as users do: a bare executable takes 10 us more to start."""
            return call(placed).block_until_ready()

        def run_several() -> object:
            return jax.block_until_ready(call(placed))

        once = run if isinstance(call(placed), jax.Array) else run_several
        setattr(once, "memory_bytes", memory)  # noqa: B010  an attribute of a function
        return once


def _memory(compiled: jax.stages.Compiled) -> int | None:
    """Bytes of workspace, images, results and code; weights are constants in the code."""
    try:
        sizes = compiled.memory_analysis()
    except Exception:  # backends that do not know raise errors of several types
        return None
    return None if sizes is None else int(sum(getattr(sizes, part, 0) for part in MEMORY_PARTS))


def _machine() -> dict[str, JSON]:
    import jax

    return {
        "backend": jax.default_backend(),
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
