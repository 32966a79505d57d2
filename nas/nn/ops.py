"""A JAX function for every primitive of `nas.arch.graph`; images are (n, h, w, c), kernels (k, k, c / groups, out).

Every function takes and returns arrays of the compute type (float32 or bfloat16); products are summed in float32.
`implementation` chooses how a convolution is written, never what it computes: `lax` leaves it to XLA, `slices` writes depthwise
convolutions and average pools as sums of shifted slices and 1x1 convolutions as matrix products, `auto` takes `slices` on
a CPU, where XLA's own lowering is ten times slower, and `lax` elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from nas.arch.graph import pads, pool_pads
from nas.nn import native

Array = jax.Array
Implementation = Literal["auto", "lax", "slices", "native"]
Pads = tuple[tuple[int, int], tuple[int, int]]
LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(x: Array, kernel: Array, bias: Array | None = None, *, stride: int = 1, padding: str | int = "same",
         groups: int = 1, implementation: Implementation = "auto") -> Array:  # fmt: skip
    """Square convolution of (n, h, w, c) with zero padding as `layers.pads` has it."""
    size, kernel = kernel.shape[0], kernel.astype(x.dtype)
    pad = (pads(x.shape[1], size, stride, padding), pads(x.shape[2], size, stride, padding))
    if _slices(implementation) and size == 1 and groups == 1 and not np.any(pad):
        y = _pointwise(x[:, ::stride, ::stride], kernel)
    elif _slices(implementation) and groups == x.shape[3] == kernel.shape[3]:
        y = (_native_depthwise if _native(implementation, x) else _depthwise)(x, kernel, stride, pad)
    else:
        y = lax.conv_general_dilated(
            x, kernel, (stride, stride), pad, dimension_numbers=LAYOUT, feature_group_count=groups
        )
    return y if bias is None else y + _channels(bias).astype(y.dtype)


def _channels(vector: Array) -> Array:
    """(c,) -> (1, 1, 1, c): broadcasting is spelled out, so that JAX may be configured to refuse it."""
    return vector.reshape(1, 1, 1, -1)


def _slices(implementation: Implementation) -> bool:
    return implementation in ("slices", "native") or (implementation == "auto" and jax.default_backend() == "cpu")


def _pointwise(x: Array, kernel: Array) -> Array:
    n, h, w, c = x.shape
    y = jnp.dot(x.reshape(n * h * w, c), kernel[0, 0], preferred_element_type=jnp.float32)
    return y.astype(x.dtype).reshape(n, h, w, kernel.shape[3])


def _sum_of_taps(x: Array, kernel: Array, stride: int, pad: Pads) -> Array:
    weights = kernel.astype(jnp.float32)
    taps = _shifted(x.astype(jnp.float32), kernel.shape[0], stride, pad)
    return jnp.asarray(sum(part * weights[i : i + 1, j : j + 1] for i, j, part in taps), x.dtype)


def _native(implementation: Implementation, x: Array) -> bool:
    return implementation in ("auto", "native") and _slices(implementation) and x.dtype == jnp.float32 and native.available()


def _native_forward(x: Array, kernel: Array, stride: int, pad: Pads) -> tuple[Array, tuple[Array, Array]]:
    return native.forward(x, kernel, stride, pad), (x, kernel)


def _native_backward(stride: int, pad: Pads, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = native.input_gradient(g, kernel, x.shape, stride, pad)
    return dx, native.kernel_gradient(x, g, kernel.shape[0], stride, pad)


_native_depthwise = jax.custom_vjp(native.forward, nondiff_argnums=(2, 3))
_native_depthwise.defvjp(_native_forward, _native_backward)


def _depthwise_forward(x: Array, kernel: Array, stride: int, pad: Pads) -> tuple[Array, tuple[Array, Array]]:
    return _sum_of_taps(x, kernel, stride, pad), (x, kernel)


def _depthwise_backward(stride: int, pad: Pads, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    """What autodiff would give, in a tenth of its time and memory and with few kernels to compile."""
    x, kernel = saved
    size = kernel.shape[0]
    dilation = [(0, 0, 0), *(_dilation_pads(x.shape[a], g.shape[a], size, stride, pad[a - 1][0]) for a in (1, 2)), (0, 0, 0)]
    dilated = lax.pad(g, np.zeros((), g.dtype), dilation)
    return _sum_of_taps(dilated, kernel[::-1, ::-1], 1, ((0, 0), (0, 0))), _kernel_gradient(x, g, kernel, stride, pad)


def _dilation_pads(size: int, count: int, kernel: int, stride: int, before: int) -> tuple[int, int, int]:
    """(low, high, interior) padding of an output gradient, so that a stride-1 window over it gives the input's."""
    low = kernel - 1 - before
    return low, size + kernel - 1 - ((count - 1) * stride + 1) - low, stride - 1


def _kernel_gradient(x: Array, g: Array, kernel: Array, stride: int, pad: Pads) -> Array:
    """Tap by tap over a few images at a time, so that they stay in the cache."""
    size, (n, rows, columns, c) = kernel.shape[0], g.shape
    few = max(d for d in range(1, 5) if n % d == 0)
    padded = jnp.pad(x, ((0, 0), *pad, (0, 0)))
    window = (few, (rows - 1) * stride + 1, (columns - 1) * stride + 1, c)

    def chunk(total: Array, xg: tuple[Array, Array]) -> tuple[Array, None]:
        def tap(t: Array) -> Array:
            part = lax.dynamic_slice(xg[0], (0, t // size, t % size, 0), window)[:, ::stride, ::stride]
            return (part.astype(jnp.float32) * xg[1].astype(jnp.float32)).sum((0, 1, 2))

        return total + lax.map(tap, jnp.arange(size * size)), None

    chunks = padded.reshape(n // few, few, *padded.shape[1:]), g.reshape(n // few, few, *g.shape[1:])
    total, _ = lax.scan(chunk, jnp.zeros((size * size, c), jnp.float32), chunks)
    return total.reshape(kernel.shape).astype(kernel.dtype)


_depthwise = jax.custom_vjp(_sum_of_taps, nondiff_argnums=(2, 3))
_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _shifted(x: Array, kernel: int, stride: int, pad: Pads) -> Iterator[tuple[int, int, Array]]:
    """(row, column, what that pixel of the window sees at every position); windows of nothing but padding are left out."""
    n, h, w, c = x.shape
    rows = (h + sum(pad[0]) - kernel) // stride + 1
    columns = (w + sum(pad[1]) - kernel) // stride + 1
    padded = jnp.pad(x, ((0, 0), *pad, (0, 0)))
    for i in range(kernel):
        for j in range(kernel):
            if _sees(i, rows, stride, pad[0][0], h) and _sees(j, columns, stride, pad[1][0], w):
                stop = (n, i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1, c)
                yield i, j, lax.slice(padded, (0, i, j, 0), stop, (1, stride, stride, 1))


def _sees(offset: int, count: int, stride: int, before: int, size: int) -> bool:
    return any(0 <= offset + step * stride - before < size for step in range(count))


def dense(x: Array, kernel: Array, bias: Array | None = None, wide: bool = False) -> Array:
    """(n, 1, 1, c) -> (n, 1, 1, out); `wide`: the sums as they are, float32, for logits, whose order rounding would change."""
    y = jnp.dot(x.reshape(x.shape[0], -1), kernel.astype(x.dtype), preferred_element_type=jnp.float32)
    y = y if bias is None else y + bias[None].astype(jnp.float32)
    return (y if wide else y.astype(x.dtype))[:, None, None]


def norm_train(
    x: Array, scale: Array, bias: Array, eps: float, fn: str = "none", implementation: Implementation = "auto"
) -> tuple[Array, Array, Array]:
    """Batch norm (arXiv:1502.03167) by the batch's own statistics, then an activation: (y, mean, variance).

    Mean and variance are float32 (c,).

    The variance is the biased one, over n h w, for `y` and for the moving average alike: so do TensorFlow's unfused
    layer, which MnasNet and EfficientNet were trained with on TPUs, and Flax; PyTorch averages the unbiased one.
    No gradient flows through the returned mean and variance.
    """
    if _native(implementation, x):
        fused = fn if fn in native.FUSED else "none"
        y, mean, variance = _native_norm(x, scale, bias, eps, fused)
        return (y if fused == fn else ACT_FNS[fn](y)), mean, variance
    y, mean, variance = _norm_train(x, scale, bias, eps)
    return ACT_FNS[fn](y), mean, variance


def _native_norm_by_batch(x: Array, scale: Array, bias: Array, eps: float, fn: str) -> tuple[Array, Array, Array]:
    mean, variance = native.moments(x)
    factor = lax.rsqrt(variance + eps) * scale
    return ACT_FNS[fn](x * _channels(factor) + _channels(bias - mean * factor)), mean, variance


def _native_norm_forward(x: Array, scale: Array, bias: Array, eps: float, fn: str) -> Any:
    y, mean, variance = _native_norm_by_batch(x, scale, bias, eps, fn)
    return (y, mean, variance), (x, scale, bias, mean, lax.rsqrt(variance + eps))


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


_native_norm = jax.custom_vjp(_native_norm_by_batch, nondiff_argnums=(3, 4))
_native_norm.defvjp(_native_norm_forward, _native_norm_backward)


def _norm_by_batch(x: Array, scale: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    wide = x.astype(jnp.float32)
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
    g, count = grads[0].astype(jnp.float32), x.size // x.shape[3]
    centered = x.astype(jnp.float32) - _channels(mean)
    d_bias = g.sum((0, 1, 2))
    d_scale = (g * centered).sum((0, 1, 2)) * inverse
    slope = centered * _channels(inverse * d_scale / count)
    dx = _channels(scale * inverse) * (g - _channels(d_bias / count) - slope)
    return dx.astype(x.dtype), d_scale, d_bias


_norm_train = jax.custom_vjp(_norm_by_batch, nondiff_argnums=(3,))
_norm_train.defvjp(_norm_forward, _norm_backward)


def norm_eval(x: Array, scale: Array, bias: Array, mean: Array, variance: Array, eps: float) -> Array:
    """Batch norm by the moving statistics."""
    factor = lax.rsqrt(variance + eps) * scale
    return (x.astype(jnp.float32) * _channels(factor) + _channels(bias - mean * factor)).astype(x.dtype)


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


def max_pool(x: Array, *, kernel: int, stride: int, padding: str | int, ceil: bool = False) -> Array:
    pad = (pool_pads(x.shape[1], kernel, stride, padding, ceil), pool_pads(x.shape[2], kernel, stride, padding, ceil))
    window, strides = (1, kernel, kernel, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, window, strides, ((0, 0), *pad, (0, 0)))


def avg_pool(
    x: Array, *, kernel: int, stride: int, padding: str | int, ceil: bool = False, implementation: Implementation = "auto"
) -> Array:
    """Mean of each window's pixels of the image; padding does not count."""
    pad = (pool_pads(x.shape[1], kernel, stride, padding, ceil), pool_pads(x.shape[2], kernel, stride, padding, ceil))
    wide = x.astype(jnp.float32)
    if _slices(implementation):
        total = jnp.asarray(sum(part for _, _, part in _shifted(wide, kernel, stride, pad)))
    else:
        window, strides = (1, kernel, kernel, 1), (1, stride, stride, 1)
        total = lax.reduce_window(wide, np.float32(0), lax.add, window, strides, ((0, 0), *pad, (0, 0)))
    down, across = (_pixels(x.shape[a], total.shape[a], kernel, stride, pad[a - 1][0]) for a in (1, 2))
    weight = (1 / (down[:, None] * across[None])).astype(np.float32)
    return (total * weight[None, :, :, None]).astype(x.dtype)


def _pixels(size: int, count: int, kernel: int, stride: int, before: int) -> np.ndarray:
    """(count,) pixels of the image in each window along one axis."""
    first = np.arange(count) * stride - before
    return np.minimum(first + kernel, size) - np.maximum(first, 0)


def global_pool(x: Array) -> Array:
    """(n, h, w, c) -> (n, 1, 1, c)."""
    return x.astype(jnp.float32).mean((1, 2), keepdims=True).astype(x.dtype)


def flatten(x: Array) -> Array:
    return x.reshape(x.shape[0], 1, 1, -1)


def shuffle(x: Array, groups: int) -> Array:
    """Channel shuffle (arXiv:1707.01083): channel g of group i becomes channel i of group g."""
    n, h, w, c = x.shape
    return x.reshape(n, h, w, groups, c // groups).swapaxes(3, 4).reshape(x.shape)


def dropout(x: Array, rate: float, key: Array) -> Array:
    """Zeroes each value with probability `rate` and divides the rest by 1 - rate."""
    return _drop(x, rate, key, x.shape)


def drop_path(x: Array, rate: float, key: Array) -> Array:
    """Stochastic depth (arXiv:1603.09382): zeroes whole examples and divides the rest by the survival 1 - rate."""
    return _drop(x, rate, key, (len(x), 1, 1, 1))


def _drop(x: Array, rate: float, key: Array, shape: tuple[int, ...]) -> Array:
    keep = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)
