"""Heads of detectors and datasets: default boxes follow the data, once for an architecture or a space."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import small_detection
import small_training
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.space import Space
from nas.tasks import DETECTION, fit_arch, fit_space
from nas.tasks.boxes.heads import head_of
from places import ROOT
from small_detection import DETECTOR

DATA = small_detection.dataset()
SPACE = {
    "name": "detectors", "resolution": 12, "channels": 1,
    "stem": {"op": "conv", "width": {"one_of": [6, 8]}, "stride": 2},
    "stages": [{"op": "conv", "width": 16}],
    "head": {"op": "ssdlite", "scales": "auto", "widths": [], "boxes": 4},
}  # fmt: skip


LARGE = "ssdlite320_mobilenet_v3_large"


def test_default_boxes_of_the_published_networks() -> None:
    golden = np.load(ROOT / "tests" / "golden" / "boxes.npz")["ssdlite320"]
    found = head_of(load_arch(LARGE))
    np.testing.assert_allclose(found.anchors[:, [1, 0, 3, 2]] * 320, golden, atol=1e-4)
    assert found.maps == (20, 10, 5, 3, 2, 1)
    assert [len(head_of(load_arch(name)).anchors) for name in ("ssdlite320_mobilenet_v3_small", "ssdlite_mobilenet_v2")] == [2034] * 2


def test_scales_follow_the_training_boxes() -> None:
    fitted = fit_arch(DETECTION, DETECTOR, DATA)
    low, high = fitted.head.get("scales")
    assert 0.2 < low < 0.5
    assert fit_arch(DETECTION, fitted, DATA) == fitted
    other = dataclasses.replace(fitted, head=fitted.head.replace(scales=(low / 2, high)))
    assert lower(other).id != lower(fitted).id  # default boxes are part of what a network is
    (line, *_) = DETECTION.notes(fitted, DATA)
    assert line.startswith("default boxes reach, at an IoU of 0.5: square ")


def test_a_space_is_fitted_once_for_all_its_networks() -> None:
    space = Space.from_dict(SPACE)
    fitted = fit_space(DETECTION, space, DATA)
    archs = [fitted.decode([i]) for i in range(2)]
    assert {arch.head for arch in archs} == {fit_arch(DETECTION, DETECTOR, DATA).head}
    again = Space.from_plain(fitted.to_plain())
    assert again.decode([1]) == archs[1]
    assert again.fingerprint == fitted.fingerprint != space.fingerprint
    assert fitted.encode(archs[1]) == fitted.encode(space.decode([1])) == (1,)


def test_what_is_left_to_the_data_needs_boxes() -> None:
    with pytest.raises(ValueError, match="bars: has class labels; the task detection expects boxes"):
        fit_arch(DETECTION, DETECTOR, small_training.dataset())
