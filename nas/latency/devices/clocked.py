"""Devices with a clock of their own on this machine: settings, measuring and fitting, whatever runs the networks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nas.arch import Arch
from nas.latency.devices.lock import machine_to_itself
from nas.latency.devices.measure import Failed, info_fingerprint, measure_networks
from nas.latency.predictors.fit import Bench, Budget, Progress, fit_layers
from nas.latency.predictors.layerwise import Predictor
from nas.latency.timing import Rounds
from nas.records import Measurement
from nas.space import Space


@dataclass(frozen=True)
class Clocked(ABC):
    """Programs are warmed up `warmup` times, then measured in `rounds` of `repeats` runs, each for about `limit_s` at most.

    A predictor is fitted to at most `samples` layers and `networks` whole networks, within about `seconds` (two networks and
    a layer of each stage are compiled however long it takes); `predictor` names a file of `nas profile` to use instead. A
    network that is not measured after `timeout_s` is given up, and the process with it.
    """

    batch: int = 1
    warmup: int = 5
    rounds: int = 20
    repeats: int = 15
    limit_s: float = 2.0
    samples: int = 100
    networks: int = 6
    seconds: float = 10.0
    timeout_s: float = 300.0
    predictor: str | None = None

    NAME: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name in ("batch", "rounds", "repeats", "networks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name in ("warmup", "samples", "seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        for name in ("limit_s", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0 seconds, got {getattr(self, name)}")

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """What the times hold for, of this device alone."""

    @abstractmethod
    def bench(self) -> Bench:
        """What compiles and times graphs on this device."""

    def fingerprint(self) -> str:
        return info_fingerprint(self.info())

    def how(self) -> Rounds:
        return Rounds(self.warmup, self.rounds, self.repeats)

    def measure(self, archs: Arch | Sequence[Arch], failed: Failed | None = None) -> list[Measurement]:
        return measure_networks(self.bench(), archs, self.NAME, self.info(), failed, self.limit_s)

    def fit(self, space: Space, seed: int, progress: Progress | None = None) -> Predictor:
        start = time.monotonic()
        bench, info = self.bench(), self.info()
        budget = Budget(self.samples, self.networks, max(self.seconds - (time.monotonic() - start), 0.0))
        with machine_to_itself():
            return fit_layers(space, seed, bench, budget, self.NAME, info_fingerprint(info), info, progress)


@dataclass(frozen=True)
class Host(Clocked):
    """The XLA executable on JAX's default backend, compiled ahead of time, synchronized and warmed up.

    Threads are those of the process.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"

    NAME: ClassVar[str] = "host"

    def info(self) -> dict[str, Any]:
        from nas.latency.devices.host import host_info

        return {"device": self.NAME, "batch": self.batch, "dtype": self.dtype, **host_info()}

    def bench(self) -> Bench:
        from nas.latency.devices.host import HostBench

        return HostBench(self.batch, self.dtype, self.how())


@dataclass(frozen=True)
class LiteRT(Clocked):
    """A .tflite file under LiteRT's interpreter with its CPU kernels (XNNPACK): what phones run."""

    threads: int = 1

    NAME: ClassVar[str] = "litert"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_threads(self.threads)

    def info(self) -> dict[str, Any]:
        from nas.latency.devices.runtimes import litert_info

        return {"device": self.NAME, "batch": self.batch, "threads": self.threads, **litert_info()}

    def bench(self) -> Bench:
        from nas.latency.devices.runtimes import LiteRTBench

        return LiteRTBench(self.batch, self.threads, self.how())


@dataclass(frozen=True)
class OnnxRuntime(Clocked):
    """An ONNX file, batch norm folded, under ONNX Runtime's CPU provider."""

    threads: int = 1

    NAME: ClassVar[str] = "onnxruntime"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_threads(self.threads)

    def info(self) -> dict[str, Any]:
        from nas.latency.devices.runtimes import onnxruntime_info

        return {"device": self.NAME, "batch": self.batch, "threads": self.threads, **onnxruntime_info()}

    def bench(self) -> Bench:
        from nas.latency.devices.runtimes import OnnxRuntimeBench

        return OnnxRuntimeBench(self.batch, self.threads, self.how())


def _check_threads(threads: int) -> None:
    if not 1 <= threads <= 1024:
        raise ValueError(f"threads: expected 1 to 1024, got {threads}")
