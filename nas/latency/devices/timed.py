"""What devices share whose runtime runs on this machine: networks are compiled, then timed in turns by a clock."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

import numpy as np

from nas.arch import Arch
from nas.arch.graph import Graph
from nas.latency.devices.base import DeviceDefaults
from nas.latency.devices.lock import machine_lock
from nas.latency.devices.measure import Failed, Windows, info_fingerprint, measure_networks
from nas.latency.predictors.base import Progress
from nas.latency.predictors.layerwise.fitting import FIT_WINDOWS, Bench, Budget, fit_layerwise
from nas.latency.predictors.layerwise.predictor import LayerwisePredictor
from nas.latency.timing import DeviceError, Program, Rounds, Timing, first_line, time_programs
from nas.nn.weights import Variables
from nas.records import JSON, Measurement
from nas.space import Space


@dataclass(frozen=True)
class TimedDevice(DeviceDefaults, ABC):
    """Settings of a device that times programs.

    batch: images in one inference.
    warmup: runs of a program that do not count.
    rounds, repeats: programs take turns `rounds` times, with `repeats` runs each.
    limit_s: seconds that one network is timed for, about.
    samples, networks: layers and whole networks that a predictor is fitted to, at most.
    seconds: no further layer or network is begun after so many; six networks and a layer of each stage always are.
    windows, over_s: a front is measured in so many windows, over at least so many seconds.
    timeout_s: seconds after which a network that is not measured is given up, and the worker process with it.
    predictor: a file of `nas profile` to use instead of fitting a predictor.
    """

    batch: int = 1
    warmup: int = 5
    rounds: int = 20
    repeats: int = 15
    limit_s: float = 2.0
    samples: int = 100
    networks: int = 6
    seconds: float = 10.0
    windows: int = 5
    over_s: float = 20.0
    timeout_s: float = 300.0
    predictor: str | None = None

    NAME: ClassVar[str] = ""
    FORMAT: ClassVar[str] = ""  # of `nas export`: the file that the device times

    def __post_init__(self) -> None:
        for name in ("batch", "rounds", "repeats", "networks", "windows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name in ("warmup", "samples", "seconds", "over_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        for name in ("limit_s", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0 seconds, got {getattr(self, name)}")

    @abstractmethod
    def info(self) -> dict[str, JSON]:
        """See `Device.info`."""

    @abstractmethod
    def bench(self) -> Bench:
        """What compiles and times graphs on this device."""

    def how(self) -> Rounds:
        """How programs are run."""
        return Rounds(self.warmup, self.rounds, self.repeats)

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        """See `Device.measure`."""
        return measure_networks(self.bench(), archs, self.NAME, self.info(), failed, self.limit_s)

    def verify(
        self, archs: Sequence[Arch], references: Sequence[tuple[Arch, float]], failed: Failed | None = None
    ) -> list[Measurement]:
        """See `Device.verify`: in `windows` windows over `over_s` seconds."""
        windows = Windows(self.windows, self.over_s)
        return measure_networks(self.bench(), archs, self.NAME, self.info(), failed, self.limit_s, windows, references)

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> LayerwisePredictor:
        """See `Device.fit`; the predictor sums layers."""
        start = time.monotonic()
        bench, info = self.bench(), self.info()
        budget = Budget(self.samples, self.networks, max(self.seconds - (time.monotonic() - start), 0.0))
        with machine_lock():
            fingerprint, gap_s = info_fingerprint(info), self.over_s / (FIT_WINDOWS - 1)
            return fit_layerwise(space, seed, bench, budget, self.NAME, fingerprint, info, progress, gap_s=gap_s)


@dataclass(frozen=True)
class FileBench(ABC):
    """A bench of a runtime that reads a model file: it writes the file that `nas export` would, loads it, and times inferences."""

    batch: int
    how: Rounds
    clock: Callable[[], float] = field(default=time.perf_counter, kw_only=True)

    RUNTIME: ClassVar[str] = ""

    @abstractmethod
    def artifact(self, graph: Graph, values: Variables) -> bytes:
        """The file that `nas export` writes for this runtime."""

    @abstractmethod
    def load(self, model: bytes, images: np.ndarray) -> Callable[[], object]:
        """One inference of the images, (batch, height, width, channels); raises whatever the runtime raises."""

    def compile(self, graph: Graph, what: str) -> Program:
        """A program of one inference. Raises DeviceError naming `what` where the converter or the runtime refuses it."""
        try:
            run = self.load(self.artifact(graph, typical_values(graph)), random_images(graph, self.batch))
        except Exception as error:
            raise DeviceError(f"{what}: cannot be compiled for {self.RUNTIME}: {first_line(error)}") from error
        beside = {"memory_bytes": getattr(run, "memory_bytes", None), "many": getattr(run, "burst", None)}
        return Program(run, f"{what}: fails on {self.RUNTIME}", **beside)

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        """See `nas.latency.timing.time_programs`."""
        return time_programs(programs, self.clock, self.how, limits_s)


def random_images(graph: Graph, batch: int) -> np.ndarray:
    """(batch, height, width, channels) float32, the same for every call."""
    return np.random.default_rng(0).standard_normal((batch, *graph.input_shape), np.float32)


def typical_values(graph: Graph) -> Variables:
    """Parameters and statistics as a training might leave them: no scale is 1 and no bias 0, so that no layer is left out."""
    from nas.nn.network import init

    rng = np.random.default_rng(0)
    values = init(graph, 0)
    for kind in ("params", "stats"):
        for arrays in values[kind].values():
            for name, array in arrays.items():
                if name != "kernel":
                    arrays[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    return values


def check_threads(threads: int) -> None:
    """Raises ValueError outside 1 to 1024."""
    if not 1 <= threads <= 1024:
        raise ValueError(f"threads: expected 1 to 1024, got {threads}")


def package_versions(*packages: str) -> dict[str, str]:
    """Installed versions by distribution; `missing` where one is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found
