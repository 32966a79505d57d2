"""A head of several named outputs, as a plugin may define it, through the graph, the network, costs and ONNX."""

import jax
import numpy as np
import pytest

from nas.arch import Arch, Block, Stage
from nas.arch.blocks import HEADS, lower
from nas.arch.builder import Builder
from nas.convert import folded, onnx_bytes
from nas.cost import cost
from nas.nn.network import apply, init


def two_heads(g: Builder, x: int, *, classes: int) -> dict[str, int]:
    """A map of the image's size, and logits."""
    where = g.conv_norm_act(x, 2, 1, 1, "sigmoid", "map")
    return {"map": where, "logits": g.dense(g.flatten(g.global_pool(x)), classes, "logits")}


@pytest.fixture
def arch(monkeypatch: pytest.MonkeyPatch) -> Arch:
    monkeypatch.setitem(HEADS, "two_heads", two_heads)
    layer = Block.of("conv", kernel=3, width=6)
    return Arch("two", 8, layer, (Stage((layer,), 2),), Block.of("two_heads"), classes=4)


def test_outputs_have_the_names_of_the_head(arch: Arch) -> None:
    graph = lower(arch)
    assert [graph.nodes[i].name for i in graph.outputs.values()] == ["head/map.act", "head/logits"]
    variables, images = init(graph, 0), np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    found, _ = apply(graph, variables["params"], variables["stats"], jax.numpy.asarray(images), train=False)
    assert isinstance(found, dict)
    assert {name: value.shape for name, value in found.items()} == {"map": (3, 4, 4, 2), "logits": (3, 4)}
    deployed, arrays = folded(graph, variables)
    same, _ = apply(deployed, arrays["params"], arrays["stats"], jax.numpy.asarray(images), train=False)
    assert isinstance(same, dict)
    for name, value in found.items():
        np.testing.assert_allclose(same[name], value, rtol=1e-4, atol=1e-5)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(onnx_bytes(graph, variables), providers=["CPUExecutionProvider"])
    exported = dict(zip(["map", "logits"], session.run(["map", "logits"], {"images": images.transpose(0, 3, 1, 2)}), strict=True))
    np.testing.assert_allclose(exported["map"].transpose(0, 2, 3, 1), found["map"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(exported["logits"], found["logits"], rtol=1e-3, atol=1e-4)


def test_all_outputs_are_counted(arch: Arch) -> None:
    head = cost(arch).layers[-1]
    assert head.params == 6 * 2 + 2 * 2 + 6 * 4 + 4
    assert head.macs == 4 * 4 * 6 * 2 + 6 * 4
