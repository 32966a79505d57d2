"""The device `host`: networks compiled ahead of time by XLA for JAX's default backend, run until their result is there.

Weights are constants of the program, as in a deployed network; batch norm uses its statistics. JAX is imported when the first
network is compiled or the device is asked for its `info`.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from nas.arch.graph import Graph
from nas.latency.devices.timed import TimedDevice, random_images, typical_values
from nas.latency.predictors.layerwise.fitting import Bench
from nas.latency.timing import DeviceError, Program, Rounds, Timing, first_line, time_programs
from nas.records import JSON

if TYPE_CHECKING:
    import jax

MEMORY_PARTS = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes", "generated_code_size_in_bytes")


@dataclass(frozen=True)
class Host(TimedDevice):
    """The XLA executable on JAX's default backend. Threads are those of the process."""

    dtype: Literal["float32", "bfloat16"] = "float32"

    NAME: ClassVar[str] = "host"

    def info(self) -> dict[str, JSON]:
        """Batch, dtype, backend, kind of device, processor, threads and versions."""
        return {"device": self.NAME, "batch": self.batch, "dtype": self.dtype, **_machine()}

    def bench(self) -> Bench:
        """See `TimedDevice.bench`."""
        return HostBench(self.batch, self.dtype, self.how())


@dataclass(frozen=True)
class HostBench:
    """Compiles graphs for a batch of images, and times them; see `nas.latency.timing` for rounds and repeats."""

    batch: int
    dtype: str
    how: Rounds
    clock: Callable[[], float] = time.perf_counter

    def compile(self, graph: Graph, what: str) -> Program:
        """A program of one inference. Raises DeviceError naming `what` where the compiler refuses it."""
        import jax
        import jax.numpy as jnp

        from nas.nn.network import Outputs, apply

        backend, dtype = jax.default_backend(), jnp.dtype(self.dtype)
        try:
            weights = typical_values(graph)

            def infer(images: jax.Array) -> Outputs:
                return apply(graph, weights["params"], weights["stats"], images, train=False, dtype=dtype)[0]

            images = jax.device_put(random_images(graph, self.batch))
            compiled = jax.jit(infer).lower(images).compile()
        except Exception as error:
            raise DeviceError(f"{what}: cannot be compiled on {backend}: {first_line(error)}") from error
        return Program(lambda: compiled(images).block_until_ready(), f"{what}: fails on {backend}", _memory(compiled))

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        """See `nas.latency.timing.time_programs`."""
        return time_programs(programs, self.clock, self.how, limits_s)


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
    """The processor's name, as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
