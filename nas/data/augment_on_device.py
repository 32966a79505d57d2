"""Random crop, flip and cutout inside a compiled step: what `nas.data.augment` does on the host, from a JAX key.

The distribution is the host's; the draws are not, since the two have different generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.data.augment import check_padding
from nas.recipe import Augment

if TYPE_CHECKING:
    import jax


def supports(settings: Augment) -> bool:
    """Whether all of the settings can run on a device; AutoAugment and RandAugment run on the host alone."""
    return settings.policy == "none"


def augment_on_device(images: jax.Array, key: jax.Array, settings: Augment, fill: Sequence[int]) -> jax.Array:
    """New images of the same shape. Traced.

    Args:
        images: (n, h, w, c) uint8.
        key: A random key; every batch needs one of its own.
        settings: Without a policy.
        fill: What cutout leaves, one level a channel, 0 to 255.

    Returns:
        (n, h, w, c) uint8.

    Raises:
        ValueError: The padding is too large for the images.

    Example:

        >>> import jax, numpy as np
        >>> images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
        >>> augment_on_device(images, jax.random.key(0), Augment(flip=True), (0, 0, 0)).shape
        (1, 2, 2, 3)
    """
    import jax
    import jax.numpy as jnp

    crop, flip, cut = jax.random.split(key, 3)
    count, height, width, _ = images.shape
    if pad := settings.pixels(height):
        check_padding(pad, settings.padding, height, width)
        mode = "reflect" if settings.padding == "reflect" else "constant"
        padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)
        top, left = jax.random.randint(crop, (2, count), 0, 2 * pad + 1)
        rows, columns = top[:, None] + jnp.arange(height)[None], left[:, None] + jnp.arange(width)[None]
        images = padded[jnp.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if settings.flip:
        mirrored = jax.random.bernoulli(flip, 0.5, (count, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if side := settings.cutout:
        down, across = jax.random.split(cut)
        inside_y = _inside(jax.random.randint(down, (count, 1), 0, height), height, side)
        inside_x = _inside(jax.random.randint(across, (count, 1), 0, width), width, side)
        blank = inside_y[:, :, None, None] & inside_x[:, None, :, None]
        images = jnp.where(blank, jnp.asarray(fill, jnp.uint8).reshape(1, 1, 1, -1), images)
    return images


def _inside(center: jax.Array, size: int, side: int) -> jax.Array:
    """(n, size) bool: which pixels of an axis the square covers; `center` is (n, 1)."""
    import jax.numpy as jnp

    first, pixels = center - side // 2, jnp.arange(size)[None]
    return (pixels >= first) & (pixels < first + side)
