"""Whether the kernels compute what they are for on this processor: every kind, against sums that numpy takes.

A kernel runs over channels in vectors of several registers, of one, of eight floats and of one: a fault may be in any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from nas.nn.native import emit, norm

SIZE, STRIDE, PAD = 3, 1, ((1, 1), (1, 1))
SHAPE = (2, 4, 5)  # images, rows, columns: a block of outputs and both edges in each row
SLOPES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": np.ones_like,
    "relu": lambda z: np.where(z > 0, 1.0, 0.0),
    "relu6": lambda z: np.where((z > 0) & (z < 6), 1.0, 0.0),
    "hswish": lambda z: np.where(z <= -3, 0.0, np.where(z >= 3, 1.0, z / 3 + 0.5)),
}


@dataclass(frozen=True)
class Kernels:
    """The functions of the package that call kernels."""

    forward: Callable[..., jax.Array]
    input_gradient: Callable[..., jax.Array]
    kernel_gradient: Callable[..., jax.Array]
    moments: Callable[..., tuple[jax.Array, jax.Array]]
    norm_gradient_sums: Callable[..., tuple[jax.Array, jax.Array]]


def wrong(kernels: Kernels) -> list[str]:
    """The kinds of kernel whose results are wrong here, at the width of a register or over it."""
    counts = (emit.width(), norm.REGISTERS * emit.width() + emit.width() + 9)
    found = [_compared(kernels, channels) for channels in counts]
    return list(dict.fromkeys(name for kinds in found for name, right in kinds.items() if not right))


def _compared(kernels: Kernels, channels: int) -> dict[str, bool]:
    rng = np.random.default_rng(channels)
    x, g = (rng.standard_normal((*SHAPE, channels), np.float32) for _ in range(2))
    kernel = rng.standard_normal((SIZE, SIZE, 1, channels), np.float32)
    rows = rng.standard_normal((3, channels), np.float32)
    expected = {
        "forward": _forward(x, kernel), "input_gradient": _forward(g, kernel[::-1, ::-1]), "kernel_gradient": _kernel_gradient(x, g),
        "moments": np.stack([x.mean((0, 1, 2)), x.var((0, 1, 2))]), **{fn: _sums(x, g, rows, fn) for fn in SLOPES},
    }  # fmt: skip
    got = jax.jit(lambda *arrays: _results(kernels, *arrays))(x, g, kernel, rows)  # no cache: what is compiled now is what runs
    return {name: np.allclose(np.asarray(got[name]), value, rtol=1e-3, atol=1e-3) for name, value in expected.items()}


def _results(
    kernels: Kernels, x: jax.Array, g: jax.Array, kernel: jax.Array, rows: jax.Array
) -> dict[str, jax.Array]:
    return {
        "forward": kernels.forward(x, kernel, STRIDE, PAD),
        "input_gradient": kernels.input_gradient(g, kernel, x.shape, STRIDE, PAD),
        "kernel_gradient": kernels.kernel_gradient(x, g, SIZE, STRIDE, PAD),
        "moments": jnp.stack(kernels.moments(x)),
        **{fn: jnp.stack(kernels.norm_gradient_sums(x, g, rows[0], rows[1], rows[2], fn)) for fn in SLOPES},
    }


def _forward(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), *PAD, (0, 0)))
    _, height, width, _ = x.shape
    taps = [padded[:, i : i + height, j : j + width] * kernel[i, j, 0] for i in range(SIZE) for j in range(SIZE)]
    return np.sum(taps, 0)


def _kernel_gradient(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), *PAD, (0, 0)))
    _, height, width, channels = x.shape
    taps = [(padded[:, i : i + height, j : j + width] * g).sum((0, 1, 2)) for i in range(SIZE) for j in range(SIZE)]
    return np.stack(taps).reshape(SIZE, SIZE, 1, channels)


def _sums(x: np.ndarray, g: np.ndarray, rows: np.ndarray, fn: str) -> np.ndarray:
    mean, factor, shift = rows
    dz = g * SLOPES[fn](factor * x + shift)
    return np.stack([dz.sum((0, 1, 2)), (dz * (x - mean)).sum((0, 1, 2))])
