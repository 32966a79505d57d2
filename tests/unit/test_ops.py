"""Primitive operations: every implementation computes what `lax` does, pools and norms what their definitions say."""

import math
import os
import re
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch.graph import ACTS, out_size, pads
from nas.nn import maps, native, ops
from nas.nn.xla import depthwise_left_to_xla, left_to_xla


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


IMPLEMENTATIONS: tuple[ops.Implementation, ...] = ("lax", "slices", "native")


def test_machine_code_is_made_on_this_machine() -> None:
    assert native.available()  # or the tests of the implementation "native" would test "slices" again


# size, channels, out, groups, kernel, stride, padding
CONVS = [
    (7, 6, 6, 6, 3, 1, "same"),
    (8, 6, 6, 6, 3, 2, "same"),
    (7, 6, 6, 6, 3, 2, "same"),
    (8, 6, 6, 6, 5, 2, 2),
    (7, 6, 6, 6, 5, 1, 2),
    (4, 6, 6, 6, 7, 1, "same"),
    (1, 6, 6, 6, 5, 2, "same"),
    (5, 6, 6, 6, 3, 3, "same"),
    (5, 6, 6, 6, 2, 2, 0),
    (6, 6, 6, 6, 4, 3, 1),
    (5, 6, 6, 6, 1, 2, "same"),
    (7, 4, 6, 1, 1, 2, "same"),
    (6, 4, 6, 1, 1, 1, 0),
    (4, 4, 6, 1, 1, 1, 1),
    (6, 4, 6, 1, 3, 2, "same"),
    (6, 4, 8, 4, 3, 1, "same"),
    (6, 6, 4, 2, 1, 1, "same"),
]


def reference(x: jax.Array, kernel: jax.Array, stride: int, padding: str | int, groups: int) -> jax.Array:
    pad = [(padding, padding)] * 2 if isinstance(padding, int) else "SAME"
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pad, dimension_numbers=numbers, feature_group_count=groups
    )


@pytest.mark.parametrize("size, channels, out, groups, kernel, stride, padding", CONVS)
def test_all_forms_of_a_convolution_agree_with_lax(
    size: int, channels: int, out: int, groups: int, kernel: int, stride: int, padding: str | int
) -> None:
    x, w = normal(3, size, size + 1, channels), normal(kernel, kernel, channels // groups, out, seed=1)

    @jax.jit
    def run(x: jax.Array, w: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        ours = [
            ops.conv(x, w, stride=stride, padding=padding, groups=groups, implementation=implementation)
            for implementation in IMPLEMENTATIONS
        ]
        return reference(x, w, stride, padding, groups), ours

    expected, each = run(x, w)
    for got in each:
        assert got.shape[1] == out_size(size, kernel, stride, padding)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def assert_equals_lax(
    x: np.ndarray, w: np.ndarray, stride: int, padding: str | int, groups: int, implementation: Any
) -> None:
    """Value and both gradients, within what float32 sums in another order may differ."""

    @jax.jit
    def run(x: jax.Array, w: jax.Array) -> Any:
        expected, pull = jax.vjp(lambda x, w: reference(x, w, stride, padding, groups), x, w)
        got, ours = jax.vjp(
            lambda x, w: ops.conv(x, w, stride=stride, padding=padding, groups=groups, implementation=implementation),
            x,
            w,
        )
        g = jnp.asarray(normal(*expected.shape, seed=2))
        return (got, *ours(g)), (expected, *pull(g))

    for a, b in zip(*run(jnp.asarray(x), jnp.asarray(w)), strict=True):
        terms = max(w.size / w.shape[3], x.size / x.shape[3])
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6 * math.sqrt(terms))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:])
@pytest.mark.parametrize(
    "count, size, kernel, stride, padding",
    [
        (8, 7, 3, 1, "same"),
        (3, 8, 3, 2, "same"),
        (1, 7, 3, 2, 1),
        (6, 6, 5, 2, "same"),
        (4, 2, 7, 1, "same"),
        (5, 7, 2, 3, 0),
        (2, 5, 3, 1, 3),
        (17, 5, 5, 1, "same"),
        (33, 4, 3, 2, "same"),
    ],
)
def test_gradients_of_the_depthwise_convolution_are_those_of_lax(
    count: int, size: int, kernel: int, stride: int, padding: str | int, implementation: Any
) -> None:
    x, w = normal(count, size, size, 5), normal(kernel, kernel, 1, 5, seed=1)
    assert_equals_lax(x, w, stride, padding, 5, implementation)


@given(data=st.data())
@settings(max_examples=settings.default.max_examples // 8)  # type: ignore[union-attr]  # each compiles its shape
def test_any_depthwise_convolution_in_machine_code_is_that_of_lax(data: st.DataObject) -> None:
    kernel = data.draw(st.integers(1, 7), "kernel")
    stride = data.draw(st.integers(1, 3), "stride")
    padding = data.draw(st.one_of(st.just("same"), st.integers(0, kernel)), "padding")
    least = 1 if padding == "same" else max(1, kernel - 2 * int(padding))
    height, width = (data.draw(st.integers(least, least + 9), side) for side in ("height", "width"))
    count, channels = data.draw(st.integers(1, 20), "count"), data.draw(st.integers(1, 70), "channels")
    x, w = normal(count, height, width, channels), normal(kernel, kernel, 1, channels, seed=1)
    assert_equals_lax(x, w, stride, padding, channels, "native")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:])
@pytest.mark.parametrize("channels, out, groups, kernel", [(4, 6, 1, 1), (4, 6, 1, 3), (6, 4, 2, 3), (6, 12, 6, 3)])
def test_gradients_of_other_convolutions_are_those_of_lax(
    channels: int, out: int, groups: int, kernel: int, implementation: Any
) -> None:
    for stride in (1, 2):
        x, w = normal(3, 6, 7, channels), normal(kernel, kernel, channels // groups, out, seed=1)
        assert_equals_lax(x, w, stride, "same", groups, implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:])
@pytest.mark.parametrize("groups, kernel, stride", [(1, 1, 1), (8, 3, 2), (8, 5, 1), (2, 3, 1)])
def test_bfloat16_is_as_exact_as_that_of_lax(implementation: Any, groups: int, kernel: int, stride: int) -> None:
    x, w = normal(4, 6, 6, 8), normal(kernel, kernel, 8 // groups, 8, seed=1)
    exact = reference(jnp.asarray(x), jnp.asarray(w), stride, "same", groups)

    def error(implementation: Any) -> tuple[float, ...]:
        half = jnp.asarray(x, jnp.bfloat16), jnp.asarray(w)
        got, pull = jax.vjp(
            lambda x, w: ops.conv(x, w, stride=stride, groups=groups, implementation=implementation), *half
        )
        _, expected = jax.vjp(
            lambda x, w: reference(x, w, stride, "same", groups), half[0].astype(jnp.float32), half[1]
        )
        g = jnp.asarray(normal(*exact.shape, seed=2), jnp.bfloat16)
        pairs = [(got, exact), *zip(pull(g), expected(g.astype(jnp.float32)), strict=True)]
        return tuple(float(jnp.abs(a.astype(jnp.float32) - b).max() / jnp.abs(b).max()) for a, b in pairs)

    assert all(mine <= 2 * lax_own + 0.01 for mine, lax_own in zip(error(implementation), error("lax"), strict=True))


LEFT_TO_XLA = ("stablehlo.convolution", "stablehlo.reduce_window")
OPERATIONS: dict[str, Any] = {
    "pointwise": lambda x, implementation: ops.conv(x, jnp.ones((1, 1, 8, 8)), stride=2, implementation=implementation),
    "depthwise": lambda x, implementation: ops.conv(x, jnp.ones((5, 5, 1, 8)), groups=8, implementation=implementation),
    "average": lambda x, implementation: maps.avg_pool(x, kernel=3, stride=2, padding="same", implementation=implementation),
    "norm": lambda x, implementation: ops.norm_train(x, jnp.ones(8), jnp.ones(8), 1e-3, "hswish", implementation)[0],
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("implementation", ["auto", "portable"])
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_implementation_is_that_of_the_target(platform: str, implementation: Any, name: str) -> None:
    """Not of the process, which is on a CPU here: its native kernels and slices are not in a program for an accelerator."""
    gradient = jax.jit(jax.value_and_grad(lambda x: OPERATIONS[name](x, implementation).sum()))
    text = gradient.trace(jnp.ones((2, 6, 6, 8))).lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.case" not in text
    assert ("@nas." in text) == (platform == "cpu" and implementation == "auto" and name in ("depthwise", "norm"))
    if name != "norm":
        assert any(word in text for word in LEFT_TO_XLA) == (platform != "cpu")


@pytest.mark.parametrize("side, size, stride", [(4, 5, 1), (5, 5, 1), (8, 5, 2), (7, 3, 2), (12, 3, 1)])
def test_the_kernel_gradient_for_accelerators_is_that_of_autodiff(side: int, size: int, stride: int) -> None:
    pad = (pads(side, size, stride, "same"), pads(side, size, stride, "same"))
    x, kernel = jnp.asarray(normal(2, side, side, 6)), jnp.asarray(normal(size, size, 1, 6, seed=1))
    y, pull = jax.vjp(left_to_xla(stride, pad, 6)[0], x, kernel)
    g = jnp.asarray(normal(*y.shape, seed=2))
    forward, backward = depthwise_left_to_xla(stride, pad, 6)
    np.testing.assert_array_equal(forward(x, kernel), y)
    for got, expected in zip(backward((x, kernel), g), pull(g), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_no_kernel_gradient_looks_like_a_forward_convolution() -> None:
    """Its window, the outputs' gradient, is larger than its result, the kernel: XLA tells them apart by that."""
    gradient = jax.jit(jax.grad(lambda kernel: ops.conv(jnp.ones((2, 4, 4, 8)), kernel, groups=8).sum()))
    text = gradient.trace(jnp.ones((5, 5, 1, 8))).lower(lowering_platforms=("cuda",)).as_text()
    assert re.findall(r"convolution.*batch_group_count = 8.*, tensor<(\S+)>\) -> tensor<5x5x1x8xf32>", text) == ["2x6x6x8xf32"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_choice_by_target_is_batched_and_differentiated_twice(name: str) -> None:
    x = jnp.asarray(normal(3, 2, 6, 6, 8))
    many = jax.vmap(lambda x: OPERATIONS[name](x, "auto"))(x)
    np.testing.assert_allclose(many[1], OPERATIONS[name](x[1], "lax"), rtol=1e-5, atol=1e-5)
    if name != "norm":  # norms have gradients of the first order, as ever

        def slope(x: jax.Array, implementation: str) -> jax.Array:
            return jax.grad(lambda x: jnp.square(OPERATIONS[name](x, implementation)).sum())(x).sum()

        twice = [jax.jit(jax.grad(slope), static_argnums=1)(x[0], way) for way in ("portable", "lax")]
        np.testing.assert_allclose(*twice, rtol=1e-4, atol=1e-3)


def test_networks_side_by_side_have_matrix_products_and_no_grouped_convolutions() -> None:
    many = jax.jit(jax.vmap(lambda x, kernel: ops.conv(x, kernel, stride=2, implementation="products")))
    x, kernel = jnp.asarray(normal(3, 2, 5, 5, 4)), jnp.asarray(normal(3, 1, 1, 4, 6, seed=1))
    text = many.trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.dot_general" in text
    assert "stablehlo.convolution" not in text
    np.testing.assert_allclose(many(x, kernel)[2], ops.conv(x[2], kernel[2], stride=2, implementation="lax"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("groups", [1, 4])
def test_bfloat16_goes_in_and_comes_out(implementation: Any, groups: int) -> None:
    x, w = jnp.asarray(normal(2, 5, 5, 4), jnp.bfloat16), jnp.asarray(normal(1, 1, 4 // groups, 4))

    def loss(w: jax.Array) -> jax.Array:
        y = ops.conv(x, w, jnp.ones(4), groups=groups, implementation=implementation)
        assert y.dtype == jnp.bfloat16
        return y.astype(jnp.float32).sum()

    assert jax.grad(loss)(w).dtype == jnp.float32


def test_bias_is_added_to_every_pixel() -> None:
    bias = jnp.arange(3.0)
    y = ops.conv(jnp.zeros((1, 2, 2, 2)), jnp.ones((1, 1, 2, 3)), bias)
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(3.0), (1, 2, 2, 3)))


def test_dense_multiplies_and_keeps_four_axes() -> None:
    x, w, bias = normal(4, 1, 1, 3), normal(3, 2, seed=1), normal(2, seed=2)
    got = ops.dense(jnp.asarray(x), jnp.asarray(w), jnp.asarray(bias))
    np.testing.assert_allclose(got, (x.reshape(4, 3) @ w + bias).reshape(4, 1, 1, 2), rtol=1e-5)


POOLS = [
    (size, kernel, stride, padding, ceil)
    for size in (4, 7)
    for kernel, stride, padding in ((3, 2, "same"), (3, 2, 1), (2, 2, 0), (3, 3, 1))
    for ceil in (False, True)
] + [(5, 3, 1, "same", False), (5, 5, 1, 2, False)]


def window_by_window(x: np.ndarray, kind: str, kernel: int, stride: int, padding: str | int, ceil: bool) -> np.ndarray:
    """Windows cut to the image, so that padding cannot count."""
    n, h, w, c = x.shape
    tops = [i * stride - pads(h, kernel, stride, padding)[0] for i in range(out_size(h, kernel, stride, padding, ceil))]
    lefts = [
        i * stride - pads(w, kernel, stride, padding)[0] for i in range(out_size(w, kernel, stride, padding, ceil))
    ]
    out = np.empty((n, len(tops), len(lefts), c), np.float32)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            part = x[:, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            out[:, i, j] = part.max((1, 2)) if kind == "max" else part.mean((1, 2))
    return out


@pytest.mark.parametrize("size, kernel, stride, padding, ceil", POOLS)
def test_pools_see_pixels_of_the_image_only(
    size: int, kernel: int, stride: int, padding: str | int, ceil: bool
) -> None:
    x = normal(2, size, size + 1, 3) - 5  # below 0: a padding of zeros would win every maximum
    settings: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding, "ceil": ceil}

    @jax.jit
    def run(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        averages = (
            maps.avg_pool(x, **settings, implementation="lax"),
            maps.avg_pool(x, **settings, implementation="slices"),
        )
        return maps.max_pool(x, **settings), *averages

    largest, *averages = run(x)
    np.testing.assert_allclose(largest, window_by_window(x, "max", **settings))
    for got in averages:
        np.testing.assert_allclose(got, window_by_window(x, "avg", **settings), rtol=1e-5)


@pytest.mark.parametrize(
    "fn, values",
    [
        ("none", {-4: -4, 0: 0, 2: 2}),
        ("relu", {-4: 0, 0: 0, 2: 2, 9: 9}),
        ("relu6", {-4: 0, 2: 2, 9: 6}),
        ("hsigmoid", {-4: 0, -3: 0, 0: 0.5, 1: 4 / 6, 3: 1, 9: 1}),
        ("hswish", {-4: 0, -1: -2 / 6, 0: 0, 1: 4 / 6, 9: 9}),
        ("sigmoid", {0: 0.5, 1: 1 / (1 + math.exp(-1))}),
        ("swish", {0: 0, 1: 1 / (1 + math.exp(-1)), -2: -2 / (1 + math.exp(2))}),
        ("tanh", {0: 0, 1: math.tanh(1)}),
        ("gelu", {0: 0, 1: 0.5 * (1 + math.erf(1 / math.sqrt(2)))}),
    ],
)
def test_activations(fn: str, values: dict[float, float]) -> None:
    got = ops.ACT_FNS[fn](jnp.array(list(values), jnp.float32))
    np.testing.assert_allclose(got, list(values.values()), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("fn", sorted(ops.ACT_FNS))
def test_activations_of_inference_are_those_of_training(fn: str, dtype: Any) -> None:
    edges = [0.0, -0.0, 3.0, -3.0, 6.0, 2.999999, -2.999999, 1e-40, 1e30, -1e30]
    x = jnp.concatenate([jnp.array(edges, dtype), jnp.linspace(-9, 9, 2001, dtype=dtype)])
    one, other = ops.ACT_FNS[fn](x), ops.INFERENCE_ACT_FNS[fn](x)
    assert other.dtype == dtype
    np.testing.assert_array_equal(np.asarray(one, np.float32), np.asarray(other, np.float32))


def test_every_activation_of_the_layers_is_there_and_keeps_bfloat16() -> None:
    assert set(ops.ACT_FNS) == set(ACTS)
    assert all(fn(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16 for fn in ops.ACT_FNS.values())


def plain_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
    x = x.reshape(-1, x.shape[-1])
    return (x - x.mean(0)[None]) / jnp.sqrt(x.var(0) + eps)[None] * scale[None] + bias[None]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("fn", ["none", "relu", "relu6", "hswish", "swish"])
@pytest.mark.parametrize("shape", [(4, 3, 3, 5), (7, 5, 4, 19), (3, 1, 1, 70), (1, 6, 6, 130)])
def test_norm_by_the_batch_and_its_gradient(implementation: Any, fn: str, shape: tuple[int, ...]) -> None:
    c = shape[3]
    x, scale, bias = 3 * normal(*shape) + 2, 2 * normal(c, seed=1), normal(c, seed=2)
    arrays, g = [jnp.asarray(a) for a in (x, scale, bias)], jnp.asarray(normal(*shape, seed=3))

    @jax.jit
    def run(x: jax.Array, scale: jax.Array, bias: jax.Array) -> Any:
        arrays = x, scale, bias
        act = ops.ACT_FNS[fn]
        expected, pull = jax.vjp(lambda x, s, b: act(plain_norm(x, s, b, 0.1).reshape(x.shape)), *arrays)
        _, ours = jax.vjp(lambda x, s, b: ops.norm_train(x, s, b, 0.1, fn, implementation)[0], *arrays)
        return (
            ops.norm_train(x, scale, bias, 0.1, fn, implementation),
            expected,
            list(zip(ours(g), pull(g), strict=True)),
        )

    (y, mean, variance), expected, gradients = run(arrays[0], arrays[1], arrays[2])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mean, np.mean(x, (0, 1, 2)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(variance, np.var(x, (0, 1, 2)), rtol=1e-5, atol=1e-6)  # biased: over n h w
    for a, b in gradients:
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_variance_survives_a_mean_far_from_zero(implementation: Any) -> None:
    x = jnp.asarray(normal(8, 4, 4, 3) + 1000)
    _, _, variance = ops.norm_train(x, jnp.ones(3), jnp.zeros(3), 1e-3, "none", implementation)
    np.testing.assert_allclose(variance, np.var(np.asarray(x, np.float64), (0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_nan_is_not_hidden(implementation: Any) -> None:
    x = jnp.asarray(normal(2, 4, 4, 3)).at[1, 2, 2, 1].set(jnp.nan)
    y, mean, _ = ops.norm_train(x, jnp.ones(3), jnp.zeros(3), 1e-3, "none", implementation)
    assert np.isnan(np.asarray(y)[..., 1]).all()
    assert np.isnan(mean[1])
    assert np.isfinite(np.asarray(y)[..., [0, 2]]).all()
    assert np.isnan(ops.conv(x, jnp.ones((3, 3, 1, 3)), groups=3, implementation=implementation)[1, 2, 2, 1])


CALLS_IN_PARALLEL = """
import jax, jax.numpy as jnp, numpy as np
from nas.nn import ops
rng = np.random.default_rng(0)
x = jnp.asarray(rng.normal(size=(24, 9, 9, 40)), jnp.float32)
w = jnp.asarray(rng.normal(size=(5, 5, 1, 40)), jnp.float32)
def loss(w):
    ys = [ops.conv(x * i, w, groups=40) for i in range(1, 6)]
    return sum(ops.norm_train(y, jnp.ones(40), jnp.zeros(40), 1e-3, "hswish")[0] ** 2 for y in ys).sum()
step = jax.jit(jax.grad(loss))
results = [np.asarray(step(w)) for _ in range(20)]
assert all((r == results[0]).all() for r in results)
print(results[0].tobytes().hex())
"""


def test_neither_threads_nor_turns_change_a_bit() -> None:
    def run(threads: int) -> str:
        environment = {**os.environ, "NPROC": str(threads)}
        command = [sys.executable, "-c", CALLS_IN_PARALLEL]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    assert run(1) == run(2) == run(5)


def test_without_machine_code_the_slower_form_takes_over() -> None:
    code = "from nas.nn import native, ops; import jax.numpy as jnp; print(native.available(), " \
        "float(ops.conv(jnp.ones((1, 3, 3, 2)), jnp.ones((3, 3, 1, 2)), groups=2)[0, 1, 1, 0]))"  # fmt: skip
    environment = {**os.environ, "NAS_NATIVE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "9.0"]


def test_norm_by_given_statistics() -> None:
    x, mean, var = normal(2, 2, 2, 3), np.array([1.0, 2, 3], np.float32), np.array([4.0, 1, 0], np.float32)
    scale, bias = np.array([1.0, 2, 3], np.float32), np.array([0.0, 1, 2], np.float32)
    arrays = [jnp.asarray(a) for a in (x, scale, bias, mean, var)]
    got = ops.norm_eval(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], 0.5)
    np.testing.assert_allclose(got, (x - mean) / np.sqrt(var + 0.5) * scale + bias, rtol=1e-5, atol=1e-5)


def test_shuffle_deals_channels_to_groups() -> None:
    x = jnp.arange(6.0).reshape(1, 1, 1, 6)
    assert maps.shuffle(x, 2).ravel().tolist() == [0, 3, 1, 4, 2, 5]


def test_global_pool_and_flatten() -> None:
    x = normal(2, 3, 4, 5)
    np.testing.assert_allclose(maps.global_pool(jnp.asarray(x)), x.mean((1, 2), keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(maps.flatten(jnp.asarray(x)), x.reshape(2, 1, 1, 60))


def test_l2_normalize_gives_length_one_and_leaves_zeros() -> None:
    x = normal(2, 3, 4, 5)
    x[0, 0, 0] = 0
    length = np.sqrt((x**2).sum(3, keepdims=True))
    np.testing.assert_allclose(maps.l2_normalize(jnp.asarray(x)), x / np.maximum(length, 1e-6), rtol=1e-5, atol=1e-6)
    assert np.isfinite(jax.grad(lambda x: maps.l2_normalize(x).sum())(jnp.asarray(x))).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropping_keeps_the_expectation(rate: float) -> None:
    x = jnp.ones((4000, 2, 2, 1))
    deviation = math.sqrt(rate / (1 - rate))
    paths = np.asarray(ops.drop_path(x, rate, jax.random.key(0)))
    assert np.all(paths == paths[:, :1, :1])  # whole examples
    values = np.asarray(ops.dropout(x, rate, jax.random.key(1)))
    assert not np.all(values == values[:, :1, :1])
    for got, count in ((paths, 4000), (values, 16000)):
        np.testing.assert_allclose(np.unique(got), [0, 1 / (1 - rate)], rtol=1e-6)
        assert abs(got.mean() - 1) < 5 * deviation / math.sqrt(count)
