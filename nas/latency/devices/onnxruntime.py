"""The device `onnxruntime`: ONNX files as exported, batch norm folded, under ONNX Runtime's provider for this machine's CPU."""

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
class OnnxRuntime(TimedDevice):
    """An ONNX file, float32, under ONNX Runtime's CPU provider with `threads` threads."""

    threads: int = 1

    NAME: ClassVar[str] = "onnxruntime"
    FORMAT: ClassVar[str] = "onnx"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_threads(self.threads)

    def info(self) -> dict[str, JSON]:
        """Batch, threads, dtype, processor and version."""
        about = {"dtype": "float32", "processor": processor(), **package_versions("onnxruntime")}
        machine = f"ONNX Runtime on {processor()}"
        return {"device": self.NAME, "machine": machine, "batch": self.batch, "threads": self.threads, **about}

    def bench(self) -> Bench:
        """See `TimedDevice.bench`. Raises ValueError where ONNX Runtime is not installed."""
        return OnnxRuntimeBench(self.batch, self.how(), needed("onnxruntime", "", "device onnxruntime"), self.threads)


@dataclass(frozen=True)
class OnnxRuntimeBench(FileBench):
    """Writes graphs as ONNX and runs them under ONNX Runtime's CPU provider, on `threads` threads."""

    runtime: ModuleType
    threads: int

    RUNTIME: ClassVar[str] = "onnxruntime"

    def artifact(self, graph: Graph, values: Variables) -> bytes:
        from nas.convert import onnx_bytes

        return onnx_bytes(graph, values)

    def load(self, model: bytes, images: np.ndarray) -> Callable[[], object]:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        session = self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return lambda: session.run(None, {"images": rows})
