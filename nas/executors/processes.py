"""Jobs in worker processes on this machine, spoken to in JSON lines; a process that dies or hangs costs one trial at most."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.executors.base import Event
from nas.jobs import Job, Outcome, WorkerSpec


@dataclass(frozen=True)
class ProcessesSettings:
    """`executor=processes`. `workers`: how many; null is one for every `evaluator.threads` cores."""

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and not 1 <= self.workers <= 1024:
            raise ValueError(f"workers: wanted 1 to 1024, got {self.workers}")

    def start(self, spec: WorkerSpec) -> ProcessExecutor:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return ProcessExecutor(spec, self.workers or max(1, cores // spec.threads))


@dataclass
class _Child:
    """One worker process and the ticket it works on."""

    process: subprocess.Popen[bytes]
    ticket: int | None = None
    buffer: bytes = b""
    jobs: Sequence[Job] = field(default_factory=tuple)


class ProcessExecutor:
    """Starts workers as they are needed, up to `workers`; a dead one is replaced when there is work for it."""

    def __init__(self, spec: WorkerSpec, workers: int):
        self._spec, self._workers = spec, workers
        self._children: list[_Child] = []
        self._queue: deque[tuple[int, Sequence[Job]]] = deque()
        self._selector = selectors.DefaultSelector()
        self._tickets = 0
        self._log = Path(spec.storage, "log.txt") if spec.storage else Path(os.devnull)

    def capacity(self) -> int:
        return self._workers

    def submit(self, jobs: Sequence[Job]) -> int:
        self._tickets += 1
        self._queue.append((self._tickets, jobs))
        self._feed()
        return self._tickets

    def poll(self, timeout_s: float) -> Sequence[Event]:
        self._feed()
        events: list[Event] = []
        for key, _ in self._selector.select(timeout_s):
            events += self._read(key.data)
        self._feed()
        return events

    def kill(self, ticket: int) -> None:
        self._queue = deque(item for item in self._queue if item[0] != ticket)
        for child in [c for c in self._children if c.ticket == ticket]:
            self._bury(child)

    def close(self) -> None:
        self._queue.clear()
        for child in list(self._children):
            self._bury(child)
        self._selector.close()

    def _feed(self) -> None:
        while self._queue:
            child = next((c for c in self._children if c.ticket is None), None)
            if child is None and len(self._children) < self._workers:
                child = self._start()
            if child is None:
                return
            child.ticket, child.jobs = self._queue.popleft()
            self._send(child, [job.to_dict() for job in child.jobs])

    def _start(self) -> _Child:
        log = open(self._log, "ab")  # noqa: SIM115  the child keeps it
        process = subprocess.Popen(
            [sys.executable, "-m", "nas.worker"],
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
        child = _Child(process)
        os.set_blocking(process.stdout.fileno(), False)  # type: ignore[union-attr]
        self._selector.register(process.stdout, selectors.EVENT_READ, child)  # type: ignore[arg-type]
        self._children.append(child)
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
            return Event(ticket, "lost", error=message["error"])
        return Event(ticket, "done", tuple(Outcome(**outcome) for outcome in message["outcomes"]))

    def _died(self, child: _Child) -> list[Event]:
        ticket, code = child.ticket, child.process.wait()
        self._bury(child)
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        hint = "; killed, as when memory runs out" if code == -9 else ""
        return [] if ticket is None else [Event(ticket, "lost", error=f"the worker process ended with {cause}{hint}")]

    def _bury(self, child: _Child) -> None:
        self._children.remove(child)
        self._selector.unregister(child.process.stdout)  # type: ignore[arg-type]
        child.process.kill()
        for pipe in (child.process.stdin, child.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        child.process.wait()
