"""Channels in the order of their importance: the function stays, and the first ones are those that are needed most."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas import load_arch
from nas.arch.blocks import lower
from nas.convert.inherit import channel_groups
from nas.convert.reorder import by_importance, importance
from nas.nn.network import apply, init
from nas.nn.weights import HostVariables

NAMES = ["mobilenet_v3_small", "shufflenet_v2", "lenet5"]


def scrambled(graph: object, seed: int) -> HostVariables:
    """Initial weights with norms that are no longer all alike."""
    variables, rng = init(graph, seed), np.random.default_rng(seed)  # type: ignore[arg-type]
    for part in ("params", "stats"):
        for arrays in variables[part].values():
            for name, array in arrays.items():
                if name != "kernel":
                    array += rng.uniform(0.1, 0.9, array.shape).astype(np.float32)
    return variables


@pytest.mark.parametrize("name", NAMES)
def test_the_function_stays(name: str) -> None:
    arch = load_arch(name)
    graph = lower(arch.with_io(resolution=min(arch.resolution, 32)))
    before = scrambled(graph, 0)
    after = by_importance(graph, before)
    x = jax.random.normal(jax.random.key(1), (2, *graph.input_shape))
    run = jax.jit(lambda v: apply(graph, v["params"], v["stats"], x, train=False, implementation="portable")[0])
    a, b = np.asarray(run(before)), np.asarray(run(after))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max())
    moved = any(
        (before["params"][n]["kernel"] != after["params"][n]["kernel"]).any()
        for n in after["params"]
        if "kernel" in after["params"][n]
    )
    assert moved


def test_the_first_channels_are_those_that_readers_need_most() -> None:
    graph = lower(load_arch("mobilenet_v2").with_io(resolution=32))
    variables = scrambled(graph, 0)
    place = next(i for i, node in enumerate(graph.nodes) if node.name == "stages.1.0/expand.conv")
    project = variables["params"]["stages.1.0/project.conv"]["kernel"]
    project[...] = jnp.zeros(()).item()
    project[:, :, 7] = 1.0  # only channel 7 is read
    order = importance(graph, variables)[channel_groups(graph)[place]]
    assert order[0] == 7
    assert (by_importance(graph, variables)["params"]["stages.1.0/project.conv"]["kernel"][:, :, 0] == 1).all()
