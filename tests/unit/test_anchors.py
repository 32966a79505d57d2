"""Default boxes: the published ones, those of k-means, and scales that follow the data."""

from __future__ import annotations

import numpy as np
import pytest

from nas.arch.anchors import ssd_scales, ssd_sizes
from nas.tasks.boxes.anchors import (
    YOLO_V2_VOC,
    YOLO_V3,
    best_ious,
    coverage,
    default_boxes,
    kmeans,
    mean_iou,
)
from nas.tasks.boxes.auto import fit_scales, pyramid
from nas.tasks.boxes.geometry import iou
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
    sizes = ssd_sizes(ssd_scales(6), form="tensorflow", lowest=3)
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
    assert found.published[2] < 0.01
    assert found.remedy == (8, 320)
    finer = fit_scales(TRUTHS, CLASSES, pyramid(320, 8, 7))
    assert finer.enough
    assert finer.coverage[2] > 0.975
    assert finer.low < 0.1


def test_published_scales_stay_where_they_reach() -> None:
    large = CLASSES < 2
    found = fit_scales(TRUTHS[large], CLASSES[large], AT_320)
    assert (found.low, found.high, found.coverage) == (0.2, 0.95, found.published)
    assert found.enough


def test_scales_need_a_box() -> None:
    with pytest.raises(ValueError, match="scales: the dataset has no box to fit them to"):
        fit_scales(np.zeros((0, 4)), np.zeros(0), AT_320)
