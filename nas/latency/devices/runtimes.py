"""Times under the runtimes that networks are deployed with: LiteRT and ONNX Runtime, on this machine's CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from nas.arch.graph import Graph
from nas.convert import onnx_bytes, tflite_bytes
from nas.core.versions import needed
from nas.latency.devices.host import one_line, processor, settled_values
from nas.latency.timing import DeviceError, Program, Rounds, Timing, time_programs


@dataclass(frozen=True)
class LiteRTBench:
    """Converts graphs to .tflite and runs them under ai-edge-litert."""

    batch: int
    threads: int
    how: Rounds
    clock: Callable[[], float] = time.perf_counter

    def compile(self, graph: Graph, what: str) -> Program:
        """A program of one inference. Raises DeviceError naming `what` where the converter or the runtime refuses it."""
        interpreter_class = needed("ai_edge_litert.interpreter", "mobile", "device litert").Interpreter
        try:
            model = tflite_bytes(graph, settled_values(graph), self.batch)
            interpreter = interpreter_class(model_content=model, num_threads=self.threads)
            interpreter.allocate_tensors()
            (given,) = interpreter.get_input_details()
            interpreter.set_tensor(given["index"], images_of(graph, self.batch))
        except Exception as error:
            raise DeviceError(f"{what}: cannot be compiled for litert: {one_line(error)}") from error
        return _guarded(interpreter.invoke, f"{what}: fails on litert")

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        return time_programs(programs, self.clock, self.how, limits_s)


@dataclass(frozen=True)
class OnnxRuntimeBench:
    """Writes graphs as ONNX and runs them under ONNX Runtime's CPU provider."""

    batch: int
    threads: int
    how: Rounds
    clock: Callable[[], float] = time.perf_counter

    def compile(self, graph: Graph, what: str) -> Program:
        """A program of one inference. Raises DeviceError naming `what` where the runtime refuses it."""
        runtime = needed("onnxruntime", "onnx", "device onnxruntime")
        try:
            options = runtime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
            options.log_severity_level = 3
            model = onnx_bytes(graph, settled_values(graph))
            session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            images = np.ascontiguousarray(images_of(graph, self.batch).transpose(0, 3, 1, 2))
        except Exception as error:
            raise DeviceError(f"{what}: cannot be compiled for onnxruntime: {one_line(error)}") from error
        return _guarded(lambda: session.run(None, {"images": images}), f"{what}: fails on onnxruntime")

    def time(self, programs: Mapping[str, Program], limits_s: Mapping[str, float] | None = None) -> dict[str, Timing]:
        return time_programs(programs, self.clock, self.how, limits_s)


def images_of(graph: Graph, batch: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, *graph.input_shape), np.float32)


def litert_info() -> dict[str, Any]:
    """The machine and the versions that LiteRT's times hold for."""
    return {"dtype": "float32", "processor": processor(), **_versions("ai-edge-litert", "litert-converter")}


def onnxruntime_info() -> dict[str, Any]:
    """The machine and the versions that ONNX Runtime's times hold for."""
    return {"dtype": "float32", "processor": processor(), **_versions("onnxruntime")}


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _guarded(run: Callable[[], object], what: str) -> Program:
    def program() -> None:
        try:
            run()
        except Exception as error:
            raise DeviceError(f"{what}: {one_line(error)}") from error

    return program
