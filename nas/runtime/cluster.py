"""A Ray cluster as executors see it: the connection, how many workers nodes hold, a folder that all see, data shipped once."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.data import Dataset
from nas.data.stream import Streamed
from nas.runtime.cluster_settings import ClusterSettings
from nas.runtime.memory import GIB

PROBE_S = 60.0
REFUSED = 77  # exit code of ASK
ASK = """
import sys
from ray.exceptions import AuthenticationError
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).internal_kv_exists(b"nas", None, 5)
except AuthenticationError:
    sys.exit(int(sys.argv[2]))
"""
SHIPPED_FRACTION = 0.5  # of a node's object store: a larger dataset is read by each worker itself

# Read by Ray when it is imported and when it starts processes: no statistics are sent, nothing of `uv run` is guessed, and a
# worker without accelerators does not lose the variables that name them.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

# Actors have the methods of their class, made when the program runs; what these return is known when it is fetched.
Actor = Any
Ref = Any

log = logging.getLogger("nas")


@contextlib.contextmanager
def process_kept() -> Iterator[None]:
    """Gives Ray its variables while it is imported and starts, and leaves variables and signal handlers as they were."""
    missing = {name: value for name, value in RAY_ENVIRONMENT.items() if name not in os.environ}
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                if handler is not None:  # None: one that was not set from Python
                    signal.signal(number, handler)


class Cluster:
    """A connection to a cluster, made here where there is none yet.

    `need` is what a worker takes, in Ray's terms; `settings` are those given, with the number of GPUs that `auto` is here.
    """

    def __init__(self, settings: ClusterSettings, threads: int):
        with process_kept():
            import ray
            import ray.exceptions

            self.ray, self.errors, self.settings = ray, ray.exceptions, settings
            self.dashboard = ""
            self._owns = not ray.is_initialized()
            if self._owns:
                self._connect()
        self.settings = settings = settings.chosen(list(self.alive().values()))
        self._waiting_since: float | None = None
        cpus = settings.cpus if settings.cpus is not None else float(threads)
        gpus = float(settings.gpus)
        self.need: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus}
        self._asked: dict[str, float] = {"CPU": cpus, "GPU": gpus, "TPU": settings.tpus}
        named: dict[str, float] = {"TPU": settings.tpus} if settings.tpus else {}
        named |= {settings.resource: 1} if settings.resource else {}
        if named:
            self.need["resources"] = named
            self._asked |= named
        if settings.memory_gib:
            self.need["memory"] = self._asked["memory"] = int(settings.memory_gib * GIB)

    def close(self) -> None:
        """Ends the connection, and a local cluster, where they were made here."""
        if self._owns:
            self.ray.shutdown()

    def alive(self) -> dict[str, dict[str, float]]:
        """Resources of each node, by node id."""
        return {node["NodeID"]: node["Resources"] for node in self.ray.nodes() if node["Alive"]}

    def capacity(self) -> int:
        """How many workers the present nodes hold, each node by itself."""
        return sum(self._holds(node) for node in self.alive().values())

    def demand(self, workers: int) -> None:
        """Asks an autoscaler, where there is one, for nodes that hold so many workers; 0 takes the request back."""
        from ray.autoscaler.sdk import request_resources

        with contextlib.suppress(self.errors.RayError, OSError):  # a wish: the search goes its way without
            request_resources(bundles=[{k: v for k, v in self._asked.items() if v}] * workers)

    def wait_for_capacity(self) -> None:
        """Returns when a node can hold a worker. (Ray itself waits for ever, in silence, for what no node has.)

        Nodes that are starting get `wait_s` seconds. The first call waits; later ones return at once, and raise when these
        seconds are over.

        Raises:
            ValueError: What a worker needs and what the nodes have.
        """
        first = self._waiting_since is None
        self._waiting_since = self._waiting_since or time.monotonic()
        end = self._waiting_since + (0 if self._owns and not self.settings.address else self.settings.wait_s)
        while self.capacity() < 1:
            if time.monotonic() >= end:
                nodes = sorted({_resources_text(node, self._asked) for node in self.alive().values()})
                have = "; ".join(nodes) or "gone"
                raise ValueError(
                    f"executor: a worker needs {_resources_text(self._asked, self._asked)}; the nodes have {have}"
                )
            if not first:
                return
            time.sleep(0.5)
        self._waiting_since = 0.0

    def probe(self, storage: str, python_path: str) -> str:
        """Writes a file into the run's folder and has every node look for it.

        Args:
            storage: The run's folder.
            python_path: `PYTHONPATH` of the tasks that look.

        Returns:
            The file's token, by which workers on nodes that join later look for it too.

        Raises:
            ValueError: A node does not see the file, or may not write there.
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
            log.warning(
                "node %s did not answer within %g s whether it sees %s", nodes.get(asked[ref]), PROBE_S, storage
            )
        for ref in answered:
            with contextlib.suppress(self.errors.RayError):  # the node left meanwhile
                if not self.ray.get(ref):
                    raise ValueError(unseen(storage, nodes.get(asked[ref], asked[ref])))
        return token

    def _connect(self) -> None:
        """`logging_level` is that of Ray's own logger; the root logger stays as it is."""
        address = self.settings.address
        check_address(address)
        check_token(address)
        try:
            options: dict[str, Any] = {} if address else {"include_dashboard": False}
            options |= {} if (address or "").startswith("ray://") else {"job_config": _no_folders(self.ray)}
            # without "local" Ray would join whatever cluster runs on this machine
            context = self.ray.init(
                address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **options
            )
        except (OSError, RuntimeError, ValueError, TimeoutError, ImportError) as error:
            if "AF_UNIX path length" in str(error):
                raise ValueError(
                    f"executor: the path of Ray's sockets under {tempfile.gettempdir()} is longer than the system allows; "
                    "set TMPDIR or RAY_TMPDIR to a folder with a short path"
                ) from None
            at = address or "a local cluster"
            hint = "; ray:// needs pip install 'nas[cluster]'" if isinstance(error, ImportError) else ""
            raise ValueError(f"executor.address: cannot reach {at}: {str(error).splitlines()[0]}{hint}") from error
        url = context.dashboard_url
        self.dashboard = f"http://{url}" if url else ""

    def _holds(self, node: Mapping[str, float]) -> int:
        counts = [int(node.get(name, 0) / need + 1e-6) for name, need in self._asked.items() if need]
        return min(counts, default=1)


def _no_folders(ray: Any) -> Any:
    """A job without the driver's working folder, which Ray otherwise has every worker search for modules, and first."""

    class Job(ray.job_config.JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:  # where Ray has another name for it, its default stays
            return True

    return Job()


def _resources_text(resources: Mapping[str, float], expected: Mapping[str, float]) -> str:
    """`2 CPUs and 1 GPUs`: CPUs always, others where they are expected."""
    units = [
        f"{resources.get(name, 0):g} {name}s" for name in ("CPU", "GPU", "TPU") if name == "CPU" or expected.get(name)
    ]
    units += [f"{resources.get('memory', 0) / GIB:.3g} GiB"] if expected.get("memory") else []
    units += [f"{resources.get(name, 0):g} {name}" for name in expected if name not in ("CPU", "GPU", "TPU", "memory")]
    return " and ".join(units)


def check_address(address: str | None) -> None:
    """Raises ValueError where nothing answers at `host:port`; Ray would try for minutes, and print about it."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"executor.address: cannot reach {address}: {error}") from None


def check_token(address: str | None) -> None:
    """Raises ValueError where the cluster at `host:port` refuses this user's token; Ray would try for 20 s, and print about it.

    It is asked from a process of its own, whose complaints nobody sees. What else goes wrong there, joining tells.
    """
    if ":" not in (address or "") or (address or "").startswith("ray://"):
        return
    asked = [sys.executable, "-c", ASK, str(address), str(REFUSED)]
    try:
        done = subprocess.run(asked, capture_output=True, stdin=subprocess.DEVNULL, timeout=PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode == REFUSED:
        raise ValueError(
            f"executor.address: {address} refuses the token of this user; set RAY_AUTH_TOKEN to the cluster's, "
            "which is in ~/.ray/auth_token on its head node"
        )


def ship(cluster: Cluster, dataset: Dataset) -> Ref:
    """Puts a dataset into the object store. Returns the reference, or None where a node's store does not hold it."""
    splits = dataset.train, dataset.valid, dataset.test
    if any(isinstance(split.images, Streamed) for split in splits):
        return None  # files, which each node reads itself
    size = sum(s.images.nbytes + s.targets.nbytes for s in splits)
    stores = [node.get("object_store_memory", 0) for node in cluster.alive().values()]
    if size > SHIPPED_FRACTION * min(stores, default=0):
        log.info(
            "the dataset (%.2f GiB) is read by every worker: a node's object store is too small for it", size / GIB
        )
        return None
    try:
        return cluster.ray.put(dataset)
    except (cluster.errors.RayError, OSError) as error:
        log.warning("the dataset is read by every worker: the object store refuses it: %s", error)
        return None


def received(dataset: Sequence[Ref]) -> Dataset | None:
    """In a worker: the dataset of a reference in a list, without a copy; None where there is none, or it was lost with a node."""
    import ray
    import ray.exceptions

    if dataset[0] is None:
        return None
    try:
        return ray.get(dataset[0])
    except ray.exceptions.RayError as error:
        log.warning("the dataset is read by this worker: the object store lost it: %s", error)
        return None


def sees(storage: str, token: str) -> bool:
    """Whether this node sees the driver's file in the run's folder, and may write there."""
    return _probe_file(storage, token).exists() and os.access(storage, os.W_OK)


def check_seen(storage: str, token: str) -> None:
    """In a worker. Raises ValueError where the run's folder is not the driver's."""
    if token and not sees(storage, token):
        raise ValueError(unseen(storage, socket.gethostname()))


def unseen(storage: str, node: str) -> str:
    """The error of a node that does not see the run's folder."""
    return f"storage: node {node} does not see {storage}, or may not write there; give a folder that all nodes share by storage="


def forget_probe(storage: str, token: str) -> None:
    """Removes the driver's file; `*` for those that killed drivers have left."""
    for left in Path(storage).glob(_probe_file(storage, token).name):
        left.unlink(missing_ok=True)


def _probe_file(storage: str, token: str) -> Path:
    return Path(storage, f".seen-{token}")
