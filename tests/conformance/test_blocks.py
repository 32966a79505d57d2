"""Every block builds, keeps its promises about shapes, and can stand in an architecture and in a search space."""

from typing import Any

import numpy as np
import pytest

from block_cases import CASES
from nas.arch.blocks import BLOCKS, WIDTHS, arch_id, knob_values, knobs_of, lower, make_divisible
from nas.arch.blocks.registry import resolve
from nas.arch.graph import ACTS, Graph, param_shapes
from nas.cost import cost
from nas.testing import check_block
from nas.testing.blocks import network_of

OUT = {"dense_layer": 24 + 8, "transition": 12, "shuffle_v1": 48}


def test_the_cases_are_all_blocks():
    assert sorted(CASES) == sorted(BLOCKS)
    assert set(WIDTHS) < {knob for op in BLOCKS for knob in knobs_of(op)}


@pytest.mark.parametrize("op", CASES)
def test_every_block_keeps_the_laws(op: str):
    strides = (1,) if op == "dense_layer" else (1, 2)  # a dense layer keeps the size
    check_block(op, CASES[op], width=OUT.get(op), strides=strides)


@pytest.mark.parametrize(
    "op", [op for op in CASES if op not in ("identity", "max_pool", "avg_pool", "transition", "inception")]
)
def test_layers_after_the_first_can_drop(op: str):
    """Blocks with a way around them have it where nothing changes: the input's node is read twice."""
    graph = lower(network_of({"op": op, **CASES[op]}, width=48 if op == "shuffle_v1" else 24, repeat=3, drop_path=0.5))
    inside = [i for i, node in enumerate(graph.nodes) if node.scope == "stages.0.2"]
    readers = [i for i in inside if inside[0] - 1 in graph.nodes[i].inputs]
    assert len(readers) > 1


@pytest.mark.parametrize("op", ["classifier", "mlp", "mobilenet_v3", "spp"])
def test_heads_end_in_classes(op: str):
    needed = {"mobilenet_v3": {"conv": 16, "width": 32}}.get(op, {})
    graph = lower(network_of({"op": "identity"}, head={"op": op, "dropout": 0.5, **needed}))
    assert graph.nodes[-1].shape == (1, 1, 5)
    assert graph.nodes[-1].name == "head/logits"
    assert any(node.op == "dropout" for node in graph.nodes)


@pytest.mark.parametrize(
    "knobs, params",
    [
        ({"conv": 16, "width": 32}, 24 * 16 + 32 + 16 * 32 + 32 + 165),
        ({"width": 32}, 24 * 32 + 32 + 165),  # LCNet's
        ({"width": 32, "bias": False, "norm": True}, 24 * 32 + 64 + 165),  # MobileNetV4's, behind its last convolution
    ],
)
def test_last_stages_of_the_mobile_networks(knobs: dict[str, Any], params: int):
    assert cost(network_of({"op": "identity"}, head={"op": "mobilenet_v3", **knobs})).layers[-1].params == params


@pytest.mark.parametrize("pool, read", [(True, 24), (False, 24 * 12 * 12)])
def test_an_embedding_has_its_own_size_and_length_one(pool: bool, read: int):
    graph = lower(network_of({"op": "identity"}, head={"op": "embedding", "size": 7, "width": 24, "pool": pool}))
    *_, dense, unit = graph.nodes
    assert (unit.op, unit.shape, dense.name) == ("l2_normalize", (1, 1, 7), "head/embedding")
    assert param_shapes(dense, graph.in_shapes(dense))["kernel"] == (read, 7)


@pytest.mark.parametrize(
    "size, windows",
    [
        (13, {1: (13, 13, 1), 2: (7, 6, 2), 3: (5, 4, 3)}),  # the paper's, table 1
        (10, {1: (10, 10, 1), 2: (5, 5, 2), 3: (4, 3, 3), 4: (4, 2, 4)}),
    ],
)
def test_a_pyramid_has_so_many_parts_of_a_map_of_any_size(size: int, windows: dict[int, tuple[int, int, int]]):
    head = {"op": "spp", "levels": [*windows]}
    graph = lower(network_of({"op": "identity"}, head=head, resolution=size))
    pools = [node for node in graph.nodes if node.op == "max_pool"]
    assert {n: (p.attr["kernel"], p.attr["stride"], p.shape[0]) for n, p in zip(windows, pools, strict=True)} == windows
    assert cost(network_of({"op": "identity"}, head=head, resolution=size)).layers[-1].params == 24 * sum(n * n for n in windows) * 5 + 5


def params(block: dict[str, Any], **top: Any) -> int:
    return cost(network_of(block, **top)).layers[1].params


@pytest.mark.parametrize(
    "block, expected",
    [
        # kernels + scale and shift of each norm, and the biases of squeeze-excite
        ({"op": "conv", "width": 8}, 9 * 24 * 8 + 16),
        ({"op": "conv", "width": 8, "norm": False, "bias": True}, 9 * 24 * 8 + 8),
        ({"op": "conv", "width": 48, "groups": 8}, 9 * 3 * 48 + 96),
        ({"op": "conv", "width": 8, "kernel": [1, 5], "dilation": 2}, 5 * 24 * 8 + 16),
        ({"op": "sepconv", "width": 8, "kernel": 5}, 25 * 24 + 48 + 24 * 8 + 16),
        ({"op": "sepconv", "width": 8, "depthwise_norm": False}, 9 * 24 + 24 * 8 + 16),
        ({"op": "mbconv", "width": 8, "expand": 2}, 24 * 48 + 96 + 9 * 48 + 96 + 48 * 8 + 16),
        ({"op": "mbconv", "width": 8, "expand": 1}, 9 * 24 + 48 + 24 * 8 + 16),
        ({"op": "mbconv", "width": 8, "expand": 1, "force_expand": True}, 24 * 24 + 48 + 9 * 24 + 48 + 24 * 8 + 16),
        (
            {"op": "mbconv", "width": 8, "expand": 1, "se": 0.25},
            9 * 24 + 48 + (24 * 6 + 6) + (6 * 24 + 24) + 24 * 8 + 16,
        ),
        ({"op": "fused_mbconv", "width": 8, "expand": 2}, 9 * 24 * 48 + 96 + 48 * 8 + 16),
        ({"op": "fused_mbconv", "width": 8, "expand": 1}, 9 * 24 * 8 + 16),
        ({"op": "fused_mbconv", "width": 8, "expand": 2, "group_size": 12}, 9 * 6 * 48 + 96 + 48 * 8 + 16),
        ({"op": "mbconv", "width": 8, "expand": 2, "group_size": 4}, 24 * 48 + 96 + 9 * 4 * 48 + 96 + 48 * 8 + 16),
        ({"op": "sepconv", "width": 8, "group_size": 0}, 9 * 24 * 24 + 48 + 24 * 8 + 16),
        ({"op": "uib", "width": 8, "expand": 1, "mid_kernel": 0}, 24 * 24 + 48 + 24 * 8 + 16),
        ({"op": "uib", "width": 8, "expand": 2}, 24 * 48 + 96 + 9 * 48 + 96 + 48 * 8 + 16),
        (
            {"op": "uib", "width": 8, "expand": 2, "start_kernel": 5, "end_kernel": 3, "mid_kernel": 0},
            25 * 24 + 48 + 24 * 48 + 96 + 48 * 8 + 16 + 9 * 8 + 16,
        ),
        ({"op": "residual", "width": 24}, 2 * (9 * 24 * 24 + 48)),
        ({"op": "residual", "width": 8}, 9 * 24 * 8 + 9 * 8 * 8 + 24 * 8 + 3 * 16),
        ({"op": "bottleneck", "width": 24}, 24 * 6 + 9 * 6 * 6 + 6 * 24 + 12 + 12 + 48),
        ({"op": "dense_layer", "growth": 4}, 48 + 24 * 16 + 32 + 9 * 16 * 4),
        ({"op": "transition"}, 48 + 24 * 12),
        ({"op": "identity", "width": 8}, 24 * 8 + 16),
        ({"op": "max_pool"}, 0),
    ],
)
def test_params_by_hand(block: dict[str, Any], expected: int):
    assert params(block) == expected


def test_stride_of_a_bottleneck():
    first = lower(network_of({"op": "bottleneck", "width": 24, "stride_at": "first"}, 2))
    between = lower(network_of({"op": "bottleneck", "width": 24}, 2))

    def strides(graph: Graph) -> list[int]:
        return [n.attr["stride"] for n in graph.nodes if n.op == "conv" and n.scope == "stages.0.0"]

    assert strides(first) == [2, 1, 1, 2]
    assert strides(between) == [1, 2, 1, 2]


@pytest.mark.parametrize(
    "kernels, strides",
    [
        ({"start_kernel": 5, "mid_kernel": 3, "end_kernel": 3}, [1, 1, 2, 1, 1]),
        ({"start_kernel": 5, "mid_kernel": 0, "end_kernel": 3}, [2, 1, 1, 1]),
        ({"mid_kernel": 0, "end_kernel": 3}, [1, 1, 2]),
    ],
)
def test_the_stride_of_a_universal_bottleneck_is_at_its_mid_or_first_depthwise(kernels: dict[str, int], strides: list[int]):
    graph = lower(network_of({"op": "uib", "width": 24, "expand": 2, **kernels}, 2))
    assert [n.attr["stride"] for n in graph.nodes if n.op == "conv" and n.scope == "stages.0.0"] == strides


@pytest.mark.parametrize("op", ["conv", "sepconv", "mbconv", "fused_mbconv", "uib"])
def test_squeeze_and_excitation_may_have_the_activation_of_its_block(op: str):
    graph = lower(network_of({"op": op, **CASES[op], "act": "hswish", "se_act": "block"}))
    assert {node.attr["fn"] for node in graph.nodes if node.name.endswith("/se.act")} == {"hswish"}


def test_skips():
    identity, pool = {"op": "conv", "width": 24, "skip": "identity"}, {"op": "conv", "width": 24, "skip": "pool"}
    assert count(identity, 1) == {"add": 1}
    assert count(identity, 2) == {}
    assert count(pool, 2) == {"add": 1, "avg_pool": 1}
    assert count({**pool, "width": 8}, 1) == {}


def count(block: dict[str, Any], stride: int) -> dict[str, int]:
    ops = [n.op for n in lower(network_of(block, stride)).nodes if n.op in ("add", "avg_pool")]
    return {op: ops.count(op) for op in sorted(set(ops))}


def test_stochastic_depth_rises_from_zero():
    graph = lower(network_of({"op": "mbconv", "width": 24, "expand": 2}, repeat=4, drop_path=0.4))
    assert [node.attr["rate"] for node in graph.nodes if node.op == "drop_path"] == pytest.approx([0.1, 0.2, 0.3])


def test_the_shuffle_of_one_group_changes_nothing_else():
    graph = lower(network_of({"op": "shuffle_v1", "width": 48, "first_groups": 1, "groups": 3}))
    groups = [n.attr["groups"] for n in graph.nodes if n.op in ("conv", "shuffle") and n.scope == "stages.0.0"]
    assert groups == [1, 1, 12, 3]


@pytest.mark.parametrize("width", [*np.linspace(1, 400, 57).tolist(), 8, 16, 10, 18, 1280 * 0.75])
def test_make_divisible(width: float):
    rounded = make_divisible(width)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * width
    assert abs(rounded - width) <= 8


@pytest.mark.parametrize(
    "block, words",
    [
        ({"op": "dense_layer", "growth": 4, "stride": 2}, "stages[0].stride: a dense layer keeps the size"),
        ({"op": "shuffle_v2", "width": 9}, "stages[0].width: has to be even, got 9"),
        ({"op": "shuffle_v1", "width": 12}, "stages[0].width: has to be 24, as the input, or more, got 12"),
        ({"op": "bottleneck", "width": 24, "groups": 4}, "stages[0].conv2.conv: 4 groups do not divide 6"),
        ({"op": "mbconv", "width": 8}, "stages[0].expand: set either expand (a ratio) or hidden (a width)"),
        ({"op": "conv"}, "stages[0]: conv needs the knob width"),
        ({"op": "uib", "width": 8, "expand": 2, "mid_kernel": 0, "stride": 2}, "stages[0].stride: without a depthwise"),
        ({"op": "mbconv", "width": 8, "expand": 2, "group_size": 5}, "stages[0].group_size: 5 does not divide 48 channels"),
        ({"op": "conv", "width": 8, "act": "rel"}, "stages[0].act: expected one of none, relu"),
        ({"op": "conv", "width": 8, "padding": "valid", "kernel": 31}, "stages[0].conv: a 31x31 window does not fit"),
        ({"op": "conv", "width": 8, "kernel": [3]}, "stages[0].kernel: expected a side, or [rows, columns], got [3]"),
        ({"op": "conv", "width": 8, "kernel": [3, 32]}, "stages[0].kernel: expected a whole number from 1 to 31, got 32"),
        ({"op": "conv", "width": 8, "dilation": 0}, "stages[0].dilation: expected a whole number from 1 to 64, got 0"),
        ({"op": "inception", "width1": 8}, "stages[0]: inception needs the knob reduce3"),
        ({"op": "classifier"}, "stages[0].op: unknown 'classifier'"),
        ({"op": "max_pool", "stride": 4}, "head.levels: 4x4 parts of a map of 3 pixels; take fewer"),
    ],
)
def test_blocks_refuse(block: dict[str, Any], words: str):
    stride = block.pop("stride", 1)
    with pytest.raises(ValueError, match=r"stages|head") as error:
        lower(network_of(block, stride, head={"op": "spp"}))
    assert words in str(error.value)


@pytest.mark.parametrize("act", ACTS)
def test_activations_do_not_count(act: str):
    assert params({"op": "conv", "width": 8, "act": act}) == params({"op": "conv", "width": 8})


def test_defaults_fill_what_a_block_has():
    arch = network_of({"op": "mbconv", "width": 24, "expand": 2}, defaults={"act": "hswish", "se": 0.5, "growth": 3})
    values = knob_values(arch.stages[0].layers[0], dict(arch.defaults), "here")
    assert (values["act"], values["se"], values["kernel"]) == ("hswish", 0.5, 3)
    _, set_knobs = resolve(arch.stages[0].layers[0], dict(arch.defaults), "here")
    assert set(set_knobs) == {"act", "se", "width", "expand"}


def test_ids_tell_networks_apart():
    ids = {arch_id(network_of({"op": op, **CASES[op]})) for op in CASES}
    assert len(ids) == len(CASES)


def test_parameters_have_the_shapes_that_are_counted():
    graph = lower(network_of({"op": "bottleneck", "width": 24, "groups": 3, "bias": True}))
    shapes = {n.name: param_shapes(n, graph.in_shapes(n)) for n in graph.nodes}
    assert shapes["stages.0.0/conv2.conv"] == {"kernel": (3, 3, 2, 6), "bias": (6,)}
    assert shapes["head/logits"] == {"kernel": (24, 5), "bias": (5,)}
