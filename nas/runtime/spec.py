"""What a worker is started with, and the environment variables of a worker process."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass

from nas.records import JSON


@dataclass(frozen=True)
class WorkerSpec:
    """All a worker needs to start, as plain data.

    settings: those of `dataset`, `recipe`, `evaluator` and, by name, of each `device`.
    space: `Space.to_plain()`.
    plugins, path: modules to import, and where modules are looked for.
    storage: folder that weights, checkpoints and logs are written to; empty for none.
    threads: CPU threads of XLA in a worker process.
    platform: value of `JAX_PLATFORMS` in worker processes; empty lets JAX choose.
    memory_bytes: what a worker may take; 0 is no limit.
    devices: accelerators that share each batch of a training.
    """

    settings: Mapping[str, JSON]
    space: Mapping[str, JSON]
    plugins: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    storage: str = ""
    threads: int = 1
    platform: str = ""
    memory_bytes: int = 0
    devices: int = 1

    def with_memory(self, gib: float | None) -> WorkerSpec:
        """A copy with a limit of `gib` GiB; None is no limit."""
        return dataclasses.replace(self, memory_bytes=int((gib or 0) * 2**30))

    def to_dict(self) -> dict[str, JSON]:
        """Plain data; `WorkerSpec(**data)` reads it."""
        return dataclasses.asdict(self)

    def environment(self) -> dict[str, str]:
        """Variables of a worker process, which must be set before JAX is imported there.

        `NPROC` is what bounds the threads of XLA on a CPU. A worker in the caller's own process (`executor=local`) gets none
        of them: there, XLA takes the threads that the process has allowed it.
        """
        return {
            "NPROC": str(self.threads),
            "OMP_NUM_THREADS": str(self.threads),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "JAX_PLATFORMS": self.platform,
            "PYTHONPATH": os.pathsep.join(p for p in self.path if p),
        }
