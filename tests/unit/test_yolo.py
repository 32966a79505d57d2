"""The head yolo: counts of the published network, the order of its boxes, anchors, and the same two outputs from every export."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from exported_boxes import check_exports
from nas.arch import Arch, Block, arch_from_dict
from nas.arch.anchors import YOLO_V3, along
from nas.arch.blocks import TapShapes, lower, lower_alone
from nas.arch.graph import Graph, param_shapes
from nas.arch.receptive import receptive_fields
from nas.cost import cost
from nas.explain.taps import features
from nas.nn.network import init
from nas.space import load_space
from nas.tasks.boxes.heads import fitted_head, head_of, reach_lines
from networks import images_of, settled
from places import ROOT

BCCD = dict(np.load(ROOT / "tests" / "golden" / "bccd_train.npz"))
TRUTHS, CLASSES = BCCD["boxes"] / np.array([480, 640, 480, 640]), BCCD["classes"]


def net(**head: Any) -> Arch:
    """Maps of 8, 4 and 2 pixels."""
    return arch_from_dict({
        "resolution": 64, "classes": 3, "stem": {"op": "conv", "width": 4, "stride": 8},
        "stages": [{"op": "conv", "width": 6, "stride": 2}, {"op": "conv", "width": 8, "stride": 2}],
        "head": {"op": "yolo", "widths": [32, 24, 16], "pairs": 0, "boxes": 2, "separable": True, **head},
    })  # fmt: skip


def params(graph: Graph, start: str = "head/") -> int:
    return sum(
        int(np.prod(shape)) for node in graph.nodes if node.name.startswith(start)
        for shape in param_shapes(node, graph.in_shapes(node)).values()
    )  # fmt: skip


def test_the_published_head() -> None:
    """Behind Darknet-53, which has 40,584,928, it makes YOLOv3's 61,949,149 parameters; 10,647 boxes at 416 pixels."""
    taps = TapShapes((416, 416), ((8, (52, 52, 256), None), (16, (26, 26, 512), None), (32, (13, 13, 1024), None)))
    arch = dataclasses.replace(net(), classes=80)
    nodes, outputs = lower_alone(arch, "head", Block.of("yolo"), 1, (13, 13, 1024), taps=taps)
    assert params(Graph(tuple(nodes))) == 61_949_149 - 40_584_928
    assert [nodes[i].shape for i in outputs.values()] == [(1, 10647, 4), (1, 10647, 81)]
    assert nodes[outputs["boxes"]].attr["anchors"] == ((52, YOLO_V3[:3]), (26, YOLO_V3[3:6]), (13, YOLO_V3[6:]))


def test_parameters_by_hand() -> None:
    """Of each level: 1x1 to w, depthwise 3x3, 1x1 to 2 w, each with a norm, and the answers of 2 boxes; 1x1 convolutions up."""

    def level(given: int, w: int) -> int:
        return (given * w + 2 * w) + (9 * w + 2 * w) + (w * 2 * w + 4 * w) + (2 * w + 1) * 2 * 8

    def up(given: int, w: int) -> int:
        return given * w + 2 * w

    expected = level(8, 32) + up(32, 24) + level(24 + 6, 24) + up(24, 16) + level(16 + 4, 16)
    assert params(lower(net())) == expected
    half = params(lower(net(multiplier=0.5)))
    assert half == level(8, 16) + 2 * up(16, 16) + level(16 + 6, 16) + level(16 + 4, 16)  # 16 channels at least
    assert cost(net(finest=16)).params == cost(net()).params - up(24, 16) - level(20, 16)


def test_what_answers_see() -> None:
    """The coarsest map: 3 pixels of the stem, and two more positions of each 3x3 convolution, of the stages and its own."""
    graph = lower(net())
    seen = receptive_fields(graph)[[node.name for node in graph.nodes].index("head/level0.point")]
    assert (seen.size, seen.stride) == (3 + 2 * 8 + 2 * 16 + 2 * 32, 32)


@pytest.mark.parametrize(
    "forms", [("onnx", "source"), pytest.param(("tflite", "stablehlo"), marks=pytest.mark.nightly)], ids=["own", "jax"]
)
def test_boxes_stand_in_the_order_map_row_column_box_in_every_form(forms: tuple[str, ...], tmp_path: Path) -> None:
    graph = lower(net())
    values, images = settled(graph), images_of(graph, 1)
    index = {node.name: i for i, node in enumerate(graph.nodes)}
    names = [*(f"head/level{i}.point" for i in (2, 1, 0)), "head/boxes", "head/classes"]  # the finest map first
    found = jax.jit(lambda x: features(graph, values, x, [index[name] for name in names]))(images)
    ours = dict(zip(names, map(np.asarray, found), strict=True))
    expected = [
        ours[name][0, row, column, 8 * box : 8 * box + 8]
        for name in names[:3]
        for row, column, box in np.ndindex(*ours[name].shape[1:3], 2)
    ]
    both = np.concatenate([ours["head/boxes"], ours["head/classes"]], -1)
    np.testing.assert_array_equal(both[0, 0], expected)
    assert head_of(net()).anchors.shape == (len(expected), 4) == ((64 + 16 + 4) * 2, 4)
    check_exports(graph, values, images, {name: ours[f"head/{name}"] for name in ("boxes", "classes")}, tmp_path, forms)


def test_objects_are_rare_before_training() -> None:
    bias = init(lower(net()), 0)["params"]["head/level0.point"]["bias"].reshape(2, 8)
    np.testing.assert_allclose(bias, [[0, 0, 0, 0, -np.log(99), 0, 0, 0]] * 2, rtol=1e-6)


def test_anchors_follow_the_data() -> None:
    """BCCD: nine sizes of k-means have a mean IoU of .885, which the published ones do not reach."""
    open_head = net(boxes=3, anchors="auto")
    assert lower(open_head).id == lower(net(boxes=3)).id
    found = fitted_head(open_head, TRUTHS, CLASSES)
    fitted = open_head.with_head(found)
    assert lower(fitted).id != lower(open_head).id
    assert [len(level) for level in head_of(fitted).sizes] == [3, 3, 3]
    areas = [h * w for h, w in found["anchors"]]
    assert areas == sorted(areas)
    names = ("RBC", "WBC", "platelets")
    (line,) = reach_lines(fitted, TRUTHS, CLASSES, names)
    assert line.startswith("anchors fit objects with a mean IoU of 0.88; with one of 0.5 or more: RBC ")
    assert reach_lines(open_head, TRUTHS, CLASSES, names)[1] == "head anchors: auto finds sizes with a mean IoU of 0.88"
    with pytest.raises(ValueError, match="anchors: no box to fit them to"):
        fitted_head(open_head, TRUTHS[:0], CLASSES[:0])
    same = np.tile([0.1, 0.1, 0.3, 0.4], (5, 1))
    assert fitted_head(open_head, same, np.zeros(5, int))["anchors"] == ((0.2, 0.3),) * 9
    np.testing.assert_allclose(along(YOLO_V3, 3), [YOLO_V3[0], YOLO_V3[4], YOLO_V3[8]], atol=1e-6)


def test_fitted_anchors_are_read_back_from_a_file() -> None:
    fitted = net(anchors=[[0.1, 0.2], [0.2, 0.1], [0.2, 0.4], [0.4, 0.2], [0.5, 0.8], [0.9, 0.9]])
    assert arch_from_dict(fitted.to_dict()) == fitted
    assert head_of(fitted).sizes == (((0.1, 0.2), (0.2, 0.1)), ((0.2, 0.4), (0.4, 0.2)), ((0.5, 0.8), (0.9, 0.9)))


def test_maps_of_the_space_hold_all_boxes() -> None:
    space, rng = load_space("tiny_yolo"), np.random.default_rng(0)
    for arch in (space.decode(space.sample(rng)) for _ in range(3)):
        graph = lower(arch)
        assert head_of(arch).maps == (32, 16, 8)
        assert graph.nodes[graph.outputs["boxes"]].shape == (1, len(head_of(arch).anchors), 4)


@pytest.mark.parametrize(
    "knobs, words",
    [
        ({"boxes": 0}, r"head\.boxes: expected one or more for each pixel"),
        ({"widths": [32, 16]}, r"head\.widths: expected 3, one for each map of stride 8 or more, got 2"),
        ({"anchors": [[0.1, 0.1]]}, r"head\.anchors: expected 6 sizes, 2 at each pixel of 3 maps, got 1"),
        ({"anchors": "published"}, r"head\.anchors: expected one of auto, got 'published'"),
        ({"anchors": [0.1, 0.2]}, r"head\.anchors: expected auto, or \[height, width\] of each box in fractions of the image, got 0\.1"),
        ({"anchors": [[10, 13]]}, r"head\.anchors: expected a number from 0\.001 to 4, got 10"),
        ({"pairs": 17}, r"head\.pairs: expected a whole number from 0 to 16, got 17"),
        ({"separable": 1}, r"head\.separable: expected true or false, got 1"),
        ({"scales": "auto"}, r"head\.scales: yolo has no such knob"),
    ],
)
def test_knobs_out_of_range(knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lower(net(**knobs))
