"""Segmentation heads: published counts, their own arithmetic in NumPy, and the same maps from every export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import HEADS, Taps, lower
from nas.arch.builder import Builder
from nas.arch.files import load_arch
from nas.arch.graph import Graph
from nas.convert import onnx_bytes, stablehlo_bytes, tflite_bytes
from nas.cost import cost
from nas.explain.taps import features, logits_and_maps
from nas.nn.network import apply
from nas.nn.resample import matrix
from nas.nn.weights import HostVariables
from nas.workflows.export.formats import FORMATS
from networks import images_of, logits, settled


@pytest.mark.parametrize(
    "name, classes, params, macs",
    [
        # torchvision's, with weights of 21 classes; multiply-adds as it counts them
        ("lraspp_mobilenet_v3_large", 21, 3_221_538, 2_086_219_688),
        ("lraspp_mobilenet_v3_large", 11, 3_219_838, 2_079_121_688),
        ("lraspp_mobilenet_v3_large", 19, 3_221_198, 2_084_800_088),
        # published with the auxiliary head: 11,029,328 and 10.452 G, of which 3,851 and 16,097,250 are that head's, at 65 x 65 pixels
        ("deeplabv3_mobilenet_v3_large", 21, 11_029_328 - 3_851, 10_452_447_938 - 65 * 65 * (9 * 40 * 10 + 10 * 21)),
        ("unet", 2, 31_037_698, 192_686_325_760),
        ("unet_original", 2, 31_030_658, 150_428_424_448),
    ],
)
def test_published_counts(name: str, classes: int, params: int, macs: int) -> None:
    counted = cost(load_arch(name).with_io(classes=classes))
    assert (counted.params, counted.macs) == (params, macs)


def test_the_parts_of_torchvisions_networks() -> None:
    arch = load_arch("lraspp_mobilenet_v3_large")
    graph = lower(arch)
    shapes = {node.name: node.shape for node in graph.nodes}
    assert (shapes["head/conv.act"], shapes["head/low.logits"], shapes["head/logits"]) == ((33, 33, 960), (65, 65, 21), (520, 520, 21))
    dilated = [node.scope for node in graph.nodes if "dilation" in node.attr]
    assert dilated == ["stages.5.0", "stages.5.1", "stages.5.2"]
    head = sum(layer.params for layer in cost(arch).layers if layer.name == "head")
    assert head == 249_586 + 160 * 960 + 2 * 960  # with the last convolution of the backbone
    nodes = lower(load_arch("deeplabv3_mobilenet_v3_large")).nodes
    assert [node.attr["dilation"] for node in nodes if node.scope == "head" and "dilation" in node.attr] == [12, 24, 36]


def test_the_original_u_net_answers_for_the_center() -> None:
    nodes = {node.name: node for node in lower(load_arch("unet_original")).nodes}
    assert nodes["head/logits"].shape == (388, 388, 2)
    assert [nodes[f"head/up{stride}.crop"].attr["top"] for stride in (8, 4, 2, 1)] == [4, 16, 40, 88]
    assert lower(load_arch("unet")).nodes[-1].shape == (512, 512, 2)


def net(head: dict[str, Any], resolution: int = 30, **top: Any) -> Arch:
    """An odd size, so that maps do not come out even: 30, 15, 8 and 4 pixels."""
    return arch_from_dict({
        "resolution": resolution, "classes": 4, "stem": {"op": "conv", "width": 6},
        "stages": [
            {"op": "conv", "width": 8, "stride": 2},
            {"op": "mbconv", "expand": 2, "width": 10, "stride": 2},
            {"op": "mbconv", "expand": 2, "width": 12, "stride": 2},
        ],
        "head": head, **top,
    })  # fmt: skip


KNOBS: dict[str, dict[str, Any]] = {
    "lr_aspp": {"conv": 14, "width": 8, "finer": 4},
    "deeplab_v3": {"width": 8, "rates": [1, 2, 3]},
    "unet": {},
}


def side_by_side(g: Builder, x: int, *, classes: int, taps: Taps, output_stride: int = 0) -> int:
    """All of them, so that each export is made once: their logits are (h, w, classes) each."""
    maps = []
    for name, knobs in KNOBS.items():
        g.scope = name
        maps.append(HEADS[name](g, x, classes=classes, taps=taps, **knobs))
    g.scope = "head"
    return g.concat(maps)


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> tuple[Graph, HostVariables, np.ndarray]:
    monkeypatch.setitem(HEADS, "side_by_side", side_by_side)
    graph = lower(net({"op": "side_by_side", "output_stride": 4}))
    return graph, settled(graph), images_of(graph, 2)


def test_every_export_gives_the_same_maps(answered: tuple[Graph, HostVariables, np.ndarray], tmp_path: Path) -> None:
    graph, values, images = answered
    ours = logits(graph, values, images)
    assert ours.shape == (2, 30, 30, 12)
    assert (ours.std((0, 1, 2)) > 0).all()
    files = {"onnx": onnx_bytes(graph, values), "tflite": tflite_bytes(graph, values)}
    for form, content in {**files, "stablehlo": stablehlo_bytes(graph, values, ("cpu",))}.items():
        (tmp_path / FORMATS[form].file).write_bytes(content)
        theirs = FORMATS[form].run(tmp_path / FORMATS[form].file, images)
        assert isinstance(theirs, np.ndarray)
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4 * max(1, ours.std()), err_msg=form)


def test_lr_aspp_by_hand() -> None:
    """From the maps that it reads on, every step in NumPy."""
    graph = lower(net({"op": "lr_aspp", "output_stride": 4, **KNOBS["lr_aspp"]}))
    values, images = settled(graph), images_of(graph, 2)
    index = {node.name: i for i, node in enumerate(graph.nodes)}
    nodes = [index[name] for name in ("stages.0.0/act", "stages.2.0/project.norm", "head/logits")]
    low, high, found = (np.asarray(x, np.float64) for x in jax.jit(lambda x: features(graph, values, x, nodes))(images))
    assert (low.shape, high.shape) == ((2, 15, 15, 8), (2, 8, 8, 12))

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        arrays = values["params"][f"head/{name}"]
        return np.einsum("nhwc,cd->nhwd", x, arrays["kernel"][0, 0]) + arrays.get("bias", np.zeros(1))

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        params, stats = values["params"][f"head/{name}"], values["stats"][f"head/{name}"]
        return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-3) * params["scale"] + params["bias"]

    def resize(x: np.ndarray, size: int) -> np.ndarray:
        return np.einsum("Hh,nhwc,Ww->nHWc", matrix(x.shape[1], size), x, matrix(x.shape[2], size))

    last = norm(conv(high, "conv.conv"), "conv.norm")
    last = last * np.clip(last + 3, 0, 6) / 6
    gate = 1 / (1 + np.exp(-conv(last.mean((1, 2), keepdims=True), "scale.conv")))
    own = np.maximum(norm(conv(last, "high.conv"), "high.norm"), 0) * gate
    expected = resize(conv(low, "low.logits") + conv(resize(own, 15), "high.logits"), 30)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_last_convolution_answers_in_float32(answered: tuple[Graph, HostVariables, np.ndarray]) -> None:
    """As dense logits do: rounding would change which class is the largest."""
    graph, values, images = answered

    def infer(images: jax.Array) -> Any:
        return apply(graph, values["params"], values["stats"], images, train=False, dtype=jax.numpy.bfloat16)[0]

    text = str(jax.make_jaxpr(infer)(images))
    assert "bf16[2,30,30,4]" not in text
    assert "f32[2,30,30,4]" in text
    assert [x.shape for x in jax.eval_shape(lambda x: logits_and_maps(graph, values, x), images)[1]] == [(2, 30, 30, 12)]


@pytest.mark.parametrize(
    "head, words",
    [
        ({"op": "unet", "widths": [8, 8]}, "head.widths: expected 3, one for each map finer than the last, got 2"),
        ({"op": "lr_aspp", "gate": "sigmod"}, "head.gate: expected one of none, relu.*did you mean 'sigmoid'"),
        ({"op": "deeplab_v3", "rates": 3}, "head.rates: expected a list of at most 16 widths"),
        ({"op": "unet", "valid": True}, "head.up4.first.conv: a 3x3 window does not fit"),
    ],
)
def test_heads_refuse(head: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lower(net(head, resolution=8 if head.get("valid") else 30))
