"""Depthwise convolutions as sums of shifted slices: the fast portable form on a CPU, whose own lowering is ten times slower."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nas.arch.graph import Kernel, sides
from nas.nn.xla import wide_type

Array = jax.Array
Pads = tuple[tuple[int, int], tuple[int, int]]


def sum_of_taps(x: Array, kernel: Array, stride: int, pad: Pads) -> Array:
    weights = kernel.astype(wide_type(x))
    taps = shifted(x.astype(wide_type(x)), (kernel.shape[0], kernel.shape[1]), stride, pad)
    return jnp.asarray(sum(part * weights[i : i + 1, j : j + 1] for i, j, part in taps), x.dtype)


def _forward(x: Array, kernel: Array, stride: int, pad: Pads) -> tuple[Array, tuple[Array, Array]]:
    return sum_of_taps(x, kernel, stride, pad), (x, kernel)


def backward(stride: int, pad: Pads, saved: tuple[Array, Array], g: Array, whole: bool = False) -> tuple[Array, Array]:
    """What autodiff would give, in a tenth of its time and memory and with few kernels to compile.

    whole: the batch at once, for one that several devices have parts of: a loop over its images would gather it on each.
    """
    x, kernel = saved
    gaps = (_dilation_pads(x.shape[a], g.shape[a], kernel.shape[a - 1], stride, pad[a - 1][0]) for a in (1, 2))
    dilation = [(0, 0, 0), *gaps, (0, 0, 0)]
    dilated = lax.pad(g, np.zeros((), g.dtype), dilation)
    return sum_of_taps(dilated, kernel[::-1, ::-1], 1, ((0, 0), (0, 0))), _kernel_gradient(x, g, kernel, stride, pad, whole)


def _dilation_pads(size: int, count: int, kernel: int, stride: int, before: int) -> tuple[int, int, int]:
    """(low, high, interior) padding of an output gradient, so that a stride-1 window over it gives the input's."""
    low = kernel - 1 - before
    return low, size + kernel - 1 - ((count - 1) * stride + 1) - low, stride - 1


def _kernel_gradient(x: Array, g: Array, kernel: Array, stride: int, pad: Pads, whole: bool) -> Array:
    """Tap by tap over a few images at a time, so that they stay in the cache."""
    (high, across), (n, rows, columns, c), kind = kernel.shape[:2], g.shape, wide_type(x)
    few = n if whole else max(d for d in range(1, 5) if n % d == 0)
    padded = jnp.pad(x, ((0, 0), *pad, (0, 0)))
    window = (few, (rows - 1) * stride + 1, (columns - 1) * stride + 1, c)

    def chunk(total: Array, xg: tuple[Array, Array]) -> tuple[Array, None]:
        def tap(t: Array) -> Array:
            part = lax.dynamic_slice(xg[0], (0, t // across, t % across, 0), window)[:, ::stride, ::stride]
            return (part.astype(kind) * xg[1].astype(kind)).sum((0, 1, 2))

        return total + lax.map(tap, jnp.arange(high * across)), None

    zeros = jnp.zeros((high * across, c), kind)
    if whole:
        return chunk(zeros, (padded, g))[0].reshape(kernel.shape).astype(kernel.dtype)
    chunks = padded.reshape(n // few, few, *padded.shape[1:]), g.reshape(n // few, few, *g.shape[1:])
    total, _ = lax.scan(chunk, zeros, chunks)
    return total.reshape(kernel.shape).astype(kernel.dtype)


depthwise = jax.custom_vjp(sum_of_taps, nondiff_argnums=(2, 3))
depthwise.defvjp(_forward, backward)


def by_phases(plain: Callable[[Array, Array], Array], x: Array, kernel: Array, stride: int, pad: Pads, dilation: int) -> Array:
    """A dilated convolution by one that is not: every `dilation`-th row and column of an image is an image of its own to it.

    Args:
        plain: (images, kernel) -> the convolution of stride 1 without padding.
        x: (n, h, w, c).
        kernel: (kh, kw, 1, c).
        stride, pad, dilation: Of the convolution.
    """
    (n, _, _, c), d = x.shape, dilation
    wide = [x.shape[a] + sum(pad[a - 1]) for a in (1, 2)]
    rows, columns = (size - (kernel.shape[a] - 1) * d for a, size in enumerate(wide))
    whole = [(before, after + -size % d) for (before, after), size in zip(pad, wide, strict=True)]
    padded = jnp.pad(x, ((0, 0), *whole, (0, 0)))
    high, across = padded.shape[1] // d, padded.shape[2] // d
    phases = padded.reshape(n, high, d, across, d, c).transpose(0, 2, 4, 1, 3, 5).reshape(n * d * d, high, across, c)
    y = plain(phases, kernel)
    y = y.reshape(n, d, d, *y.shape[1:]).transpose(0, 3, 1, 4, 2, 5)
    return y.reshape(n, y.shape[1] * d, y.shape[3] * d, c)[:, :rows:stride, :columns:stride]


def shifted(x: Array, kernel: Kernel, stride: int, pad: Pads) -> Iterator[tuple[int, int, Array]]:
    """(row, column, what that pixel of the window sees at every position); windows of nothing but padding are left out."""
    (n, h, w, c), (high, across) = x.shape, sides(kernel)
    rows = (h + sum(pad[0]) - high) // stride + 1
    columns = (w + sum(pad[1]) - across) // stride + 1
    padded = jnp.pad(x, ((0, 0), *pad, (0, 0)))
    for i in range(high):
        for j in range(across):
            if _sees(i, rows, stride, pad[0][0], h) and _sees(j, columns, stride, pad[1][0], w):
                stop = (n, i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1, c)
                yield i, j, lax.slice(padded, (0, i, j, 0), stop, (1, stride, stride, 1))


def _sees(offset: int, count: int, stride: int, before: int, size: int) -> bool:
    return any(0 <= offset + step * stride - before < size for step in range(count))
