"""Which accelerators each worker process of this machine sees, and what is said of it when they start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nas.core.accelerators import Backend

EXPECTED = "NAS_BACKEND"  # the variable by which a worker knows what JAX should start in it
USED = 0.9  # of a GPU's memory, by the workers that share it
NAMES = {"gpu": "GPU", "tpu": "TPU chip"}
BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}  # of so many TPU chips of a process


@dataclass(frozen=True)
class Placement:
    """Worker processes on the devices of a machine.

    Args:
        backend: What JAX trains on: `cpu`, `gpu`, `tpu` or another name.
        devices: Ids of the accelerators; none on a CPU.
        workers: Processes.
        each: Accelerators of a worker.

    Example:
        >>> two = Placement("gpu", ("0", "1"), workers=4)
        >>> two.environment(3)["CUDA_VISIBLE_DEVICES"], two.environment(3)["XLA_PYTHON_CLIENT_MEM_FRACTION"]
        ('1', '0.450')
        >>> two.line
        '4 workers on 2 GPUs, 2 on each'
    """

    backend: str
    devices: tuple[str, ...]
    workers: int
    each: int = 1

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The devices of a worker, as often as there are disjoint ones."""
        count = len(self.devices) // self.each
        return [self.devices[i * self.each : (i + 1) * self.each] for i in range(count)]

    def environment(self, slot: int, known: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Variables of the worker in a slot, from 0 to `workers`; a fraction of memory that the user set stays."""
        groups = self.groups
        if not groups:
            return {}
        own, sharing = ",".join(groups[slot % len(groups)]), -(-self.workers // len(groups))
        out = {EXPECTED: self.backend}
        if self.backend == "gpu":
            out["CUDA_VISIBLE_DEVICES"] = own
            if sharing > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in known:
                out["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{USED / sharing:.3f}"
        if self.backend == "tpu":
            out |= {"TPU_VISIBLE_CHIPS": own, "TPU_CHIPS_PER_PROCESS_BOUNDS": BOUNDS[self.each], "TPU_PROCESS_BOUNDS": "1,1,1"}
        return out

    @property
    def line(self) -> str:
        """What people read when the workers start."""
        count, groups = self.workers, self.groups
        workers = f"{count} worker{'s' if count > 1 else ''}"
        if not groups:
            return f"{workers} on the CPU"
        name, total = NAMES.get(self.backend, self.backend), len(self.devices)
        used = min(count, len(groups)) * self.each
        idle = f"; {total - used} of {total} {name}s are not used" if used < total else ""
        sharing = -(-count // len(groups))
        how = f", {sharing} on each" if sharing > 1 else f", {self.each} each" if self.each > 1 else ""
        return f"{workers} on {used} {name}{'s' if used > 1 else ''}{how}{idle}"


def placed(backend: Backend, workers: int | None, each: int, cores: int, threads: int) -> Placement:
    """Where worker processes run: one an accelerator, or one for every `threads` cores where there is none.

    Args:
        backend: What JAX trains on here.
        workers: How many are asked for; None: as above. More than there are accelerators share them.
        each: Accelerators of a worker.
        cores: Of this machine.
        threads: Of a worker.

    Raises:
        ValueError: There are fewer accelerators than a worker should have, or several workers would share a TPU chip.
    """
    if backend.name == "cpu":
        if each > 1:
            raise ValueError(f"executor.gpus: expected 1 where JAX trains on the CPU, got {each}")
        return Placement("cpu", (), workers or max(1, cores // threads))
    devices, name = _ids(backend), NAMES.get(backend.name, backend.name)
    if len(devices) < each:
        raise ValueError(f"executor.gpus: expected at most {len(devices)}, the {name}s of this machine, got {each}")
    room = len(devices) // each
    if backend.name == "tpu" and each not in BOUNDS:
        raise ValueError(f"executor.gpus: expected {', '.join(map(str, BOUNDS))} TPU chips a worker, got {each}")
    if backend.name == "tpu" and (workers or 0) > room:
        raise ValueError(f"executor.workers: one process holds a {name}; expected at most {room}, got {workers}")
    if workers is not None and workers > room and each > 1:
        raise ValueError(f"executor.workers: expected at most {room} with executor.gpus={each}, got {workers}")
    return Placement(backend.name, devices, workers or room, each)


def _ids(backend: Backend) -> tuple[str, ...]:
    """Of the devices that this process may use."""
    variable = {"gpu": "CUDA_VISIBLE_DEVICES", "tpu": "TPU_VISIBLE_CHIPS"}.get(backend.name, "")
    listed = tuple(one.strip() for one in os.environ.get(variable, "").split(",") if one.strip())
    return listed[: backend.devices] if listed else tuple(map(str, range(backend.devices)))
