"""Weights in .onnx files: read back equal, by whatever exporter; folded batch norms give equal outputs; damage is one line."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from nas.arch import arch_from_dict
from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.convert import onnx_bytes, starting_weights
from nas.convert.onnx import _Writer
from nas.convert.preprocess import Preprocess
from nas.nn.network import apply
from nas.nn.weights import HostVariables, Variables
from nas.tasks import single
from networks import images_of, settled

CONV = {"op": "conv", "width": 8, "stride": 2}
MOBILE = [{"op": "mbconv", "repeat": 2, "expand": 4, "kernel": 3, "se": 0.25, "width": 8, "stride": 2}]
RESIDUAL = [{"op": "residual", "repeat": 2, "width": 16, "stride": 1}, {"op": "residual", "repeat": 2, "width": 16, "stride": 2}]
HEAD = {"op": "classifier"}
GRAPHS: dict[str, tuple[Any, Any]] = {
    "mobile": (MOBILE, {"op": "classifier", "width": 12}),
    "residual": (RESIDUAL, HEAD),
    "dense": ([{"op": "dense_layer", "repeat": 2, "growth": 4, "stride": 1}], HEAD),  # norms before convolutions are not folded
    "flat": ([{"op": "conv", "repeat": 1, "width": 6, "stride": 2, "bias": True}], {"op": "mlp", "widths": [7]}),
}


def graph_of(name: str = "mobile", classes: int = 5) -> Graph:
    stages, head = GRAPHS[name]
    return lower(arch_from_dict({"name": "a", "resolution": 16, "classes": classes, "stem": CONV, "stages": stages, "head": head}))


def whole(graph: Graph, variables: HostVariables) -> bytes:
    """With its batch norms, as an exporter of networks in training writes it."""
    written: Any = _Writer(onnx.helper, onnx.numpy_helper, graph, variables).write("a")
    return onnx.helper.make_model(written).SerializeToString()


def same(a: Variables, b: Variables) -> bool:
    rows = [(part, node, name) for part, nodes in a.items() for node, arrays in nodes.items() for name in arrays]
    return all(np.array_equal(a[part][node][name], b[part][node][name]) for part, node, name in rows)


@pytest.mark.parametrize("name", GRAPHS)
def test_batch_norms_that_are_in_the_file_come_back_as_they_are(name: str, tmp_path: Path) -> None:
    graph = graph_of(name)
    variables = settled(graph)
    (path := tmp_path / "a.onnx").write_bytes(whole(graph, variables))
    imported = starting_weights(str(path), graph, 0)
    assert same(imported.variables, variables)
    assert (imported.fresh, imported.notes) == ((), ())


def test_dropout_leaves_the_order_of_flat_pixels(tmp_path: Path) -> None:
    graph = graph_of("flat")
    variables = settled(graph)
    model = onnx.load_model_from_string(whole(graph, variables))
    product = next(node for node in model.graph.node if node.op_type in ("Gemm", "MatMul"))
    dropout = onnx.helper.make_node("Dropout", [product.input[0]], ["dropped"], "dropout")
    model.graph.node.insert(list(model.graph.node).index(product), dropout)
    product.input[0] = "dropped"
    (path := tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert same(starting_weights(str(path), graph, 0).variables, variables)


@pytest.mark.parametrize("name", GRAPHS)
def test_an_export_read_back_computes_the_same(name: str, tmp_path: Path) -> None:
    graph = graph_of(name)
    variables = settled(graph)
    (path := tmp_path / "a.onnx").write_bytes(onnx_bytes(graph, variables))
    imported = starting_weights(str(path), graph, 0)
    images = jnp.asarray(images_of(graph, 4))
    infer = jax.jit(lambda values: single(apply(graph, values["params"], values["stats"], images, train=False)[0]))
    expected = infer(variables)
    assert np.abs(infer(imported.variables) - expected).max() < 1e-5 * np.abs(expected).max()
    assert imported.fresh == ()
    assert [re.sub(r"\d+ ", "", note)[:35] for note in imported.notes] == ["batch norms are folded into convolu"]


def test_other_classes_leave_the_classifier_fresh(tmp_path: Path) -> None:
    (path := tmp_path / "a.onnx").write_bytes(onnx_bytes(graph_of(), settled(graph_of())))
    assert starting_weights(str(path), graph_of(classes=3), 0).fresh == ("head/logits",)


def test_what_makes_images_ready_is_left_out(tmp_path: Path) -> None:
    graph = graph_of()
    before = Preprocess((0.5,) * 3, (0.2,) * 3, 20, 16)
    (path := tmp_path / "a.onnx").write_bytes(before.in_onnx(onnx_bytes(graph, settled(graph))))
    imported = starting_weights(str(path), graph, 0)
    assert imported.notes[0] == (
        "not read, as they make images ready: preprocess/mean, preprocess/std, preprocess/rows, preprocess/columns"
    )


def by_another_exporter(model: Any) -> None:
    """PyTorch's habits: numbered names, kernels of classifiers transposed, equal arrays kept once."""
    arrays = {t.name: t for t in model.graph.initializer}
    for i, node in enumerate(model.graph.node):
        node.name = f"/blocks.{i}/{node.op_type}"
        if node.op_type == "Gemm":
            kernel = onnx.numpy_helper.to_array(arrays[node.input[1]])
            arrays[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(kernel.T), node.input[1]))
            node.attribute.append(onnx.helper.make_attribute("transB", 1))
    names = {name: f"onnx::Conv_{i}" for i, name in enumerate(arrays)}
    for name, tensor in arrays.items():
        tensor.name = names[name]
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    alias = onnx.helper.make_node("Identity", [node.input[2]], ["alias"])
    node.input[2] = "alias"
    model.graph.node.insert(0, alias)


def by_matmul(model: Any) -> None:
    """A classifier as a product and a sum, its kernel a constant node."""
    nodes, arrays = model.graph.node, {t.name: t for t in model.graph.initializer}
    at, gemm = next((i, node) for i, node in reversed(list(enumerate(nodes))) if node.op_type == "Gemm")
    x, kernel, bias = gemm.input
    constant = onnx.helper.make_node("Constant", [], ["kernel"], value=arrays[kernel])
    product = onnx.helper.make_node("MatMul", [x, "kernel"], ["product"])
    total = onnx.helper.make_node("Add", [bias, "product"], list(gemm.output))
    model.graph.initializer.remove(arrays[kernel])
    rest = [*nodes[:at], product, total, *nodes[at + 1 :]]
    model.graph.ClearField("node")
    model.graph.node.extend([constant, *rest])


@pytest.mark.parametrize("change", [by_another_exporter, by_matmul])
def test_other_exporters_habits(change: Callable[[Any], None], tmp_path: Path) -> None:
    graph = graph_of("residual" if change is by_matmul else "mobile")
    variables = settled(graph)
    model = onnx.load_from_string(onnx_bytes(graph, variables))
    expected = starting_weights(str(write(tmp_path / "a.onnx", model)), graph, 0)
    change(model)
    onnx.checker.check_model(model)
    imported = starting_weights(str(write(tmp_path / "b.onnx", model)), graph, 0)
    assert same(imported.variables, expected.variables)
    assert imported.fresh == ()


def write(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def array(name: str, **values: Any) -> Callable[[Any], None]:
    """A model whose array of that name has other fields."""

    def change(model: Any) -> None:
        tensor = next(t for t in model.graph.initializer if t.name.endswith(name))
        for key, value in values.items():
            if isinstance(value, list):
                getattr(tensor, key)[:] = value
            else:
                setattr(tensor, key, value)

    return change


def added(model: Any) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "slope"))


def quantized(model: Any) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.insert(0, onnx.helper.make_node("DequantizeLinear", [node.input[1]], ["real"]))
    node.input[1] = "real"


def choosing(model: Any) -> None:
    then = onnx.helper.make_graph([], "then", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], name="which", then_branch=then, else_branch=then))


FAULTS: list[tuple[Callable[[Any], None], str]] = [
    (array("stem/conv/kernel", raw_data=b"1234"), "stem/conv/kernel: damaged: "),
    (array("stem/conv/kernel", dims=[-1, 3, 3, 3]), "stem/conv/kernel: damaged: a size below 0"),
    (array("stem/conv/kernel", dims=[2**40, 3, 3, 3]), "stem/conv/kernel: damaged: "),
    (array("stem/conv/kernel", dims=[8, 27]), "stem/conv: kernel: expected shape (3, 3, 3, 8), got shape (1, 1, 27, 8)"),
    (array("stem/conv/kernel", data_type=999), "stem/conv/kernel: damaged: "),
    (array("stem/conv/kernel", data_location=1), "stem/conv/kernel: its numbers are in another file; save the model as one file"),
    (added, "slope: an array of no layer known here: it is read by no node"),
    (quantized, "Conv stem/conv: its weight is computed, by DequantizeLinear; expected an array, as before a model is quantized"),
    (choosing, "If which: it chooses what to compute"),
    (lambda model: model.graph.ClearField("node"), "no ONNX model: it has no nodes"),
    (lambda model: model.graph.ClearField("initializer"), "Conv stem/conv: its weight is computed; "),
]  # fmt: skip


@pytest.mark.parametrize("change, words", FAULTS)
def test_what_cannot_be_read_is_one_line(change: Callable[[Any], None], words: str, tmp_path: Path) -> None:
    graph = graph_of()
    model = onnx.load_from_string(onnx_bytes(graph, settled(graph)))
    change(model)
    assert words in refused(write(tmp_path / "a.onnx", model), graph)


def refused(path: Path, graph: Graph) -> str:
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as found:
        starting_weights(str(path), graph, 0)
    assert str(found.value).isprintable()
    return str(found.value)


def test_another_architecture_is_named(tmp_path: Path) -> None:
    (path := tmp_path / "a.onnx").write_bytes(onnx_bytes(graph_of("residual"), settled(graph_of("residual"))))
    assert "expected shape" in refused(path, graph_of())
    assert "no such file" in refused(tmp_path / "b.onnx", graph_of())
    (tmp_path / "c.onnx").write_bytes(b"\x80\x02}q\0.")
    assert "no ONNX model" in refused(tmp_path / "c.onnx", graph_of())


def test_damaged_files_are_one_line_or_whole(tmp_path: Path) -> None:
    graph = graph_of("flat")
    content, rng, path = onnx_bytes(graph, settled(graph)), random.Random(0), tmp_path / "a.onnx"
    lines = []
    for _ in range(150):
        damaged = bytearray(content[: rng.choice((len(content), rng.randrange(1, len(content))))])
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(min(len(damaged), rng.choice((600, len(damaged)))))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            starting_weights(str(path), graph, 0)
        except ValueError as error:
            lines.append(str(error))
    assert len(lines) > 50
    assert all(line.startswith(f"{path}: ") and line.isprintable() for line in lines)
