"""`FORMATS`: what a trained network is written as, and how each file is loaded back and run on normalized images."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.arch.graph import Graph
from nas.nn.weights import Variables
from nas.workflows.export.inference import host
from nas.workflows.export.source import flax_source

if TYPE_CHECKING:
    from nas.convert import Preprocess
    from nas.tasks.base import HostOutputs


@dataclass(frozen=True)
class Trained:
    """A network to export: its graph and arrays, and what its images and outputs mean."""

    name: str
    graph: Graph
    variables: Variables
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    inside: Preprocess | None = None  # what files do around it themselves; then they take uint8 and give probabilities


@dataclass(frozen=True)
class Format:
    """file: its name in a bundle; write: the bytes; run: (file, images (n, h, w, c) float32) -> its outputs.

    needs: packages, and the extra that brings them.
    """

    file: str
    write: Callable[[Trained], bytes]
    run: Callable[[Path, np.ndarray], HostOutputs]
    needs: tuple[str, ...] = ()
    extra: str = ""


def _stablehlo(trained: Trained) -> bytes:
    from nas.convert import stablehlo_bytes

    return stablehlo_bytes(trained.graph, trained.variables, inside=trained.inside)


def _run_stablehlo(path: Path, images: np.ndarray) -> HostOutputs:
    from jax import export

    return host(export.deserialize(bytearray(path.read_bytes())).call(images))


def _onnx(trained: Trained) -> bytes:
    from nas.convert import onnx_bytes

    return onnx_bytes(trained.graph, trained.variables, trained.name)


def run_onnx(path: Path, images: np.ndarray) -> HostOutputs:
    """In ONNX Runtime, on the CPU; of normalized images, or of uint8 ones where the file normalizes them itself. Channels come last."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    moved = images if images.dtype == np.uint8 else images.transpose(0, 3, 1, 2)
    rows = [np.asarray(one) for one in session.run(None, {"images": np.ascontiguousarray(moved)})]
    ranks = {4: lambda one: one.transpose(0, 2, 3, 1), 3: lambda one: one[:, None]}  # of maps, and of positions in a row
    names = [one.name for one in session.get_outputs()]
    return _named({name: ranks.get(one.ndim, lambda one: one)(one) for name, one in zip(names, rows, strict=True)})


def _tflite(trained: Trained) -> bytes:
    from nas.convert import tflite_bytes

    return tflite_bytes(trained.graph, trained.variables, inside=trained.inside)


def _named(outputs: Mapping[str, np.ndarray]) -> HostOutputs:
    """Outputs by name; the only one by itself."""
    return outputs if len(outputs) > 1 else next(iter(outputs.values()))


def _run_tflite(path: Path, images: np.ndarray) -> HostOutputs:
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(model_path=str(path), num_threads=1)
    run = interpreter.get_signature_runner()
    found = [run(images=image[None]) for image in images]
    return _named({name: np.concatenate([one[name] for one in found]) for name in found[0]})


def _source(trained: Trained) -> bytes:
    return flax_source(trained.graph, trained.name, trained.classes, trained.mean, trained.std).encode()


def _run_source(path: Path, images: np.ndarray) -> HostOutputs:
    name = f"nas_exported_{abs(hash(str(path)))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
        return host(module.Network()(images))
    finally:
        sys.dont_write_bytecode = before


FORMATS: dict[str, Format] = {
    "stablehlo": Format("model.stablehlo", _stablehlo, _run_stablehlo),
    "source": Format("model.py", _source, _run_source),
    "onnx": Format("model.onnx", _onnx, run_onnx, ("onnx", "onnxruntime")),
    "tflite": Format("model.tflite", _tflite, _run_tflite, ("litert_converter", "ai_edge_litert"), "mobile"),
}


def missing(format_name: str) -> str:
    """The first package that a format lacks here, or nothing."""
    needs = FORMATS[format_name].needs
    return next((package for package in needs if importlib.util.find_spec(package) is None), "")


def available(expected: Sequence[str] | None) -> list[str]:
    """The formats to write: those expected, or all whose packages are here. Raises ValueError naming what is missing."""
    for name in expected or ():
        if package := missing(name):
            install = f"'nas[{FORMATS[name].extra}]'" if FORMATS[name].extra else package
            raise ValueError(f"formats: {name} needs the package {package}: pip install {install}")
    return [name for name in FORMATS if (name in expected if expected is not None else not missing(name))]
