"""The head ssdlite: published counts of both variants, the order of its boxes, and the same two outputs from every export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from exported_boxes import check_exports
from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.arch.graph import Graph, param_shapes
from nas.cost import METRICS, Costs, cost
from nas.explain.taps import features
from nas.nn.weights import HostVariables
from nas.space import Space, load_space
from networks import images_of, settled

LARGE = "ssdlite320_mobilenet_v3_large"


def with_head(arch: Arch, **knobs: Any) -> Arch:
    return replace(arch, head=arch.head.replace(**knobs))


def outputs(arch: Arch) -> dict[str, tuple[int, ...]]:
    graph = lower(arch)
    return {name: graph.nodes[i].shape for name, i in graph.outputs.items()}


@pytest.mark.parametrize("labels, params", [(91, 3_440_060), (21, 2_469_860), (4, 2_234_240), (2, 2_206_520)])
def test_parameters_are_torchvisions(labels: int, params: int) -> None:
    """Its numbers of labels have the background among them."""
    assert cost(load_arch(LARGE).with_io(classes=labels - 1)).params == params


def test_maps_and_boxes_are_torchvisions() -> None:
    arch = load_arch(LARGE)
    counted, nodes = cost(arch), {node.name: node for node in lower(arch).nodes}
    assert counted.macs == 583_171_904
    assert outputs(arch) == {"boxes": (1, 3234, 4), "classes": (1, 3234, 91)}
    maps = [nodes[f"head/boxes{i}.depthwise.conv"].shape for i in range(6)]
    assert maps == [(20, 20, 672), (10, 10, 480), (5, 5, 512), (3, 3, 256), (2, 2, 256), (1, 1, 128)]
    extras = sum(np.prod([*shape]) for shape in _kernels(lower(arch), "head/extra")) + 2 * sum(
        node.shape[2] for node in nodes.values() if node.op == "norm" and node.name.startswith("head/extra")
    )
    assert extras == 452_160


def _kernels(graph: Graph, start: str) -> list[tuple[int, ...]]:
    found = [node for node in graph.nodes if node.op == "conv" and node.name.startswith(start)]
    return [param_shapes(node, graph.in_shapes(node))["kernel"] for node in found]


@pytest.mark.parametrize("name", ["tiny_ssdlite", "mobilenet_v3_ssdlite", "efficientnet_lite0_ssdlite"])
def test_maps_of_the_spaces_hold_all_boxes(name: str) -> None:
    space, rng = load_space(name), np.random.default_rng(0)
    for arch in (space.decode(space.sample(rng)) for _ in range(4)):
        graph = lower(arch)
        anchors = graph.nodes[graph.outputs["boxes"]].attr["anchors"]
        assert outputs(arch)["boxes"][1] == sum(side * side * len(boxes) for side, boxes in anchors)
        assert anchors[0][0] * arch.head.get("finest", 16) == arch.resolution


@pytest.mark.parametrize("resolution, boxes", [(320, 2034), (300, 1917)])
def test_tensorflows_variant_has_three_boxes_on_the_first_map(resolution: int, boxes: int) -> None:
    arch = replace(with_head(load_arch(LARGE), first_boxes=3), resolution=resolution)
    assert outputs(arch)["boxes"] == (1, boxes, 4)
    assert cost(arch).params == 3_248_255  # the paper's 3.22 M to 1 %


@pytest.mark.parametrize(
    "name, first_map, params, macs",
    [
        # The papers' M parameters and B multiply-adds, which have one digit more or less: 1.77 and .16; 4.3 and .80 (of 80 classes).
        ("ssdlite320_mobilenet_v3_small", (20, 20, 288), 1_785_743, 162_303_424),
        ("ssdlite_mobilenet_v2", (20, 20, 576), 4_500_543, 804_397_504),
    ],
)
def test_the_other_published_networks(name: str, first_map: tuple[int, ...], params: int, macs: int) -> None:
    arch = load_arch(name)
    counted = cost(arch)
    assert (counted.params, counted.macs, outputs(arch)["boxes"]) == (params, macs, (1, 2034, 4))
    assert next(node.shape for node in lower(arch).nodes if node.name == "head/boxes0.depthwise.conv") == first_map


def net(**head: Any) -> Arch:
    """Maps of 5, 3 and 2 pixels."""
    return arch_from_dict({
        "resolution": 40, "classes": 3, "stem": {"op": "conv", "width": 6, "stride": 2},
        "stages": [
            {"op": "mbconv", "expand": 2, "width": 8, "stride": 4},
            {"op": "mbconv", "expand": 3, "width": 10, "stride": 2},
        ],
        "head": {"op": "ssdlite", "widths": [16], "boxes": 3, "first_boxes": 2, "finest": 8, "conv": 14, **head},
    })  # fmt: skip


POINTS = [f"head/{kind}{i}.point" for kind in ("boxes", "classes") for i in range(3)]


class Computed(NamedTuple):
    graph: Graph
    values: HostVariables
    images: np.ndarray
    found: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def computed() -> Computed:
    """Both outputs, and what the last convolution of each map gives."""
    graph = lower(net())
    values, images = settled(graph), images_of(graph, 1)
    index = {node.name: i for i, node in enumerate(graph.nodes)}
    names = [*POINTS, "head/boxes", "head/classes"]
    found = jax.jit(lambda x: features(graph, values, x, [index[name] for name in names]))(images)
    return Computed(graph, values, images, dict(zip(names, map(np.asarray, found), strict=True)))


@pytest.mark.parametrize("kind", ["boxes", "classes"])
def test_boxes_stand_in_the_order_map_row_column_box(computed: Computed, kind: str) -> None:
    size, levels = 4, [computed.found[f"head/{kind}{i}.point"][0] for i in range(3)]  # coordinates; background and three classes
    expected = [
        level[row, column, box * size : (box + 1) * size]
        for level in levels
        for row, column, box in np.ndindex(*level.shape[:2], level.shape[2] // size)
    ]
    np.testing.assert_array_equal(computed.found[f"head/{kind}"][0, 0], expected)
    assert len(expected) == 5 * 5 * 2 + (3 * 3 + 2 * 2) * 3


def test_every_export_has_both_outputs(computed: Computed, tmp_path: Path) -> None:
    graph, values, images, ours = computed
    check_exports(graph, values, images, {name: ours[f"head/{name}"] for name in ("boxes", "classes")}, tmp_path)


def test_a_finer_level_and_other_widths() -> None:
    """Small objects need a map of stride 8; a multiplier makes levels narrower, 16 channels at least."""
    fine = with_head(load_arch(LARGE), finest=8)
    assert outputs(fine)["boxes"] == (1, 3234 + 40 * 40 * 6, 4)
    maps = {node.name: node.shape for node in lower(with_head(fine, expansions=False)).nodes}
    assert [maps[f"head/boxes{i}.depthwise.conv"] for i in range(3)] == [(40, 40, 40), (20, 20, 112), (10, 10, 480)]
    nodes = lower(with_head(load_arch(LARGE), multiplier=0.1)).nodes
    assert [node.shape[2] for node in nodes if node.name.endswith("wide.conv")] == [51, 25, 25, 16]


def test_costs_of_genomes_keep_the_expansions_in_memory() -> None:
    stage = {"op": {"one_of": ["mbconv", "fused_mbconv"], "per": "layer"}, "expand": {"one_of": [1, 6], "per": "layer"}, "repeat": 2}
    space = Space.from_dict({
        "name": "boxes", "resolution": {"one_of": [32, 64]}, "stem": {"op": "conv", "width": 8, "stride": 2},
        "stages": [
            {**stage, "width": 8, "stride": 2}, {**stage, "width": {"one_of": [12, 16]}, "stride": {"one_of": [1, 2]}},
            {**stage, "width": 20, "stride": 2},
        ],
        "head": {"op": "ssdlite", "widths": [16], "finest": {"one_of": [2, 4, 8]}, "multiplier": {"one_of": [0.5, 1]}, "boxes": 2},
    }, "boxes").fit(None, 3, 2)  # fmt: skip
    rng = np.random.default_rng(0)
    genomes = [space.sample(rng) for _ in range(30)]
    counted = Costs(space)(genomes)
    for i, genome in enumerate(genomes):
        one = cost(space.decode(genome))
        assert [counted[metric][i] for metric in METRICS] == [one.params, one.macs, one.peak_activation_bytes]


@pytest.mark.parametrize(
    "knobs, words",
    [
        ({"widths": [0]}, "head.widths: expected a whole number from 1"),
        ({"boxes": 65}, "head.boxes: expected a whole number from 0 to 64, got 65"),
        ({"multiplier": 0}, "head.multiplier: expected a number from 0.015625 to 64, got 0"),
        ({"boxes": 0}, "head.boxes: expected one or more for each pixel"),
    ],
)
def test_knobs_out_of_range(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lower(net(**knobs))
