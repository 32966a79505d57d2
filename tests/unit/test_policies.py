"""AutoAugment, RandAugment, mixup and CutMix: shapes, shares, and what a seed decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nas.data.augment import augment
from nas.data.policies import OPERATIONS, POLICY, RANDOM, apply, auto_augment, rand_augment
from nas.recipe import Augment, Recipe
from nas.tasks import CLASSIFICATION, training_loss
from nas.tasks.classification import cross_entropy
from nas.train.loop import stale

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_operation_keeps_size_and_mode(name: str, mode: str) -> None:
    image = Image.fromarray(IMAGES[0]).convert(mode)
    for magnitude in (0, 5, 10, 17):
        out = apply(image, name, magnitude, np.random.default_rng(0))
        assert (out.size, out.mode) == (image.size, mode)


def test_the_policy_is_the_published_one_in_form() -> None:
    assert len(POLICY) == 25
    assert {name for pair in POLICY for name, _, _ in pair} <= set(OPERATIONS)
    assert all(0 <= p <= 1 and 0 <= m <= 10 for pair in POLICY for _, p, m in pair)


@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., :1]], ids=["color", "gray"])
def test_the_seed_decides(images: np.ndarray) -> None:
    for policy in ("autoaugment", "randaugment"):
        settings = Augment(policy=policy)  # type: ignore[arg-type]
        first, again, other = (augment(images, np.random.default_rng(s), settings) for s in (0, 0, 1))
        assert first.shape == images.shape
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert not np.array_equal(first, images)
    assert np.array_equal(rand_augment(images, range(6), 0, 9), images)
    with pytest.raises(ValueError, match="policy: expected gray or color images, got 2 channels"):
        auto_augment(images[..., :1].repeat(2, axis=3), range(6))


@pytest.mark.parametrize("settings", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_images_are_mixed_by_the_fraction_of_their_labels(settings: dict[str, float]) -> None:
    recipe, labels = Recipe(**settings), jnp.arange(4)  # type: ignore[arg-type]
    images = jnp.ones((4, 8, 8, 1)) * labels[:, None, None, None]
    for step in range(4):
        pairs = CLASSIFICATION.mix(recipe, images, labels, jax.random.key(step))
        assert pairs.others is not None
        assert pairs.fraction is not None
        means = pairs.images.mean((1, 2, 3))
        np.testing.assert_allclose(means, pairs.fraction * pairs.targets + (1 - pairs.fraction) * pairs.others, atol=1e-5)
        assert sorted(pairs.others.tolist()) == [0, 1, 2, 3]
        logits = jax.nn.one_hot(pairs.others, 4)
        plain = cross_entropy(logits, pairs.targets), cross_entropy(logits, pairs.others)
        expected = pairs.fraction * plain[0] + (1 - pairs.fraction) * plain[1]
        np.testing.assert_allclose(training_loss(CLASSIFICATION, recipe, logits, pairs), expected, rtol=1e-5)


def test_it_ends_after_patience_validations_without_a_better_accuracy() -> None:
    curve = [{"accuracy": a} if a else {} for a in (0.5, 0, 0.7, 0.6, 0, 0.7)]
    assert [stale(CLASSIFICATION, curve[:n], 2) for n in range(7)] == [False] * 6 + [True]
    assert not stale(CLASSIFICATION, curve, 0)
    assert not stale(CLASSIFICATION, curve, 3)
