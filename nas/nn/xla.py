"""Convolutions by XLA's own operations, as accelerators compute them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nas.nn.target import Way, autodiff

Pads = tuple[tuple[int, int], tuple[int, int]]
LAYOUT = ("NHWC", "HWIO", "NHWC")


def wide_type(x: Array) -> np.dtype:
    """The type that sums of `x` are kept in: float32, or float64 where `x` is."""
    return np.dtype(jnp.promote_types(x.dtype, jnp.float32))


def left_to_xla(stride: int, pad: Pads, groups: int, dilation: int = 1) -> Way:
    """A convolution of images (n, h, w, c) by a kernel (kh, kw, c / groups, out), and the gradients that JAX finds.

    Args:
        stride: In pixels, of both axes.
        pad: Zeros (above, below), (left, right).
        groups: Of channels.
        dilation: Pixels from one that the window sees to the next.
    """

    def convolved(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pad, dimension_numbers=LAYOUT, feature_group_count=groups,
            rhs_dilation=(dilation, dilation),
        )  # fmt: skip

    return autodiff(convolved)


def product_left_to_xla(stride: int) -> Way:
    """A 1x1 convolution of images (n, h, w, c) without padding by a kernel (1, 1, c, out), as a matrix product.

    Args:
        stride: In pixels, of both axes.
    """

    def product(x: Array, kernel: Array) -> Array:
        return lax.dot_general(x[:, ::stride, ::stride], kernel[0, 0], (((3,), (0,)), ((), ())))

    return autodiff(product)


def depthwise_left_to_xla(stride: int, pad: Pads, channels: int, dilation: int = 1) -> Way:
    """A depthwise convolution of images (n, h, w, channels) by a kernel (kh, kw, 1, channels).

    The gradient of the kernel is a convolution of the images with the outputs' gradient. Where that is no larger than the
    kernel, XLA takes it for a forward convolution with a group a channel: .6 ms for 1,536 channels of 4 x 4 pixels by a profile of an H100,
    and .05 ms on an H200 with the zeros around it that tell the two apart.
    """
    convolved = left_to_xla(stride, pad, channels, dilation)[0]

    def backward(operands: tuple[Array, ...], g: Array) -> tuple[Array, Array]:
        x, kernel = operands
        (dx,) = jax.vjp(lambda x: convolved(x, kernel), x)[1](g)
        more = [max(kernel.shape[a] + 1 - size, 0) for a, size in enumerate(g.shape[1:3])]
        (above, below), (left, right) = ((count // 2, count - count // 2) for count in more)
        wider = (
            (pad[0][0] + above * stride, pad[0][1] + below * stride), (pad[1][0] + left * stride, pad[1][1] + right * stride)
        )  # fmt: skip
        surrounded = jnp.pad(g, ((0, 0), (above, below), (left, right), (0, 0)))
        (dk,) = jax.vjp(lambda kernel: left_to_xla(stride, wider, channels, dilation)[0](x, kernel), kernel)[1](surrounded)
        return dx, dk

    return convolved, backward
