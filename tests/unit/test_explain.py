"""Looking inside: maps that equal each other where theory says so, attributions that sum to the score, pictures that show it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch import Block, Stage
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.arch.graph import Graph, Node
from nas.explain.gradients import input_gradient, integrated_gradients, saliency, smooth_grad
from nas.explain.maps import cam, cam_layers, grad_cam, grad_cam_behind
from nas.explain.pictures import channels, enlarged, filters, first_filters, grid, heat, overlay, png, scaled, sheet
from nas.explain.shown import METHODS, MethodSettings, explained
from nas.explain.taps import features, find_node, last_map, logits_and_maps, scores, scores_from, tail_inputs
from networks import images_of, settled
from small_bundle import ARCH
from small_training import SMALL

# Both have a global pool and one linear layer; the first a gate, and a skip around the layers of its block.
GATES = replace(ARCH, resolution=6, stages=(Stage((Block.of("mbconv", width=8, expand=2, se=0.25),)),))
GRAPHS = {"gates": lower(GATES), "plain": lower(SMALL)}
CLASSES = jnp.array([2, 0, 1])
TAPS = {"gates": "stages.0.0/depthwise.act", "plain": "C1"}
PIXEL = (0, 3, 4, 0)
Found = dict[str, Any]


def joined() -> Graph:
    """Of `SMALL`, with a head that pools the stem besides the last feature map, and joins the two."""
    graph = GRAPHS["plain"]
    pool = next(i for i, node in enumerate(graph.nodes) if node.op == "global_pool")
    nodes, channels = graph.nodes[: pool + 1], graph.nodes[pool].shape[2]
    early = replace(nodes[pool], name="head/early", inputs=(find_node(graph, "stem"),), shape=(1, 1, 6))
    both = Node("concat", "head/both", (pool, pool + 1), (1, 1, channels + 6))
    return Graph((*nodes, early, both, replace(graph.nodes[-1], inputs=(pool + 2,))), graph.taps)


def given(graph: Graph) -> tuple[Any, jax.Array]:
    return settled(graph), jnp.asarray(images_of(graph, 3))


@pytest.fixture(scope="module", params=GRAPHS)
def found(request: pytest.FixtureRequest) -> Found:
    """What all methods give for one graph, by one program: the network's compilation is what takes the time."""
    graph = GRAPHS[request.param]
    variables, images = given(graph)
    tap, baseline = find_node(graph, TAPS[request.param]), jnp.full(graph.input_shape, -1.0)

    @jax.jit
    def everything(variables: Any, images: jax.Array) -> Found:
        def smooth(noise: Any, seed: Any) -> jax.Array:
            return smooth_grad(graph, variables, images, CLASSES, noise=noise, copies=3, seed=seed)

        step = jnp.zeros_like(images).at[PIXEL].set(1e-2)
        ends = jnp.concatenate([images + step, images - step, jnp.broadcast_to(baseline[None], images.shape)])
        values, rest = scores_from(graph, variables, images, CLASSES, tap)
        logits, maps = logits_and_maps(graph, variables, images)
        return {
            "scores": scores(graph, variables, images, CLASSES), "logits": logits, "maps": maps,
            "ends": scores(graph, variables, ends, jnp.tile(CLASSES, 3)).reshape(3, 3),
            "cam": cam(graph, variables, images, CLASSES), "grad_cam": grad_cam(graph, variables, images, CLASSES),
            "signed": grad_cam(graph, variables, images, CLASSES, positive=False),
            "behind": grad_cam_behind(graph, variables, maps, CLASSES), "rest": rest(values),
            "at_tap": grad_cam(graph, variables, images, CLASSES, tap),
            "gradient": input_gradient(graph, variables, images, CLASSES), "saliency": saliency(graph, variables, images, CLASSES),
            "smooth": jax.lax.map(lambda given: smooth(*given), (jnp.array([0.0, 0.2, 0.2, 0.2]), jnp.array([0, 1, 1, 2]))),
            "integrated": integrated_gradients(graph, variables, images, CLASSES, baseline=baseline, steps=200),
            "features": features(graph, variables, images, [0, last_map(graph)]),
        }  # fmt: skip

    bias = variables["params"][graph.nodes[-1].name]["bias"][np.asarray(CLASSES)]
    computed = everything(variables, images)
    return {"graph": graph, "tap": graph.nodes[tap], "images": images, "bias": bias, **jax.tree.map(np.asarray, computed)}


def test_the_mean_of_a_class_activation_map_is_the_logit(found: Found) -> None:
    np.testing.assert_allclose(found["cam"].mean((1, 2)) + found["bias"], found["scores"], rtol=1e-5, atol=1e-5)


def test_grad_cam_is_the_class_activation_map_over_the_positions(found: Found) -> None:
    positions = found["cam"].shape[1] * found["cam"].shape[2]
    assert np.abs(found["cam"]).max() > 1e-2
    np.testing.assert_allclose(found["signed"], found["cam"] / positions, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["grad_cam"], np.maximum(found["signed"], 0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["behind"], found["grad_cam"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name, expected", [("mobilenet_v2", True), ("mobilenet_v3_small", False), ("vgg16", False), ("resnet50", True)])
def test_the_head_decides_whether_there_is_a_class_activation_map(name: str, expected: bool) -> None:
    graph = lower(find_arch(name))
    assert (cam_layers(graph) is not None) == expected
    if not expected:
        with pytest.raises(ValueError, match="cam: needs a head of a global pool and one linear layer; use grad_cam"):
            cam(graph, {"params": {}}, jnp.zeros((1, *graph.input_shape)), jnp.array([0]))


def test_the_rest_of_a_network_gives_what_the_network_gives(found: Found) -> None:
    np.testing.assert_allclose(found["logits"][np.arange(3), np.asarray(CLASSES)], found["scores"], rtol=1e-5)
    np.testing.assert_allclose(found["rest"], found["scores"], rtol=1e-5)
    assert found["at_tap"].shape[1:] == found["tap"].shape[:2]


def test_layers_behind_the_last_map_may_read_an_earlier_one() -> None:
    graph = joined()
    variables, images = given(graph)
    assert [graph.nodes[i].shape for i in tail_inputs(graph)] == [(6, 6, 6), (3, 3, 6)]

    @jax.jit
    def both(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, maps = logits_and_maps(graph, variables, images)
        return grad_cam_behind(graph, variables, maps, CLASSES), grad_cam(graph, variables, images, CLASSES)

    behind, whole = both(variables, images)
    assert np.asarray(whole).max() > 1e-3
    np.testing.assert_allclose(behind, whole, rtol=0, atol=1e-6)


def test_integrated_gradients_sum_to_the_difference_of_the_scores(found: Found) -> None:
    difference = found["scores"] - found["ends"][2]
    assert np.abs(difference).min() > 1e-2
    np.testing.assert_allclose(found["integrated"].sum((1, 2, 3)), difference, rtol=0.01)


def test_saliency_is_what_a_small_change_of_a_pixel_does(found: Found) -> None:
    up, down, _ = found["ends"]
    assert (up[0] - down[0]) / 2e-2 == pytest.approx(found["gradient"][PIXEL], rel=0.05, abs=1e-3)
    np.testing.assert_allclose(found["saliency"], np.abs(found["gradient"]).max(3), rtol=1e-6)


def test_smooth_grad_without_noise_is_saliency_and_repeats_with_its_seed(found: Found) -> None:
    quiet, first, again, other = found["smooth"]
    np.testing.assert_allclose(quiet, found["saliency"], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_features_are_those_of_the_node(found: Found) -> None:
    image, last = found["features"]
    np.testing.assert_array_equal(image, found["images"])
    np.testing.assert_array_equal(last, found["maps"][-1])
    assert last.shape[1:] == found["graph"].nodes[last_map(found["graph"])].shape


def test_a_name_that_is_not_there_is_said() -> None:
    with pytest.raises(ValueError, match=r"no layer 'stage\.0\.0'; did you mean stages\.0\.0\? \(taps: C1\)"):
        find_node(GRAPHS["plain"], "stage.0.0")


def test_filters_are_shown_where_they_see_gray_or_color() -> None:
    graph = GRAPHS["gates"]
    variables = settled(graph)
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
    assert enlarged(image, 12).shape == (16, 16, 1)


@pytest.mark.parametrize("count, shape", [(1, (87, 38, 3)), (3, (174, 76, 3))])
def test_a_sheet_numbers_images_over_their_maps(count: int, shape: tuple[int, ...]) -> None:
    colors = np.array([[0, 100, 0], [200, 0, 0]], np.uint8)
    images, maps = ([np.full((size, size, 3), color)] * count for size, color in zip((8, 64), colors, strict=True))
    found = sheet(images, maps, side=32, across=2)
    assert found.shape == shape
    assert [(found == color).all(2).sum() for color in colors] == [32 * 32 * count] * 2
    assert (found[:14] < 50).any()  # the number
    assert png(found)[:4] == b"\x89PNG"


def test_what_hardly_varies_in_a_grid_stays_dark() -> None:
    tiles = np.array([[[0.0, 1.0]], [[5.0, 5.001]]])
    assert grid(tiles).ravel().tolist() == [0, 255, 255, 0, 5]


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_that_is_filled_up_gives_the_maps_of_its_images(method: str) -> None:
    graph = GRAPHS["plain"]
    variables, images = given(graph)
    how, many = MethodSettings(copies=1, steps=2, noise=0.0, baseline=(-1.0,)), np.concatenate([images, images[:2]])
    together = explained(graph, variables, many[:3], [2, 0, 1], method, how)
    again = explained(graph, variables, many[:4], [2, 0, 1, 2], method, how)
    assert len(together) == 3
    np.testing.assert_allclose(together, again[:3], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(again[3], again[0], rtol=1e-4, atol=1e-6)
    assert together.min() >= 0
