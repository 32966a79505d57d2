"""The settings of a Ray cluster: which one, and what a worker takes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nas.core.settings import check_ranges
from nas.runtime.memory import check_memory
from nas.runtime.placement import EXPECTED, USED

TPU_CHIPS = (0, 1, 2, 4, 8)  # numbers that Ray can assign to a worker


@dataclass(frozen=True)
class ClusterSettings:
    """`executor=ray`.

    address: the cluster. None starts a local one, `auto` joins the running one, `ray://host:10001` a remote one.
    workers: how many at most; None is as many as the nodes hold, while they come and go.
    cpus, gpus, tpus, memory_gib: what one worker, and so one trial, takes; `cpus` None is the threads of a trial, `gpus` auto one GPU where
    a node has any when the cluster is joined.
    wait_s: seconds to wait for nodes that can hold a worker.
    ahead: whether a worker compiles its next trial while it trains one; None: with TPUs.
    resource: a custom resource that the nodes of workers carry.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float | None = None
    gpus: float | Literal["auto"] = "auto"
    tpus: int = 0
    memory_gib: float | None = None
    ahead: bool | None = None
    wait_s: float = 60
    resource: str | None = None

    def __post_init__(self) -> None:
        check_ranges(self, workers=(1, 100_000), cpus=(0, 10_000), wait_s=(1, 3600))
        if self.gpus != "auto" and not 0 <= self.gpus <= 64:
            raise ValueError(f"gpus: expected 0 to 64 or auto, got {self.gpus:g}")
        if self.gpus != "auto" and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus: expected a fraction of one GPU or a whole number of them, got {self.gpus:g}")
        if self.tpus not in TPU_CHIPS:
            raise ValueError(f"tpus: expected {', '.join(map(str, TPU_CHIPS))} chips, got {self.tpus}")
        check_memory(self.memory_gib)

    @property
    def devices(self) -> int:
        """Accelerators that share each batch of a training."""
        return max(1, self.tpus, 0 if self.gpus == "auto" else int(self.gpus))

    @property
    def asks_ahead(self) -> bool:
        """Whether the user asked workers to compile the next trial while one trains."""
        return self.ahead is True

    def chosen(self, nodes: Sequence[Mapping[str, float]]) -> ClusterSettings:
        """The settings with a number of GPUs, by the resources of the nodes; 0 beside TPUs."""
        there = not self.tpus and any(node.get("GPU") for node in nodes)
        return replace(self, gpus=float(there)) if self.gpus == "auto" else self

    def environment(self, platform: str) -> dict[str, str]:
        """Variables of a worker process that follow from what it takes; `platform`: value of `JAX_PLATFORMS`, or empty."""
        out: dict[str, str] = {}
        if self.resource:
            out["NAS_RESOURCE"] = self.resource
        if not self.gpus and not self.tpus and not platform:
            out["JAX_PLATFORMS"] = "cpu"
        if not platform and (self.gpus or self.tpus):
            out[EXPECTED] = "gpu" if self.gpus else "tpu"
        if self.gpus != "auto" and 0 < self.gpus < 1:
            out["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{USED * self.gpus:.3f}"
        return out

    def notes(self, nodes: Sequence[Mapping[str, float]], workers: int) -> list[str]:
        """Lines for people: what so many workers train on, and GPUs of the nodes that none of them takes."""
        there = sum(node.get("GPU", 0) for node in nodes)
        gpus = 0.0 if self.gpus == "auto" else self.gpus
        on = f"{gpus:g} GPU{'s' if gpus > 1 else ''} each" if gpus else f"{self.tpus} TPU chips each" if self.tpus else "the CPU"
        lines = [f"{workers} worker{'s' if workers > 1 else ''} on {on}"]
        if (idle := there - min(there, workers * gpus)) >= 1:
            most = f", executor.workers={self.workers}" if self.workers else ""
            lines.append(f"{idle:g} of the nodes' {there:g} GPUs are not used: executor.gpus={gpus:g}{most}")
        return lines
