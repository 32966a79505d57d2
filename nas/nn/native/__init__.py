"""Our own machine code for what XLA lowers badly on a CPU, in float32: depthwise convolution with its gradients, and the
sums of batch norm.

Written with llvmlite for the processor at hand (nothing to build when nas is installed), called by XLA on its own threads.
Where it cannot be had (another platform, no llvmlite, `NAS_NATIVE=0`), `available` is False and `nas.nn.ops` has other forms.
"""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec

import jax
import jax.numpy as jnp

from nas.core.once import Once

Array = jax.Array
Pads = tuple[tuple[int, int], tuple[int, int]]
GROUPS = 16  # of images whose part of a kernel's gradient is summed separately: fixed, so that threads do not change the sum
_log = logging.getLogger("nas")


@Once
def available() -> bool:
    """Whether kernels compile, register and compute here what they are for; every kind is tried once."""
    if os.environ.get("NAS_NATIVE", "1") == "0":
        return False
    if find_spec("llvmlite") is None:
        return _left_out("llvmlite is not installed (pip install 'nas[native]')")
    try:
        from nas.nn.native import check

        with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.ensure_compile_time_eval():
            wrong = check.wrong(check.Kernels(forward, input_gradient, kernel_gradient, moments, norm_gradient_sums))
    except Exception as error:  # whatever a platform lacks, training continues without it
        return _left_out((str(error).splitlines() or [type(error).__name__])[0])
    return not wrong or _left_out(f"wrong results of {', '.join(wrong)}")


def _left_out(reason: str) -> bool:
    """False, and the one line that says so."""
    _log.warning("depthwise convolutions and batch norm run in their slower form: %s", reason)
    return False


@Once
def _target(kind: str, size: int, stride: int) -> str:
    """The name of a registered kernel; the first call for a kind, size and stride compiles it."""
    from nas.nn.native import depthwise, ffi

    name = f"nas.depthwise.{kind}.{size}.{stride}"
    ffi.register(name, getattr(depthwise, kind)(size, stride))
    return name


@Once
def _sums(fn: str | None) -> str:
    """The kernel of batch norm's sums: forward without, backward with the name of an activation."""
    from nas.nn.native import ffi, norm

    name = f"nas.norm.{fn or 'moments'}"
    ffi.register(name, norm.gradient_sums(norm.SLOPES[fn]) if fn else norm.moments)
    return name


def _call(kind: str, shape: tuple[int, ...], size: int, stride: int, operands: tuple[Array, Array], pad: Pads) -> Array:
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    call = jax.ffi.ffi_call(_target(kind, size, stride), result, vmap_method="sequential")
    return call(*operands, jnp.zeros((0, pad[0][0], pad[1][0]), jnp.float32))


def forward(x: Array, kernel: Array, stride: int, pad: Pads) -> Array:
    """Depthwise convolution.

    Args:
        x: (n, h, w, c) float32.
        kernel: (k, k, 1, c) float32.
        stride: Pixels between windows.
        pad: (before, after) of rows and of columns.

    Returns:
        (n, rows, columns, c) float32.
    """
    n, h, w, c = x.shape
    size = kernel.shape[0]
    rows, columns = ((side + sum(p) - size) // stride + 1 for side, p in zip((h, w), pad, strict=True))
    return _call("forward", (n, rows, columns, c), size, stride, (x, kernel), pad)


def input_gradient(g: Array, kernel: Array, shape: tuple[int, ...], stride: int, pad: Pads) -> Array:
    """The gradient of the images of `forward`.

    Args:
        g: (n, rows, columns, c), the gradient of its result.
        kernel: (k, k, 1, c).
        shape: (n, h, w, c) of the images.
        stride: As in `forward`.
        pad: As in `forward`.

    Returns:
        (n, h, w, c) float32.
    """
    return _call("input_gradient", shape, kernel.shape[0], stride, (g, kernel), pad)


def kernel_gradient(x: Array, g: Array, size: int, stride: int, pad: Pads) -> Array:
    """The gradient of the kernel of `forward`.

    Args:
        x: (n, h, w, c), its images.
        g: (n, rows, columns, c), the gradient of its result.
        size: k.
        stride: As in `forward`.
        pad: As in `forward`.

    Returns:
        (k, k, 1, c) float32; the sum does not depend on the number of threads.
    """
    c, groups = x.shape[3], min(GROUPS, len(x))
    parts = _call("kernel_gradient", (groups, size, size, c), size, stride, (x, g), pad)
    return parts.sum(0).reshape(size, size, 1, c)


def moments(x: Array) -> tuple[Array, Array]:
    """The sums of batch norm, put together from those of each image.

    Args:
        x: (n, h, w, c) float32.

    Returns:
        Mean and biased variance of each channel, (c,) each.

    Source:
        Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance.
    """
    n, h, w, c = x.shape
    call = jax.ffi.ffi_call(_sums(None), jax.ShapeDtypeStruct((n, 2, c), jnp.float32), vmap_method="sequential")
    totals, squares = jnp.moveaxis(call(x), 1, 0)
    mean = totals.sum(0) / (n * h * w)
    apart = jnp.square(totals / (h * w) - mean[None]).sum(0) * (h * w)
    return mean, (squares.sum(0) + apart) / (n * h * w)


def norm_gradient_sums(x: Array, g: Array, mean: Array, factor: Array, shift: Array, fn: str) -> tuple[Array, Array]:
    """The sums that the gradient of batch norm and its activation needs.

    Args:
        x: (n, h, w, c), the images that were normalized.
        g: (n, h, w, c), the gradient of fn(z), where z = factor x + shift.
        mean: (c,) of x.
        factor: (c,).
        shift: (c,).
        fn: The activation, one of `FUSED`.

    Returns:
        Sums over the batch of dz and of dz (x - mean), (c,) each.
    """
    rows = jnp.stack([mean, factor, shift])
    shape = jax.ShapeDtypeStruct((len(x), 2, x.shape[3]), jnp.float32)
    sums = jax.ffi.ffi_call(_sums(fn), shape, vmap_method="sequential")(x, g, rows).sum(0)
    return sums[0], sums[1]


FUSED = ("none", "relu", "relu6", "hswish")  # activations whose slope `norm_gradient_sums` knows
