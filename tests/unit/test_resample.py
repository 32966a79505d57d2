"""Dilated and rectangular convolutions, transposed ones, resizing and cropping: every implementation against plain sums in NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import arch_id
from nas.arch.builder import Builder
from nas.arch.files import load_arch
from nas.arch.graph import Graph, Kernel, Node, node_macs, param_shapes, sides, window_pads
from nas.arch.receptive import RULES, receptive_fields
from nas.cost.features import FEATURES, feature_row
from nas.nn import maps, ops
from nas.nn.network import initial, values_of
from nas.nn.resample import COMPOSITE, conv_transpose, resize
from nas.nn.weights import Arrays


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int, padding: Any, groups: int, dilation: int) -> np.ndarray:
    """Sums over the pixels of each window, one by one."""
    (kh, kw, each, out), around = kernel.shape, window_pads(x.shape[1:3], kernel.shape[:2], stride, padding, dilation)
    x = np.pad(x.astype(np.float64), ((0, 0), *around, (0, 0)))
    rows, columns = ((x.shape[a] - (size - 1) * dilation - 1) // stride + 1 for a, size in ((1, kh), (2, kw)))
    y = np.zeros((len(x), rows, columns, out))
    for o in range(out):
        first = o // (out // groups) * each
        for i, j, c in np.ndindex(kh, kw, each):
            part = x[:, i * dilation :, j * dilation :, first + c][:, ::stride, ::stride]
            y[..., o] += part[:, :rows, :columns] * kernel[i, j, c, o]
    return y


# kernel, stride, padding, groups, dilation; images are 9 x 7 x 6
CONVS: list[tuple[tuple[int, int], int, Any, int, int]] = [
    ((5, 5), 1, "same", 6, 2),
    ((3, 1), 2, (3, 0), 6, 3),
    ((1, 5), 1, "same", 6, 1),
    ((3, 3), 1, "same", 1, 2),
    ((1, 3), 2, (0, 1), 1, 1),
    ((3, 2), 1, "same", 2, 3),
]


def test_dilated_and_rectangular_convolutions() -> None:
    """And of those in other forms than XLA's, which are depthwise, both gradients."""

    @jax.jit
    def run(x: jax.Array, kernels: list[jax.Array]) -> list[Any]:
        def loss(x: jax.Array, w: jax.Array, case: Any, implementation: Any) -> Any:
            (_, stride, padding, groups, dilation) = case
            y = ops.conv(x, w, stride=stride, padding=padding, groups=groups, dilation=dilation, implementation=implementation)
            return jnp.square(y).sum(), y

        def one(w: jax.Array, case: Any, implementation: Any) -> Any:
            take = jax.grad(loss, (0, 1), has_aux=True) if case[3] == 6 else lambda x, w, *rest: ((), loss(x, w, *rest)[1])
            return take(x, w, case, implementation)

        ways = [("lax", "auto", "portable") if case[3] == 6 and case[4] > 1 else ("lax", "auto") for case in CONVS]
        return [[one(w, case, how) for how in own] for w, case, own in zip(kernels, CONVS, ways, strict=True)]

    x, kernels = normal(3, 9, 7, 6), [normal(*case[0], 6 // case[3], 6, seed=1) for case in CONVS]
    for case, w, ((gradients, y), *others) in zip(CONVS, kernels, run(jnp.asarray(x), [*map(jnp.asarray, kernels)]), strict=True):
        np.testing.assert_allclose(y, convolved(x, w, *case[1:]), rtol=1e-5, atol=1e-5, err_msg=str(case))
        for ours, value in others:
            np.testing.assert_allclose(value, y, rtol=1e-5, atol=1e-5, err_msg=str(case))
            for got, expected in zip(ours, gradients, strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3, err_msg=str(case))


def between_centers(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel by pixel, by the distances of centers."""
    n, h, w, c = x.shape
    y = np.zeros((n, *size, c))
    for i, j in np.ndindex(*size):
        row, column = (np.clip((k + 0.5) * own / out - 0.5, 0, own - 1) for k, own, out in ((i, h, size[0]), (j, w, size[1])))
        for a, b in np.ndindex(h, w):
            y[:, i, j] += max(0, 1 - abs(row - a)) * max(0, 1 - abs(column - b)) * x[:, a, b]
    return y


SIZES = [((5, 6), (13, 18)), ((6, 5), (3, 20)), ((4, 4), (16, 16)), ((1, 1), (3, 4)), ((1, 7), (4, 5))]


def test_resizing_is_bilinear_between_centers() -> None:
    """Its gradient is the transposed map: <g, R x> = <R' g, x>."""

    @jax.jit
    def run(xs: list[jax.Array], gs: list[jax.Array]) -> list[Any]:
        def one(x: jax.Array, g: jax.Array, implementation: Any) -> Any:
            y, pull = jax.vjp(lambda x: resize(x, (g.shape[1], g.shape[2]), implementation), x)
            return y, pull(g)[0]

        return [[one(x, g, how) for how in ("auto", "lax")] for x, g in zip(xs, gs, strict=True)]

    xs, gs = [normal(2, *own, 3) for own, _ in SIZES], [normal(2, *size, 3, seed=1) for _, size in SIZES]
    for x, g, found in zip(xs, gs, run([*map(jnp.asarray, xs)], [*map(jnp.asarray, gs)]), strict=True):
        for y, pulled in found:
            np.testing.assert_allclose(y, between_centers(x, (g.shape[1], g.shape[2])), rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose((np.asarray(y) * g).sum(), (np.asarray(pulled) * x).sum(), rtol=1e-4, atol=1e-3)


def test_two_pixels_to_four() -> None:
    """As PyTorch's interpolate(align_corners=False) and TensorFlow's half_pixel_centers have it."""
    y = resize(jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1), (1, 4))
    assert y.ravel().tolist() == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize("side, stride", [(2, 2), (3, 2)])
def test_transposed_convolutions_add_windows(side: int, stride: int) -> None:
    x, kernel, bias = normal(2, 3, 4, 5), normal(side, side, 5, 6, seed=1), normal(6, seed=2)
    expected = np.zeros((2, 2 * stride + side, 3 * stride + side, 6)) + bias
    for i, j in np.ndindex(3, 4):
        expected[:, i * stride : i * stride + side, j * stride : j * stride + side] += np.einsum("nc,klco->nklo", x[:, i, j], kernel)

    @jax.jit
    def run(*arrays: jax.Array) -> list[jax.Array]:
        return [conv_transpose(*arrays, stride=stride, implementation=how) for how in ("auto", "lax")]

    for got in run(*map(jnp.asarray, (x, kernel, bias))):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_only_an_exported_program_has_the_operation_of_phones() -> None:
    def text(implementation: Any) -> str:
        return jax.jit(lambda x: resize(x, (8, 8), implementation)).lower(jnp.zeros((1, 4, 4, 2))).as_text()

    assert [COMPOSITE in text(one) for one in ("lax", "auto", "portable")] == [True, False, False]


@pytest.mark.parametrize("implementation", ["auto", "lax"])
def test_bfloat16_goes_in_and_comes_out(implementation: Any) -> None:
    def run(x: jax.Array) -> list[jax.Array]:
        up = conv_transpose(x, jnp.ones((2, 2, 2, 3)), jnp.ones(3), stride=2, implementation=implementation)
        return [resize(x, (8, 5), implementation), up, maps.l2_normalize(x, jnp.ones(2))]

    assert [y.dtype for y in jax.eval_shape(run, jnp.zeros((1, 4, 4, 2), jnp.bfloat16))] == [jnp.bfloat16] * 3


def test_crop_and_reshape_keep_the_order() -> None:
    x = normal(2, 3, 4, 5)
    np.testing.assert_array_equal(maps.crop(jnp.asarray(x), 1, 2, (2, 1, 5)), x[:, 1:3, 2:3])
    np.testing.assert_array_equal(maps.reshape(jnp.asarray(x), (1, 6, 10)), x.reshape(2, 1, 6, 10))


def built() -> Builder:
    """A node of each kind, of an image of 8 x 8 x 4."""
    g = Builder(padding="torch")
    x = g.input((8, 8, 4))
    g.conv(x, 6, 3, groups=2, dilation=2, name="dilated")
    g.conv(x, 6, (1, 5), bias=True, name="wide")
    g.conv_transpose(x, 6, 2, 2, "up")
    g.l2_normalize(x, scale=20.0)
    g.resize(x, (12, 16))
    g.crop(x, (5, 5))
    g.reshape(x, (1, 64, 4))
    return g


def test_what_the_builder_makes_of_them() -> None:
    nodes = {node.name.split("/")[1]: node for node in built().nodes[1:]}
    assert {name: node.shape for name, node in nodes.items()} == {
        "dilated": (8, 8, 6), "wide": (8, 8, 6), "up": (16, 16, 6), "unit": (8, 8, 4), "resize": (12, 16, 4), "crop": (5, 5, 4),
        "reshape": (1, 64, 4),
    }  # fmt: skip
    assert (nodes["dilated"].attr["padding"], nodes["wide"].attr["padding"], nodes["crop"].attr) == (2, (0, 2), {"top": 1, "left": 1})
    counted = {name: (param_shapes(node, [(8, 8, 4)]), node_macs(node, [(8, 8, 4)])) for name, node in nodes.items()}
    assert counted["dilated"] == ({"kernel": (3, 3, 2, 6)}, 64 * 9 * 2 * 6)
    assert counted["wide"] == ({"kernel": (1, 5, 4, 6), "bias": (6,)}, 64 * 5 * 4 * 6)
    assert counted["up"] == ({"kernel": (2, 2, 4, 6), "bias": (6,)}, 64 * 4 * 4 * 6)  # each pixel of the input times the kernel
    assert counted["unit"] == ({"scale": (4,)}, 0)
    assert initial(nodes["unit"], "scale", (4,), 0).tolist() == [20] * 4
    row = dict(zip(FEATURES, feature_row(built().nodes), strict=True))
    assert (row["grouped_macs"], row["conv_macs"]) == (64 * 9 * 2 * 6, 64 * 4 * 6 * (5 + 4))


def test_what_changes_nothing_is_left_out() -> None:
    g = Builder()
    x = g.input((8, 8, 4))
    assert (g.resize(x, (8, 8)), g.crop(x, (8, 8))) == (x, x)
    square, plain = (g.nodes[g.conv(x, 4, kernel, dilation=dilation, name="c")] for kernel, dilation in (((3, 3), 1), (3, 1)))
    assert square == plain
    assert "dilation" not in g.nodes[g.conv(x, 4, 1, dilation=4, name="c")].attr


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda g, x: g.conv(x, 4, (1, 3), dilation=4, padding="valid", name="c"), "c: a 1x9 window does not fit an image of 8 pixels"),
        (lambda g, x: g.conv_transpose(x, 4, 1, 2, "t"), "t: windows of 1 pixels, 2 apart, leave pixels out"),
        (lambda g, x: g.crop(x, (9, 8)), "crop: 9x8 pixels cannot be cut from 8x8"),
        (lambda g, x: g.reshape(x, (1, 65, 4)), r"reshape: \(8, 8, 4\) cannot have the shape \(1, 65, 4\)"),
    ],
)
def test_the_builder_refuses(call: Any, words: str) -> None:
    g = Builder()
    with pytest.raises(ValueError, match=words):
        call(g, g.input((8, 8, 4)))


# As they were before convolutions had a dilation and two sides.
IDS = {
    "mobilenet_v2": "20f5a0111c01", "mobilenet_v3_large": "0c23fedbfaec", "densenet121": "4bdad66635af", "googlenet": "422b84bd0edd",
    "shufflenet_v2": "af5d8034a598", "alexnet": "202f8cc77044",
}  # fmt: skip


def test_networks_keep_their_ids() -> None:
    assert {name: arch_id(load_arch(name)) for name in IDS} == IDS


def test_receptive_fields_are_those_that_values_show() -> None:
    """A node of positive weights shows which rows and columns it depends on."""
    size = 11

    def graph(kernel: Kernel) -> Graph:
        g = Builder()
        x = g.conv(g.input((size, size, 1)), 1, kernel, 2, dilation=2, name="c")
        up = g.resize(g.conv_transpose(x, 1, 3, 2, "up"), (17, 9))
        g.reshape(g.resize(g.crop(up, (8, 5)), (3, 4), "down"), (1, 12, 1))
        return Graph(tuple(g.nodes))

    for one in (graph(3), graph((1, 4))):
        weights = {node.name: {"kernel": jnp.ones(param_shapes(node, one.in_shapes(node))["kernel"])} for node in one.nodes
                   if node.op in ("conv", "conv_transpose")}  # fmt: skip
        weights["stem/up"]["bias"] = jnp.zeros(1)
        images, each = np.zeros((2 * size, size, size, 1), np.float32), np.arange(size)
        images[each, each], images[size + each, :, each] = 1, 1
        values = _values(one, weights, jnp.asarray(images))
        for field, value, node in zip(receptive_fields(one)[1:-1], values[1:-1], one.nodes[1:-1], strict=True):
            seen: np.ndarray = np.asarray(value)[..., 0]
            for spans, reached in ((field.rows, seen[:size].max(2) > 1e-6), (field.columns, seen[size:].max(1) > 1e-6)):
                first, last = reached.argmax(0), size - 1 - reached[::-1].argmax(0)
                np.testing.assert_array_equal(spans, np.stack([first, last], 1), err_msg=f"{node.name} {sides(node.attr.get('kernel', 1))}")
    assert {"resize", "crop", "reshape", "conv_transpose"} <= set(RULES)


def _values(graph: Graph, weights: Arrays, images: jax.Array) -> list[jax.Array]:
    def run(images: jax.Array) -> list[jax.Array]:
        return values_of(graph.nodes[1:], [images], weights, {}, train=False, random=_never, momentum=None, implementation="lax")[0]

    return jax.jit(run)(images)


def _never(node: Node, x: jax.Array, index: int) -> jax.Array:
    raise AssertionError(node.name)
