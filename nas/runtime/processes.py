"""Jobs in worker processes on this machine, spoken to in JSON lines; a process that dies or hangs costs one trial at most."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.records import Job, Outcome, WorkerSpec
from nas.runtime.base import Event
from nas.runtime.pool import Member, Pool


@dataclass(frozen=True)
class ProcessesSettings:
    """`executor=processes`. `workers`: how many; null is one for every `search.threads` cores. `memory_gib`: what one may take."""

    workers: int | None = None
    memory_gib: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise ValueError(f"workers: expected 1 to 1024, got {self.workers}")
        check_memory(self.memory_gib)

    def start(self, spec: WorkerSpec, dataset: Any = None) -> ProcessExecutor:
        """Workers read the dataset themselves."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return ProcessExecutor(spec.with_memory(self.memory_gib), self.workers or max(1, cores // spec.threads))


def check_memory(gib: float | None) -> None:
    if gib is not None and not 0.1 <= gib <= 100_000:
        raise ValueError(f"memory_gib: expected 0.1 to 100000, or null, got {gib:g}")


@dataclass(kw_only=True)
class _Child(Member):
    """One worker process."""

    process: subprocess.Popen[bytes]
    buffer: bytes = b""


class ProcessExecutor(Pool[_Child]):
    """Starts workers as they are needed, up to `workers`; a dead one is replaced when there is work for it."""

    def __init__(self, spec: WorkerSpec, workers: int):
        super().__init__()
        self._spec, self._workers = spec, workers
        self._selector = selectors.DefaultSelector()
        self._log = Path(spec.storage, "log.txt") if spec.storage else Path(os.devnull)

    def capacity(self) -> int:
        return self._workers

    def poll(self, timeout_s: float) -> Sequence[Event]:
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
        return idle or (self._start() if len(self._members) < self._workers else None)

    def _give(self, member: _Child, jobs: Sequence[Job]) -> None:
        self._send(member, [job.to_dict() for job in jobs])

    def _start(self) -> _Child:
        log = open(self._log, "ab")  # noqa: SIM115  the child keeps it
        process = subprocess.Popen(
            [sys.executable, "-m", "nas.runtime.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={
                **os.environ,
                **self._spec.environment(),
                "PYTHONPATH": os.pathsep.join(p for p in self._spec.path if p),
            },
            start_new_session=True,
        )
        log.close()
        child = _Child(name=str(process.pid), process=process)
        os.set_blocking(process.stdout.fileno(), False)  # type: ignore[union-attr]
        self._selector.register(process.stdout, selectors.EVENT_READ, child)  # type: ignore[arg-type]
        self._members.append(child)
        self._send(child, self._spec.to_dict())
        return child

    def _send(self, child: _Child, data: Any) -> None:
        try:
            child.process.stdin.write(json.dumps(data).encode() + b"\n")  # type: ignore[union-attr]
            child.process.stdin.flush()  # type: ignore[union-attr]
        except (BrokenPipeError, OSError):
            pass  # its death is read from its standard output, which says more

    def _read(self, child: _Child) -> list[Event]:
        chunk = child.process.stdout.read()  # type: ignore[union-attr]
        if chunk is None:
            return []
        if not chunk:
            return self._died(child)
        *lines, child.buffer = (child.buffer + chunk).split(b"\n")
        return [event for line in lines if (event := self._event(child, json.loads(line)))]

    def _event(self, child: _Child, message: dict[str, Any]) -> Event | None:
        if child.ticket is None:
            return None
        if "progress" in message:
            number, step, steps, metrics = message["progress"]
            return Event(child.ticket, "progress", number=number, step=step, steps=steps, metrics=metrics)
        ticket, child.ticket = child.ticket, None
        if "error" in message:
            return Event(ticket, "lost", error=message["error"], cause=message["cause"])
        if message["spent"]:
            self._bury(child)
        return Event(ticket, "done", tuple(Outcome(**outcome) for outcome in message["outcomes"]))

    def _died(self, child: _Child) -> list[Event]:
        ticket, code = child.ticket, child.process.wait()
        self._bury(child)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        hint = "; killed, as when memory runs out" if code == -9 else ""
        return [] if ticket is None else [Event(ticket, "lost", error=f"the worker process ended with {how}{hint}")]

    def _end(self, member: _Child) -> None:
        self._selector.unregister(member.process.stdout)  # type: ignore[arg-type]
        member.process.kill()
        for pipe in (member.process.stdin, member.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        member.process.wait()
