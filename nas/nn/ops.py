"""JAX functions of the primitives of `nas.arch.graph` that compute with weights, of activations and of dropout.

Images are (n, h, w, c), kernels (kh, kw, c / groups, out); `nas.nn.maps` has the primitives without weights.

Every function takes and returns arrays of the compute type (float32 or bfloat16); products are summed in float32. Inference
in float64, where JAX has it, is float64 throughout.
`implementation` chooses how a convolution is written, never what it computes: `lax` leaves it to XLA, `slices` has depthwise convolutions
and average pools as sums of shifted slices and 1x1 convolutions as matrix products. `portable` is `slices` where a program is lowered for a
CPU, whose own lowering is ten times slower, and `lax` elsewhere; exported files are written so. `auto` is the same with native kernels in
place of slices where this process has them. `products` is `portable` with matrix products everywhere, for networks mapped by `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nas.arch.graph import Padding, window_pads
from nas.nn import native, slices
from nas.nn.target import Implementation, Way, autodiff, chosen, differentiable, lowered_by_target
from nas.nn.xla import Pads, depthwise_left_to_xla, left_to_xla, product_left_to_xla, wide_type

Array = jax.Array


def conv(x: Array, kernel: Array, bias: Array | None = None, *, stride: int = 1, padding: Padding = "same",
         groups: int = 1, dilation: int = 1, implementation: Implementation = "auto") -> Array:  # fmt: skip
    """Convolution of (n, h, w, c) with zero padding as `graph.window_pads` has it."""
    size, kernel = (kernel.shape[0], kernel.shape[1]), kernel.astype(x.dtype)
    pad = window_pads(x.shape[1:3], size, stride, padding, dilation)
    if size == (1, 1) and groups == 1 and not np.any(pad):
        cpu, other = (partial(_pointwise, stride=stride), partial(_pointwise_backward, stride)), left_to_xla(stride, pad, groups)
        y = chosen(implementation, cpu, product_left_to_xla(stride) if implementation == "products" else other, x, kernel)
    elif groups == x.shape[3] == kernel.shape[3]:
        y = _depthwise(implementation, x, kernel, stride, pad, dilation)
    else:
        y = left_to_xla(stride, pad, groups, dilation)[0](x, kernel)
    return y if bias is None else y + _channels(bias).astype(y.dtype)


def _channels(vector: Array) -> Array:
    """(c,) -> (1, 1, 1, c): broadcasting is spelled out, so that JAX may be configured to refuse it."""
    return vector.reshape(1, 1, 1, -1)


def _pointwise(x: Array, kernel: Array, stride: int) -> Array:
    x = x[:, ::stride, ::stride]
    n, h, w, c = x.shape
    y = jnp.dot(x.reshape(n * h * w, c), kernel[0, 0], preferred_element_type=wide_type(x))
    return y.astype(x.dtype).reshape(n, h, w, kernel.shape[3])


def _pointwise_backward(stride: int, operands: tuple[Array, ...], g: Array) -> tuple[Array, Array]:
    """What autodiff would give, without the product itself."""
    x, kernel = operands
    kind = wide_type(x)
    pixels = x[:, ::stride, ::stride].reshape(-1, x.shape[3]).astype(kind)
    wide = g.reshape(-1, g.shape[3]).astype(kind)
    d_kernel = jnp.dot(pixels.T, wide, preferred_element_type=kind).astype(kernel.dtype)
    d_pixels = jnp.dot(wide, kernel[0, 0].T.astype(kind), preferred_element_type=kind).astype(x.dtype)
    dilation = [(0, *_gaps(x.shape[a], g.shape[a], stride)) for a in (1, 2)]
    gaps = [(0, 0, 0), *dilation, (0, 0, 0)]
    return lax.pad(d_pixels.reshape(*g.shape[:3], x.shape[3]), np.zeros((), x.dtype), gaps), d_kernel[None, None]


def _gaps(size: int, count: int, stride: int) -> tuple[int, int]:
    """(behind, between) the gradients of every `stride`-th pixel of `size`."""
    return size - (count - 1) * stride - 1, stride - 1


def _depthwise(implementation: Implementation, x: Array, kernel: Array, stride: int, pad: Pads, dilation: int) -> Array:
    own = _native(implementation, x) and kernel.shape[0] == kernel.shape[1]
    if implementation in ("slices", "native") and dilation == 1:
        return (_native_depthwise if own else slices.depthwise)(x, kernel, stride, pad)
    portable = slices.sum_of_taps, partial(slices.backward, whole=implementation in ("portable", "products"))
    forward, backward = (native.forward, _native_backward) if own else portable

    def cpu(stride: int, pad: Pads) -> Way:
        return partial(forward, stride=stride, pad=pad), partial(backward, stride, pad)

    plain = differentiable(cpu(1, ((0, 0), (0, 0))))
    dilated = partial(slices.by_phases, plain, stride=stride, pad=pad, dilation=dilation)
    ways = cpu(stride, pad) if dilation == 1 else autodiff(dilated)
    return chosen(implementation, ways, depthwise_left_to_xla(stride, pad, x.shape[3], dilation), x, kernel)


def _native(implementation: Implementation, x: Array) -> bool:
    """Whether a CPU's part of the program calls native kernels: this process has them, and trains on its CPU."""
    if implementation not in ("auto", "native") or x.dtype != jnp.float32:
        return False
    return (implementation == "native" or jax.default_backend() == "cpu") and native.available()


def _native_forward(x: Array, kernel: Array, stride: int, pad: Pads) -> tuple[Array, tuple[Array, Array]]:
    return native.forward(x, kernel, stride, pad), (x, kernel)


def _native_backward(stride: int, pad: Pads, saved: tuple[Array, ...], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = native.input_gradient(g, kernel, x.shape, stride, pad)
    return dx, native.kernel_gradient(x, g, kernel.shape[0], stride, pad)


_native_depthwise = jax.custom_vjp(native.forward, nondiff_argnums=(2, 3))
_native_depthwise.defvjp(_native_forward, _native_backward)


def dense(x: Array, kernel: Array, bias: Array | None = None, wide: bool = False) -> Array:
    """(n, 1, 1, c) -> (n, 1, 1, out); `wide`: the sums as they are, float32, for logits, whose order rounding would change."""
    y = jnp.dot(x.reshape(x.shape[0], -1), kernel.astype(x.dtype), preferred_element_type=wide_type(x))
    y = y if bias is None else y + bias[None].astype(y.dtype)
    return (y if wide else y.astype(x.dtype))[:, None, None]


def norm_train(
    x: Array, scale: Array, bias: Array, eps: float, fn: str = "none", implementation: Implementation = "auto"
) -> tuple[Array, Array, Array]:
    """Batch norm (arXiv:1502.03167) by the batch's own statistics, then an activation: (y, mean, variance).

    Mean and variance are float32 (c,), or float64 where `x` is.

    The variance is the biased one, over n h w, for `y` and for the moving average alike: so do TensorFlow's unfused
    layer, which MnasNet and EfficientNet were trained with on TPUs, and Flax; PyTorch averages the unbiased one.
    No gradient flows through the returned mean and variance.
    """
    if _native(implementation, x):
        fused = fn if fn in native.FUSED else "none"
        y, mean, variance = _norm_and_act(x, scale, bias, eps, fused)
        return (y if fused == fn else ACT_FNS[fn](y)), mean, variance
    y, mean, variance = _norm_train(x, scale, bias, eps)
    return ACT_FNS[fn](y), mean, variance


def _native_norm_by_batch(x: Array, scale: Array, bias: Array, eps: float, fn: str) -> tuple[Array, Array, Array]:
    mean, variance = native.moments(x)
    factor = lax.rsqrt(variance + eps) * scale
    return ACT_FNS[fn](x * _channels(factor) + _channels(bias - mean * factor)), mean, variance


def _native_norm_backward(eps: float, fn: str, saved: tuple[Array, ...], grads: tuple[Array, ...]) -> Any:
    """As `_norm_backward`; z is computed again from x, so that neither it nor the gradient that meets it is kept."""
    x, scale, bias, mean, inverse = saved
    count, factor = x.size // x.shape[3], inverse * scale
    shift = bias - mean * factor
    d_bias, moment = native.norm_gradient_sums(x, grads[0], mean, factor, shift, fn)
    d_scale = moment * inverse
    dz = jax.vjp(ACT_FNS[fn], x * _channels(factor) + _channels(shift))[1](grads[0])[0]
    slope = factor * inverse * d_scale / count
    dx = dz * _channels(factor) - x * _channels(slope) + _channels(mean * slope - factor * d_bias / count)
    return dx, d_scale, d_bias


def _norm_by_batch(x: Array, scale: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    wide = x.astype(wide_type(x))
    mean = wide.mean((0, 1, 2))
    centered = wide - _channels(mean)
    variance = jnp.square(centered).mean((0, 1, 2))
    factor = lax.rsqrt(variance + eps) * scale
    return (centered * _channels(factor) + _channels(bias)).astype(x.dtype), mean, variance


def _norm_forward(x: Array, scale: Array, bias: Array, eps: float) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    y, mean, variance = _norm_by_batch(x, scale, bias, eps)
    return (y, mean, variance), (x, scale, mean, lax.rsqrt(variance + eps))


def _norm_backward(eps: float, saved: tuple[Array, ...], grads: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """The gradient in closed implementation: two sums over the batch where autodiff takes four."""
    x, scale, mean, inverse = saved
    g, count = grads[0].astype(wide_type(x)), x.size // x.shape[3]
    centered = x.astype(wide_type(x)) - _channels(mean)
    d_bias = g.sum((0, 1, 2))
    d_scale = (g * centered).sum((0, 1, 2)) * inverse
    slope = centered * _channels(inverse * d_scale / count)
    dx = _channels(scale * inverse) * (g - _channels(d_bias / count) - slope)
    return dx.astype(x.dtype), d_scale, d_bias


_norm_train = jax.custom_vjp(_norm_by_batch, nondiff_argnums=(3,))
_norm_train.defvjp(_norm_forward, _norm_backward)


def _norm_by_target(x: Array, scale: Array, bias: Array, eps: float, fn: str) -> tuple[Array, Array, Array]:
    """Norm and activation: by native kernels where the program is lowered for a CPU, else left to XLA."""

    def elsewhere(x: Array, scale: Array, bias: Array) -> tuple[Array, Array, Array]:
        y, mean, variance = _norm_by_batch(x, scale, bias, eps)
        return ACT_FNS[fn](y), mean, variance

    cpu, like = partial(_native_norm_by_batch, eps=eps, fn=fn), (x, scale, scale)
    return lowered_by_target(cpu, elsewhere, x, scale, bias, like=like)


def _norm_by_target_forward(x: Array, scale: Array, bias: Array, eps: float, fn: str) -> Any:
    y, mean, variance = _norm_by_target(x, scale, bias, eps, fn)
    return (y, mean, variance), (x, scale, bias, mean, lax.rsqrt(variance + eps))


def _norm_by_target_backward(eps: float, fn: str, saved: tuple[Array, ...], grads: tuple[Array, ...]) -> Any:
    def elsewhere(saved: tuple[Array, ...], grads: tuple[Array, ...]) -> Any:
        x, scale, bias, mean, inverse = saved
        z = (x - _channels(mean)) * _channels(inverse * scale) + _channels(bias)
        return _norm_backward(eps, (x, scale, mean, inverse), jax.vjp(ACT_FNS[fn], z)[1](grads[0]))

    return lowered_by_target(partial(_native_norm_backward, eps, fn), elsewhere, saved, grads, like=saved[:3])


_norm_and_act = jax.custom_vjp(_norm_by_target, nondiff_argnums=(3, 4))
_norm_and_act.defvjp(_norm_by_target_forward, _norm_by_target_backward)


def norm_eval(x: Array, scale: Array, bias: Array, mean: Array, variance: Array, eps: float) -> Array:
    """Batch norm by the moving statistics."""
    factor = lax.rsqrt(variance + eps) * scale
    return (x.astype(wide_type(x)) * _channels(factor) + _channels(bias - mean * factor)).astype(x.dtype)


def hsigmoid(x: Array) -> Array:
    """ReLU6(x + 3) / 6, MobileNetV3's (arXiv:1905.02244)."""
    return relu6(x + 3) / 6


def relu(x: Array) -> Array:
    return jnp.where(x > 0, x, 0)  # its gradient is a mask; that of `maximum` shares ties and divides


def relu6(x: Array) -> Array:
    return jnp.where(x > 0, jnp.where(x < 6, x, 6), 0)


ACT_FNS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "relu": relu,
    "relu6": relu6,
    "hswish": lambda x: x * hsigmoid(x),
    "swish": lambda x: x * lax.logistic(x),
    "sigmoid": lax.logistic,
    "hsigmoid": hsigmoid,
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}


def _clipped(x: Array) -> Array:
    return lax.clamp(np.zeros((), x.dtype), x, np.full((), 6, x.dtype))


# The same values, written as converters and compilers know them: a phone's runtime has RELU and RELU6, which it fuses into
# the convolution before them, and HARD_SWISH; a selection of elements is an operation of its own, which no int8 kernel has.
INFERENCE_ACT_FNS: dict[str, Callable[[Array], Array]] = {
    **ACT_FNS,
    "relu": lambda x: jnp.maximum(x, 0),
    "relu6": _clipped,
    "hswish": lambda x: x * (_clipped(x + 3) / 6),
    "hsigmoid": lambda x: _clipped(x + 3) / 6,
}


def dropout(x: Array, rate: float, key: Array) -> Array:
    """Zeroes each value with probability `rate` and divides the rest by 1 - rate."""
    return _drop(x, rate, key, x.shape)


def drop_path(x: Array, rate: float, key: Array) -> Array:
    """Stochastic depth (arXiv:1603.09382): zeroes whole examples and divides the rest by the survival 1 - rate."""
    return _drop(x, rate, key, (len(x), 1, 1, 1))


def _drop(x: Array, rate: float, key: Array, shape: tuple[int, ...]) -> Array:
    keep = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)
