"""JAX functions of the primitives of `nas.arch.graph` that pool, move or normalize feature maps; images are (n, h, w, c).

`implementation` is that of `nas.nn.ops`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nas.arch.graph import Shape, pool_pads
from nas.nn import slices
from nas.nn.target import Implementation, autodiff, chosen
from nas.nn.xla import wide_type

Array = jax.Array
SHORTEST = 1e-6  # length that `l2_normalize` divides by at least


def max_pool(x: Array, *, kernel: int, stride: int, padding: str | int, ceil: bool = False) -> Array:
    pad = (pool_pads(x.shape[1], kernel, stride, padding, ceil), pool_pads(x.shape[2], kernel, stride, padding, ceil))
    window, strides = (1, kernel, kernel, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, window, strides, ((0, 0), *pad, (0, 0)))


def avg_pool(
    x: Array, *, kernel: int, stride: int, padding: str | int, ceil: bool = False, implementation: Implementation = "auto"
) -> Array:
    """Mean of each window's pixels of the image; padding does not count."""
    pad = (pool_pads(x.shape[1], kernel, stride, padding, ceil), pool_pads(x.shape[2], kernel, stride, padding, ceil))

    def by_slices(wide: Array) -> Array:
        return jnp.asarray(sum(part for _, _, part in slices.shifted(wide, kernel, stride, pad)))

    def by_window(wide: Array) -> Array:
        window, strides = (1, kernel, kernel, 1), (1, stride, stride, 1)
        return lax.reduce_window(wide, np.zeros((), wide.dtype), lax.add, window, strides, ((0, 0), *pad, (0, 0)))

    total = chosen(implementation, autodiff(by_slices), autodiff(by_window), x.astype(wide_type(x)))
    down, across = (_pixels(x.shape[a], total.shape[a], kernel, stride, pad[a - 1][0]) for a in (1, 2))
    weight = (1 / (down[:, None] * across[None])).astype(wide_type(x))
    return (total * weight[None, :, :, None]).astype(x.dtype)


def _pixels(size: int, count: int, kernel: int, stride: int, before: int) -> np.ndarray:
    """(count,) pixels of the image in each window along one axis."""
    first = np.arange(count) * stride - before
    return np.minimum(first + kernel, size) - np.maximum(first, 0)


def global_pool(x: Array) -> Array:
    """(n, h, w, c) -> (n, 1, 1, c)."""
    return x.astype(wide_type(x)).mean((1, 2), keepdims=True).astype(x.dtype)


def flatten(x: Array) -> Array:
    return x.reshape(x.shape[0], 1, 1, -1)


def reshape(x: Array, shape: Shape) -> Array:
    """(n, h, w, c) -> (n, *shape), the same values in their order."""
    return x.reshape(x.shape[0], *shape)


def crop(x: Array, top: int, left: int, shape: Shape) -> Array:
    """(n, h, w, c) -> (n, *shape): the rows from `top` on and the columns from `left` on."""
    return x[:, top : top + shape[0], left : left + shape[1]]


def l2_normalize(x: Array, scale: Array | None = None) -> Array:
    """(n, h, w, c) -> the same, the channels of each pixel divided by their length, at least `SHORTEST`, so that zeros stay zeros.

    `scale`: (c,), what channels are multiplied by then.
    """
    wide = x.astype(wide_type(x))
    squares = jnp.square(wide).sum(3, keepdims=True)
    unit = wide * lax.rsqrt(jnp.maximum(squares, SHORTEST**2))
    return (unit if scale is None else unit * scale.reshape(1, 1, 1, -1).astype(unit.dtype)).astype(x.dtype)


def shuffle(x: Array, groups: int) -> Array:
    """Channel shuffle (arXiv:1707.01083): channel g of group i becomes channel i of group g."""
    n, h, w, c = x.shape
    return x.reshape(n, h, w, groups, c // groups).swapaxes(3, 4).reshape(x.shape)
