"""The network is what the lowered graph says: every parameter and every product counted in it, nothing else."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nas.arch import Arch, Block, Stage
from nas.arch.blocks import lower
from nas.arch.builder import Builder
from nas.arch.graph import Graph, node_macs, param_shapes
from nas.nn.network import Network, apply, init
from nas.nn.ops import Implementation
from nas.space import load_space
from nas.tasks import single

SMALL = Arch(
    name="small",
    resolution=6,
    stem=Block.of("conv", width=4, stride=2),
    stages=(Stage((Block.of("mbconv", width=4, expand=2, se=0.5),)), Stage((Block.of("mbconv", width=4, expand=2),))),
    head=Block.of("classifier", dropout=0.5),
    classes=3,
    norm_eps=1e-2,
    norm_momentum=0.75,
    drop_path=0.5,
)


def random_archs(space: str, count: int) -> Iterator[Arch]:
    fitted, rng = load_space(space).fit(32, 3, 10), np.random.default_rng(7)
    return (fitted.decode(fitted.sample(rng)) for _ in range(count))


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def run_graph(graph: Graph, variables: Any, images: jax.Array, **options: Any) -> Any:
    return apply(graph, variables["params"], variables["stats"], images, **options)


def counted_params(graph: Graph) -> int:
    shapes = (param_shapes(node, graph.in_shapes(node)) for node in graph.nodes[1:])
    return sum(math.prod(shape) for arrays in shapes for shape in arrays.values())


def products(jaxpr: Any) -> int:
    """Multiply-adds of the convolutions and matrix products of a traced program, inner programs included."""
    total = 0
    for eqn in jaxpr.eqns:
        total += sum(products(p.jaxpr) for p in jax.tree.leaves(eqn.params, is_leaf=is_program) if is_program(p))
        if eqn.primitive.name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape  # HWIO
            total += math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel[:3])
        elif eqn.primitive.name == "dot_general":
            (axes, _), _ = eqn.params["dimension_numbers"]
            depth = math.prod(eqn.invars[0].aval.shape[axis] for axis in axes)
            total += math.prod(eqn.outvars[0].aval.shape) * depth
    return total


def is_program(value: Any) -> bool:
    return hasattr(value, "jaxpr") and hasattr(value.jaxpr, "eqns")


@pytest.mark.parametrize("space", ["tiny", "mnasnet", "mobilenet_v3"])
def test_parameters_and_products_are_those_counted(space: str) -> None:
    for arch in random_archs(space, 20):
        graph = lower(arch)
        state = nnx.eval_shape(lambda graph=graph: nnx.state(Network(graph), nnx.Param))
        assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state)) == counted_params(graph)

        def run(images: jax.Array, params: Any, stats: Any, graph: Graph = graph) -> jax.Array:
            return single(apply(graph, params, stats, images, train=False, implementation="lax")[0])

        variables = init(graph, 0)
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        traced = jax.make_jaxpr(run)(image, variables["params"], variables["stats"])
        expected = sum(node_macs(node, graph.in_shapes(node)) for node in graph.nodes[1:])
        assert products(traced.jaxpr) == expected > 0, arch.name


def test_initial_values_are_those_of_tensorflows_mnasnet() -> None:
    arch = next(random_archs("mobilenet_v3", 1))
    graph = lower(arch)
    variables = init(graph, 3)
    by_name = {node.name: node for node in graph.nodes}
    for name, arrays in variables["params"].items():
        node = by_name[name]
        for key, array in arrays.items():
            assert array.dtype == np.float32
            if key != "kernel":
                assert np.all(array == (1 if key == "scale" else 0))
            elif node.op == "dense":
                limit = 1 / math.sqrt(array.shape[1])
                assert np.abs(array).max() <= limit
                assert abs(array.std() / (limit / math.sqrt(3)) - 1) < 0.02
            elif array.size > 3000:
                k, _, _, out = array.shape
                fan_out = k * k * (1 if node.attr["groups"] > 1 else out)
                assert abs(array.std() / math.sqrt(2 / fan_out) - 1) < 0.1
    norms = [node for node in graph.nodes if node.op == "norm"]
    assert list(variables["stats"]) == [node.name for node in norms]


def test_initial_values_depend_on_seed_and_name_alone() -> None:
    first, again, other = (init(lower(SMALL), seed)["params"] for seed in (0, 0, 1))
    same = jax.tree.map(np.array_equal, first, again)
    assert all(jax.tree.leaves(same))
    wider = lower(Arch(**{**vars(SMALL), "classes": 7}))
    kernel = "stages.0.0/expand.conv"
    np.testing.assert_array_equal(init(wider, 0)["params"][kernel]["kernel"], first[kernel]["kernel"])
    assert not np.array_equal(other[kernel]["kernel"], first[kernel]["kernel"])
    assert not np.array_equal(first["stages.1.0/expand.conv"]["kernel"], first[kernel]["kernel"])


def test_two_layers_of_one_name_are_refused() -> None:
    g = Builder()
    x = g.input((4, 4, 3))
    g.conv(g.conv(x, 3, name="conv"), 3, name="conv")
    with pytest.raises(ValueError, match="stem/conv: two layers"):
        init(Graph(tuple(g.nodes)), 0)


def test_both_forms_give_the_same_logits() -> None:
    graph, images = lower(SMALL), normal(5, 6, 6, 3)
    variables = init(graph, 0)

    @jax.jit
    def run(images: jax.Array) -> list[jax.Array]:
        return [run_graph(graph, variables, images, train=False, implementation=implementation)[0] for implementation in ("lax", "slices")]

    lax, slices = run(images)
    assert lax.shape == (5, 3)
    np.testing.assert_allclose(slices, lax, rtol=1e-4, atol=1e-5)


def test_training_uses_the_batch_and_moves_the_averages() -> None:
    graph, images = lower(SMALL), normal(5, 6, 6, 3)
    variables = init(graph, 0)

    def run(**options: Any) -> Any:
        key = jax.random.key(0)
        return jax.jit(lambda v, x: run_graph(graph, v, x, train=True, rng=key, **options)[1])(variables, images)

    batch, moved, quick = run(momentum=0), run(), run(momentum=0.5)
    for name, old in variables["stats"].items():
        for key in ("mean", "var"):
            new = batch[name][key]
            np.testing.assert_allclose(moved[name][key], 0.75 * old[key] + 0.25 * new, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(quick[name][key], 0.5 * old[key] + 0.5 * new, rtol=1e-5, atol=1e-7)


def test_evaluation_is_deterministic_and_changes_nothing() -> None:
    graph, images = lower(SMALL), normal(4, 6, 6, 3)
    variables = init(graph, 0)
    run = jax.jit(lambda x: run_graph(graph, variables, x, train=False))
    logits, stats = run(images)
    np.testing.assert_array_equal(logits, run(images)[0])
    np.testing.assert_allclose(logits[1:2], run(images[jnp.array([1, 1, 1, 1])])[0][:1], rtol=1e-5)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, stats, variables["stats"])))


def test_dropping_depends_on_the_key() -> None:
    graph, images = lower(SMALL), normal(4, 6, 6, 3)
    variables = init(graph, 0)
    run = jax.jit(lambda key: run_graph(graph, variables, images, train=True, rng=key)[0])
    first = run(jax.random.key(0))
    np.testing.assert_array_equal(first, run(jax.random.key(0)))
    assert not np.array_equal(first, run(jax.random.key(1)))


def test_bfloat16_computes_and_gives_float32() -> None:
    graph, images = lower(SMALL), normal(4, 6, 6, 3)
    variables = init(graph, 0)

    @jax.jit
    def run(images: jax.Array) -> list[jax.Array]:
        return [run_graph(graph, variables, images, train=False, dtype=d)[0] for d in (jnp.float32, jnp.bfloat16)]

    exact, rough = run(images)
    assert rough.dtype == jnp.float32
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(rough, exact, atol=0.05 * float(jnp.abs(exact).max()))


@pytest.mark.parametrize("implementation", ["auto", "lax"])
def test_inference_in_float64_is_float64_throughout(implementation: Implementation) -> None:
    """A change that float32 cannot hold arrives at the logits, and nowhere larger."""
    stages = (*SMALL.stages, Stage((Block.of("avg_pool"),)), Stage((Block.of("fused_mbconv", width=4, expand=2, group_size=2),)))
    graph = lower(dataclasses.replace(SMALL, stages=stages))
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda array: np.asarray(array, np.float64), init(graph, 0))
        images = np.random.default_rng(0).standard_normal((2, *graph.input_shape))

        @jax.jit
        def infer(x: jax.Array) -> jax.Array:
            options: dict[str, Any] = {"train": False, "dtype": jnp.float64, "implementation": implementation}
            return single(apply(graph, variables["params"], variables["stats"], x, **options)[0])

        first, second = infer(images), infer(images * (1 + 1e-11))
        assert first.dtype == jnp.float64
        assert 0 < float(jnp.abs(first - second).max()) < 1e-9


def rounded(logits: jax.Array) -> bool:
    return np.array_equal(logits, logits.astype(jnp.bfloat16).astype(jnp.float32))


HEADS = [
    Block.of("classifier"), Block.of("classifier", width=8), Block.of("mobilenet_v3", conv=8, width=8), Block.of("mlp", widths=(8, 8)),
    Block.of("embedding", size=5, width=8),
]  # fmt: skip


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.op)
@pytest.mark.parametrize("train", [False, True])
def test_logits_are_not_rounded_to_what_layers_compute_in(head: Block, train: bool) -> None:
    """Rounded, the largest are equal now and then, and the class is another one."""
    graph = lower(dataclasses.replace(SMALL, head=head))
    variables, images = init(graph, 0), normal(4, 6, 6, 3)
    key = jax.random.key(0)
    logits = jax.jit(lambda x: run_graph(graph, variables, x, train=train, rng=key, dtype=jnp.bfloat16)[0])(images)
    assert not rounded(logits)


def test_outputs_by_name_are_not_rounded_either() -> None:
    b = Builder()
    pooled = b.global_pool(b.conv(b.input((4, 4, 3)), 8, 3, name="conv"))
    hidden = b.act(b.dense(pooled, 8, "hidden"), "relu")
    named = tuple((name, b.dense(x, 5, name)) for name, x in (("one", hidden), ("other", pooled)))
    graph = Graph(tuple(b.nodes), named=named)
    variables, images = init(graph, 0), normal(4, 4, 4, 3)
    found = jax.jit(lambda x: run_graph(graph, variables, x, train=False, dtype=jnp.bfloat16)[0])(images)
    assert [rounded(found[name]) for name in ("one", "other")] == [False, False]


def test_what_is_missing_is_named() -> None:
    graph = lower(SMALL)
    variables = init(graph, 0)
    with pytest.raises(ValueError, match=r"images: expected shape \(n, 6, 6, 3\), got \(1, 5, 6, 3\)"):
        jax.eval_shape(lambda: run_graph(graph, variables, jnp.zeros((1, 5, 6, 3)), train=False))
    with pytest.raises(ValueError, match="drop_path: training needs a random key"):
        jax.eval_shape(lambda: run_graph(graph, variables, jnp.zeros((1, 6, 6, 3)), train=True))


def test_network_is_a_flax_module() -> None:
    network, images = Network(SMALL, seed=0), normal(4, 6, 6, 3)
    graphdef, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
    variables = init(lower(SMALL), 0)
    expected = jax.jit(lambda x: run_graph(lower(SMALL), variables, x, train=False)[0])(images)

    @jax.jit
    def run(params: Any, stats: Any, images: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        merged = nnx.merge(graphdef, params, stats, copy=True)
        before = merged(images)
        after = merged(images, train=True, rng=jax.random.key(0))
        return single(before), single(after), nnx.state(merged, nnx.BatchStat)

    before, after, moved = run(params, stats, images)
    np.testing.assert_allclose(before, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(before, after)
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), stats, moved)
    assert all(jax.tree.leaves(changed))
    assert network.params["stem/conv"]["kernel"].shape == (3, 3, 3, 4)
