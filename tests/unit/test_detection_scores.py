"""Measures of detections: equal to pycocotools and to VOC's devkit, crowds included, and what small cases must give."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from nas.tasks.boxes.precision import Objects, voc
from nas.tasks.detection_scores import METRICS, DetectionScores
from places import ROOT

GOLDEN = dict(np.load(ROOT / "tests" / "golden" / "detections.npz"))


def padded(rows: np.ndarray, images: np.ndarray, count: int, empty: float = -1) -> np.ndarray:
    """(count, most, columns) of the rows of each image."""
    found = [rows[images == i] for i in range(count)]
    out = np.zeros((count, max(1, *map(len, found)), rows.shape[1]))
    out[:, :, 4] = empty
    for one, mine in zip(out, found, strict=True):
        one[: len(mine)] = mine
    return out


@functools.cache
def golden(name: str) -> DetectionScores:
    """The detections and truths in batches of 10 images."""
    sizes, truths = GOLDEN[f"{name}_images"].astype(float), GOLDEN[f"{name}_truths"]
    found = GOLDEN[f"{name}_detections"] / np.array([1, 1, 100, 100, 100, 100, 10_000])

    def rows(table: np.ndarray, *others: np.ndarray) -> np.ndarray:
        x, y, w, h = table[:, 2:6].T
        height, width = sizes[table[:, 0].astype(int)].T
        return np.column_stack([y / height, x / width, (y + h) / height, (x + w) / width, table[:, 1], *others])

    targets = padded(rows(truths, truths[:, 7], truths[:, 6], truths[:, 6]), truths[:, 0], len(sizes))
    targets[:, :, 7] = sizes.prod(1)[:, None]
    made, state = padded(rows(found, found[:, 6]), found[:, 0], len(sizes)), DetectionScores.of(())
    for i in range(0, len(sizes), 10):
        mine = made[i : i + 10]
        state.update({"boxes": mine[..., :4], "classes": mine[..., 4], "scores": mine[..., 5]}, targets[i : i + 10])
    return state


@pytest.mark.parametrize("name", ["coco", "bccd"])
def test_numbers_are_those_of_pycocotools(name: str) -> None:
    state = golden(name)
    found = state.compute()
    assert tuple(found) == METRICS
    np.testing.assert_allclose([found[key] for key in METRICS[:12]], GOLDEN[f"{name}_stats"], atol=1e-6)
    classes = {int(label): [ap, ap50] for label, ap, ap50 in GOLDEN[f"{name}_classes"]}
    ours = {label: [figures["ap"], figures["ap50"]] for label, figures in state.of_classes().items()}
    assert ours.keys() == classes.keys()
    np.testing.assert_allclose([ours[label] for label in classes], list(classes.values()), atol=1e-6)


@pytest.mark.parametrize("strict", [True, False])
def test_average_precisions_of_voc(strict: bool) -> None:
    """In the order of the file, which decides among equal scores."""
    rows = GOLDEN["bccd_detections"] / np.array([1, 1, 100, 100, 100, 100, 10_000])
    truths = GOLDEN["bccd_truths"]

    def objects(table: np.ndarray, scores: np.ndarray) -> Objects:
        x, y, w, h = table[:, 2:6].T
        boxes = np.stack([y, x, y + h, x + w], 1)
        return Objects(
            table[:, 0].astype(int), table[:, 1].astype(int), boxes, w * h, scores, np.zeros(len(table), bool)
        )

    both = objects(rows, rows[:, 6]), objects(truths, np.zeros(len(truths)))
    expected = GOLDEN["bccd_voc"]
    for pixel in (None, np.ones((len(GOLDEN["bccd_images"]), 2))):
        found = np.array(list(voc(*both, strict=strict, pixel=pixel).values()))
        np.testing.assert_allclose([*found, found.mean(0)], expected, atol=1e-6)
    means = golden("bccd").compute()
    np.testing.assert_allclose([means["voc07_ap"], means["voc_ap"]], expected[-1], atol=1e-5)


def test_what_processes_have_seen_is_put_together() -> None:
    whole, half = golden("bccd"), DetectionScores.of(("loss",))
    merged = DetectionScores.of(("loss",))
    rng = np.random.default_rng(0)
    for i in range(2):
        one = DetectionScores.of(("loss",))
        for state in (one, half):
            part = {
                "boxes": np.zeros((2, 0, 4)),
                "scores": np.zeros((2, 0)),
                "classes": np.zeros((2, 0)),
                "loss": np.array(i),
            }
            state.update(part, np.where(np.arange(8) == 4, -1, rng.random((2, 3, 8))))
        merged.merge(DetectionScores.of(("loss",), json.loads(json.dumps(one.to_json()))))
    assert merged.compute() == half.compute() == {**dict.fromkeys(METRICS, -1.0), "loss": 0.25}
    rest = DetectionScores.of((), json.loads(json.dumps(whole.to_json())))
    empty = DetectionScores.of((), json.loads(json.dumps(DetectionScores.of(()).to_json())))
    empty.merge(rest)
    assert empty.compute() == whole.compute()


def scored(found: list[list[float]], true: list[list[float]], pixels: float = 1e4) -> DetectionScores:
    """One image; found: y0, x0, y1, x1, class, score; true: y0, x0, y1, x1, class, ignored, and the area in pixels."""
    state = DetectionScores.of(())
    rows, targets = np.array(found).reshape(-1, 6), np.array(true).reshape(-1, 7)
    targets = np.column_stack([targets, np.full(len(targets), pixels)])
    state.update({"boxes": rows[None, :, :4], "classes": rows[None, :, 4], "scores": rows[None, :, 5]}, targets[None])
    return state


def test_a_crowd_takes_many_and_counts_as_nothing() -> None:
    crowd = [0.0, 0.0, 1.0, 0.5, 0, 1, 5000.0]
    inside = [[0.1 * i, 0.0, 0.1 * i + 0.1, 0.4, 0, 0.9 - 0.1 * i] for i in range(5)]
    one, other = [0.5, 0.6, 0.9, 0.9, 0, 0.2], [0.5, 0.6, 0.9, 0.9, 0, 0, 1200.0]
    assert scored([*inside, one], [crowd, other]).compute()["map"] == pytest.approx(1)
    assert scored([*inside, one], [other]).compute()["map"] == pytest.approx(1 / 6, abs=1e-2)
    assert scored(inside, [crowd]).compute()["map"] == -1
    # VOC takes it as a difficult object: what overlaps it little is wrong
    assert scored([*inside, one], [crowd, other]).voc()[0][1] == pytest.approx(1 / 6)
    assert scored([[*crowd[:4], 0, 0.9], [*crowd[:4], 0, 0.8], one], [crowd, other]).voc()[0][1] == 1


def test_sizes_are_those_of_the_original_image() -> None:
    box = [0.1, 0.1, 0.5, 0.5]
    found, true = [[*box, 2, 0.9]], [[*box, 2, 0, 0.16 * 1e4]]
    sized = scored(found, true).compute()
    assert [sized[f"ap_{name}"] for name in ("small", "medium", "large")] == pytest.approx([-1, 1, -1])
    larger = scored(found, [[*box, 2, 0, 0.16 * 1e6]], 1e6).compute()
    assert [larger[f"ar_{name}"] for name in ("small", "medium", "large")] == pytest.approx([-1, -1, 1])
    # a wrong detection counts in the range of its own area
    wrong = scored([[0.6, 0.6, 0.65, 0.65, 2, 0.95], *found], true).compute()
    assert wrong["ap_medium"] == pytest.approx(1)
    assert wrong["map"] == pytest.approx(0.5)


def test_a_truth_is_found_once() -> None:
    near = [[0.0, 0.0, 0.5, 0.5, 0, 0.9], [0.0, 0.0, 0.5, 0.45, 0, 0.8]]
    true = [[0.0, 0.0, 0.5, 0.5, 0, 0, 2500.0], [0.0, 0.0, 0.5, 0.3, 0, 0, 1500.0]]
    state = scored(near, true)
    whole = state.coco()
    assert whole.recall[0, 0, 0] == 1  # the second takes the other truth, at an IoU of 2/3
    assert whole.recall[0, 0, 5] == 0.5
    assert state.voc()[0] == (pytest.approx(6 / 11), 0.5)  # by VOC it is wrong: its best truth is taken
    assert state.of_classes()[0]["truths"] == 2
    assert (whole.recall_1[0, 0], whole.recall_10[0, 0]) == (0.5, 1)


def test_curves_end_where_no_more_is_found() -> None:
    true = [[0.1 * i, 0.0, 0.1 * i + 0.1, 1.0, 3, 0, 1000.0] for i in range(4)]
    found = [[*true[i][:4], 3, 0.9 - 0.1 * i] for i in range(2)]
    ((label, (precision, score)),) = scored(found, true).curves().items()
    assert label == 3
    np.testing.assert_array_equal(precision, np.arange(101) <= 50)
    np.testing.assert_allclose(score, np.select([np.arange(101) <= 25, np.arange(101) <= 50], [0.9, 0.8]))
