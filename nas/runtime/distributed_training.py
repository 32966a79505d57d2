"""One training by several Ray workers: each has a part of every batch, worker 0 writes the checkpoints.

A worker that dies ends the others, whose collectives would wait for it; all start again from the last checkpoint and reach
the losses of an undisturbed training, up to the order of sums.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nas.data import Dataset
from nas.records import JSON
from nas.runtime.base import objects_refused
from nas.runtime.cluster import Actor, Cluster, Ref, check_seen, forget_probe, received, ship
from nas.runtime.cluster_settings import ClusterSettings
from nas.runtime.spec import WorkerSpec

if TYPE_CHECKING:
    from nas.train import Fit

LOOK_S = 1.0

Progress = tuple[int, int, dict[str, float]]  # epoch, epochs, metrics
Fields = dict[str, Any]  # of nas.train.Fit
Report = Callable[[int, int, Mapping[str, float]], object]  # (epoch, epochs, metrics)

log = logging.getLogger("nas")


class WorkerLostError(Exception):
    """A worker died, or lost its connection to the others."""


def train_distributed(
    settings: ClusterSettings, spec: WorkerSpec, work: Mapping[str, object], dataset: Dataset, *, report: Report,
    restarts: int, started: Callable[[Sequence[int]], None] = lambda pids: None,
) -> Fit:  # fmt: skip
    """Trains one network by several workers.

    Args:
        settings: The cluster; every worker takes what they ask for.
        spec: Settings of the dataset, plugins, and `storage`, a folder that all nodes see.
        work: Arguments of `nas.train.fit` except dataset, mesh and report, with `devices`, how many each worker uses.
        dataset: Sent to each node, or read there by the settings of `spec` where it is too large.
        report: Called with (epoch, epochs, metrics) of worker 0.
        restarts: How often all workers are started again after one was lost.
        started: Called with the process ids of the workers.

    Returns:
        What `fit` returned in worker 0.

    Raises:
        ValueError: What `fit` refuses, too few nodes, or more losses than `restarts`.
        ArithmeticError: The training diverged.
    """
    from nas.train import Fit

    cluster, token = Cluster(settings, spec.threads), ""
    try:
        token = cluster.probe(spec.storage, spec.environment()["PYTHONPATH"])
        shipped, load = ship(cluster, dataset), cluster.ray.put(dict(work))
        if shipped is None and not spec.settings.get("dataset"):
            raise objects_refused("ray")
        for attempt in range(restarts + 1):
            count = _worker_count(cluster, settings)
            try:
                attempted = _Attempt(cluster, settings, spec, token, count)
                return Fit(**attempted.run([load], [shipped], report, started))
            except WorkerLostError as lost:
                if attempt == restarts:
                    raise ValueError(
                        f"executor: a worker died {attempt + 1} times: {lost}; the same command resumes"
                    ) from None
                log.warning(
                    "%s; the training resumes from its last checkpoint (restart %d of %d)", lost, attempt + 1, restarts
                )
        raise AssertionError("the last attempt returns or raises")
    finally:
        if token:
            forget_probe(spec.storage, token)
        cluster.close()


def _worker_count(cluster: Cluster, settings: ClusterSettings) -> int:
    """How many workers to start; waits for nodes where there are too few for those expected."""
    cluster.wait_for_capacity()
    if settings.workers is None:
        return cluster.capacity()
    end = time.monotonic() + settings.wait_s
    while cluster.capacity() < settings.workers:
        if time.monotonic() > end:
            raise ValueError(f"executor.workers: expected {settings.workers}, the nodes hold {cluster.capacity()}")
        time.sleep(0.5)
    return settings.workers


class _Attempt:
    """The workers of one attempt, from their start until the training ends or one of them is lost."""

    def __init__(self, cluster: Cluster, settings: ClusterSettings, spec: WorkerSpec, token: str, count: int):
        self._cluster, self._ray, self._errors, self._token = cluster, cluster.ray, cluster.errors, token
        environment = {**spec.environment(), **cluster.settings.environment(spec.platform)}
        options = {**cluster.need, "max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {"work": 1, "talk": 1},
                   "runtime_env": {"env_vars": environment}}  # fmt: skip
        actor = self._ray.remote(**options)(_TrainingWorker)
        self._wait_s = settings.wait_s
        self._workers = [actor.remote(spec.to_dict(), token) for _ in range(count)]

    def run(
        self, work: list[Ref], dataset: list[Ref], report: Report, started: Callable[[Sequence[int]], None]
    ) -> Fields:
        try:
            hellos = [self._talk(worker, "hello") for worker in self._workers]
            found = self._answers(hellos)
            address = f"{found[0][0]}:{found[0][1]}"
            runs = [
                worker.run.options(concurrency_group="work").remote(address, len(found), rank, work, dataset)
                for rank, worker in enumerate(self._workers)
            ]
            started([pid for _, _, pid in found])
            return self._followed(runs, report)
        finally:
            for worker in self._workers:
                with contextlib.suppress(self._errors.RayError):  # it may be gone already
                    self._ray.kill(worker)

    def _answers(self, refs: list[Ref]) -> list[tuple[str, int, int]]:
        _, late = self._ray.wait(refs, num_returns=len(refs), timeout=self._wait_s + 60)
        if late:
            raise WorkerLostError(f"{len(late)} of {len(refs)} workers did not start")
        return [self._got(rank, ref) for rank, ref in enumerate(refs)]

    def _followed(self, runs: list[Ref], report: Report) -> Fields:
        """Passes the reports of worker 0 on until all are done, and returns its result."""
        left, talk = list(runs), None
        while left:
            talk = talk or self._talk(self._workers[0], "reports")
            ready, _ = self._ray.wait([*left, talk], num_returns=1, timeout=LOOK_S)
            for ref in [ref for ref in left if ref in ready]:
                self._got(runs.index(ref), ref)
                left.remove(ref)
            if talk in ready:
                self._pass_on(self._got(0, talk), report)
                talk = None
                time.sleep(LOOK_S if left else 0)
        for last in (talk, self._talk(self._workers[0], "reports")):
            self._pass_on(self._got(0, last) if last else [], report)
        return self._ray.get(runs[0])

    def _pass_on(self, reports: Sequence[Progress], report: Report) -> None:
        for step, steps, metrics in reports:
            report(step, steps, metrics)

    def _talk(self, worker: Actor, method: str) -> Ref:
        return getattr(worker, method).options(concurrency_group="talk").remote()

    def _got(self, rank: int, ref: Ref) -> Any:
        """The result of a worker. Raises ValueError or ArithmeticError as the worker did, else WorkerLostError."""
        try:
            return self._ray.get(ref)
        except self._errors.RayTaskError as error:
            if isinstance(error.cause, ValueError | ArithmeticError):
                raise error.cause from None
            why = " ".join(str(error.cause or error).split())[:200]
            raise WorkerLostError(f"worker {rank} failed: {type(error.cause).__name__}: {why}") from None
        except self._errors.RayError as error:
            raise WorkerLostError(f"worker {rank} died: {str(error).strip().splitlines()[0][:200]}") from None


class _TrainingWorker:
    """The class of the actor."""

    def __init__(self, spec: Mapping[str, JSON], token: str):
        self._spec, self._token = WorkerSpec(**spec), token
        self._reports: list[Progress] = []

    def hello(self) -> tuple[str, int, int]:
        """(address, a free port, process id). Raises ValueError where this node does not see the run's folder."""
        import socket

        import ray

        check_seen(self._spec.storage, self._token)
        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1], os.getpid()

    def run(self, address: str, count: int, rank: int, work: Sequence[Ref], dataset: Sequence[Ref]) -> Fields | None:
        """Trains as worker `rank` of `count`. Returns the fields of the `Fit` in worker 0."""
        import ray

        from nas.core.plugins import load_plugins
        from nas.core.process import keep_memory, use_compile_cache
        from nas.data import load_dataset
        from nas.data.record import KEY, record_from
        from nas.train import fit
        from nas.train.parallel import join

        keep_memory()
        load_plugins(self._spec.plugins, self._spec.path)
        arguments = dict(ray.get(work[0]))
        mesh = join(address, arguments.pop("devices"), count, rank)
        use_compile_cache()
        settings = self._spec.settings
        found = received(dataset) or record_from(settings[KEY]).same(load_dataset(settings["dataset"]))
        fitted = fit(dataset=found, **arguments, mesh=mesh, report=self._report)
        return dict(vars(fitted)) if mesh.leads else None

    def _report(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self._reports.append((step, steps, dict(metrics)))

    def reports(self) -> list[Progress]:
        """The reports since the last call."""
        reports, self._reports = self._reports, []
        return reports
