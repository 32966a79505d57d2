"""Jobs in worker processes on this machine, driven by JSON lines; a process that dies or hangs costs one trial at most."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from nas.core.accelerators import idle_gpus, training_backend
from nas.core.settings import check_ranges
from nas.data import Dataset
from nas.evaluators import Evaluator
from nas.records import JSON, Job, Outcome
from nas.runtime.base import JobEvent, objects_refused
from nas.runtime.memory import GIB, bytes_of_each, check_memory
from nas.runtime.placement import Placement, placed
from nas.runtime.pool import Member, Pool
from nas.runtime.spec import WorkerSpec


@dataclass(frozen=True)
class ProcessesSettings:
    """`executor=processes`.

    workers: how many processes; None is one for every accelerator, or for every `search.threads` cores where there is none. More than
    there are GPUs share them.
    gpus: accelerators of a worker, which share each batch of a training.
    ahead: whether a worker compiles its next trial while it trains one; None: on a TPU. A GPU's compiler times kernels, which it should do
    alone, and a CPU's takes the cores of the training.
    memory_gib: what a trial may take, in GiB; None is an equal part of the machine's or container's memory.
    """

    workers: int | None = None
    memory_gib: float | None = None
    gpus: int = 1
    ahead: bool | None = None

    def __post_init__(self) -> None:
        check_ranges(self, gpus=(1, 64))
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise ValueError(f"workers: expected 1 to 1024, got {self.workers}")
        check_memory(self.memory_gib)

    @property
    def in_process(self) -> bool:
        """See `ExecutorSettings.in_process`."""
        return False

    @property
    def cluster(self) -> None:
        """See `ExecutorSettings.cluster`."""
        return None

    def start(
        self, spec: WorkerSpec, dataset: Dataset | None = None, evaluator: Evaluator | None = None
    ) -> ProcessExecutor:
        """See `ExecutorSettings.start`. Workers read the dataset that the settings name; no object can be passed to them."""
        if evaluator is not None or (dataset is not None and not spec.settings.get("dataset")):
            raise objects_refused("processes")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        placement = placed(training_backend(), self.workers, self.gpus, cores, spec.threads)
        memory = int((self.memory_gib or 0) * GIB) or bytes_of_each(placement.workers)
        ahead = placement.backend == "tpu" if self.ahead is None else self.ahead
        return ProcessExecutor(replace(spec, memory_bytes=memory, devices=self.gpus), placement, ahead)

    @property
    def devices(self) -> int:
        """See `ExecutorSettings.devices`."""
        return self.gpus

    @property
    def asks_ahead(self) -> bool:
        """See `ExecutorSettings.asks_ahead`."""
        return self.ahead is True


@dataclass(kw_only=True)
class _Child(Member):
    """One worker process, in a slot of the placement."""

    slot: int
    process: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]
    buffer: bytes = b""


class ProcessExecutor(Pool[_Child]):
    """Starts workers as they are needed, up to `workers`; a dead one is replaced when there is work for it."""

    dashboard = ""

    def __init__(self, spec: WorkerSpec, placement: Placement, ahead: bool = False):
        super().__init__()
        self.compiles_ahead = ahead
        self._spec, self._placement = spec, placement
        self._selector = selectors.DefaultSelector()
        self._log = Path(spec.storage, "log.txt") if spec.storage else Path(os.devnull)

    def capacity(self) -> int:
        return self._placement.workers

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Executor.notes`."""
        idle = idle_gpus() if self._placement.backend == "cpu" else 0
        unused = f"{idle} GPU{'s' if idle > 1 else ''} of this machine not used: JAX here has no support for them; install jax[cuda13]"
        return (self._placement.line, *([unused] if idle else []))

    def poll(self, timeout_s: float) -> Sequence[JobEvent]:
        self._feed()
        events = self._taken_events()
        for key, _ in self._selector.select(0 if events else timeout_s):
            events += self._read(key.data)
        self._feed()
        return events + self._taken_events()

    def close(self) -> None:
        super().close()
        self._selector.close()

    def _free(self) -> _Child | None:
        idle = next((child for child in self._members if child.ticket is None), None)
        return idle or (self._start() if len(self._members) < self._placement.workers else None)

    def _give(self, member: _Child, jobs: Sequence[Job]) -> None:
        self._send(member, [job.to_dict() for job in jobs])

    def _hint(self, member: _Child, job: Job) -> None:
        self._send(member, {"ahead": job.to_dict()})

    def _start(self) -> _Child:
        slot = min(set(range(self._placement.workers)) - {child.slot for child in self._members})
        log = open(self._log, "ab")  # noqa: SIM115  the child keeps it
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nas.runtime"],  # -P: the working folder is no place for modules
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **self._spec.environment(), **self._placement.environment(slot)},
            start_new_session=True,
        )
        log.close()
        assert process.stdin is not None
        assert process.stdout is not None
        child = _Child(name=str(process.pid), slot=slot, process=process, stdin=process.stdin, stdout=process.stdout)
        os.set_blocking(child.stdout.fileno(), False)
        self._selector.register(child.stdout, selectors.EVENT_READ, child)
        self._members.append(child)
        self._send(child, self._spec.to_dict())
        return child

    def _send(self, child: _Child, data: JSON) -> None:
        with contextlib.suppress(OSError):  # its death is read from its standard output, with the exit code
            child.stdin.write(json.dumps(data).encode() + b"\n")
            child.stdin.flush()

    def _read(self, child: _Child) -> list[JobEvent]:
        chunk = child.stdout.read()
        if chunk is None:
            return []
        if not chunk:
            return self._died(child)
        *lines, child.buffer = (child.buffer + chunk).split(b"\n")
        return [event for line in lines if (event := self._event(child, json.loads(line)))]

    def _event(self, child: _Child, message: Mapping[str, JSON]) -> JobEvent | None:
        if child.ticket is None:
            return None
        if "progress" in message:
            number, step, steps, metrics = message["progress"]
            return JobEvent(child.ticket, "progress", number=number, step=step, steps=steps, metrics=metrics)
        ticket, child.ticket = child.ticket, None
        if "error" in message:
            return JobEvent(ticket, "lost", error=message["error"], cause=message["cause"])
        outcomes = tuple(Outcome(**outcome) for outcome in message["outcomes"])
        if message["spent"]:
            return next(iter(self._spent(child, ticket, outcomes)), None)
        return JobEvent(ticket, "done", outcomes)

    def _died(self, child: _Child) -> list[JobEvent]:
        ticket, code = child.ticket, child.process.wait()
        self._bury(child)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        hint = "; killed, as when memory runs out" if code == -9 else ""
        return [] if ticket is None else [JobEvent(ticket, "lost", error=f"the worker process ended with {how}{hint}")]

    def _end(self, member: _Child) -> None:
        self._selector.unregister(member.stdout)
        member.process.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what it started, such as a converter, is of its group
            os.killpg(member.process.pid, signal.SIGKILL)
        for pipe in (member.stdin, member.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        member.process.wait()
