"""Several Ray nodes on one machine, which die and are replaced; and the worker processes that run on them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Self

import numpy as np

STORE = 100 * 2**20  # bytes a node


class FakeCluster:
    """A head that holds no worker, and `nodes` nodes of `cpus` each. Use as a context manager."""

    def __init__(self, nodes: int = 3, cpus: int = 1):
        from ray.cluster_utils import Cluster

        self._cpus = cpus
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: list[Any] = [self._add() for _ in range(nodes)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        assert self._cluster.address
        return self._cluster.address

    @property
    def nodes(self) -> int:
        """How many hold workers."""
        return len(self._nodes)

    def kill_node(self, rng: np.random.Generator) -> str:
        """Ends a node with its workers at once, and has another join."""
        node = self._nodes.pop(int(rng.integers(len(self._nodes))))
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self._add())
        return f"node {node.node_id[:8]}"

    def kill_worker(self, rng: np.random.Generator) -> str:
        """kill -9 of a worker process; "" where none runs."""
        pids = self.workers()
        if not pids:
            return ""
        pid = pids[int(rng.integers(len(pids)))]
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return ""
        return f"worker {pid}"

    def workers(self) -> list[int]:
        """Actors of this cluster's nodes: descendants of its raylets that carry our worker's name."""
        parents, titles = _processes()
        raylets = {info.process.pid for node in self._nodes for info in node.all_processes.get("raylet", ())}
        return sorted(pid for pid, title in titles.items() if "_RayWorker" in title and _under(pid, raylets, parents))

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=self._cpus, object_store_memory=STORE)


def _processes() -> tuple[dict[int, int], dict[int, str]]:
    """(parent of each process, command line of each)."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        pid = int(folder.name)
        parents[pid] = int(stat.rpartition(")")[2].split()[1])
        titles[pid] = line.replace(b"\0", b" ").decode(errors="replace")
    return parents, titles


def _under(pid: int, roots: set[int], parents: dict[int, int]) -> bool:
    while pid in parents and pid not in roots:
        pid = parents[pid]
    return pid in roots
