"""The settings of a Ray cluster: which one, and what a worker takes of it."""

from __future__ import annotations

from dataclasses import dataclass

from nas.core.settings import check_ranges
from nas.runtime.memory import check_memory

TPU_CHIPS = (0, 1, 2, 4, 8)  # numbers that Ray can assign to a worker


@dataclass(frozen=True)
class ClusterSettings:
    """`executor=ray`.

    address: the cluster. None starts a local one, `auto` joins the running one, `ray://host:10001` a remote one.
    workers: how many at most; None is as many as the nodes hold, while they come and go.
    cpus, gpus, tpus, memory_gib: what one worker, and so one trial, takes; `cpus` None is the threads of a trial.
    wait_s: seconds to wait for nodes that can hold a worker.
    resource: a custom resource that the nodes of workers carry.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float | None = None
    gpus: float = 0
    tpus: int = 0
    memory_gib: float | None = None
    wait_s: float = 60
    resource: str | None = None

    def __post_init__(self) -> None:
        check_ranges(self, workers=(1, 100_000), cpus=(0, 10_000), gpus=(0, 64), wait_s=(1, 3600))
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus: expected a fraction of one GPU or a whole number of them, got {self.gpus:g}")
        if self.tpus not in TPU_CHIPS:
            raise ValueError(f"tpus: expected {', '.join(map(str, TPU_CHIPS))} chips, got {self.tpus}")
        check_memory(self.memory_gib)
