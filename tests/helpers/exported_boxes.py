"""A detector in every exported form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np

from nas.arch.graph import Graph
from nas.convert import onnx_bytes, stablehlo_bytes, tflite_bytes
from nas.nn.weights import HostVariables
from nas.workflows.export.loading import WEIGHTS
from nas.workflows.export.safetensors import flat, to_bytes
from nas.workflows.export.source import flax_source

Outputs: TypeAlias = Mapping[str, Any]


def check_exports(
    graph: Graph, values: HostVariables, images: np.ndarray, ours: Mapping[str, np.ndarray], folder: Path,
    forms: Sequence[str] = ("onnx", "source", "tflite", "stablehlo"),
) -> None:  # fmt: skip
    """Each form gives both outputs of three classes as the network itself, `ours`, has them."""
    for form in forms:
        found = FORMS[form](graph, values, images, folder)
        assert sorted(found) == ["boxes", "classes"]
        for name, own in ours.items():
            tolerance = 1e-4 * max(1, own.std())
            np.testing.assert_allclose(found[name], own, rtol=1e-3, atol=tolerance, err_msg=f"{form} {name}")


def _onnx(graph: Graph, values: HostVariables, images: np.ndarray, _: Path) -> Outputs:
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes(graph, values), providers=["CPUExecutionProvider"])
    shapes = {name: graph.nodes[i].shape for name, i in graph.outputs.items()}
    assert {one.name: one.shape for one in session.get_outputs()} == {name: ["N", *shape[1:]] for name, shape in shapes.items()}
    rows = session.run(list(shapes), {"images": images.transpose(0, 3, 1, 2)})
    return {name: np.asarray(value)[:, None] for name, value in zip(shapes, rows, strict=True)}


def _source(graph: Graph, values: HostVariables, images: np.ndarray, folder: Path) -> Outputs:
    (folder / WEIGHTS).write_bytes(to_bytes(flat(values)))
    source: dict[str, Any] = {"__file__": str(folder / "model.py"), "__name__": "model"}
    exec(compile(flax_source(graph, "net", ("a", "b", "c"), (0.0,), (1.0,)), "model.py", "exec"), source)
    return jax.jit(source["Network"]())(images)


def _tflite(graph: Graph, values: HostVariables, images: np.ndarray, _: Path) -> Outputs:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=tflite_bytes(graph, values)).get_signature_runner()(images=images)


def _stablehlo(graph: Graph, values: HostVariables, images: np.ndarray, _: Path) -> Outputs:
    from jax import export

    called: Any = export.deserialize(bytearray(stablehlo_bytes(graph, values, ("cpu",)))).call(images)
    return called


FORMS: dict[str, Callable[[Graph, HostVariables, np.ndarray, Path], Outputs]] = {
    "onnx": _onnx, "source": _source, "tflite": _tflite, "stablehlo": _stablehlo,
}  # fmt: skip
