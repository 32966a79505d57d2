"""What heads read of the layers before them, strides that become dilations, and all that looks at layers one by one."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from fake_bench import FakeBench, additive_ms
from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import HEADS, Taps, lower, tapped
from nas.arch.builder import Builder
from nas.arch.files import load_arch
from nas.cost import METRICS, Costs, cost
from nas.latency.predictors.layerwise.fitting import Budget, fit_layerwise
from nas.latency.predictors.layerwise.layers import cut, inputs, layer_graphs
from nas.latency.predictors.table import TablePredictor
from nas.latency.timing import DeviceError
from nas.space import Space
from nas.supernet.layers import Layers
from nas.train.compilation.segments import cut as segments
from nas.train.compilation.switched_plan import plan_space


def two_maps(g: Builder, x: int, *, classes: int, taps: Taps, finer: int = 8, inner: bool = True, output_stride: int = 0) -> int:
    """The logits of an expansion, or of a map, added to those of the last map."""
    stride = taps.finer(finer)
    low = g.conv(taps.expansion(stride) if inner else taps.map(stride), classes, name="low")
    return g.add(low, g.resize(g.conv(x, classes, name="high"), g.shape(low)[:2]))


@pytest.fixture(autouse=True)
def _head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "two_maps", two_maps)


def net(**top: Any) -> Arch:
    return arch_from_dict({
        "resolution": 64, "classes": 5, "stem": {"op": "conv", "width": 8, "stride": 2},
        "stages": [
            {"op": "mbconv", "expand": 2, "width": 12, "stride": 2, "repeat": 2},
            {"op": "mbconv", "expand": 3, "width": 16, "stride": 2, "kernel": 5},
            {"op": "sepconv", "width": 24, "stride": 2},
            {"op": "fused_mbconv", "expand": 2, "width": 32, "stride": 2},
        ],
        "head": {"op": "two_maps"}, **top,
    })  # fmt: skip


def test_taps_are_the_last_maps_and_the_expansions_that_are_strided() -> None:
    nodes, taps = tapped(net())
    assert {stride: nodes[i].name for stride, i in taps.maps.items()} == {
        2: "stem/act", 4: "stages.0.1/add", 8: "stages.1.0/project.norm", 16: "stages.2.0/project.norm", 32: "stages.3.0/project.norm",
    }  # fmt: skip
    assert {stride: nodes[i].name for stride, i in taps.expansions.items()} == {2: "stages.0.0/expand.act", 4: "stages.1.0/expand.act"}
    assert (taps.image, taps.expansion(8)) == ((64, 64), taps.map(8))  # a separable convolution expands nothing
    assert [taps.finer(most) for most in (64, 8, 5)] == [16, 8, 4]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda taps: taps.map(64), "no feature map has the stride 64; the strides are 2, 4, 8, 16, 32"),
        (lambda taps: taps.finer(1), "no feature map of a stride up to 1 is finer than the last one, whose stride is 32"),
    ],
)
def test_a_tap_that_there_is_not(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(tapped(net())[1])


def test_strides_beyond_the_output_stride_are_dilations_at_once() -> None:
    """torchvision's form: the block that had the stride is dilated too, and all after it."""
    arch = net(head={"op": "two_maps", "output_stride": 8})
    assert [(stride, dilation) for _, _, stride, dilation in arch.placed()] == [(2, 1), (2, 1), (1, 1), (2, 1), (1, 2), (1, 4), (1, 1)]
    graph, plain = lower(arch), lower(net())
    windows = {n.name: (n.attr["stride"], n.attr.get("dilation", 1), n.shape[0]) for n in graph.nodes if n.op == "conv"}
    assert windows["stages.1.0/depthwise.conv"] == (2, 1, 8)
    assert windows["stages.2.0/depthwise.conv"] == (1, 2, 8)
    assert windows["stages.3.0/expand.conv"] == (1, 4, 8)
    assert windows["stages.3.0/project.conv"] == (1, 1, 8)
    assert graph.id != plain.id
    assert [layer.params for layer in cost(arch).layers[:-1]] == [layer.params for layer in cost(net()).layers[:-1]]
    assert [stride for _, _, stride in arch.layers()] == [2, 2, 1, 2, 2, 2, 1]  # as written
    assert [name for name, _ in graph.taps] == ["C1", "C2", "C3"]


def test_small_images_keep_strides_that_an_output_stride_undoes() -> None:
    """The last of 64 pixels is 2 wide at stride 32, and 8 at output stride 8."""
    arch, dilated = (net(resolution=256, head={"op": "two_maps", "output_stride": stride}) for stride in (0, 8))
    assert arch.with_io(64).strides() == [1, 2, 2, 2, 2]
    assert dilated.with_io(64).strides() == [2, 2, 2, 2, 2]
    assert dilated.with_io(16).strides() == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "top, words",
    [
        ({"head": {"op": "two_maps", "output_stride": 12}}, "head.output_stride: expected a power of two, or 0"),
        ({"head": {"op": "two_maps", "output_stride": "8"}}, "head.output_stride: expected a whole number"),
        ({"head": {"op": "classifier", "output_stride": 8}}, "head.output_stride: classifier has no such knob"),
        ({"defaults": {"output_stride": 8}}, "defaults.output_stride: is a knob of the head alone"),
        ({"head": {"op": "two_maps", "finer": 1}}, "head.taps: no feature map of a stride up to 1"),
        (
            {"head": {"op": "two_maps", "output_stride": 2}, "stages": [{"op": "max_pool", "stride": 2}]},
            r"stages\[0\].pool: windows of pools are not dilated, as the head's output_stride would have it",
        ),
    ],
)
def test_a_head_that_asks_for_what_cannot_be(top: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lower(net(**top))


CHOICES = {"one_of": [1, 2]}


@cache
def space() -> Space:
    """Choices of everything that changes which taps there are, their shapes, and what is read of them."""
    head = {"op": "two_maps", "output_stride": {"one_of": [0, 4, 8]}, "finer": {"one_of": [4, 8]}, "inner": {"one_of": [True, False]}}
    return Space.from_dict({
        "name": "taps", "resolution": {"one_of": [32, 48]}, "stem": {"op": "conv", "width": 8, "stride": 2},
        "stages": [
            {"op": {"one_of": ["mbconv", "fused_mbconv"], "per": "layer"}, "repeat": CHOICES, "expand": {"one_of": [1, 3], "per": "layer"},
             "width": {"one_of": [12, 18]}, "stride": CHOICES},
            {"block": {"one_of": [{"op": "identity"}, {"op": "mbconv", "expand": 4}], "per": "layer"}, "repeat": 2, "width": 20,
             "stride": 2},
            {"op": "mbconv", "expand": 2, "width": 32, "stride": 2, "repeat": CHOICES},
        ],
        "head": head,
    }, "taps").fit(None, 3, 5)  # fmt: skip


def test_costs_of_genomes_are_those_of_their_architectures() -> None:
    """Memory too: a map stays until the head has read it. Layers are the same whether cut out of a network or built alone."""
    costs, rng = Costs(space()), np.random.default_rng(0)
    genomes = [space().sample(rng) for _ in range(40)]
    counted, layers = costs(genomes), costs.layers(genomes)
    for i, genome in enumerate(genomes):
        arch = space().decode(genome)
        one = cost(arch)
        assert [counted[m][i] for m in METRICS] == [one.params, one.macs, one.peak_activation_bytes]
        graphs = [costs.layer_graph(number) for number in layers[:, i].tolist()]
        alone = [cut(one.nodes, one.outputs.values()).id for one in graphs if len(one.nodes) > inputs(one)]
        assert alone == [layer.id for layer in layer_graphs(lower(arch)).values()]


def test_few_heads_are_lowered_for_many_genomes() -> None:
    """One for each set of shapes that it reads, not of all maps that there are."""
    costs, rng = Costs(space()), np.random.default_rng(1)
    heads = costs.layers([space().sample(rng) for _ in range(400)])[-1]
    assert len(set(heads.tolist())) < 200


def test_a_head_that_goes_by_widths_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fickle(g: Builder, x: int, *, classes: int, taps: Taps) -> int:
        strides = [stride for stride, node in taps.maps.items() if g.width(node) != 12]
        return g.conv(taps.map(strides[0]), classes, name="logits")

    monkeypatch.setitem(HEADS, "fickle", fickle)
    stages = [{"op": "conv", "width": {"one_of": [12, 16]}, "stride": 2}, {"op": "conv", "width": 20, "stride": 2}]
    data = {"name": "odd", "resolution": 32, "stem": {"op": "conv", "width": 12}, "stages": stages, "head": {"op": "fickle"}}
    with pytest.raises(ValueError, match="odd: head: fickle chooses by their widths which feature maps it reads"):
        Costs(Space.from_dict(data, "odd"))([[0], [1]])


def test_a_head_of_several_inputs_is_one_layer() -> None:
    layers = layer_graphs(lower(net()))
    assert [inputs(layer) for layer in layers.values()] == [1] * 6 + [2]
    assert [node.shape for node in layers["head"].nodes[:2]] == [(8, 8, 16), (2, 2, 32)]
    assert len(segments(lower(net())).segments) == 5  # what the head reads early is one segment with all behind it


def test_latency_is_predicted_with_the_head_which_is_measured_in_whole_networks_alone() -> None:
    bench, rng = FakeBench(), np.random.default_rng(2)
    predictor = fit_layerwise(space(), 0, bench, Budget(30, 8, 1e9), "fake", "f" * 12, {}, clock=bench.clock, wait=lambda s: None)
    assert {block.scope for block in predictor.blocks}.isdisjoint({"head"})
    genomes = np.array([space().sample(rng) for _ in range(12)])
    archs = [space().decode(genome) for genome in genomes.tolist()]
    predicted = predictor.predict_many(space(), genomes)
    assert predicted.tolist() == [predictor.predict_arch(arch) for arch in archs]
    truth = np.array([additive_ms(lower(arch)) for arch in archs])
    assert np.mean(np.abs(predicted - truth) / truth) < 0.1


def test_what_needs_layers_that_follow_one_another_says_so() -> None:
    fixed = Space.from_dict({**net().to_dict(), "name": "fixed"}, "fixed")
    with pytest.raises(ValueError, match=r"head: two_maps reads the feature maps of several layers, and weights are shared by .*scratch"):
        list(Layers(fixed).all())
    with pytest.raises(ValueError, match=r"fixed: head: two_maps reads several layers or dilates them.*take evaluator=scratch"):
        plan_space(fixed)
    with pytest.raises(DeviceError, match=r"t.csv: a table has no rows for the head two_maps, which reads several layers"):
        TablePredictor("table", "", "t.csv", ()).predict_arch(net())


def test_networks_without_such_a_head_are_as_they_were() -> None:
    arch = load_arch("mobilenet_v2")
    assert [(name, block, stride, 1) for name, block, stride in arch.layers()] == list(arch.placed())
    assert arch.output_stride == 0
