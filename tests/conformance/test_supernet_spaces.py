"""Every space of `search_spaces/`: a candidate alone, as views of the shared weights, and with its widths as masks is one function.

In float64, with the first and the last layer of each stage, at the smallest size that keeps the strides.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nas.arch.blocks import lower
from nas.core.yamlio import read_yaml
from nas.nn.network import run
from nas.space import Genome, Space, load_space
from nas.supernet.layers import Layers
from nas.supernet.paths import Paths
from nas.supernet.weights import SharedWeights

ROOT = next(parent for parent in Path(__file__).resolve().parents if (parent / "pyproject.toml").exists())
SIZES = {"nas_bench_macro": 8, "tiny": 8, "proxylessnas": 32, "mobilenet_v3": 32, "accel_nasbench": 32, "mnasnet": 32,
         "ofa_mobilenet_v3": 32, "tunas_mobilenet_v3_like": 32, "efficientnet_lite0_elastic": 32,
         "mobilenet_v3_large_elastic": 32}  # fmt: skip
TAPPED = {f"{backbone}_{head}" for backbone in ("tiny", "mobilenet_v3", "efficientnet_lite0") for head in ("lraspp", "ssdlite")}
TAPPED |= {"tiny_yolo"}
SLOW = ("tunas_mobilenet_v3_like", "mobilenet_v3", "proxylessnas", "mnasnet", "mobilenet_v3_large_elastic")
EVERY = [
    pytest.param(name, count, marks=pytest.mark.nightly if name in SLOW or count > 2 else [], id=f"{name}-{count}")
    for count in (2, 20)
    for name in SIZES
]


def test_no_space_is_left_out() -> None:
    assert {path.stem for path in (ROOT / "search_spaces").glob("*.yaml")} == SIZES.keys() | TAPPED


@pytest.mark.parametrize("name", sorted(TAPPED))
def test_layers_that_do_not_follow_one_another_share_no_weights(name: str) -> None:
    with pytest.raises(ValueError, match=r"head: .*, and weights are shared by layers that follow one another; take evaluator=scratch"):
        list(Layers(load_space(name)).all())


def reduced(name: str) -> Space:
    """The space with the ends of its stages, and with its first resolution."""
    data: dict[str, Any] = read_yaml(ROOT / "search_spaces" / f"{name}.yaml")
    data.pop("forbid", None)
    for stage in data["stages"]:
        if "layers" in stage:
            stage["layers"] = list({0: stage["layers"][0], len(stage["layers"]) - 1: stage["layers"][-1]}.values())
        repeat = stage.get("repeat", len(stage.get("layers", [None])))
        if (repeat if isinstance(repeat, int) else max(repeat["one_of"])) > 1:
            stage["repeat"] = 2 if isinstance(repeat, int) else {"one_of": [1, 2]}
    return Space.from_dict(data, name).fit(SIZES[name], 3, 5)


def genomes_of(space: Space, rng: np.random.Generator, count: int) -> list[Genome]:
    """So many; of mnasnet one that has residuals through pools too."""
    pools = [i for i, gene in enumerate(space.genes) if gene.name.endswith(".skip")]
    second = [2 if i in pools else option for i, option in enumerate(space.sample(rng))]
    return [space.sample(rng), space.canonical(second), *(space.sample(rng) for _ in range(count - 2))]


def answers(paths: Paths, genome: Genome, slots: Any, x: jax.Array) -> jax.Array:
    for placed in paths.path(genome).placed:
        unit = placed.unit
        tree = unit.tree(tuple(slots[slot] for slot in placed.slots))
        x, _ = run(unit.nodes, unit.values(x, jnp.asarray(placed.widths)), tree, {}, train=True, random=lambda node, x, i: x,
                   momentum=0, implementation="portable")  # fmt: skip
    return x.reshape(len(x), -1)


@pytest.mark.parametrize("name, count", EVERY)
def test_masks_views_and_the_network_alone_are_one_function(name: str, count: int) -> None:
    space, rng = reduced(name), np.random.default_rng(0)
    exact = Paths.of(space, masked=False)
    masked = Paths(exact.layers, exact.store, masked=True)
    initial = SharedWeights.initial(exact, 0).slots
    with jax.enable_x64(True):
        slots = {slot: {part: rng.normal(size=a.shape) * 0.05 + np.asarray(a, np.float64) for part, a in packed.items()}
                 for slot, packed in initial.items()}  # fmt: skip
        x = jnp.asarray(rng.normal(size=(2, SIZES[name], SIZES[name], 3)))
        for genome in genomes_of(space, rng, count):
            graph, params = lower(space.decode(genome)), SharedWeights(exact, slots).params_of(genome)

            def every(slots: Any, params: Any, genome: Genome = genome, graph: Any = graph) -> list[jax.Array]:
                alone, _ = run(graph.nodes[1:], [x], params, {}, train=True, random=lambda node, x, i: x, momentum=0,
                               implementation="portable")  # fmt: skip
                return [alone.reshape(len(x), -1), answers(exact, genome, slots, x), answers(masked, genome, slots, x)]

            options: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
            expected, *others = jax.jit(every).lower(slots, params).compile(compiler_options=options)(slots, params)
            assert expected.dtype == np.float64
            for found in others:
                assert np.abs(found - expected).max() < 1e-9 * np.std(expected)
