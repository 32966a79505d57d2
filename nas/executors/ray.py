"""Jobs on a Ray cluster: long-lived actors that keep the dataset and compiled programs. The only module that imports ray."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.executors.base import Event
from nas.jobs import Job, Outcome, WorkerSpec

PROGRESS_S = 1.0


@dataclass(frozen=True)
class RaySettings:
    """`executor=ray`. Without an `address` a local cluster is started; `auto` joins the running one, `ray://host:10001` a remote one."""

    address: str | None = None
    workers: int | None = None
    cpus: float | None = None
    gpus: float = 0
    wait_s: float = 60
    resource: str | None = None

    def __post_init__(self) -> None:
        for key, low, high in (("workers", 1, 100_000), ("cpus", 0, 10_000), ("gpus", 0, 64), ("wait_s", 1, 3600)):
            if (value := getattr(self, key)) is not None and not low <= value <= high:
                raise ValueError(f"{key}: wanted {low} to {high}, got {value}")

    @property
    def resources(self) -> dict[str, float]:
        return {self.resource: 1} if self.resource else {}

    def start(self, spec: WorkerSpec) -> RayExecutor:
        return RayExecutor(spec, self)


class RayExecutor:
    """One actor a worker; a dead actor is replaced, what it ran is told as lost."""

    def __init__(self, spec: WorkerSpec, settings: RaySettings):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
        import ray.exceptions

        self._ray, self._errors = ray, ray.exceptions
        self._owns = not ray.is_initialized()
        if self._owns:
            self._connect(settings)
        self._cpus = settings.cpus if settings.cpus is not None else float(spec.threads)
        self._settings, self._spec = settings, spec
        self._actors: list[_Actor] = []
        self._queue: deque[tuple[int, Sequence[Job]]] = deque()
        self._tickets = 0
        self._actor_class = self._make_class()
        self._wait_for_room()
        self._size = min(settings.workers or self._room(), self._room())

    def capacity(self) -> int:
        return self._size

    def submit(self, jobs: Sequence[Job]) -> int:
        self._tickets += 1
        self._queue.append((self._tickets, jobs))
        self._feed()
        return self._tickets

    def poll(self, timeout_s: float) -> Sequence[Event]:
        self._feed()
        busy = {actor.run: actor for actor in self._actors if actor.run is not None}
        if not busy:
            return []
        ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=timeout_s)
        events = [event for ref in ready for event in self._finished(busy[ref])]
        if not ready:
            for actor in busy.values():
                events += self._progress(actor)
        self._feed()
        return events

    def kill(self, ticket: int) -> None:
        self._queue = deque(item for item in self._queue if item[0] != ticket)
        for actor in [a for a in self._actors if a.ticket == ticket]:
            self._bury(actor)

    def close(self) -> None:
        self._queue.clear()
        for actor in list(self._actors):
            self._bury(actor)
        if self._owns:
            self._ray.shutdown()

    def _connect(self, settings: RaySettings) -> None:
        check_address(settings.address)
        try:
            options: dict[str, Any] = {} if settings.address else {"include_dashboard": False}
            self._ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            at = settings.address or "a local cluster"
            raise ValueError(f"executor.address: cannot reach {at}: {str(error).splitlines()[0]}") from error

    def _room(self) -> int:
        """How many workers the cluster has room for now."""
        total = self._ray.cluster_resources()
        rooms = [total.get("CPU", 0) / self._cpus] if self._cpus else []
        rooms += [total.get("GPU", 0) / self._settings.gpus] if self._settings.gpus else []
        return max(1, int(min(rooms, default=1)))

    def _wait_for_room(self) -> None:
        """Ray waits for ever, in silence, for what no node has; nodes of a cluster that is starting get `wait_s`."""
        end = time.monotonic() + (0 if self._owns else self._settings.wait_s)
        while not any(self._fits(node) for node in self._nodes()):
            if time.monotonic() >= end:
                have = ", ".join(
                    sorted({f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in self._nodes()})
                )
                named = "".join(f" and the resource {name}" for name in self._settings.resources)
                need = f"{self._cpus:g} CPUs and {self._settings.gpus:g} GPUs{named}"
                raise ValueError(f"executor: a worker needs {need}; the nodes have {have or 'gone'}")
            time.sleep(0.5)

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _fits(self, node: dict[str, float]) -> bool:
        need = {"CPU": self._cpus, "GPU": self._settings.gpus, **self._settings.resources}
        return all(node.get(name, 0) >= amount for name, amount in need.items())

    def _make_class(self) -> Any:
        environment = {**self._spec.environment(), "PYTHONPATH": os.pathsep.join(p for p in self._spec.path if p)}
        if self._settings.resource:
            environment["NAS_RESOURCE"] = self._settings.resource
        if not self._settings.gpus and not self._spec.platform:
            environment["JAX_PLATFORMS"] = "cpu"
        if 0 < self._settings.gpus < 1:
            environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * self._settings.gpus:.3f}"
        options = {
            "num_cpus": self._cpus, "num_gpus": self._settings.gpus, "resources": self._settings.resources,
            "max_restarts": 0, "max_task_retries": 0,
            "concurrency_groups": {"work": 1, "talk": 1}, "runtime_env": {"env_vars": environment},
        }  # fmt: skip
        return self._ray.remote(**options)(_RayWorker)

    def _feed(self) -> None:
        while self._queue:
            actor = next((a for a in self._actors if a.ticket is None), None)
            if actor is None and len(self._actors) < self._size:
                actor = _Actor(self._actor_class.remote(self._spec.to_dict()))
                self._actors.append(actor)
            if actor is None:
                return
            actor.ticket, jobs = self._queue.popleft()
            actor.run = actor.handle.run.options(concurrency_group="work").remote([job.to_dict() for job in jobs])
            actor.asked = time.monotonic()

    def _finished(self, actor: _Actor) -> list[Event]:
        ticket = actor.ticket
        assert ticket is not None
        try:
            outcomes = self._ray.get(actor.run)
        except self._errors.RayTaskError as error:
            actor.ticket = actor.run = None
            return [Event(ticket, "lost", error=str(error).strip().splitlines()[-1])]
        except self._errors.RayError as error:
            self._bury(actor)
            return [Event(ticket, "lost", error=f"the Ray worker died: {str(error).strip().splitlines()[0]}")]
        actor.ticket = actor.run = actor.talk = None
        return [Event(ticket, "done", tuple(Outcome(**outcome) for outcome in outcomes))]

    def _progress(self, actor: _Actor) -> list[Event]:
        """Asks at most once a second and never waits: a busy or dead actor answers late or not at all."""
        if actor.talk is None:
            if time.monotonic() - actor.asked > PROGRESS_S:
                actor.talk, actor.asked = (
                    actor.handle.progress.options(concurrency_group="talk").remote(),
                    time.monotonic(),
                )
            return []
        ready, _ = self._ray.wait([actor.talk], timeout=0)
        if not ready:
            return []
        try:
            said = self._ray.get(actor.talk)
        except self._errors.RayError:
            said = None
        actor.talk = None
        if said is None or actor.ticket is None:
            return []
        number, step, steps, metrics = said
        return [Event(actor.ticket, "progress", number=number, step=step, steps=steps, metrics=metrics)]

    def _bury(self, actor: _Actor) -> None:
        self._actors.remove(actor)
        with contextlib.suppress(self._errors.RayError):  # it may be gone already
            self._ray.kill(actor.handle)


def check_address(address: str | None) -> None:
    """Ray tries for minutes, with lines of its own, to reach a host that is not there."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"executor.address: cannot reach {address}: {error}") from None


@dataclass
class _Actor:
    handle: Any
    ticket: int | None = None
    run: Any = None
    talk: Any = None
    asked: float = 0.0


class _RayWorker:
    """Runs in the actor; plain data in and out, so that the driver never imports JAX."""

    def __init__(self, spec: dict[str, Any]):
        self._spec, self._worker, self._said = spec, None, None

    def run(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        from nas.worker import Worker

        if self._worker is None:
            self._worker = Worker(WorkerSpec(**self._spec))
        self._said = None
        return [outcome.to_dict() for outcome in self._worker.run([Job(**job) for job in jobs], self._report)]

    def _report(self, number: int, step: int, steps: int, metrics: Any) -> None:
        self._said = (number, step, steps, dict(metrics))

    def progress(self) -> tuple[int, int, int, dict[str, float]] | None:
        return self._said
