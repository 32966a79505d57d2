"""One training by several Ray workers together: each has a part of every batch, number 0 writes the checkpoints.

A worker that dies ends the others, whose collectives would wait for it; all start again from the last checkpoint, which gives
the losses that an undisturbed training has, up to the order of sums.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.records import WorkerSpec
from nas.runtime.cluster import Cluster, ClusterSettings, check_seen, forget_probe, received, ship

LOOK_S = 1.0

Report = Callable[[int, int, Mapping[str, float]], Any]

log = logging.getLogger("nas")


class Lost(Exception):
    """A worker died, or lost its connection to the others."""


def train_together(settings: ClusterSettings, spec: WorkerSpec, work: Mapping[str, Any], dataset: Any, *, report: Report,
                   restarts: int, started: Callable[[Sequence[int]], None] = lambda pids: None) -> Mapping[str, Any]:  # fmt: skip
    """What `fit` gave in worker 0, by field.

    work: arguments of `nas.train.fit` beside dataset and report, and `devices`, those of each worker; the checkpoints' folder is
    one that all nodes see, `spec.storage`. dataset: sent to each node, or read there by `spec.settings["dataset"]` where it is
    too large. started: hears of the workers' process ids. Raises ValueError for what `fit` refuses, for too little room, and
    where workers died more than `restarts` times; ArithmeticError where the training diverged.
    """
    cluster, token = Cluster(settings, spec.threads), ""
    try:
        token = cluster.probe(spec.storage, _python_path(spec))
        shipped, load = ship(cluster, dataset), cluster.ray.put(dict(work))
        for attempt in range(restarts + 1):
            count = _room(cluster, settings)
            try:
                return _Attempt(cluster, settings, spec, token, count).run([load], [shipped], report, started)
            except Lost as lost:
                if attempt == restarts:
                    raise ValueError(f"executor: a worker died for the {attempt + 1}. time: {lost}; the same command resumes") from None
                log.warning("%s; the training goes on from its last checkpoint (restart %d of %d)", lost, attempt + 1, restarts)
        raise AssertionError("the last attempt returns or raises")
    finally:
        if token:
            forget_probe(spec.storage, token)
        cluster.close()


def _python_path(spec: WorkerSpec) -> str:
    return os.pathsep.join(p for p in spec.path if p)


def _room(cluster: Cluster, settings: ClusterSettings) -> int:
    """How many workers; waits for nodes where there is no room for those expected."""
    cluster.wait_for_room()
    if settings.workers is None:
        return cluster.room()
    end = time.monotonic() + settings.wait_s
    while cluster.room() < settings.workers:
        if time.monotonic() > end:
            raise ValueError(f"executor.workers: expected {settings.workers}, the nodes have room for {cluster.room()}")
        time.sleep(0.5)
    return settings.workers


class _Attempt:
    """Workers from their start to the end of one of them."""

    def __init__(self, cluster: Cluster, settings: ClusterSettings, spec: WorkerSpec, token: str, count: int):
        self._cluster, self._ray, self._errors, self._token = cluster, cluster.ray, cluster.errors, token
        environment = {**spec.environment(), **cluster.environment(spec.platform), "PYTHONPATH": _python_path(spec)}
        options = {**cluster.need, "max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {"work": 1, "talk": 1},
                   "runtime_env": {"env_vars": environment}}  # fmt: skip
        actor = self._ray.remote(**options)(_Partner)
        self._wait_s = settings.wait_s
        self._partners = [actor.remote(spec.to_dict(), token) for _ in range(count)]

    def run(self, work: list[Any], dataset: list[Any], report: Report, started: Callable[[Sequence[int]], None]) -> Mapping[str, Any]:
        try:
            hellos = [self._talk(partner, "hello") for partner in self._partners]
            found = self._answers(hellos)
            address = f"{found[0][0]}:{found[0][1]}"
            runs = [
                partner.run.options(concurrency_group="work").remote(address, len(found), rank, work, dataset)
                for rank, partner in enumerate(self._partners)
            ]
            started([pid for _, _, pid in found])
            return self._followed(runs, report)
        finally:
            for partner in self._partners:
                with contextlib.suppress(self._errors.RayError):  # it may be gone already
                    self._ray.kill(partner)

    def _answers(self, refs: list[Any]) -> list[Any]:
        _, late = self._ray.wait(refs, num_returns=len(refs), timeout=self._wait_s + 60)
        if late:
            raise Lost(f"{len(late)} of {len(refs)} workers did not start")
        return [self._got(rank, ref) for rank, ref in enumerate(refs)]

    def _followed(self, runs: list[Any], report: Report) -> Mapping[str, Any]:
        """The result of number 0 once all are done; its reports on the way."""
        left, talk = list(runs), None
        while left:
            talk = talk or self._talk(self._partners[0], "told")
            ready, _ = self._ray.wait([*left, talk], num_returns=1, timeout=LOOK_S)
            for ref in [ref for ref in left if ref in ready]:
                self._got(runs.index(ref), ref)
                left.remove(ref)
            if talk in ready:
                self._pass_on(self._got(0, talk), report)
                talk = None
                time.sleep(LOOK_S if left else 0)
        for last in (talk, self._talk(self._partners[0], "told")):
            self._pass_on(self._got(0, last) if last else [], report)
        return self._ray.get(runs[0])

    def _pass_on(self, told: Sequence[Any], report: Report) -> None:
        for step, steps, metrics in told:
            report(step, steps, metrics)

    def _talk(self, partner: Any, method: str) -> Any:
        return getattr(partner, method).options(concurrency_group="talk").remote()

    def _got(self, rank: int, ref: Any) -> Any:
        """Raises what the worker raised; Lost where it died, or where its connection to another did."""
        try:
            return self._ray.get(ref)
        except self._errors.RayTaskError as error:
            if isinstance(error.cause, ValueError | ArithmeticError):
                raise error.cause from None
            why = " ".join(str(error.cause or error).split())[:200]
            raise Lost(f"worker {rank} failed: {type(error.cause).__name__}: {why}") from None
        except self._errors.RayError as error:
            raise Lost(f"worker {rank} died: {str(error).strip().splitlines()[0][:200]}") from None


class _Partner:
    """Runs in the actor."""

    def __init__(self, spec: dict[str, Any], token: str):
        self._spec, self._token = WorkerSpec(**spec), token
        self._told: list[tuple[int, int, dict[str, float]]] = []

    def hello(self) -> tuple[str, int, int]:
        """(address, a free port, process id). Raises ValueError where this node does not see the run's folder."""
        import socket

        import ray

        check_seen(self._spec.storage, self._token)
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1], os.getpid()

    def run(self, address: str, count: int, rank: int, work: list[Any], dataset: list[Any]) -> dict[str, Any] | None:
        import ray

        from nas.core.machine import keep_memory, use_compile_cache
        from nas.core.plugins import load_plugins
        from nas.data import load_dataset
        from nas.train import fit
        from nas.train.parallel import join

        keep_memory()
        load_plugins(self._spec.plugins, self._spec.path)
        arguments = dict(ray.get(work[0]))
        mesh = join(address, arguments.pop("devices"), count, rank)
        use_compile_cache()
        found = received(dataset) or load_dataset(self._spec.settings["dataset"])
        fitted = fit(dataset=found, **arguments, mesh=mesh, report=self._report)
        return dict(vars(fitted)) if mesh.leads else None

    def _report(self, step: int, steps: int, metrics: dict[str, float]) -> None:
        self._told.append((step, steps, dict(metrics)))

    def told(self) -> list[tuple[int, int, dict[str, float]]]:
        """What was reported since the last call."""
        told, self._told = self._told, []
        return told
