"""A Ray cluster as the executor sees it: connecting, what nodes have room for, a folder that all see, data shipped once."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.settings import check_ranges
from nas.data.stream import Streamed
from nas.runtime.memory import GIB
from nas.runtime.processes import check_memory

TPU_CHIPS = (0, 1, 2, 4, 8)  # what Ray can give a worker
PROBE_S = 60.0
SHIPPED_SHARE = 0.5  # of a node's object store: a larger dataset is read by each worker itself

log = logging.getLogger("nas")


@dataclass(frozen=True)
class ClusterSettings:
    """`executor=ray`. Without an `address` a local cluster is started; `auto` joins the running one, `ray://host:10001` a remote one.

    `cpus`, `gpus`, `tpus`, `memory_gib` are what one worker, and so one trial, takes; `resource` is a custom one that its
    node carries.
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


class Cluster:
    """A connection. `need` is what a worker takes, in Ray's own words."""

    def __init__(self, settings: ClusterSettings, threads: int):
        for name, value in (("USAGE_STATS_ENABLED", "0"), ("ENABLE_UV_RUN_RUNTIME_ENV", "0"), ("ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")):
            os.environ.setdefault(f"RAY_{name}", value)
        import ray
        import ray.exceptions

        self.ray, self.errors, self._settings = ray, ray.exceptions, settings
        self.dashboard = ""
        self._owns = not ray.is_initialized()
        if self._owns:
            self._connect()
        self._homeless: float | None = None
        cpus = settings.cpus if settings.cpus is not None else float(threads)
        self.need: dict[str, Any] = {"num_cpus": cpus, "num_gpus": settings.gpus}
        self._wanted = {"CPU": cpus, "GPU": settings.gpus, "TPU": settings.tpus}
        named = ({"TPU": settings.tpus} if settings.tpus else {}) | ({settings.resource: 1} if settings.resource else {})
        if named:
            self.need["resources"] = named
            self._wanted |= named
        if settings.memory_gib:
            self.need["memory"] = self._wanted["memory"] = int(settings.memory_gib * GIB)

    def close(self) -> None:
        if self._owns:
            self.ray.shutdown()

    def alive(self) -> dict[str, dict[str, float]]:
        """Node id -> resources."""
        return {node["NodeID"]: node["Resources"] for node in self.ray.nodes() if node["Alive"]}

    def environment(self, platform: str) -> dict[str, str]:
        """Variables of a worker, by what it takes; `platform`: the one that JAX was told, or empty."""
        settings, out = self._settings, {}
        if settings.resource:
            out["NAS_RESOURCE"] = settings.resource
        if not settings.gpus and not settings.tpus and not platform:
            out["JAX_PLATFORMS"] = "cpu"
        if 0 < settings.gpus < 1:
            out["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * settings.gpus:.3f}"
        return out

    def room(self) -> int:
        """How many workers the nodes hold that are there now, each node for itself."""
        return sum(self._holds(node) for node in self.alive().values())

    def wait_for_room(self) -> None:
        """Ray waits for ever, in silence, for what no node has; nodes that are starting get `wait_s` seconds.

        Raises ValueError that tells what a worker needs and what the nodes have. Waits at the first call, and afterwards
        leaves that to the caller.
        """
        first = self._homeless is None
        self._homeless = self._homeless or time.monotonic()
        end = self._homeless + (0 if self._owns and not self._settings.address else self._settings.wait_s)
        while self.room() < 1:
            if time.monotonic() >= end:
                nodes = sorted({_words(node, self._wanted) for node in self.alive().values()})
                have = "; ".join(nodes) or "gone"
                raise ValueError(f"executor: a worker needs {_words(self._wanted, self._wanted)}; the nodes have {have}")
            if not first:
                return
            time.sleep(0.5)
        self._homeless = 0.0

    def probe(self, storage: str, python_path: str) -> str:
        """Writes a file into the run's folder and has every node look for it. Raises ValueError naming one that does not see it.

        Gives the file's token, by which workers of nodes that join later look again.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Strategy

        token = secrets.token_hex(8)
        forget_probe(storage, "*")
        _probe_file(storage, token).touch()
        look = self.ray.remote(num_cpus=0, max_retries=0, runtime_env={"env_vars": {"PYTHONPATH": python_path}})(sees)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in self.ray.nodes() if node["Alive"]}
        asked = {
            look.options(scheduling_strategy=Strategy(node, soft=False)).remote(storage, token): node
            for node, resources in self.alive().items()
            if self._holds(resources)
        }
        answered, late = self.ray.wait(list(asked), num_returns=len(asked), timeout=PROBE_S) if asked else ([], [])
        for ref in late:
            log.warning("node %s did not say within %g s whether it sees %s", nodes.get(asked[ref]), PROBE_S, storage)
        for ref in answered:
            with contextlib.suppress(self.errors.RayError):  # it left meanwhile
                if not self.ray.get(ref):
                    raise ValueError(unseen(storage, nodes.get(asked[ref], asked[ref])))
        return token

    def _connect(self) -> None:
        address = self._settings.address
        check_address(address)
        try:
            options: dict[str, Any] = {} if address else {"include_dashboard": False}
            # without "local" Ray would join whatever cluster runs on this machine
            context = self.ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, ImportError) as error:
            at = address or "a local cluster"
            hint = "; ray:// needs pip install 'nas[cluster]'" if isinstance(error, ImportError) else ""
            raise ValueError(f"executor.address: cannot reach {at}: {str(error).splitlines()[0]}{hint}") from error
        url = getattr(context, "dashboard_url", None)
        self.dashboard = f"http://{url}" if url else ""

    def _holds(self, node: dict[str, float]) -> int:
        rooms = [int(node.get(name, 0) / need + 1e-6) for name, need in self._wanted.items() if need]
        return min(rooms, default=1)


def _words(resources: dict[str, float], expected: dict[str, float]) -> str:
    """`2 CPUs and 1 GPUs`: CPUs always, others where they are expected."""
    units = [f"{resources.get(name, 0):g} {name}s" for name in ("CPU", "GPU", "TPU") if name == "CPU" or expected.get(name)]
    units += [f"{resources.get('memory', 0) / GIB:.3g} GiB"] if expected.get("memory") else []
    units += [f"{resources.get(name, 0):g} {name}" for name in expected if name not in ("CPU", "GPU", "TPU", "memory")]
    return " and ".join(units)


def check_address(address: str | None) -> None:
    """Ray tries for minutes, with lines of its own, to reach a host that is not there."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"executor.address: cannot reach {address}: {error}") from None


def ship(cluster: Cluster, dataset: Any) -> Any:
    """A reference to the dataset in the object store, None where a node's store would not hold it."""
    splits = dataset.train, dataset.valid, dataset.test
    if any(isinstance(split.images, Streamed) for split in splits):
        return None  # files, which each node reads itself
    size = sum(s.images.nbytes + s.targets.nbytes for s in splits)
    stores = [node.get("object_store_memory", 0) for node in cluster.alive().values()]
    if size > SHIPPED_SHARE * min(stores, default=0):
        log.info("the dataset (%.2f GiB) is read by every worker: a node's object store is too small for it", size / GIB)
        return None
    try:
        return cluster.ray.put(dataset)
    except (cluster.errors.RayError, OSError) as error:
        log.warning("the dataset is read by every worker: the object store does not take it: %s", error)
        return None


def received(dataset: list[Any]) -> Any:
    """In a worker: the shipped dataset, without a copy; None where there is none, or it was lost with a node."""
    import ray
    import ray.exceptions

    if dataset[0] is None:
        return None
    try:
        return ray.get(dataset[0])
    except ray.exceptions.RayError as error:
        log.warning("the dataset is read here: the object store has lost it: %s", error)
        return None


def sees(storage: str, token: str) -> bool:
    """In a worker: whether it sees the driver's file in the run's folder, and may write there."""
    return _probe_file(storage, token).exists() and os.access(storage, os.W_OK)


def check_seen(storage: str, token: str) -> None:
    """In a worker. Raises ValueError where the run's folder is not the driver's."""
    if token and not sees(storage, token):
        raise ValueError(unseen(storage, socket.gethostname()))


def unseen(storage: str, node: str) -> str:
    return f"storage: node {node} does not see {storage}, or may not write there; give a folder that all nodes share by storage="


def forget_probe(storage: str, token: str) -> None:
    """Removes the driver's file; `*` for those that killed drivers have left."""
    for left in Path(storage).glob(_probe_file(storage, token).name):
        left.unlink(missing_ok=True)


def _probe_file(storage: str, token: str) -> Path:
    return Path(storage, f".seen-{token}")
