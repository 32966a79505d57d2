"""A network that NetAdapt shrinks in tests, and an executor whose accuracies are a formula of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.arch import Arch, Block, Stage, arch_from_dict
from nas.arch.blocks import arch_id
from nas.cost import cost
from nas.records import Job, Outcome
from nas.runtime.base import JobEvent

NET = Arch(
    name="net",
    resolution=8,
    stem=Block.of("conv", width=16, act="hswish"),
    stages=(
        Stage((Block.of("mbconv", width=16, expand=1),)),
        Stage((Block.of("mbconv", width=24, expand=3, kernel=5, se=0.25),) * 2, stride=2),
        Stage((Block.of("mbconv", width=24, expand=2), Block.of("sepconv", width=40))),
    ),
    head=Block.of("classifier", width=32),
    channels=1,
    classes=4,
)


class Stop(BaseException):
    pass


class Formula:
    """An executor whose accuracies are a formula of the network; it stops after `left` outcomes.

    `final` is what the last training, the only one with a recipe of its own, adds to a metric; `failing` the number of a job that fails.
    """

    dashboard = ""
    notes = ()

    def __init__(self, folder: Path, left: int = 10**6, final: Mapping[str, float] | None = None, failing: int | None = None):
        self.failing = failing
        self.folder, self.left, self.jobs, self.given, self.seen, self.final = folder, left, [], [], [], final or {}

    def capacity(self) -> int:
        return 3

    def submit(self, jobs: Sequence[Job]) -> int:
        self.jobs.append((len(self.seen), jobs[0]))
        self.given.append((len(self.seen), jobs[0]))
        self.seen.append(jobs[0].number)
        return len(self.seen) - 1

    def poll(self, timeout_s: float) -> Sequence[JobEvent]:
        if self.left == 0:
            raise Stop
        self.left -= 1
        ticket, job = self.jobs.pop()  # the last one first: the order of results must not matter
        if job.number == self.failing:
            return [JobEvent(ticket, "done", (Outcome(job.number, "error", "no room"),))]
        (self.folder / f"{job.number}.npz").touch()
        metrics = {"accuracy": accuracy(job.arch), "loss": 1 - accuracy(job.arch)}
        for key, gained in (self.final if "recipe" in job.data else {}).items():
            metrics[key] += gained
        return [JobEvent(ticket, "done", (Outcome(job.number, "ok", metrics=metrics),))]

    def kill(self, ticket: int) -> None: ...

    def close(self) -> None: ...


def accuracy(arch: Mapping[str, Any]) -> float:
    return (
        1 - 1 / cost(arch_from_dict(dict(arch))).params ** 0.5 + int(arch_id(arch_from_dict(dict(arch))), 16) % 7 * 1e-3
    )


def latency(arch: Arch) -> float:
    return 0.1 + cost(arch).macs * 1e-6
