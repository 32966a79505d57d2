"""ONNX and .tflite files give our logits in ONNX Runtime and LiteRT themselves, for every primitive that there is."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.arch.builder import Builder
from nas.arch.files import load_arch
from nas.arch.graph import ACTS, Graph, Node
from nas.convert import folded, onnx_bytes, tflite, tflite_bytes
from nas.convert.onnx import WRITERS
from nas.convert.tflite import ConversionError
from nas.core.versions import needed
from nas.nn.network import LAYERS, RANDOM, init
from nas.nn.weights import HostVariables
from nas.workflows.export.loading import WEIGHTS
from nas.workflows.export.safetensors import flat, to_bytes
from nas.workflows.export.source import flax_source
from networks import images_of, logits, settled

Build = Callable[[Builder, int], int]


def in_onnxruntime(model: bytes, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": images.transpose(0, 3, 1, 2)})[0])


def in_litert(model: bytes, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_content=model, num_threads=1).get_signature_runner()
    return np.concatenate([run(images=image[None])["logits"] for image in images])


def in_source(folder: Path, graph: Graph, values: HostVariables, images: np.ndarray) -> np.ndarray:
    """By the source that a bundle has, compiled as a user would."""
    (folder / WEIGHTS).write_bytes(to_bytes(flat(values)))
    (folder / "model.py").write_text(flax_source(graph, "all", (), (0.0,), (1.0,)), encoding="utf-8")
    names: dict[str, Any] = {"__file__": str(folder / "model.py"), "__name__": "model"}
    exec(compile((folder / "model.py").read_text(encoding="utf-8"), "model.py", "exec"), names)
    return np.asarray(jax.jit(names["Network"]())(images))


def assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert ours.std() > 0
    assert np.abs(ours - theirs).max() < 1e-4 * max(1, ours.std())


def conv_norm(g: Builder, x: int, **options: Any) -> int:
    return g.norm(g.conv(x, 8, name="c", **options), "c.norm")


# Images are 9 x 9 x 6, so that strides, paddings and groups do not come out even.
PRIMITIVES: dict[str, Build] = {
    **{f"act-{fn}": (lambda g, x, fn=fn: g.act(conv_norm(g, x, kernel=1), fn)) for fn in ACTS},
    **{f"conv-k{k}-s{s}-{pad}": (lambda g, x, k=k, s=s, pad=pad: conv_norm(g, x, kernel=k, stride=s, padding=pad))
       for k, s, pad in ((3, 1, "same"), (3, 2, "same"), (5, 2, "torch"), (2, 2, "valid"), (7, 4, "same"), (1, 2, "same"))},
    **{f"depthwise-k{k}-s{s}": (lambda g, x, k=k, s=s: g.norm(g.depthwise(x, k, s, "d"), "d.norm")) for k, s in ((3, 1), (5, 2), (7, 1))},
    "conv-bias": lambda g, x: g.conv(x, 8, 3, bias=True, name="c"),
    "conv-bias-norm": lambda g, x: g.conv_norm_act(x, 8, 3, 1, "relu", "c", bias=True),
    "conv-groups": lambda g, x: conv_norm(g, x, kernel=3, stride=2, groups=2),
    "depthwise-multiplier": lambda g, x: g.conv(x, 12, 3, groups=6, name="c"),
    "norm-first": lambda g, x: g.conv(g.act(g.norm(x, "n"), "relu"), 8, 1, name="c"),
    "norm-of-a-read-conv": lambda g, x: (lambda y: g.add(y, g.norm(y, "n")))(g.conv(x, 8, 3, name="c")),
    "norm-of-dense": lambda g, x: g.norm(g.dense(g.global_pool(x), 8, "d"), "n"),
    "norm-alone-after-pool": lambda g, x: g.norm(g.global_pool(x), "n"),
    **{f"{kind}-pool-k{k}-s{s}-{pad}{'-ceil' if ceil else ''}": (
        lambda g, x, kind=kind, k=k, s=s, pad=pad, ceil=ceil: g.pool(x, kind, k, s, "p", padding=pad, ceil=ceil))
       for kind in ("max", "avg") for k, s, pad, ceil in
       ((3, 1, "same", False), (3, 2, "same", False), (2, 2, "valid", False), (3, 2, "torch", False), (2, 2, 0, True), (4, 3, 1, True))},
    "global-pool": lambda g, x: g.global_pool(x),
    "flatten": lambda g, x: g.act(g.dense(g.flatten(x), 8, "d"), "relu"),
    "add": lambda g, x: g.add(x, g.act(x, "tanh")),
    "add-vectors": lambda g, x: (lambda y: g.add(g.dense(y, 6, "d"), y))(g.global_pool(x)),
    "gate": lambda g, x: g.mul(x, g.act(g.conv(g.global_pool(x), 6, bias=True, name="se"), "sigmoid")),
    "gate-of-dense": lambda g, x: g.mul(x, g.act(g.dense(g.global_pool(x), 6, "se"), "hsigmoid")),
    "concat": lambda g, x: g.concat([x, g.act(x, "relu"), g.conv(x, 3, name="c")]),
    "channels": lambda g, x: g.channels(x, 1, 4, "part"),
    "shuffle": lambda g, x: g.shuffle(g.conv(x, 8, name="c"), 4),
    "l2-normalize": lambda g, x: g.l2_normalize(g.dense(g.global_pool(x), 7, "d")),
    "l2-normalize-pixels": lambda g, x: g.l2_normalize(x),
    "l2-normalize-scaled": lambda g, x: g.l2_normalize(x, scale=20.0),
    "l2-normalize-vector-scaled": lambda g, x: g.l2_normalize(g.global_pool(x), scale=2.0),
    "conv-dilated": lambda g, x: conv_norm(g, x, kernel=3, dilation=2),
    "conv-dilated-stride": lambda g, x: conv_norm(g, x, kernel=3, stride=2, dilation=3, padding="torch"),
    "conv-dilated-own-padding": lambda g, x: conv_norm(g, x, kernel=3, dilation=2, padding=1),
    "conv-1x3": lambda g, x: conv_norm(g, x, kernel=(1, 3)),
    "conv-5x2-dilated": lambda g, x: conv_norm(g, x, kernel=(5, 2), dilation=2, padding="torch"),
    "depthwise-dilated": lambda g, x: g.conv(x, 6, 5, groups=6, dilation=2, name="d"),
    "depthwise-7x1": lambda g, x: g.conv(x, 6, (7, 1), 2, groups=6, name="d"),
    "transposed-k2-s2": lambda g, x: g.conv_transpose(x, 5, 2, 2, "t"),
    "transposed-k3-s2-norm": lambda g, x: g.norm(g.conv_transpose(x, 5, 3, 2, "t", bias=False), "n"),
    "resize-up": lambda g, x: g.resize(conv_norm(g, x, kernel=3), (13, 20)),
    "resize-33": lambda g, x: g.resize(g.channels(g.resize(x, (33, 33), "larger"), 0, 1, "one"), (52, 40)),
    "resize-down": lambda g, x: g.resize(x, (4, 7)),
    "resize-one-pixel": lambda g, x: g.resize(g.global_pool(x), (3, 4)),
    "crop": lambda g, x: g.crop(x, (4, 7)),
    "reshape-rows": lambda g, x: g.reshape(x, (1, 162, 3)),
    "reshape-rows-read": lambda g, x: g.act(g.reshape(x, (1, 162, 3)), "sigmoid"),
    "reshape-pixels": lambda g, x: g.reshape(g.reshape(g.flatten(x, "flat"), (1, 54, 9)), (6, 9, 9), "pixels"),
    "dropped": lambda g, x: g.dropout(g.drop_path(conv_norm(g, x, kernel=3), "path"), 0.5),
}  # fmt: skip


def side_by_side() -> tuple[Graph, dict[str, slice]]:
    """All of them in one network, which is converted once: the output has the pixels of each in a place of their own."""
    g = Builder(drop_rate=0.3)
    image, outputs, places, end = g.input((9, 9, 6)), [], {}, 0
    for name, build in PRIMITIVES.items():
        g.scope = name
        outputs.append(g.flatten(build(g, image)))
        places[name] = slice(end, end + g.width(outputs[-1]))
        end = places[name].stop
    g.scope = "head"
    g.concat(outputs)
    return Graph(tuple(g.nodes)), places


def test_activations_are_operations_that_a_phone_has() -> None:
    """ReLU and ReLU6 are parts of the convolutions before them, and nothing is selected element by element."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    g = Builder()
    x = g.input((9, 9, 6))
    for fn in ("relu", "relu6", "hswish"):
        g.scope = fn
        x = g.act(conv_norm(g, x, kernel=3), fn)
    g.flatten(x)
    graph = Graph(tuple(g.nodes))
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    model = Interpreter(model_content=tflite_bytes(graph, settled(graph)), experimental_op_resolver_type=plain)
    model.allocate_tensors()
    assert Counter(one["op_name"] for one in model._get_ops_details()) == {"CONV_2D": 3, "HARD_SWISH": 1, "RESHAPE": 1}


class Outputs(NamedTuple):
    places: dict[str, slice]
    ours: np.ndarray
    onnxruntime: np.ndarray
    litert: np.ndarray
    source: np.ndarray


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    graph, places = side_by_side()
    values, images = settled(graph), images_of(graph, 2)
    folder = tmp_path_factory.mktemp("source")
    source = in_source(folder, graph, values, images)
    found = in_onnxruntime(onnx_bytes(graph, values), images), in_litert(tflite_bytes(graph, values), images), source
    return Outputs(places, logits(graph, values, images), *found)


def test_the_table_has_every_primitive():
    used = {node.op for node in side_by_side()[0].nodes}
    assert used == {"input", *LAYERS, *RANDOM, "norm"}
    assert set(WRITERS) == used - {"input", *RANDOM}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_a_primitive_computes_the_same(outputs: Outputs, name: str):
    place = outputs.places[name]
    for runtime in ("onnxruntime", "litert", "source"):
        assert_close(outputs.ours[:, place], getattr(outputs, runtime)[:, place])


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "lenet5"])
def test_whole_networks_compute_the_same(name: str):
    graph = lower(load_arch(name) if name == "lenet5" else load_arch(name).with_io(32, 3, 10))
    values, images = settled(graph), images_of(graph, 2)
    ours = logits(graph, values, images)
    assert_close(ours, in_onnxruntime(onnx_bytes(graph, values, name), images))
    assert_close(ours, in_litert(tflite_bytes(graph, values), images))


def test_folding_leaves_no_norm_after_a_convolution():
    graph = lower(load_arch("mobilenet_v3_small").with_io(32, 3, 10))
    values = settled(graph)
    small, arrays = folded(graph, values)
    assert {node.op for node in graph.nodes} - {node.op for node in small.nodes} == {"norm", "dropout"}
    assert arrays["stats"] == {}
    images = images_of(graph, 2)
    assert_close(logits(graph, values, images), logits(small, arrays, images))


def test_a_layer_gives_features():
    g = Builder()
    conv_norm(g, g.input((6, 6, 3)), kernel=3, stride=2)
    graph = Graph(tuple(g.nodes))
    values, images = settled(graph), images_of(graph, 2)
    features = in_onnxruntime(onnx_bytes(graph, values), images)
    assert features.shape == (2, 8, 3, 3)
    assert_close(logits(graph, values, images), features.transpose(0, 2, 3, 1))


def test_an_unknown_primitive_is_named():
    graph = Graph((Node("input", "input", (), (1, 1, 1)), Node("warp", "stem/warp", (0,), (1, 1, 1))))
    with pytest.raises(ValueError, match=r"stem/warp: the primitive warp has no ONNX operation"):
        onnx_bytes(graph, {"params": {}, "stats": {}})


@pytest.mark.parametrize(
    "script, line",
    [
        ("import os; os.abort()", r"tflite: the converter ended with signal 6: nothing was said"),
        (
            "import sys; sys.exit('x: error: no such op')",
            r"tflite: the converter refused the network: x: error: no such op",
        ),
    ],
)
def test_what_ends_the_converter_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, line: str):
    broken = tmp_path / "broken.py"
    broken.write_text(script)
    monkeypatch.setattr(tflite, "PROCESS", broken)
    graph = lower(load_arch("lenet5"))
    with pytest.raises(ConversionError, match=line):
        tflite_bytes(graph, init(graph, 0))


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"^onnx: needs the package onnx: pip install 'nas\[onnx\]'$"):
        needed("onnx", "onnx")
