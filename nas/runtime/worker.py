"""A worker: keeps the dataset and the evaluator between jobs. `python -m nas.runtime` speaks JSON lines with its driver.

It ends at once when its driver ends, however that died: its standard input closes then. Signal handlers and the root logger are
set in `main` only, which runs in a worker process; `Worker` itself may run in the caller's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nas.core.plugins import load_plugins
from nas.core.process import give_back_memory, keep_memory, platform_fault, use_compile_cache
from nas.data import Dataset
from nas.evaluators import Context, Evaluator, evaluator_settings
from nas.evaluators.base import CompilesAhead, failed, guarded
from nas.records import JSON, UNPREPARED, DiskFullError, Job, Outcome, Report
from nas.runtime.machines import training_machine
from nas.runtime.memory import resident_bytes, run_within
from nas.runtime.placement import EXPECTED
from nas.runtime.spec import WorkerSpec
from nas.space import Space

if TYPE_CHECKING:
    from nas.arch import Arch
    from nas.latency import Device

SLACK = 64 << 20  # bytes by which a worker may grow before it hands back what is free, which takes some hundredths of a second
GROWTH = 1 << 30  # bytes that a worker may hold more than after its first training, before another takes its place


class Worker:
    """Runs jobs of any kind in this process.

    Args:
        spec: Settings, space, plugins, storage.
        dataset: The dataset where it is loaded already; otherwise the one that the settings name is read when it is needed.
        evaluator: The evaluator; None makes the one that the settings name.
    """

    def __init__(self, spec: WorkerSpec, dataset: Dataset | None = None, evaluator: Evaluator | None = None):
        self._spec, self._given = spec, evaluator
        keep_memory()
        self._before = self._kept = resident_bytes()
        self._settled = 0
        load_plugins(spec.plugins, spec.path)
        self._context = Context(
            spec.settings, Path(spec.storage), f"{socket.gethostname()}/{os.getpid()}", spec.space, dataset, spec.devices
        )

    def run_within(self, jobs: Sequence[Job], report: Report) -> tuple[list[Outcome], bool]:
        """Runs jobs within the memory that the spec allows. Returns their outcomes, and whether this process must end now.

        It ends too, with what it found, where it has grown by `GROWTH` since its first training: the next one starts afresh.
        """
        outcomes, spent = run_within(self._spec.memory_bytes, jobs, lambda: self.run(jobs, report), self._before)
        held = resident_bytes()
        if jobs[0].kind == "train" and not self._settled:
            self._settled = held
        return outcomes, spent or 0 < self._settled < held - GROWTH

    def run(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        """Runs jobs of one kind. Returns their outcomes in order. Raises DiskFullError, which is no outcome."""
        try:
            return self._done(jobs, report)
        finally:
            self._forget()

    def ahead(self, job: Job) -> None:
        """Lets the evaluator compile for a job while it runs another one; nothing where it cannot, or where memory is short.

        Called from another thread than `run`.
        """
        evaluator, most = self.__dict__.get("_evaluator"), self._spec.memory_bytes
        if isinstance(evaluator, CompilesAhead) and (not most or resident_bytes() < most / 2):
            evaluator.ahead(job)

    def _done(self, jobs: Sequence[Job], report: Report) -> Sequence[Outcome]:
        kind = jobs[0].kind
        if kind in ("train", "test", "score", "inspect", "prepare", "further"):
            try:
                self._evaluator  # noqa: B018  made here, so that what no candidate is to blame for can be told from them
            except Exception as error:
                outcomes = [failed(job, self._context.worker, error) for job in jobs]
                return [dataclasses.replace(one, data={UNPREPARED: _said(error, one)}) for one in outcomes]
            try:
                return self._with_machine(self._evaluator(jobs, report))
            except Exception as error:
                return [failed(job, self._context.worker, error) for job in jobs]
        work: dict[str, Callable[[Job, Report], Outcome]] = {"fit": self._fit_latency, "measure": self._measure}
        return [guarded(job, self._context.worker, lambda job=job: work[kind](job, report)) for job in jobs]

    def _forget(self) -> None:
        """A long-lived worker would grow by some 16 MiB for every distinct network that it compiled, and by what the largest took."""
        if (jax := sys.modules.get("jax")) is not None:
            jax.clear_caches()
        if resident_bytes() > self._kept + SLACK:
            give_back_memory()
            self._kept = resident_bytes()

    def _with_machine(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """A caller's own evaluator trains by its own means."""
        if self._given is not None:
            return outcomes
        machine = training_machine()
        return [dataclasses.replace(outcome, machine=machine) for outcome in outcomes]

    @cached_property
    def _evaluator(self) -> Evaluator:
        if self._given is not None:
            return self._given
        evaluator = evaluator_settings(self._spec.settings["evaluator"]).make(self._context)
        if "jax" in sys.modules:  # tables need none, and loading it takes a second
            _start_jax()
        return evaluator

    @cached_property
    def _space(self) -> Space:
        return Space.from_plain(self._spec.space)

    def _device(self, name: str) -> Device:
        import jax as jax

        from nas.latency import make_device

        _start_jax()
        return make_device(self._spec.settings["device"][name], f"device.{name}").bind(self._space)

    def _fit_latency(self, job: Job, report: Report) -> Outcome:
        device = self._device(job.data["device"])

        def progress(what: str, step: int, steps: int) -> None:
            report(job.number, step, steps, {})

        if job.data.get("predictor") is not None:
            from nas.latency import load_predictor

            where = f"device.{job.data['device']}.predictor"
            predictor = load_predictor(job.data["predictor"], self._space, where)
            predictor.check(device.fingerprint(), self._space, where)
        else:
            predictor = device.fit(self._space, job.seed, progress)
        return Outcome(job.number, "ok", data={"predictor": predictor.to_dict()}, worker=self._context.worker)

    def _measure(self, job: Job, report: Report) -> Outcome:
        """Measures the architectures of `job.data["archs"]` in turns; those that cannot be measured are among the data."""
        from nas.arch import arch_from_dict
        from nas.arch.blocks import arch_id

        device = self._device(job.data["device"])
        archs = [arch_from_dict(dict(arch)) for arch in job.data["archs"]]
        failures: list[tuple[str, str]] = []

        def failed(arch: Arch, error: Exception) -> None:
            failures.append((arch_id(arch), str(error)))

        if "references" in job.data:
            references = [(arch_from_dict(dict(arch)), ms) for arch, ms in job.data["references"]]
            measured = device.verify(archs, references, failed)
        else:
            measured = device.measure(archs, failed)
        about = {"fingerprint": device.fingerprint(), "info": device.info()}
        measured = [dataclasses.replace(m, device=job.data["device"]) for m in measured]
        data = {"measurements": [dataclasses.asdict(m) for m in measured], "failures": failures, **about}
        return Outcome(job.number, "ok", data=data, worker=self._context.worker)


def _said(error: Exception, outcome: Outcome) -> str:
    """A mistake of the user is one line already."""
    return " ".join(str(error).split())[:500] if isinstance(error, ValueError) else outcome.error


def _start_jax() -> None:
    """Raises ValueError where JAX cannot start the platform that the user named, or that the worker was started for."""
    if fault := platform_fault():
        raise ValueError(fault)
    expected = os.environ.get(EXPECTED)
    if expected and (found := sys.modules["jax"].default_backend()) != expected:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("TPU_VISIBLE_CHIPS") or "any"
        raise ValueError(f"a worker for the {expected} (device {visible}) got the {found} from JAX; see the log for what JAX says")
    use_compile_cache()


def main() -> None:
    """Reads a spec, then lists of jobs; writes progress and outcomes. Anything else printed goes to the log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(process)d %(message)s")
    inbox: queue.SimpleQueue[JSON] = queue.SimpleQueue()
    made = list[Worker]()
    threading.Thread(target=_listen, args=(inbox, made), daemon=True).start()
    worker = Worker(WorkerSpec(**inbox.get()))
    made.append(worker)
    lock = threading.Lock()

    def send(message: Mapping[str, JSON]) -> None:
        with lock:
            out.write(json.dumps(message) + "\n")

    while True:
        jobs = [Job(**job) for job in inbox.get()]
        try:
            outcomes, spent = worker.run_within(jobs, lambda *args: send({"progress": args}))
            send({"outcomes": [outcome.to_dict() for outcome in outcomes], "spent": spent})
        except DiskFullError as error:
            send({"error": str(error), "cause": "disk"})
        except Exception as error:
            logging.getLogger("nas").exception("worker")
            send({"error": f"{type(error).__name__}: {error}", "cause": "worker"})


def _listen(inbox: queue.SimpleQueue[JSON], made: Sequence[Worker]) -> None:
    """Hands on what the driver says; what to compile ahead, at once."""
    for line in sys.stdin:
        said = json.loads(line)
        if isinstance(said, dict) and "ahead" in said:
            with contextlib.suppress(Exception):  # the training itself says what is wrong
                made[0].ahead(Job(**said["ahead"]))
            continue
        inbox.put(said)
    os._exit(1)
