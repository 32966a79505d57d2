"""Receptive fields: the published ones, and those that a network of positive weights shows pixel by pixel."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch import Arch, Block, Stage
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.arch.graph import Graph, Node
from nas.arch.receptive import RULES, layer_fields, receptive_fields
from nas.nn.network import LAYERS, RANDOM, init, values_of

# Sides of the last feature map's field: Araujo et al. 2019 (Distill), whose ResNet-50 has its strides elsewhere (483); ours by hand.
PUBLISHED = {"alexnet": 195, "vgg16": 212, "mobilenet_v1": 315, "resnet50": 427}


@pytest.mark.parametrize("name", PUBLISHED)
def test_fields_are_those_published(name: str) -> None:
    field = layer_fields(lower(find_arch(name)))[-1]
    assert (field.size, field.stride, field.pooled) == (PUBLISHED[name], 32, False)


def cut(name: str, stages: int, resolution: int) -> Arch:
    arch = find_arch(name)
    return replace(arch, resolution=resolution, stages=arch.stages[:stages])


# Inverted residuals by one-sided padding; branches of several depths and pools that round up; joined layers and average pools;
# gates, average skips, strides past the kernel and even kernels.
NETWORKS = {
    "mobilenet_v2": cut("mobilenet_v2", 3, 37),
    "googlenet": cut("googlenet", 5, 45),
    "densenet121": cut("densenet121", 3, 34),
    "own": Arch(
        "own", 41, Block.of("conv", kernel=2, stride=3, width=2),
        (
            Stage((Block.of("mbconv", kernel=5, width=4, expand=2, se=0.5, skip="pool"),) * 2, stride=2),
            Stage((Block.of("conv", kernel=1, width=4),), stride=2),
            Stage((Block.of("conv", kernel=3, width=4),)),
        ),
        Block.of("classifier"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_fields_are_those_that_a_network_shows(name: str) -> None:
    graph = linear(lower(NETWORKS[name]))
    for field, (rows, columns) in zip(receptive_fields(graph), seen(graph), strict=True):
        np.testing.assert_array_equal(field.rows, rows, err_msg=field.name)
        np.testing.assert_array_equal(field.columns, columns, err_msg=field.name)
        first = field.start + field.stride * np.arange(len(rows))
        whole = (first >= 0) & (first + field.size <= graph.input_shape[0])  # those that no border cuts
        np.testing.assert_array_equal(rows[whole], np.stack([first, first + field.size - 1], 1)[whole], err_msg=field.name)


def linear(graph: Graph) -> Graph:
    """The same windows without what hides a pixel: activations that saturate, and maxima, which are of one pixel alone."""
    return Graph(tuple(_linear(node) for node in graph.nodes), graph.taps)


def _linear(node: Node) -> Node:
    if node.op == "act":
        return replace(node, attrs=(("fn", "none"),))
    return replace(node, op="avg_pool") if node.op == "max_pool" else node


def seen(graph: Graph) -> list[tuple[np.ndarray, np.ndarray]]:
    """By node, for rows and for columns, (positions, 2): the first and last one of the image that each position depends on.

    Of as many images as there are rows, each is 1 on one of them, and of as many again on a column. Weights are positive and sum
    to 1, so that nothing cancels.
    """
    variables, size = init(graph, 0), graph.input_shape[0]
    for arrays in variables["params"].values():
        if "kernel" in arrays:
            positive = np.abs(arrays["kernel"])
            arrays["kernel"] = positive / positive.sum(axis=tuple(range(positive.ndim - 1)), keepdims=True)
    images, each = np.zeros((2 * size, *graph.input_shape), np.float32), np.arange(size)
    images[each, each], images[size + each, :, each] = 1, 1

    @jax.jit
    def reached(images: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        values, _ = values_of(
            graph.nodes[1:], [images], variables["params"], variables["stats"], train=False, random=lambda node, x, i: x,
            momentum=None, implementation="lax",
        )  # fmt: skip
        return [(jnp.any(value[:size] > 0, axis=(2, 3)), jnp.any(value[size:] > 0, axis=(1, 3))) for value in values]

    return [(_spans(np.asarray(rows)), _spans(np.asarray(columns))) for rows, columns in reached(jnp.asarray(images))]


def _spans(reached: np.ndarray) -> np.ndarray:
    """(pixels, positions) bool -> (positions, 2)"""
    return np.stack([reached.argmax(0), len(reached) - 1 - reached[::-1].argmax(0)], 1)


def test_a_gate_of_a_global_pool_is_said_and_left_out() -> None:
    fields = {field.name: field for field in layer_fields(lower(NETWORKS["own"]))}
    assert [fields[name].pooled for name in ("stem", "stages.0.0", "stages.2.0")] == [False, True, True]
    assert fields["stages.0.0"].size < 41


def test_every_primitive_has_a_rule() -> None:
    assert {*LAYERS, *RANDOM, "norm"} == set(RULES)


def test_a_primitive_without_a_rule_is_named() -> None:
    graph = Graph((Node("input", "input", (), (4, 4, 3)), Node("warp", "stem/warp", (0,), (4, 4, 3))))
    with pytest.raises(ValueError, match="stem/warp: no receptive field is known of the primitive warp"):
        receptive_fields(graph)
