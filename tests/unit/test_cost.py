"""Exact costs: by hand on small networks, and equal for one architecture and for many genomes."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import Arch, arch_from_dict
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.cost import FEATURES, METRICS, Costs, cost, cost_json, cost_table, layer_features
from nas.space import Space, load_space


def everything() -> Space:
    """Choices at every place of a file: resolution, strides, stem, blocks, tied and conditional genes, head."""
    return Space.from_dict(
        {
            "name": "everything",
            "resolution": {"one_of": [32, 48, 64]},
            "drop_path": 0.2,
            "stem": {"op": "conv", "kernel": {"one_of": [3, 5]}, "stride": {"one_of": [1, 2]}, "width": 8},
            "stages": [
                {"op": {"one_of": ["mbconv", "fused_mbconv"], "per": "layer"}, "repeat": {"one_of": [1, 2, 3]},
                 "kernel": {"one_of": {"name": "k", "of": [3, 5]}}, "expand": {"one_of": [1, 3], "per": "layer"},
                 "se": {"one_of": [0, 0.25], "when": {"k": 5}}, "width": {"one_of": [12, 18]},
                 "stride": {"one_of": [1, 2]}},
                {"block": {"one_of": [{"op": "identity"}, {"op": "residual"}, {"op": "bottleneck", "groups": 2, "hidden": 4}],
                           "per": "layer"}, "repeat": 2, "width": 20, "stride": 2},
                {"op": {"one_of": ["sepconv", "conv"]}, "width": 24, "kernel": {"one_of": {"name": "k", "of": [3, 5]}},
                 "skip": {"one_of": ["none", "identity", "pool"]}, "stride": {"one_of": [1, 2, 3]}},
            ],
            "head": {"op": "classifier", "width": {"one_of": [0, 32]}},
            "forbid": [{"stages[0].repeat": 3, "k": 5}],
        },
        "everything",
    )  # fmt: skip


SPACES = {
    "everything": everything(),
    "everything, fitted": everything().fit(16, 1, 5),
    "tiny": load_space("tiny"),
    "mnasnet": load_space("mnasnet"),
    "mnasnet, fitted": load_space("mnasnet").with_divisor(8).fit(32, 3, 10),
    "mobilenet_v3": load_space("mobilenet_v3").fit(classes=100),
    "ofa_mobilenet_v3": load_space("ofa_mobilenet_v3"),
    "nas_bench_macro": load_space("nas_bench_macro"),
    "proxylessnas": load_space("proxylessnas").fit(64),
    "resnet18": load_space("resnet18"),
    "tiny_lraspp": load_space("tiny_lraspp").fit(64, 3, 5),
    "tiny_ssdlite": load_space("tiny_ssdlite").fit(96, 3, 5),
    "tiny_yolo": load_space("tiny_yolo").fit(96, 3, 5),
}


@cache
def costs_of(name: str) -> Costs:
    return Costs(SPACES[name])


@pytest.mark.parametrize("name", SPACES)
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_costs_of_genomes_are_the_costs_of_their_architectures(name: str, seed: int):
    space, rng = SPACES[name], np.random.default_rng(seed)
    genomes = [space.sample(rng) for _ in range(3)]
    counted = costs_of(name)(genomes)
    features = costs_of(name).features(genomes)
    for i, genome in enumerate(genomes):
        arch = space.decode(genome)
        one = cost(arch)
        assert [counted[m][i] for m in METRICS] == [one.params, one.macs, one.peak_activation_bytes]
        assert features[i].tolist() == stage_features(arch)


def stage_features(arch: Arch) -> list[int]:
    layers = layer_features(lower(arch))
    groups = ["stem", *(f"stages.{i}" for i in range(len(arch.stages))), "head"]
    rows = [[r for name, r in layers.items() if name == g or name.startswith(g + ".")] for g in groups]
    return [sum(column) for g in rows for column in np.array(g or [[0] * len(FEATURES)]).T.tolist()]


def test_inactive_genes_do_not_count():
    space, rng = SPACES["mnasnet"], np.random.default_rng(0)
    raw = rng.integers(space.option_counts, size=(50, len(space.genes)))
    canonical = [space.canonical(g.tolist()) for g in raw]
    costs = costs_of("mnasnet")
    assert all((costs(raw)[m] == costs(canonical)[m]).all() for m in METRICS)


def test_after_the_first_call_few_layers_are_new():
    space, rng = load_space("mnasnet"), np.random.default_rng(1)
    costs = Costs(space)
    genomes = np.array([space.sample(rng) for _ in range(400)])
    costs(genomes[:1])
    known = len(costs._units)
    counted = costs(genomes)
    assert len(costs._units) - known < 40
    assert counted["macs"].shape == (400,)
    assert counted["macs"].dtype == np.int64


def test_no_genomes_and_no_genes():
    assert costs_of("mnasnet")(np.zeros((0, 49), int))["macs"].shape == (0,)
    fixed = Costs(SPACES["resnet18"])
    assert [fixed([()] * n)["params"].tolist() for n in (1, 2)] == [[11_689_512], [11_689_512] * 2]


@pytest.mark.parametrize(
    "genomes, words",
    [
        ([[0, 1]], r"expected whole numbers of shape \(n, 49\)"),
        (np.zeros((1, 49)), "got float64"),
        ([[9] * 49], "expected an option from 0 to"),
        ([[-1] * 49], "expected an option from 0 to"),
    ],
)
def test_wrong_genomes_are_refused(genomes, words: str):
    with pytest.raises(ValueError, match=words):
        costs_of("mnasnet")(genomes)


def test_a_genome_that_cannot_be_built_is_named():
    data = {"name": "small", "resolution": {"one_of": list(range(4, 40))}, "stem": {"op": "identity"},
            "stages": [{"op": "max_pool", "kernel": 5, "padding": "valid"}], "head": {"op": "classifier"}}  # fmt: skip
    costs = Costs(Space.from_dict(data, "small"))
    assert costs([[1]])["params"].tolist() == [4 * 1000]
    with pytest.raises(ValueError, match=r"small: stages\[0\]\.pool: a 5x5 window does not fit"):
        costs([[0], [1]])


def net(*stages: dict, head: dict | None = None, resolution: int = 8, width: int = 4) -> Arch:
    stem = {"op": "conv", "kernel": 3, "width": width}
    data = {"resolution": resolution, "classes": 10, "stem": stem, "stages": list(stages)}
    return arch_from_dict({**data, "head": head or {"op": "classifier"}})


IMAGE, MAP = 4 * 8 * 8 * 3, 4 * 8 * 8 * 4


@pytest.mark.parametrize(
    "stage, peak",
    [
        ({"op": "identity"}, IMAGE + MAP),
        # norm and activation write over the convolution's output
        ({"op": "conv", "width": 4}, 2 * MAP),
        # block input, expansion and the depthwise output are alive at once
        ({"op": "mbconv", "width": 4, "expand": 2}, 5 * MAP),
        # without its residual the input is gone once it is expanded
        ({"op": "mbconv", "width": 4, "expand": 2, "skip": "none"}, 4 * MAP),
        # the gated tensor is written over
        ({"op": "conv", "width": 4, "se": 0.25}, 2 * MAP),
        # input, three finished branches, the fourth and their sum
        ({"op": "dense_layer", "growth": 4, "expand": 1}, 4 * MAP),
        ({"op": "max_pool", "stride": 2}, IMAGE + MAP),
    ],
)
def test_peak_activation_by_hand(stage: dict, peak: int):
    assert cost(net(stage)).peak_activation_bytes == peak


def test_layers_add_up():
    arch = load_arch("mobilenet_v3_small")
    counted = cost(arch)
    assert [layer.name for layer in counted.layers] == [name for name, _, _ in arch.layers()]
    assert sum(layer.params for layer in counted.layers) == counted.params
    assert sum(layer.macs for layer in counted.layers) == counted.macs
    assert max(layer.peak_activation_bytes for layer in counted.layers) == counted.peak_activation_bytes
    assert counted.layers[-1].output == (1, 1, 1000)


def test_identity_costs_nothing_and_keeps_its_shape():
    layer = cost(net({"op": "identity"})).layers[1]
    assert (layer.params, layer.macs, layer.peak_activation_bytes, layer.output) == (0, 0, 0, (8, 8, 4))


def test_table_and_json():
    arch = load_arch("mobilenet_v3_large")
    counted = cost(arch)
    rows = cost_table(counted)
    assert rows[-1][3:5] == ("5,483,032", "216.59 M")
    assert {len(row) for row in rows} == {6}
    data = json.loads(json.dumps(cost_json(arch, counted)))
    assert list(data) == ["name", "params", "macs", "peak_activation_bytes", "layers"]
    assert data["macs"] == counted.macs
    assert isinstance(data["macs"], int)
    assert len(data["layers"]) == len(rows) - 2


def test_features_by_hand():
    arch = net({"op": "mbconv", "width": 4, "expand": 2, "kernel": 5, "se": 0.5, "act": "hswish"})
    row = dict(zip(FEATURES, layer_features(lower(arch))["stages.0.0"], strict=True))
    assert row["pointwise_macs"] == 64 * (4 * 8 + 8 * 4) + 2 * 8 * 2
    assert row["depthwise_macs_5x5"] == 64 * 8 * 25
    assert row["conv_macs"] == row["grouped_macs"] == row["dense_macs"] == 0
    assert (row["se_count"], row["se_elements"]) == (1, 64 * 8)
    assert row["smooth_elements"] == 2 * 64 * 8 + 8
    assert row["params"] == cost(arch).layers[1].params


def test_absurd_costs_are_refused_by_name():
    arch = {"name": "huge", "resolution": 8192, "channels": 65536, "stem": {"op": "conv", "kernel": 31, "width": 65536},
            "stages": [{"op": "conv", "kernel": 31, "width": 65536}], "head": {"op": "classifier"}}  # fmt: skip
    assert cost(arch_from_dict(arch)).macs > 10**20
    with pytest.raises(ValueError, match="huge: stem: costs over"):
        Costs(Space.from_dict(arch, "huge"))([()])
