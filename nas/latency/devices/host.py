"""Times on this machine: graphs compiled ahead of time by XLA for JAX's default backend, run until their result is there.

Weights are constants of the program, as in a deployed network; batch norm uses its statistics. Values are drawn from a seed
and no scale is 1 and no bias 0, so that the compiler cannot leave a layer out.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nas.arch.graph import Graph
from nas.latency.timing import DeviceError, Program, Rounds, Timing, time_programs
from nas.nn.network import apply, init


@dataclass(frozen=True)
class HostBench:
    """Compiles and times graphs for a batch of images; see `nas.latency.timing` for rounds and repeats."""

    batch: int
    dtype: str
    how: Rounds
    clock: Callable[[], float] = time.perf_counter

    def compile(self, graph: Graph, what: str) -> Program:
        """A program of one inference. Raises DeviceError naming `what` where the compiler refuses it."""
        dtype = jnp.dtype(self.dtype)
        try:
            weights = settled_values(graph)

            def infer(images: jax.Array) -> jax.Array:
                return apply(graph, weights["params"], weights["stats"], images, train=False, dtype=dtype)[0]

            rng = np.random.default_rng(0)
            images = jax.device_put(rng.standard_normal((self.batch, *graph.input_shape), np.float32))
            compiled = jax.jit(infer).lower(images).compile()
        except Exception as error:
            raise DeviceError(f"{what}: cannot be compiled on {jax.default_backend()}: {one_line(error)}") from error

        return Compiled(lambda: compiled(images).block_until_ready(), what, _memory(compiled))

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        return time_programs(programs, self.clock, self.how, limits_s)


@dataclass(frozen=True)
class Compiled:
    """A program that runs once when called; `memory_bytes` as the compiler has it, where it tells."""

    run: Callable[[], object]
    what: str
    memory_bytes: int | None

    def __call__(self) -> None:
        try:
            self.run()
        except Exception as error:
            raise DeviceError(f"{self.what}: fails on {jax.default_backend()}: {one_line(error)}") from error


def _memory(compiled: Any) -> int | None:
    """Bytes of workspace, images, results and code; weights are constants in the code."""
    try:
        sizes = compiled.memory_analysis()
    except Exception:  # a backend that does not tell raises what it likes
        return None
    if sizes is None:
        return None
    parts = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes", "generated_code_size_in_bytes")
    return int(sum(getattr(sizes, part, 0) for part in parts))


def settled_values(graph: Graph) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Parameters and statistics as a training might leave them."""
    rng = np.random.default_rng(0)
    values = init(graph, 0)
    for kind in ("params", "stats"):
        for arrays in values[kind].values():
            for name, array in arrays.items():
                if name != "kernel":
                    arrays[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    return values


def one_line(error: Exception, limit: int = 200) -> str:
    first = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return first if len(first) <= limit else first[: limit - 3] + "..."


def host_info() -> dict[str, Any]:
    """The machine and the versions that the times hold for: backend, kind of device, processor, threads, versions."""
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
    """Processors that XLA takes a thread for on a CPU: NPROC, or else those that this process may use."""
    if os.environ.get("NPROC", "").isdecimal():
        return int(os.environ["NPROC"])
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
