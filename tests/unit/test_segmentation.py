"""The task of masks: losses against sums written out, weights of classes, pictures."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from nas.recipe import Augment, Recipe
from nas.tasks import check_recipe
from nas.tasks.palette import color, hex_color, overlaid
from nas.tasks.segmentation import SEGMENTATION, Segmentation, dice_loss, median_frequency_weights, pixel_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 4, 3)).astype(np.float32)
MASKS = RNG.integers(0, 3, (2, 3, 4)).astype(np.uint8)
MASKS[0, 0] = 255
NONE = np.full((2, 3, 4), 255, np.uint8)


def probabilities() -> np.ndarray:
    exp = np.exp(LOGITS.astype(np.float64))
    return exp / exp.sum(3, keepdims=True)


@pytest.mark.parametrize("weights, smoothing", [(None, 0.0), ((1.0, 2.0, 0.5), 0.0), (None, 0.1)])
def test_cross_entropy_is_the_mean_of_the_pixels_that_count(weights: tuple[float, ...] | None, smoothing: float) -> None:
    p = probabilities()
    for i, found in enumerate(np.asarray(pixel_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(MASKS), weights, smoothing))):
        losses = []
        for y, x in np.argwhere(MASKS[i] != 255):
            target = np.full(3, smoothing / 3)
            target[MASKS[i, y, x]] += 1 - smoothing
            losses.append(-(target * np.log(p[i, y, x])).sum() * (weights[MASKS[i, y, x]] if weights else 1))
        assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_image_whose_pixels_are_all_ignored_has_no_loss() -> None:
    assert np.asarray(pixel_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(NONE))).tolist() == [0, 0]


def test_dice_is_one_minus_the_overlap_of_probabilities_and_truth() -> None:
    p = probabilities()
    for i, found in enumerate(np.asarray(dice_loss(jnp.asarray(LOGITS), jnp.asarray(MASKS)))):
        known = MASKS[i] != 255
        ratios = []
        for c in range(3):
            truth, seen = (MASKS[i] == c) & known, np.where(known, p[i, ..., c], 0)
            ratios.append((2 * (truth * seen).sum() + 1) / (truth.sum() + seen.sum() + 1))
        assert found == pytest.approx(1 - np.mean(ratios), rel=1e-5)


def test_the_recipe_adds_dice() -> None:
    parts = SEGMENTATION.loss(jnp.asarray(LOGITS), jnp.asarray(MASKS), None, Recipe(dice=0.5))
    assert set(parts) == {"cross_entropy", "dice"}
    assert np.asarray(parts["dice"]) == pytest.approx(0.5 * np.asarray(dice_loss(jnp.asarray(LOGITS), jnp.asarray(MASKS))))
    assert set(SEGMENTATION.loss(jnp.asarray(LOGITS), jnp.asarray(MASKS), None, Recipe())) == {"cross_entropy"}


def test_logits_of_another_size_are_resized_to_the_masks() -> None:
    large = np.repeat(np.repeat(MASKS, 4, 1), 4, 2)
    parts = SEGMENTATION.reduce(jnp.asarray(LOGITS), jnp.asarray(large), jnp.array([True, False]))
    assert np.asarray(parts["confusion"]).sum() == (large[0] != 255).sum()


def test_balanced_weights_are_median_frequencies_of_the_images_that_have_a_class() -> None:
    masks = np.full((3, 2, 4), 255, np.uint8)
    masks[0, 0], masks[0, 1] = 0, 1  # half of each
    masks[1, 0, :1], masks[1, 0, 1:] = 1, 0  # three quarters of class 0
    masks[2, 0] = 0
    frequencies = [(4 + 3 + 4) / (8 + 4 + 4), (4 + 1) / (8 + 4)]
    expected = np.median(frequencies) / np.array(frequencies)
    assert median_frequency_weights(masks, 3) == pytest.approx((*expected, 1.0))


def test_metrics_of_a_perfect_and_an_inverted_answer() -> None:
    targets = np.tile(np.array([[0, 1]], np.uint8), (1, 2, 1))
    right = np.eye(2, dtype=np.float32)[targets] * 9

    def metrics(logits: np.ndarray) -> dict[str, float]:
        state = SEGMENTATION.new_metrics()
        part = SEGMENTATION.reduce(jnp.asarray(logits), jnp.asarray(targets), jnp.array([True]))
        state.update({name: np.asarray(value) for name, value in part.items()}, targets)
        kept = SEGMENTATION.new_metrics(state.to_json())
        assert kept.compute() == state.compute()
        return state.compute()

    assert metrics(right)["miou"] == 1
    assert metrics(-right)["miou"] == 0
    assert list(metrics(right)) == list(SEGMENTATION.metrics)


def test_a_teacher_pulls_towards_its_answers() -> None:
    recipe, losses, logits = Recipe(distill=0.5, temperature=2.0), jnp.ones(2), jnp.asarray(LOGITS)
    assert np.asarray(SEGMENTATION.distill(logits, logits, losses, recipe)) == pytest.approx([0.5, 0.5], abs=1e-6)
    assert (np.asarray(SEGMENTATION.distill(logits, -logits, losses, recipe)) > 0.6).all()


def test_the_picture_shows_prediction_and_truth_side_by_side_in_the_colors_of_the_table() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    mask, truth = np.full((2, 2), 1, np.uint8), np.full((4, 4), 255, np.uint8)
    drawn = SEGMENTATION.draw(image, {"mask": mask}, truth)
    assert drawn.shape == (4, 8, 3)
    assert (drawn[:, :4] == np.round(0.55 * np.array(color(1)))).all()
    assert not drawn[:, 4:].any()
    assert len({hex_color(i) for i in range(40)}) == 40


def test_gray_images_are_drawn_in_color() -> None:
    assert overlaid(np.full((3, 5, 1), 200, np.uint8), np.zeros((3, 5), np.uint8)).shape == (3, 5, 3)


def test_masks_move_with_their_images_and_what_is_padded_does_not_count() -> None:
    images = RNG.integers(1, 255, (6, 8, 8, 3)).astype(np.uint8)
    masks = (images[..., 0] % 5).astype(np.uint8)
    settings = Augment(crop_padding=3, flip=True)
    moved, targets = SEGMENTATION.augment(images, masks, np.random.default_rng(0), settings, fill=(0, 9, 9))
    assert not np.array_equal(moved, images)
    known = targets != 255
    assert np.array_equal(known, moved[..., 0] != 0)
    assert np.array_equal(targets[known], moved[known][:, 0] % 5)


def test_policies_of_colors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^recipe\.augment\.policy: randaugment moves images without their targets"):
        check_recipe(SEGMENTATION, Recipe(augment=Augment(policy="randaugment")))


def test_details_list_classes_by_their_pixels() -> None:
    state = Segmentation().new_metrics({"sums": {"loss": 0.0}, "count": 1, "counts": [[1, 0, 0], [1, 6, 0], [0, 0, 0]]})
    table = SEGMENTATION.details(state, ("sky", "road", "pole"))["table"]
    assert [row[0] for row in table] == ["class", "road", "sky", "pole"]
    assert table[1][2:] == ["85.7 %", "85.7 %", "87.5 %"]
    assert table[3][2] == "-"


def test_a_head_that_sees_the_center_alone_is_refused() -> None:
    from nas import load_arch
    from nas.data.arrays import dataset_of_arrays

    images, masks = np.zeros((9, 8, 8, 3), np.uint8), np.tile(np.array([[0, 1]], np.uint8), (9, 8, 4))
    with pytest.raises(ValueError, match=r"^unet_original: head\.valid: answers for the center"):
        SEGMENTATION.fit_head(load_arch("unet_original"), dataset_of_arrays((images, masks)))


def test_poly_falls_to_zero_by_its_power() -> None:
    from nas.train.optim import learning_rate

    recipe = Recipe(epochs=10, lr=0.1, warmup_epochs=0, schedule="poly")
    assert [float(learning_rate(recipe, 5, step, np)) for step in (0, 25, 50)] == pytest.approx([0.1, 0.1 * 0.5**0.9, 0.0])


@pytest.mark.parametrize("key", ["dice", "power"])
def test_values_out_of_range_name_their_key(key: str) -> None:
    wrong: dict[str, Any] = {key: -1.0}
    with pytest.raises(ValueError, match=f"^{key}: expected"):
        Recipe(**wrong)
