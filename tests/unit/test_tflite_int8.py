"""A .tflite file in 8 bits: integers alone within, weights by channel, and nearly the answers of the network."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.arch.builder import Builder
from nas.arch.graph import Graph
from nas.convert import ConversionError, quantized_tflite, tflite_bytes
from nas.nn.network import init
from nas.space import load_space
from networks import images_of, logits, settled


def network() -> tuple[Any, Any]:
    space = load_space("tiny").fit(16, 3, 10)
    arch = space.decode(space.sample(np.random.default_rng(1)))
    graph = lower(arch)
    return graph, settled(graph)


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    graph, variables = network()
    images, model = images_of(graph, 32), tflite_bytes(graph, variables)
    return {"graph": graph, "variables": variables, "images": images,
            **{io: quantized_tflite(model, images, io) for io in ("int8", "float")}}  # fmt: skip


def opened(model: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    return interpreter


def test_nothing_but_integers_within(made: dict[str, Any]) -> None:
    kinds = {detail["dtype"] for detail in opened(made["int8"]).get_tensor_details()}
    assert kinds <= {np.int8, np.int32}
    interpreter = opened(made["float"])
    names = [one["op_name"] for one in interpreter._get_ops_details()]
    assert (names.count("QUANTIZE"), names.count("DEQUANTIZE")) == (1, 1)
    assert {interpreter.get_input_details()[0]["dtype"], interpreter.get_output_details()[0]["dtype"]} == {np.float32}


def test_weights_have_a_scale_a_channel(made: dict[str, Any]) -> None:
    scales = [detail["quantization_parameters"]["scales"].size for detail in opened(made["int8"]).get_tensor_details()]
    assert max(scales) > 8


def test_the_answers_are_nearly_those_of_the_network(made: dict[str, Any]) -> None:
    ours = logits(made["graph"], made["variables"], made["images"])
    interpreter = opened(made["float"])
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for image in made["images"]:
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(result)[0].copy())
    error = np.abs(np.array(found) - ours).mean() / ours.std()
    assert 0 < error < 0.1


def test_an_activation_that_is_always_zero_gets_a_range() -> None:
    """As the hidden layer of a squeeze-excite whose units are dead."""
    g = Builder()
    x = g.act(g.conv(g.input((4, 4, 3)), 8, 3, bias=True, name="dead"), "relu")
    g.dense(g.global_pool(x), 2, "d")
    graph = Graph(tuple(g.nodes))
    variables = init(graph, 0)
    dead = next(name for name in variables["params"] if "dead" in name)
    variables["params"][dead]["bias"] = np.full(8, -100, np.float32)
    model = quantized_tflite(tflite_bytes(graph, variables), images_of(graph, 4))
    from ai_edge_litert.interpreter import Interpreter

    Interpreter(model_content=model, num_threads=1).allocate_tensors()  # with the kernels of phones


@pytest.mark.parametrize(
    "model, images, error, words",
    [
        (b"nothing", np.zeros((1, 4, 4, 3), np.float32), ConversionError, "int8: "),
        (b"", np.zeros((0, 4, 4, 3)), ValueError, "one image or more"),
    ],
    ids=["no model", "no images"],
)
def test_what_cannot_be_quantized_is_one_line(model: bytes, images: np.ndarray, error: type[ValueError], words: str) -> None:
    with pytest.raises(error, match=words) as found:
        quantized_tflite(model, images)
    assert "\n" not in str(found.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    monkeypatch.setattr("nas.convert.tflite_int8.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install 'nas"):
        quantized_tflite(b"", np.zeros((1, 4, 4, 3)))
