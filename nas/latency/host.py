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

from nas.latency.timing import DeviceError, Program, Timing, time_programs
from nas.layers import Graph
from nas.network import apply, init


@dataclass(frozen=True)
class HostBench:
    """Compiles and times graphs for a batch of images; see `nas.latency.timing` for rounds and repeats."""

    batch: int
    dtype: str
    warmup: int
    rounds: int
    repeats: int
    clock: Callable[[], float] = time.perf_counter

    def compile(self, graph: Graph, what: str) -> Program:
        """A program of one inference. Raises DeviceError naming `what` where the compiler refuses it."""
        dtype = jnp.dtype(self.dtype)
        try:
            weights = _weights(graph)

            def infer(images: jax.Array) -> jax.Array:
                return apply(graph, weights["params"], weights["stats"], images, train=False, dtype=dtype)[0]

            rng = np.random.default_rng(0)
            images = jax.device_put(rng.standard_normal((self.batch, *graph.input_shape), np.float32))
            compiled = jax.jit(infer).lower(images).compile()
        except Exception as error:
            raise DeviceError(f"{what}: cannot be compiled on {jax.default_backend()}: {_line(error)}") from error

        def run() -> None:
            try:
                compiled(images).block_until_ready()
            except Exception as error:
                raise DeviceError(f"{what}: fails on {jax.default_backend()}: {_line(error)}") from error

        return run

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        settings = {"warmup": self.warmup, "rounds": self.rounds, "repeats": self.repeats, "limits_s": limits_s}
        return time_programs(programs, self.clock, **settings)


def _weights(graph: Graph) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    rng = np.random.default_rng(0)
    values = init(graph, 0)
    for kind in ("params", "stats"):
        for arrays in values[kind].values():
            for name, array in arrays.items():
                if name != "kernel":
                    arrays[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    return values


def _line(error: Exception, limit: int = 200) -> str:
    first = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return first if len(first) <= limit else first[: limit - 3] + "..."


def host_info() -> dict[str, Any]:
    """The machine and the versions that the times hold for: backend, kind of device, processor, threads, versions."""
    return {
        "backend": jax.default_backend(),
        "kind": jax.devices()[0].device_kind,
        "processor": _processor(),
        "threads": _threads(),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _threads() -> int:
    """Processors that this process may use: XLA on a CPU takes one thread for each."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
