"""Bilinear resizing and transposed convolution of feature maps (n, h, w, c), each in the ways that targets are fast with.

A gather's gradient is a scatter, which is slow everywhere, so gradients of resizing are products with its matrices. Forward these are
as fast on accelerators; on a CPU two pixels and a weight take a third of the time. LiteRT has one operation for it, which its
converter finds by the name and the settings of a composite.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nas.arch.graph import Sides
from nas.nn.target import Implementation, autodiff, chosen, differentiable
from nas.nn.xla import LAYOUT, wide_type

Array = jax.Array
COMPOSITE = "odml.upsample_bilinear2d"  # as litert-converter 0.5 knows it; with attributes of other names it crashes


def resize(x: Array, size: Sides, implementation: Implementation = "auto") -> Array:
    """(n, h, w, c) -> (n, *size, c), bilinear between the centers of pixels: pixel i of n lies at (i + 1/2) / n of the side.

    Beyond the outermost centers the nearest pixel counts. Nothing is smoothed where the image gets smaller.
    """
    wide, own = x.astype(wide_type(x)), (x.shape[1], x.shape[2])
    if own == (1, 1):
        return jnp.broadcast_to(x, (x.shape[0], *size, x.shape[3]))
    backward = partial(_gradient, own)
    if implementation == "lax":
        y = differentiable((partial(_composite, size=size), backward))(wide)
    else:
        cpu = (partial(_between, size=size), backward)
        y = chosen(implementation, cpu, autodiff(partial(_product, size=size)), wide)
    return y.astype(x.dtype)


def neighbors(size: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each of `out` pixels of a resized axis: the two of `size` that it lies between, and the weight of the second, (out,) each.

    Example:
        >>> [values.tolist() for values in neighbors(2, 4)]
        [[0, 0, 0, 1], [1, 1, 1, 1], [0.0, 0.25, 0.75, 0.0]]
    """
    place = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
    first = np.floor(place).astype(np.int64)
    return first, np.minimum(first + 1, size - 1), place - first


def matrix(size: int, out: int) -> np.ndarray:
    """(out, size) weights of a resized axis; rows sum to 1."""
    first, second, weight = neighbors(size, out)
    found = np.zeros((out, size))
    np.add.at(found, (np.arange(out), first), 1 - weight)
    np.add.at(found, (np.arange(out), second), weight)
    return found


def _between(x: Array, size: Sides) -> Array:
    """Of two neighbors each, columns first, which leaves the larger part of the work to whole rows."""
    for axis in (2, 1):
        first, second, weight = neighbors(x.shape[axis], size[axis - 1])
        before, after = jnp.take(x, first, axis), jnp.take(x, second, axis)
        x = before + (after - before) * jnp.asarray(np.expand_dims(weight, [a for a in range(4) if a != axis]), x.dtype)
    return x


def _product(x: Array, size: Sides) -> Array:
    rows, columns = (jnp.asarray(matrix(x.shape[a], size[a - 1]), x.dtype) for a in (1, 2))
    return jnp.einsum("Hh,nhwc->nHwc", rows, jnp.einsum("Ww,nhwc->nhWc", columns, x))


def _gradient(own: Sides, operands: tuple[Array, ...], g: Array) -> tuple[Array]:
    rows, columns = (jnp.asarray(matrix(own[a - 1], g.shape[a]), g.dtype) for a in (1, 2))
    return (jnp.einsum("Ww,nhWc->nhwc", columns, jnp.einsum("Hh,nHwc->nhwc", rows, g)),)


def _composite(x: Array, size: Sides) -> Array:
    """The products under the name of LiteRT's operation. No array may come into a composite beside its operand: they are made in it."""

    def weights(out: int, own: int) -> Array:
        place = lax.clamp(0.0, (lax.iota(jnp.float32, out) + 0.5) * (own / out) - 0.5, own - 1.0)
        return jnp.maximum(1 - jnp.abs(place[:, None] - lax.iota(jnp.float32, own)[None]), 0).astype(x.dtype)

    def whole(x: Array, **_: object) -> Array:
        rows, columns = (weights(size[a - 1], x.shape[a]) for a in (1, 2))
        return jnp.einsum("Hh,nhwc->nHwc", rows, jnp.einsum("Ww,nhwc->nhWc", columns, x))

    return lax.composite(whole, COMPOSITE)(x, size=np.array(size), align_corners=False, is_nchw_op=False)


def conv_transpose(
    x: Array, kernel: Array, bias: Array | None = None, *, stride: int, implementation: Implementation = "auto"
) -> Array:
    """Transposed convolution of (n, h, w, c) by a kernel (k, k, c, out): every pixel times the kernel is added to a window of the result.

    Returns:
        (n, (h - 1) stride + k, (w - 1) stride + k, out). Windows that do not overlap are one product of matrices.
    """
    side, kernel = kernel.shape[0], kernel.astype(x.dtype)
    if side == stride and implementation != "lax":
        (n, h, w, c), out = x.shape, kernel.shape[3]
        columns = kernel.transpose(2, 0, 1, 3).reshape(c, side * side * out)
        y = jnp.dot(x.reshape(n * h * w, c), columns, preferred_element_type=wide_type(x)).astype(x.dtype)
        y = y.reshape(n, h, w, side, side, out).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * side, w * side, out)
    else:
        around = ((side - 1, side - 1),) * 2
        y = lax.conv_general_dilated(
            x, kernel[::-1, ::-1], (1, 1), around, lhs_dilation=(stride, stride), dimension_numbers=LAYOUT
        )
    return y if bias is None else y + bias.reshape(1, 1, 1, -1).astype(y.dtype)
