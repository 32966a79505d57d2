"""`DEVICES`: name -> settings class of a device that networks are measured on; `make_device` reads the settings.

    device = make_device({"name": "host", "seconds": 20})
    device.measure([arch, other])           # whole networks, in turns: a list of `nas.journal.Measurement`
    device.fit(space, seed=0)               # a frozen `Predictor` of the space

A new device is a frozen dataclass with these methods, a line in `DEVICES` and a file in `conf/device/`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from nas.arch import Arch
from nas.blocks import lower
from nas.journal import Measurement
from nas.latency.fit import Bench, Budget, Progress, fit_layers
from nas.latency.predictor import Predictor
from nas.latency.timing import DeviceError, Program
from nas.settings import named
from nas.space import Space

Failed = Callable[[Arch, DeviceError], None]


class Device(Protocol):
    """Measures whole networks and fits a predictor; never two measurements at once on one machine."""

    def info(self) -> dict[str, Any]:
        """What the times hold for: batch, dtype, threads, kind of device, versions; plain data."""
        ...

    def fingerprint(self) -> str:
        """12 hex digits of `info`."""
        ...

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """Milliseconds of whole networks. Raises DeviceError naming the architecture, or tells `failed` and goes on."""
        ...

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> Predictor:
        """A predictor of the space, within the device's budget of seconds."""
        ...


@dataclass(frozen=True)
class Host:
    """The XLA executable on JAX's default backend, compiled ahead of time, synchronised and warmed up.

    A program is warmed up `warmup` times, then measured in `rounds` of `repeats` runs. A predictor is fitted to at most
    `samples` layers and `networks` whole networks, within about `seconds` (two networks and a layer of each stage are
    measured however long it takes). Threads are those of the process.
    """

    batch: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    warmup: int = 5
    rounds: int = 10
    repeats: int = 30
    samples: int = 100
    networks: int = 6
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("batch", "rounds", "repeats", "networks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: wanted 1 or more, got {getattr(self, name)}")
        for name in ("warmup", "samples", "seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: wanted 0 or more, got {getattr(self, name)}")

    def info(self) -> dict[str, Any]:
        from nas.latency.host import host_info

        return {"device": "host", "batch": self.batch, "dtype": self.dtype, **host_info()}

    def fingerprint(self) -> str:
        return info_fingerprint(self.info())

    def bench(self) -> Bench:
        from nas.latency.host import HostBench

        return HostBench(self.batch, self.dtype, self.warmup, self.rounds, self.repeats)

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        return measure_networks(self.bench(), archs, "host", self.info(), failed)

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> Predictor:
        start = time.monotonic()
        bench, info = self.bench(), self.info()
        budget = Budget(self.samples, self.networks, max(self.seconds - (time.monotonic() - start), 0.0))
        return fit_layers(space, seed, bench, budget, "host", info_fingerprint(info), info, progress)


DEVICES: dict[str, type[Any]] = {"host": Host}


def make_device(settings: Mapping[str, Any], where: str = "device") -> Device:
    """A device from plain settings such as `{"name": "host", "batch": 8}`. Raises ValueError naming the key."""
    return named(DEVICES, settings, where)


def info_fingerprint(info: Mapping[str, Any]) -> str:
    """12 hex digits of what a device says of itself."""
    return hashlib.sha256(json.dumps(info, sort_keys=True).encode()).hexdigest()[:12]


def measure_networks(
    bench: Bench, archs: Arch | Sequence[Arch], device: str, info: Mapping[str, Any], failed: Failed | None = None
) -> list[Measurement]:
    """Compiles networks, runs them in turns, and records what each took; two spellings of one network run once.

    Without `failed` the first that cannot be compiled or run raises its DeviceError; with it, the others are measured
    all the same and their records returned, in the order of `archs`.
    """
    wanted = [archs] if isinstance(archs, Arch) else list(archs)
    ids: list[str] = []
    programs: dict[str, Program] = {}
    for arch in wanted:
        graph = lower(arch)
        ids.append(graph.id)
        if graph.id in programs:
            continue
        try:
            programs[graph.id] = _tried(bench.compile(graph, f"{arch.name} ({graph.id})"))
        except DeviceError as error:
            if failed is None:
                raise
            failed(arch, error)
    timings = bench.time(programs)
    fingerprint = info_fingerprint(info)
    out = []
    for arch_id in ids:
        if (timing := timings.get(arch_id)) is not None:
            kept = {"quiet_ms": timing.quiet_ms, "repeatability": timing.repeatability, "dropped": timing.dropped}
            out.append(
                Measurement(
                    arch_id, device, fingerprint, timing.median_ms, timing.p95_ms, timing.runs, {**info, **kept}
                )
            )
    return out


def _tried(program: Program) -> Program:
    """The program, run once: what cannot run fails here, alone, and not among the others."""
    program()
    return program
