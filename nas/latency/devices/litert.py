"""The device `litert`: .tflite files under LiteRT's interpreter on this machine's CPU (XNNPACK), the runtime that phones use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nas.arch.graph import Graph
from nas.core.versions import needed
from nas.latency.devices.host import processor
from nas.latency.devices.timed import RuntimeBench, TimedDevice, check_threads, package_versions
from nas.latency.predictors.layerwise.fitting import Bench
from nas.nn.weights import Variables
from nas.records import JSON


@dataclass(frozen=True)
class LiteRT(TimedDevice):
    """A .tflite file, float32, under LiteRT's interpreter with `threads` CPU threads."""

    threads: int = 1

    NAME: ClassVar[str] = "litert"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_threads(self.threads)

    def info(self) -> dict[str, JSON]:
        """Batch, threads, dtype, processor and versions."""
        about = {"dtype": "float32", "processor": processor(), **package_versions("ai-edge-litert", "litert-converter")}
        return {"device": self.NAME, "batch": self.batch, "threads": self.threads, **about}

    def bench(self) -> Bench:
        """See `TimedDevice.bench`. Raises ValueError where LiteRT is not installed."""
        return LiteRTBench(
            needed("ai_edge_litert.interpreter", "mobile", "device litert"), self.batch, self.threads, self.how()
        )


class LiteRTBench(RuntimeBench):
    """Converts graphs to .tflite and runs them under ai-edge-litert."""

    RUNTIME: ClassVar[str] = "litert"

    def load(self, graph: Graph, values: Variables, images: np.ndarray) -> Callable[[], object]:
        from nas.convert import tflite_bytes

        model = tflite_bytes(graph, values, self.batch)
        interpreter = self.runtime.Interpreter(model_content=model, num_threads=self.threads)
        interpreter.allocate_tensors()
        (tensor,) = interpreter.get_input_details()
        interpreter.set_tensor(tensor["index"], images)
        return interpreter.invoke
