"""Default boxes: the published ones, those of k-means, and scales that follow the data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nas.arch import arch_from_dict
from nas.arch.anchors import YOLO_V2_VOC, YOLO_V3, ssd_scales, ssd_sizes
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.nn.network import init
from nas.tasks.boxes.anchors import best_ious, coverage, default_boxes, kmeans, mean_iou
from nas.tasks.boxes.auto import fit_scales, pyramid
from nas.tasks.boxes.geometry import iou
from nas.tasks.boxes.heads import fitted_head, head_of, reach_lines
from places import ROOT

BCCD = dict(np.load(ROOT / "tests" / "golden" / "bccd_train.npz"))
TRUTHS, CLASSES = BCCD["boxes"] / np.array([480, 640, 480, 640]), BCCD["classes"]
AT_320, AT_300 = (20, 10, 5, 3, 2, 1), (19, 10, 5, 3, 2, 1)


def test_default_boxes_of_ssdlite_are_torchvisions() -> None:
    found = default_boxes(AT_320, ssd_sizes(ssd_scales(6)))
    golden = np.load(ROOT / "tests" / "golden" / "boxes.npz")["ssdlite320"]
    assert (found.shape, found.dtype) == ((3234, 4), np.float32)
    np.testing.assert_allclose(found[:, [1, 0, 3, 2]] * 320, golden, atol=1e-4)


@pytest.mark.parametrize("maps, count", [(AT_320, 2034), (AT_300, 1917)])
def test_tensorflows_have_three_boxes_on_the_first_map(maps: tuple[int, ...], count: int) -> None:
    sizes = ssd_sizes(ssd_scales(6), first=3)
    assert len(default_boxes(maps, sizes)) == count
    wide = (0.2 / np.sqrt(2), 0.2 * np.sqrt(2))
    np.testing.assert_allclose(sizes[0], [(0.1, 0.1), wide, wide[::-1]])
    np.testing.assert_allclose(sizes[1][-1], [np.sqrt(0.35 * 0.5)] * 2)


def test_the_nearest_cell_has_the_best_box() -> None:
    sizes = ssd_sizes(ssd_scales(6))
    every = iou(TRUTHS[:100, None], default_boxes(AT_320, sizes).astype(np.float64)).max(1)
    np.testing.assert_allclose(best_ious(TRUTHS[:100], AT_320, sizes), every, atol=1e-6)


def test_published_boxes_do_not_reach_small_objects() -> None:
    best = best_ious(TRUTHS, AT_320, ssd_sizes(ssd_scales(6)))
    assert coverage(best, CLASSES) == pytest.approx({0: 0.978, 1: 0.995, 2: 0.005}, abs=5e-4)


@pytest.mark.parametrize("k, expected", [(3, 0.809), (5, 0.852), (6, 0.865), (9, 0.885)])
def test_kmeans_fits_the_boxes(k: int, expected: float) -> None:
    sizes = TRUTHS[:, 2:] - TRUTHS[:, :2]
    found = kmeans(sizes, k)
    assert mean_iou(sizes, found) == pytest.approx(expected, abs=6e-4)
    assert (np.diff(found.prod(1)) > 0).all()
    if k == 3:
        np.testing.assert_array_equal(found, kmeans(sizes, k))


def test_kmeans_of_few_boxes() -> None:
    assert kmeans(np.array([[0.1, 0.2], [0.1, 0.2], [0.4, 0.4]]), 5).tolist() == [[0.1, 0.2], [0.4, 0.4]]
    with pytest.raises(ValueError, match="anchors: no box to fit them to"):
        kmeans(np.zeros((0, 2)), 3)


def test_published_sizes_of_yolo() -> None:
    assert len(YOLO_V3) == 9
    assert YOLO_V3[0] == (13 / 416, 10 / 416)
    assert max(height for height, _ in YOLO_V2_VOC) < 1


def test_scales_follow_the_data_and_what_is_missing_is_known() -> None:
    found = fit_scales(TRUTHS, CLASSES, AT_320, resolution=320)
    assert not found.enough
    assert found.coverage[0] > 0.95
    assert found.coverage[1] > 0.95
    assert 0.5 < found.coverage[2] < 0.7
    assert found.remedy == (8, 320)
    finer = fit_scales(TRUTHS, CLASSES, pyramid(320, 8, 7))
    assert finer.enough
    assert finer.coverage[2] > 0.975
    assert finer.low < 0.1


def test_published_scales_stay_where_they_reach() -> None:
    large = CLASSES < 2
    found = fit_scales(TRUTHS[large], CLASSES[large], AT_320)
    assert (found.low, found.high) == (0.2, 0.95)
    assert found.enough


def test_scales_need_a_box() -> None:
    with pytest.raises(ValueError, match="scales: the dataset has no box to fit them to"):
        fit_scales(np.zeros((0, 4)), np.zeros(0), AT_320)


def test_a_head_that_follows_the_data_gets_a_finer_map() -> None:
    """BCCD: the published boxes reach 0.5 % of the platelets, the best of stride 16 some 60 %."""
    arch = load_arch("ssdlite320_mobilenet_v3_large")
    open_head = dataclasses.replace(arch, head=arch.head.replace(scales="auto", finest="auto"))
    found = fitted_head(open_head, TRUTHS, CLASSES)
    assert found["finest"] == 8
    assert found["scales"][0] < 0.1
    fitted, names = open_head.with_head(found), ("RBC", "WBC", "platelets")
    assert head_of(fitted).maps == (40, *AT_320)
    assert reach_lines(fitted, TRUTHS, CLASSES, names) == (
        "default boxes reach, at an IoU of 0.5: RBC 100.0 %, WBC 99.5 %, platelets 98.6 %",
    )
    first, second = reach_lines(arch, TRUTHS, CLASSES, names)
    assert first == "default boxes reach, at an IoU of 0.5: RBC 97.8 %, WBC 99.5 %, platelets 0.5 %"
    assert second == "95 % of each class: a first map of stride 8 (head finest: 8), with head scales: auto"
    with pytest.raises(ValueError, match="scales: the dataset has no box to fit them to"):
        fitted_head(open_head, TRUTHS[:0], CLASSES[:0])


@pytest.mark.parametrize(
    "knobs, message",
    [
        ({"scales": "all"}, r"head\.scales: expected one of auto, got 'all'"),
        (
            {"scales": (0.5, 0.2)},
            r"head\.scales: expected \[low, high\], the first the smaller one, got \[0\.5, 0\.2\]",
        ),
        ({"scales": (0.5,)}, r"head\.scales: expected auto, or \[low, high\] in fractions of the image"),
        ({"finest": 2000}, r"head\.finest: expected a whole number from 0 to 1024, got 2000"),
        ({"scores": "logistic"}, r"head\.scores: expected one of softmax, sigmoid, got 'logistic'"),
    ],
)
def test_knobs_out_of_range(knobs: dict[str, object], message: str) -> None:
    arch = load_arch("ssdlite320_mobilenet_v3_small")
    with pytest.raises(ValueError, match=message):
        lower(dataclasses.replace(arch, head=arch.head.replace(**knobs)))


def test_a_head_for_the_focal_loss_begins_with_rare_classes() -> None:
    arch = arch_from_dict({
        "resolution": 16, "classes": 2, "stem": {"op": "conv", "width": 4, "stride": 2}, "stages": [{"op": "conv", "width": 4}],
        "head": {"op": "ssdlite", "widths": [], "boxes": 1, "scores": "sigmoid"},
    })  # fmt: skip
    assert not head_of(arch).smooths
    softmax = dataclasses.replace(arch, head=arch.head.replace(scores="softmax"))
    assert lower(softmax).id != lower(arch).id
    values = init(lower(arch), 0)["params"]
    assert values["head/classes0.point"]["bias"] == pytest.approx([-4.595] * 3, abs=1e-3)
    assert (values["head/boxes0.point"]["bias"] == 0).all()
    assert (init(lower(softmax), 0)["params"]["head/classes0.point"]["bias"] == 0).all()
