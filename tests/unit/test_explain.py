"""Looking inside: maps that equal each other where theory says so, attributions that sum to the score, pictures that show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.arch.graph import Graph
from nas.explain.gradients import input_gradient, integrated_gradients, saliency, smooth_grad
from nas.explain.maps import cam, cam_layers, grad_cam
from nas.explain.pictures import channels, enlarged, filters, first_filters, grid, heat, overlay, png, scaled, strip
from nas.explain.shown import METHODS, Ways, explained
from nas.explain.taps import features, find_node, last_map, logits, scores, scores_from
from networks import images_of, settled
from small_bundle import ARCH
from small_training import SMALL

GRAPHS = {"gates": lower(ARCH), "plain": lower(SMALL)}  # both: a global pool and one linear layer
CLASSES = jnp.array([2, 0, 1])
every_graph = pytest.mark.parametrize("name", GRAPHS)


def given(name: str) -> tuple[Graph, Any, jax.Array]:
    graph = GRAPHS[name]
    return graph, settled(graph), jnp.asarray(images_of(graph, 3))


def run(method: Callable[..., Any], graph: Graph, variables: Any, images: jax.Array, *options: Any, **named: Any) -> Any:
    """A method for `CLASSES`, compiled: one program takes a tenth of the time of its primitives one by one."""
    return jax.jit(lambda variables, images: method(graph, variables, images, CLASSES, *options, **named))(variables, images)


@every_graph
def test_the_mean_of_a_class_activation_map_is_the_logit(name: str) -> None:
    graph, variables, images = given(name)
    bias = variables["params"][graph.nodes[-1].name]["bias"][np.asarray(CLASSES)]
    found = run(cam, graph, variables, images).mean((1, 2)) + bias
    np.testing.assert_allclose(found, run(scores, graph, variables, images), rtol=1e-5, atol=1e-5)


@every_graph
def test_grad_cam_is_the_class_activation_map_over_the_positions(name: str) -> None:
    graph, variables, images = given(name)
    by_weights = np.asarray(run(cam, graph, variables, images))
    positions = by_weights.shape[1] * by_weights.shape[2]
    by_gradient = run(grad_cam, graph, variables, images, positive=False)
    assert np.abs(by_weights).max() > 1e-2
    np.testing.assert_allclose(by_gradient, by_weights / positions, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(run(grad_cam, graph, variables, images), np.maximum(by_gradient, 0))


@pytest.mark.parametrize("name, expected", [("mobilenet_v2", True), ("mobilenet_v3_small", False), ("vgg16", False), ("resnet50", True)])
def test_the_head_decides_whether_there_is_a_class_activation_map(name: str, expected: bool) -> None:
    graph = lower(find_arch(name))
    assert (cam_layers(graph) is not None) == expected
    if not expected:
        with pytest.raises(ValueError, match="cam: needs a head of a global pool and one linear layer; use grad_cam"):
            cam(graph, {"params": {}}, jnp.zeros((1, *graph.input_shape)), jnp.array([0]))


@every_graph
@pytest.mark.parametrize("tap", ["stem", "stages.0.0", "C1"])
def test_the_rest_of_a_network_gives_what_the_network_gives(name: str, tap: str) -> None:
    graph, variables, images = given(name)
    def both(variables: Any, images: jax.Array) -> tuple[jax.Array, ...]:
        values, rest = scores_from(graph, variables, images, CLASSES, find_node(graph, tap))
        return values, rest(values), logits(graph, variables, images)

    values, found, of_all = jax.jit(both)(variables, images)
    expected = run(scores, graph, variables, images)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(of_all[np.arange(3), np.asarray(CLASSES)], expected, rtol=1e-5)
    assert run(grad_cam, graph, variables, images, find_node(graph, tap)).shape == values.shape[:3]


@every_graph
def test_integrated_gradients_sum_to_the_difference_of_the_scores(name: str) -> None:
    graph, variables, images = given(name)
    baseline = jnp.full(graph.input_shape, -1.0)
    found = jax.jit(lambda x: integrated_gradients(graph, variables, x, CLASSES, baseline=baseline, steps=200))(images)
    start = run(scores, graph, variables, jnp.broadcast_to(baseline[None], images.shape))
    difference = np.asarray(run(scores, graph, variables, images) - start)
    assert np.abs(difference).min() > 1e-2
    np.testing.assert_allclose(found.sum((1, 2, 3)), difference, rtol=0.01)


def test_saliency_is_what_a_small_change_of_a_pixel_does() -> None:
    graph, variables, images = given("gates")
    gradient = np.asarray(run(input_gradient, graph, variables, images))
    at = (0, 3, 4, 0)
    step = jnp.zeros_like(images).at[at].set(1e-2)
    ends = [run(scores, graph, variables, images + sign * step)[0] for sign in (1, -1)]
    assert float(ends[0] - ends[1]) / 2e-2 == pytest.approx(gradient[at], rel=0.05, abs=1e-3)
    np.testing.assert_array_equal(run(saliency, graph, variables, images), np.abs(gradient).max(3))


def test_smooth_grad_without_noise_is_saliency_and_repeats_with_its_seed() -> None:
    graph, variables, images = given("plain")
    plain = run(saliency, graph, variables, images)
    smooth = jax.jit(lambda x, noise, seed: smooth_grad(graph, variables, x, CLASSES, noise=noise, copies=3, seed=seed))
    np.testing.assert_allclose(smooth(images, 0.0, 0), plain, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(smooth(images, 0.2, 1), smooth(images, 0.2, 1))
    assert not np.allclose(smooth(images, 0.2, 1), smooth(images, 0.2, 2))


def test_features_are_those_of_the_node() -> None:
    graph, variables, images = given("gates")
    last = last_map(graph)
    [image, found] = features(graph, variables, images, [0, last])
    np.testing.assert_array_equal(image, images)
    assert found.shape[1:] == graph.nodes[last].shape
    with pytest.raises(ValueError, match=r"no layer 'stage\.0\.0'; did you mean stages\.0\.0\? \(taps: C1\)"):
        find_node(graph, "stage.0.0")


def test_filters_are_shown_where_they_see_gray_or_color() -> None:
    graph, variables, _ = given("gates")
    shown = filters(graph, variables, 1)
    assert shown.shape == (8, 3, 3)
    np.testing.assert_array_equal(first_filters(graph, variables), shown)
    np.testing.assert_array_equal(shown[5], variables["params"][graph.nodes[1].name]["kernel"][:, :, 0, 5])
    with pytest.raises(ValueError, match=r"head/conv\.conv: each filter sees 8 channels; expected 1 or 3"):
        filters(graph, variables, find_node(graph, "head/conv.conv"))
    with pytest.raises(ValueError, match="head/logits: has no filters"):
        filters(graph, variables, len(graph.nodes) - 1)


@pytest.mark.parametrize("shape, expected", [((1, 3, 4), (3, 4)), ((5, 2, 2), (5, 8)), ((4, 2, 3, 3), (5, 7, 3))])
def test_a_grid_holds_every_tile(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    tiles = np.random.default_rng(0).normal(size=shape)
    picture = grid(tiles)
    assert picture.shape == expected
    assert (picture[: shape[1], : shape[2]].min(), picture[: shape[1], : shape[2]].max()) == (0, 255)
    assert grid(np.full(shape, 3.0)).min() == 0  # no division by zero


def test_the_strongest_channels_stay_in_their_order() -> None:
    maps = np.zeros((2, 2, 5)) + np.array([1.0, -5.0, 0.5, 3.0, 0.0])
    assert channels(maps, 3)[:, 0, 0].tolist() == [1.0, -5.0, 3.0]


def test_a_map_lies_over_its_image() -> None:
    image, values = np.full((8, 8, 1), 100, np.uint8), np.zeros((4, 4))
    values[0, 0] = 1
    picture = overlay(image, values, 0.5)
    assert picture.shape == (8, 8, 3)
    assert picture[0, 0].sum() > picture[7, 7].sum()
    assert scaled(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]
    assert heat(np.linspace(0, 1, 9)[None]).astype(int).sum(2)[0].tolist() == sorted(heat(np.linspace(0, 1, 9)[None]).astype(int).sum(2)[0])
    side_by_side = strip([enlarged(image, 16), enlarged(picture, 16)])
    assert side_by_side.shape == (16, 36, 3)
    assert png(side_by_side)[:4] == b"\x89PNG"


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_that_is_filled_up_gives_the_maps_of_its_images(method: str) -> None:
    graph, variables, images = given("gates")
    ways = Ways(copies=1, steps=2, noise=0.0, baseline=(-1.0,))
    together = explained(graph, variables, np.asarray(images), [2, 0, 1], method, ways)
    alone = explained(graph, variables, np.asarray(images[2:]), [1], method, ways)
    np.testing.assert_allclose(together[2:], alone, rtol=1e-4, atol=1e-6)
    assert together.min() >= 0
