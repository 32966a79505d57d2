"""The device `litert`: .tflite files as exported, under LiteRT's interpreter on this machine's CPU (XNNPACK): the runtime of phones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np

from nas.arch.graph import Graph
from nas.core.versions import needed
from nas.latency.devices.host import processor
from nas.latency.devices.timed import FileBench, TimedDevice, check_threads, package_versions
from nas.latency.predictors.layerwise.fitting import Bench
from nas.nn.weights import Variables
from nas.records import JSON


@dataclass(frozen=True)
class LiteRT(TimedDevice):
    """A .tflite file, float32, under LiteRT's interpreter with `threads` CPU threads."""

    threads: int = 1

    NAME: ClassVar[str] = "litert"
    FORMAT: ClassVar[str] = "tflite"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_threads(self.threads)

    def info(self) -> dict[str, JSON]:
        """Batch, threads, dtype, processor and versions."""
        about = {"dtype": "float32", "processor": processor(), **package_versions("ai-edge-litert", "litert-converter")}
        machine = f"LiteRT on {processor()}, not a phone"
        return {"device": self.NAME, "machine": machine, "batch": self.batch, "threads": self.threads, **about}

    def bench(self) -> Bench:
        """See `TimedDevice.bench`. Raises ValueError where LiteRT is not installed."""
        runtime = needed("ai_edge_litert.interpreter", "mobile", "device litert")
        return LiteRTBench(self.batch, self.how(), runtime, self.threads)


@dataclass(frozen=True)
class LiteRTBench(FileBench):
    """Converts graphs to .tflite and runs them under ai-edge-litert, on `threads` CPU threads."""

    runtime: ModuleType
    threads: int

    RUNTIME: ClassVar[str] = "litert"

    def artifact(self, graph: Graph, values: Variables) -> bytes:
        from nas.convert import tflite_bytes

        return tflite_bytes(graph, values, self.batch)

    def load(self, model: bytes, images: np.ndarray) -> Callable[[], object]:
        interpreter = self.runtime.Interpreter(model_content=model, num_threads=self.threads)
        interpreter.allocate_tensors()
        (tensor,) = interpreter.get_input_details()
        interpreter.set_tensor(tensor["index"], images)
        return interpreter.invoke
