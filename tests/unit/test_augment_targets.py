"""Images and their masks or boxes are moved together: drawn regions are looked for where the targets say that they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from nas.core.settings import build
from nas.data.augment_targets import augment_targets, check_augment
from nas.data.boxes import AREA, CLASS, COLUMNS, IGNORED, PIXELS, X0, X1, Y0, Y1
from nas.data.masks import IGNORED as IGNORED_PIXEL
from nas.data.windows import boxes_in, image_in, mask_in, snapped, within
from nas.recipe import JOINT, Augment, Recipe
from nas.tasks import TASKS
from nas.tasks.fitting import check_recipe

SIDE, FILL = 40, 100  # of the images, in pixels; the gray of what is empty
DARK, BRIGHT = 0, 255
OPS: dict[str, dict[str, Any]] = {
    "flip": {"flip": True},
    "padding": {"crop_padding": 8},
    "larger": {"scale": (1.0, 2.0)},
    "smaller": {"scale": (0.3, 1.0)},
    "zoom_out": {"zoom_out": 3.0},
    "mosaic": {"mosaic": 1.0},
    "all": {"flip": True, "crop_padding": 0.1, "scale": (0.5, 2.0), "zoom_out": 2.0, "mosaic": 0.5},
}
BOX_OPS = {**OPS, "crop": {"crop": "iou"}, "all": {**OPS["all"], "crop": "iou"}}


def _drawn(corners: list[tuple[int, int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images, masks, boxes): a bright region on black in each, of class 1, (top, left, bottom, right) in pixels."""
    images = np.full((len(corners), SIDE, SIDE, 3), DARK, np.uint8)
    masks = np.zeros((len(corners), SIDE, SIDE), np.uint8)
    boxes = np.zeros((len(corners), 4, COLUMNS), np.float32)
    boxes[..., CLASS], boxes[..., PIXELS] = -1, SIDE * SIDE
    for i, (top, left, bottom, right) in enumerate(corners):
        images[i, top:bottom, left:right], masks[i, top:bottom, left:right] = BRIGHT, 1
        area = (bottom - top) * (right - left)
        boxes[i, 0] = *(np.array([top, left, bottom, right]) / SIDE), 1, 0, area, SIDE * SIDE
    return images, masks, boxes


REGIONS = st.tuples(st.integers(0, 28), st.integers(0, 28), st.integers(6, 12), st.integers(6, 12)).map(
    lambda some: (some[0], some[1], some[0] + some[2], some[1] + some[3])
)


@pytest.mark.parametrize("name", OPS)
@hypothesis_settings(max_examples=8, deadline=None)
@given(corners=st.lists(REGIONS, min_size=4, max_size=4), seed=st.integers(0, 2**32))
def test_a_mask_stays_on_its_region(name: str, corners: list[tuple[int, int, int, int]], seed: int) -> None:
    images, masks, _ = _drawn(corners)
    moved, found = augment_targets(images, masks, np.random.default_rng(seed), Augment(**OPS[name]), FILL)
    assert moved.shape == images.shape
    for image, mask in zip(moved[..., 0].astype(int), found, strict=True):
        # Between two levels the resized image has others, a pixel or two wide; away from them it has these alone.
        level = np.select([mask == 1, mask == 0, mask == IGNORED_PIXEL], [BRIGHT, DARK, FILL], -1)
        wrong = _flat(mask) & (np.abs(image - level) > 40)
        assert not (_around(wrong, 1, False).all(0) if name in ("mosaic", "all") else wrong).any()  # seams of tiles are a line


def _around(array: np.ndarray, reach: int, beyond: int) -> np.ndarray:
    """(n, side, side): the array moved by up to `reach` pixels each way."""
    wide, size = np.pad(array, reach, constant_values=beyond), 2 * reach + 1
    return np.stack([wide[y : y + SIDE, x : x + SIDE] for y in range(size) for x in range(size)])


def _flat(mask: np.ndarray) -> np.ndarray:
    """Where all neighbors, three pixels around, are there and have the same class."""
    return (_around(mask, 3, 254) == mask).all(0)


@pytest.mark.parametrize("name", BOX_OPS)
@hypothesis_settings(max_examples=8, deadline=None)
@given(corners=st.lists(REGIONS, min_size=4, max_size=4), seed=st.integers(0, 2**32))
def test_a_box_stays_on_its_region(name: str, corners: list[tuple[int, int, int, int]], seed: int) -> None:
    images, _, boxes = _drawn(corners)
    moved, found = augment_targets(images, boxes, np.random.default_rng(seed), Augment(**BOX_OPS[name]), 0)
    assert (moved.shape, found.dtype) == (images.shape, np.float32)
    for image, targets in zip(moved[..., 0], found, strict=True):
        bright = image > 127
        rows = targets[targets[:, CLASS] >= 0]
        assert (targets[len(rows) :, :PIXELS] == [0, 0, 0, 0, -1, 0, 0]).all()
        assert len(set(targets[:, PIXELS])) == 1
        for row in rows:
            y0, x0, y1, x1 = np.round(SIDE * row[[Y0, X0, Y1, X1]]).astype(int)
            assert bright[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].all()
            bright[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = False
        if name == "flip":
            assert not bright.any()  # nothing bright is without its box


@pytest.mark.parametrize("name", BOX_OPS)
@pytest.mark.parametrize("kind", ["mask", "boxes"])
def test_an_image_becomes_the_same_in_every_part_of_a_batch(name: str, kind: str) -> None:
    rng = np.random.default_rng(5)
    corners = [(top, left, top + 9, left + 7) for top, left in rng.integers(0, 30, (8, 2)).tolist()]
    images, masks, boxes = _drawn(corners)
    targets, op = (masks, OPS.get(name, {})) if kind == "mask" else (boxes, BOX_OPS[name])
    settings = Augment(**op, brightness=0.3, contrast=0.3, saturation=0.3, cutout=5)
    whole = augment_targets(images, targets, np.random.default_rng(1), settings, (1, 2, 3))
    again = augment_targets(images, targets, np.random.default_rng(1), settings, (1, 2, 3))
    parts = [augment_targets(images[i : i + 4], targets[i : i + 4], np.random.default_rng(1), settings, (1, 2, 3), i, 8) for i in (0, 4)]
    for j in range(2):
        assert np.array_equal(whole[j], again[j])
        assert np.array_equal(whole[j], np.concatenate([part[j] for part in parts]))
    assert not np.array_equal(whole[0], images)


def test_nothing_is_drawn_where_nothing_is_on() -> None:
    images, masks, _ = _drawn([(1, 2, 9, 9)])
    rng = np.random.default_rng(0)
    same, target = augment_targets(images, masks, rng, Augment())
    assert same is images
    assert target is masks
    assert rng.random() == np.random.default_rng(0).random()


def test_padding_moves_whole_pixels() -> None:
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 256, (6, SIDE, SIDE, 3), np.uint8), rng.integers(0, 5, (6, SIDE, SIDE), np.uint8)
    moved, found = augment_targets(images, masks, np.random.default_rng(3), Augment(crop_padding=7), FILL)
    offsets = set()
    for i in range(6):
        inside = found[i] != IGNORED_PIXEL
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        height, width = len(rows), len(columns)
        top, left = 0 if rows[0] else SIDE - height, 0 if columns[0] else SIDE - width  # of what is seen, in the image
        assert np.array_equal(found[i][inside].reshape(height, width), masks[i, top : top + height, left : left + width])
        assert np.array_equal(moved[i][inside].reshape(height, width, 3), images[i, top : top + height, left : left + width])
        assert (moved[i][~inside] == FILL).all()
        offsets.add((height, width))
    assert len(offsets) > 3


def test_a_window_by_hand() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    corner = (0.5, 0.5, 1.5, 1.5)
    assert image_in(image, corner, 99)[..., 0].tolist() == [[10, 11, 99, 99], [14, 15, 99, 99], [99] * 4, [99] * 4]
    assert mask_in(image[..., 0], corner)[:2, :2].tolist() == [[10, 11], [14, 15]]
    assert mask_in(image[..., 0], (0.0, 0.0, 0.5, 0.5)).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [4, 4, 5, 5], [4, 4, 5, 5]]
    small = image_in(image, (0.0, 0.0, 2.0, 2.0), 99)[..., 0]
    assert np.array_equal(small[:2, :2], np.asarray(Image.fromarray(image[..., 0]).resize((2, 2), Image.Resampling.BILINEAR)))
    assert set(small[2:].ravel()) | set(small[:, 2:].ravel()) == {99}
    assert within((0.0, 0.5, 1.0, 1.0), corner) == (0.5, 0.75, 1.5, 1.25)
    assert snapped((-0.26, 0.1, 1.3, 0.9), 4, 4) == pytest.approx((-1 / 2, 0.1, 3 / 2, 0.9))


def test_boxes_in_a_window() -> None:
    """Of (top, left, bottom, right) in tenths: one cut in half, one whose center is outside, an ignored one of which a corner is seen."""
    targets = np.zeros((4, COLUMNS), np.float32)
    targets[:, CLASS], targets[:, PIXELS] = -1, 1000
    targets[0] = 0.2, 0.2, 0.4, 0.8, 2, 0, 60, 1000
    targets[1] = 0.2, 0.1, 0.4, 0.6, 3, 0, 50, 1000
    targets[2] = 0.0, 0.0, 0.3, 0.6, 1, 1, 180, 1000
    found = boxes_in(targets, (0.0, 0.5, 0.5, 1.0))
    assert found[0] == pytest.approx([0.4, 0, 0.8, 0.6, 2, 0, 30, 250], rel=1e-5)
    assert found[1] == pytest.approx([0, 0, 0.6, 0.2, 1, 1, 30, 250], rel=1e-5)
    assert found[2:, [CLASS, AREA, PIXELS]].tolist() == [[-1, 0, 250]] * 2
    assert found[1, IGNORED] == 1


def test_crops_overlap_with_some_object() -> None:
    """Every crop keeps an object: images without one, and with ignored ones alone, stay whole."""
    images, _, boxes = _drawn([(10, 12, 20, 30)] * 40)
    boxes[20:30, 0, IGNORED], boxes[30:, 0, CLASS] = 1, -1
    moved, found = augment_targets(images, boxes, np.random.default_rng(0), Augment(crop="iou"), 0)
    assert (found[:20, 0, CLASS] == 1).all()
    assert np.array_equal(found[20:], boxes[20:])
    assert np.array_equal(moved[20:], images[20:])
    changed = [not np.array_equal(one, other) for one, other in zip(moved[:20], images, strict=False)]
    assert 10 < sum(changed) < 20
    assert (found[:20, 0, PIXELS] <= SIDE * SIDE + 1).all()


def test_a_mosaic_without_room_for_its_boxes_is_none() -> None:
    images, _, boxes = _drawn([(2, 2, 8, 8), (2, 2, 8, 8), (30, 30, 38, 38), (15, 15, 25, 25)])
    moved, found = augment_targets(images, boxes[:, :1], np.random.default_rng(0), Augment(mosaic=1.0), 0)
    same = [np.array_equal(moved[i], images[i]) for i in range(4)]
    assert any(same)
    for i in range(4):
        if same[i]:
            assert np.array_equal(found[i], boxes[i, :1])
    alone = augment_targets(images[:1], boxes[:1], np.random.default_rng(0), Augment(mosaic=1.0), 0)
    assert alone[0].shape == (1, SIDE, SIDE, 3)
    with pytest.raises(ValueError, match="mosaic: needs parts of a batch of 4 images or a multiple, got 2 from number 2 on"):
        augment_targets(images[:2], boxes[:2], np.random.default_rng(0), Augment(mosaic=1.0), 0, 2, 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_color_leaves_targets(channels: int) -> None:
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 256, (8, 12, 12, channels), np.uint8), rng.integers(0, 5, (8, 12, 12), np.uint8)
    for key in ("brightness", "contrast", "saturation"):
        moved, found = augment_targets(images, masks, np.random.default_rng(1), dataclasses.replace(Augment(), **{key: 0.5}))
        assert np.array_equal(found, masks)
        assert np.array_equal(moved, images) == (key == "saturation" and channels == 1)
    gray = np.repeat(images[..., :1], 3, 3)
    assert np.array_equal(augment_targets(gray, masks, np.random.default_rng(1), Augment(saturation=1.0))[0], gray)
    bright = augment_targets(np.full((500, 2, 2, 3), 100, np.uint8), np.zeros((500, 2, 2), np.uint8), rng, Augment(brightness=0.5))[0]
    assert (bright.min(), bright.max()) == (50, 150)


@pytest.mark.parametrize("settings, kind, message", [
    ({"policy": "randaugment"}, "mask", "policy: randaugment moves images without their targets"),
    ({"padding": "reflect"}, "boxes", "padding: reflect would show objects twice; expected zero"),
    ({"crop": "iou"}, "mask", "crop: iou is of boxes; expected none, and scale for masks"),
])  # fmt: skip
def test_what_has_no_meaning_is_refused(settings: dict[str, Any], kind: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"recipe.augment.{message}"):
        check_augment(Augment(**settings), kind, "recipe.augment.")


@pytest.mark.parametrize("change, message", [
    ({"scale": [2.0, 0.5]}, r"scale: expected two multiples from 0.1 to 10, the smaller first, or null, got \[2.0, 0.5\]"),
    ({"scale": [0.5]}, "scale: expected a list of 2, got 1"),
    ({"scale": 2}, "scale: expected a list, got 2"),
    ({"zoom_out": 0.5}, "zoom_out: expected 0, or more than 1 and at most 10, got 0.5"),
    ({"crop": "random"}, "crop: expected one of none, iou, got 'random'"),
    ({"brightness": 1.5}, "brightness: expected 0 to 1, got 1.5"),
    ({"mosaic": -1}, "mosaic: expected 0 to 1, got -1"),
])  # fmt: skip
def test_wrong_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^recipe.augment.{message}"):
        build(Recipe, {"augment": change}, "recipe")


ON: dict[str, Any] = {
    "scale": (0.5, 2.0), "zoom_out": 2.0, "crop": "iou", "brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "mosaic": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("key", JOINT)
def test_tasks_without_masks_or_boxes_refuse_them(key: str) -> None:
    assert Augment().joint == ()
    recipe = dataclasses.replace(Recipe(), augment=Augment(**{key: ON[key]}))
    with pytest.raises(ValueError, match=f"^recipe.augment.{key}: is for images with masks or boxes; has no meaning for the task class"):
        check_recipe(TASKS["classification"], recipe)
