"""Jobs on a Ray cluster, in long-lived actors that keep dataset and compiled programs; they come and go with the nodes.

The dataset travels once to each node, through Ray's object store. The driver holds no accelerator and gets plain data back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nas.data import Dataset
from nas.evaluators import Evaluator
from nas.records import JSON, DiskFullError, Job, Outcome
from nas.runtime.base import Cause, JobEvent, objects_refused
from nas.runtime.cluster import Actor, Cluster, Ref, forget_probe, ship
from nas.runtime.cluster_settings import ClusterSettings
from nas.runtime.pool import Member, Pool
from nas.runtime.spec import WorkerSpec

if TYPE_CHECKING:
    from nas.runtime.worker import Worker

PROGRESS_S = 1.0
GREET_S = 300.0  # a worker that was started and did not greet by then is given up
FAILED_STARTS = 5  # in a row; the pause between them grows
LOOK_S = 2.0  # how often the cluster is asked what it has

Progress = tuple[int, int, int, dict[str, float]]  # job number, step, steps, metrics so far

log = logging.getLogger("nas")


@dataclass(kw_only=True)
class _Actor(Member):
    """`hello`, `run` and `talk` are results to come: of its start, of its jobs, of a question about their progress."""

    handle: Actor
    hello: Ref
    ready: bool = False
    node: str = ""
    run: Ref = None
    talk: Ref = None
    asked: float = 0.0
    since: float = 0.0


class RayExecutor(Pool[_Actor]):
    """One actor is one worker; a dead one is replaced, and what it ran is reported as lost."""

    def __init__(self, spec: WorkerSpec, settings: ClusterSettings, dataset: Dataset | None = None):
        super().__init__()
        self._spec, self._settings = spec, settings
        self._cluster = Cluster(settings, spec.threads)
        self._ray, self._errors = self._cluster.ray, self._cluster.errors
        self._looked = self._nodes_hold = self._pause_until = 0.0
        self._failed_starts, self._token = 0, ""
        self._demand, self._demanded = 0, 0.0
        self.compiles_ahead = settings.ahead if settings.ahead is not None else settings.tpus > 0
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            if spec.storage:
                self._token = self._cluster.probe(spec.storage, spec.environment()["PYTHONPATH"])
            self._dataset = ship(self._cluster, dataset) if dataset is not None else None
            if dataset is not None and self._dataset is None and not spec.settings.get("dataset"):
                raise objects_refused("ray")  # too large to ship, and workers have nowhere to read it from
            self._actor_class = self._make_class()
            self._start()  # also what makes an autoscaler add a node
            self._cluster.wait_for_capacity()
            undo.pop_all()

    def capacity(self) -> int:
        if time.monotonic() - self._looked > LOOK_S:
            self._nodes_hold, self._looked = self._cluster.capacity(), time.monotonic()
        return min(self._settings.workers or 2**31, int(self._nodes_hold))

    def poll(self, timeout_s: float) -> Sequence[JobEvent]:
        self._feed()
        self._ask_for_nodes()
        events = self._taken_events()
        waited = {a.run if a.run is not None else a.hello: a for a in self._members if a.run is not None or not a.ready}
        if not waited:
            if self._queue and not events:
                self._cluster.wait_for_capacity()
                time.sleep(min(timeout_s, 0.2))
            return events
        ready, _ = self._ray.wait(list(waited), num_returns=1, timeout=0 if events else timeout_s)
        if ready:
            ready, _ = self._ray.wait(list(waited), num_returns=len(waited), timeout=0)
        for ref in ready:
            events += self._greeted(waited[ref]) if waited[ref].run is None else self._finished(waited[ref])
        for actor in list(self._members):
            events += self._progress(actor)
            self._give_up(actor)
        self._feed()
        return events + self._taken_events()

    def close(self) -> None:
        super().close()
        if self._demand:
            self._cluster.demand(0)
        self._cluster.close()
        if self._token:
            forget_probe(self._spec.storage, self._token)

    @property
    def dashboard(self) -> str:
        """Address of Ray's own pages; empty without them."""
        return self._cluster.dashboard

    @property
    def notes(self) -> Sequence[str]:
        """See `Executor.notes`."""
        return self._cluster.settings.notes(list(self._cluster.alive().values()), self.capacity())

    def _make_class(self) -> Actor:
        environment = {**self._spec.environment(), **self._cluster.settings.environment(self._spec.platform)}
        options = {
            **self._cluster.need, "max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {"work": 1, "talk": 1},
            "runtime_env": {"env_vars": environment},
        }  # fmt: skip
        return self._ray.remote(**options)(_RayWorker)

    def _free(self) -> _Actor | None:
        if (idle := next((a for a in self._members if a.ready and a.ticket is None), None)) is not None:
            return idle
        coming = sum(not a.ready for a in self._members)
        if time.monotonic() < self._pause_until:
            return None
        for _ in range(min(len(self._queue) - coming, self.capacity() - len(self._members))):
            self._start()
        return None

    def _ask_for_nodes(self) -> None:
        """Keeps an autoscaler informed of the workers that the trials at hand could use."""
        if self._settings.address is None:
            return
        useful = min(len(self._members) + len(self._queue), self._settings.workers or 2**31)
        if useful != self._demand and time.monotonic() - self._demanded > LOOK_S:
            self._demand, self._demanded = useful, time.monotonic()
            self._cluster.demand(useful)

    def _start(self) -> None:
        handle = self._actor_class.remote(self._spec.to_dict(), self._token, [self._dataset])
        hello = handle.hello.options(concurrency_group="talk").remote()
        self._members.append(_Actor(handle=handle, hello=hello, since=time.monotonic()))

    def _give(self, member: _Actor, jobs: Sequence[Job]) -> None:
        work = member.handle.run.options(concurrency_group="work")
        member.run, member.asked = work.remote([job.to_dict() for job in jobs]), time.monotonic()

    def _hint(self, member: _Actor, job: Job) -> None:
        member.handle.ahead.options(concurrency_group="talk").remote(job.to_dict())

    def _greeted(self, actor: _Actor) -> list[JobEvent]:
        try:
            actor.name, actor.node = self._ray.get(actor.hello)
            actor.ready, self._failed_starts = True, 0
        except self._errors.RayError as error:
            self._failed_start(actor, _last_line(error) if isinstance(error, self._errors.RayTaskError) else _first_line(error))
        return []

    def _give_up(self, actor: _Actor) -> None:
        if self.capacity() < len(self._members):
            actor.since = time.monotonic()  # it may wait for a place
        elif not actor.ready and time.monotonic() - actor.since > GREET_S:
            self._failed_start(actor, f"no greeting after {GREET_S:.0f} s")

    def _failed_start(self, actor: _Actor, why: str) -> None:
        self._bury(actor)
        self._failed_starts += 1
        if self._failed_starts > FAILED_STARTS:
            raise ValueError(f"executor: workers cannot start: {why}") from None
        log.warning("a Ray worker died while it started: %s", why)
        self._pause_until = time.monotonic() + self._failed_starts

    def _finished(self, actor: _Actor) -> list[JobEvent]:
        ticket = actor.ticket
        assert ticket is not None
        try:
            outcomes, spent = self._ray.get(actor.run)
        except self._errors.RayTaskError as error:
            actor.ticket = actor.run = actor.talk = None
            if isinstance(error.cause, DiskFullError):
                return [JobEvent(ticket, "lost", error=str(error.cause), cause="disk")]
            return [JobEvent(ticket, "lost", error=_last_line(error), cause="worker")]
        except self._errors.RayError as error:
            cause = self._cause(actor, error)
            self._bury(actor)
            what = f"the node of worker {actor.name}" if cause == "node" else f"the Ray worker {actor.name}"
            return [JobEvent(ticket, "lost", error=f"{what} died: {_first_line(error)}", cause=cause)]
        actor.ticket = actor.run = actor.talk = None
        found = tuple(Outcome(**outcome) for outcome in outcomes)
        return self._spent(actor, ticket, found) if spent else [JobEvent(ticket, "done", found)]

    def _cause(self, actor: _Actor, error: Exception) -> Cause:
        if isinstance(error, self._errors.OutOfMemoryError) or "OutOfMemory" in str(error):
            return "memory"
        gone = isinstance(error, self._errors.ActorUnavailableError) or "node has died" in str(error)
        return "node" if gone or actor.node not in self._cluster.alive() else "worker"

    def _progress(self, actor: _Actor) -> list[JobEvent]:
        """Asks for progress from time to time, and never waits: a busy or dead actor answers late or not at all."""
        if actor.run is None:
            return []
        if actor.talk is None:
            if time.monotonic() - actor.asked > max(PROGRESS_S, len(self._members) / 50):
                ask = actor.handle.progress.options(concurrency_group="talk")
                actor.talk, actor.asked = ask.remote(), time.monotonic()
            return []
        ready, _ = self._ray.wait([actor.talk], timeout=0)
        if not ready:
            return []
        try:
            answer = self._ray.get(actor.talk)
        except self._errors.RayError:
            answer = None
        actor.talk = None
        if answer is None or actor.ticket is None:
            return []
        number, step, steps, metrics = answer
        return [JobEvent(actor.ticket, "progress", number=number, step=step, steps=steps, metrics=metrics)]

    def _end(self, member: _Actor) -> None:
        with contextlib.suppress(self._errors.RayError):  # it may be gone already
            self._ray.kill(member.handle)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]


class _RayWorker:
    """The class of the actor: plain data in and out, so that the driver need not import JAX."""

    def __init__(self, spec: Mapping[str, JSON], token: str, dataset: Sequence[Ref]):
        self._spec, self._token, self._dataset = spec, token, dataset
        self._worker: Worker | None = None
        self._progress: Progress | None = None

    def hello(self) -> tuple[str, str]:
        """(name, node id). Raises ValueError where this node does not see the run's folder."""
        import socket

        import ray

        from nas.runtime.cluster import check_seen

        check_seen(self._spec["storage"], self._token)
        return f"{socket.gethostname()}/{os.getpid()}", ray.get_runtime_context().get_node_id()

    def run(self, jobs: Sequence[Mapping[str, JSON]]) -> tuple[list[dict[str, JSON]], bool]:
        """See `Worker.run_within`; jobs and outcomes as plain data."""
        from nas.runtime.cluster import received
        from nas.runtime.worker import Worker

        if self._worker is None:
            self._worker = Worker(WorkerSpec(**self._spec), received(self._dataset))
        self._progress = None
        outcomes, spent = self._worker.run_within([Job(**job) for job in jobs], self._report)
        return [outcome.to_dict() for outcome in outcomes], spent

    def ahead(self, job: Mapping[str, JSON]) -> None:
        """See `Worker.ahead`; nothing before the first job."""
        if self._worker is not None:
            self._worker.ahead(Job(**job))

    def _report(self, number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        self._progress = (number, step, steps, dict(metrics))

    def progress(self) -> Progress | None:
        """The last report of the jobs that run."""
        return self._progress


@dataclass(frozen=True)
class RaySettings(ClusterSettings):
    """`executor=ray`; the keys are those of `ClusterSettings`."""

    @property
    def in_process(self) -> bool:
        """See `ExecutorSettings.in_process`."""
        return False

    @property
    def cluster(self) -> ClusterSettings:
        """See `ExecutorSettings.cluster`."""
        return self

    def start(
        self, spec: WorkerSpec, dataset: Dataset | None = None, evaluator: Evaluator | None = None
    ) -> RayExecutor:
        """See `ExecutorSettings.start`. A dataset is shipped to nodes once; evaluator objects are refused."""
        if evaluator is not None:
            raise objects_refused("ray")
        return RayExecutor(replace(spec.with_memory(self.memory_gib), devices=self.devices), self, dataset)
