"""Spaces: every one that comes with nas passes the same checks; the grammar's parts one by one; errors name the place."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import arch_from_dict
from nas.arch.blocks import BLOCKS, PRIVATE, lower, refuse_private, register_block
from nas.arch.builder import Builder
from nas.arch.files import space_names
from nas.core.yamlio import dump_yaml, parse_yaml
from nas.space import Space, load_space

SPACES = [name for name, path in space_names().items() if path.parent.name != "reference"]


def make(stages: list[dict[str, Any]], **rest: Any) -> Any:
    data = {"name": "made", "resolution": 16, "stem": {"op": "conv", "kernel": 3, "width": 8}, "stages": stages}
    return Space.from_dict({**data, "head": {"op": "classifier"}, **rest}, "made.yaml")


ONE = {"op": "mbconv", "kernel": 3, "expand": 2, "width": 8}


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_genomes_round_trip_and_moves_stay_inside(name: str, seed: int) -> None:
    space = SPACE_CACHE[name]
    rng = np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    for genome in (a, space.mutate(a, rng), space.cross(a, b, rng), next(space.neighbors(a))):
        assert space.canonical(genome) == genome
        assert space.allowed(genome)
    arch = space.decode(a)
    assert lower(space.decode(space.encode(arch))).id == lower(arch).id
    assert arch_from_dict(parse_yaml(dump_yaml(arch.to_dict()), "x"), "x") == arch
    assert space.mutate(a, rng) != a


SPACE_CACHE = {name: load_space(name) for name in SPACES}


@pytest.mark.parametrize("name", SPACES)
def test_plain_data_makes_the_same_space_elsewhere(name: str) -> None:
    space = SPACE_CACHE[name].with_divisor(8).fit(16, 1, 10)
    twin = Space.from_plain(space.to_plain())
    assert twin == space
    assert twin.fingerprint == space.fingerprint != SPACE_CACHE[name].fingerprint


@pytest.mark.parametrize("name", SPACES)
def test_positions_hold_every_decoded_layer(name: str) -> None:
    space, rng = SPACE_CACHE[name], np.random.default_rng(3)
    positions = {(p.stage, p.layer): p for p in space.positions()}
    for _ in range(5):
        arch = space.decode(space.sample(rng))
        for i, stage in enumerate(arch.stages):
            for j, block in enumerate(stage.layers):
                assert block in positions[i, j].blocks
        there = {(i, j) for i, stage in enumerate(arch.stages) for j in range(stage.repeat)}
        assert all(position.optional for place, position in positions.items() if place not in there)


def test_mnasnet_is_the_papers_space() -> None:
    """Per block 4 convolutions (conv, sepconv, two expansions), 2 kernels, 2 SE, 3 skips, 3 widths, 3 depths: 432 (2 where r = 1)."""
    assert SPACE_CACHE["mnasnet"].size == 432**5 * 288**2


def test_mobilenet_v3_size() -> None:
    """A stage of n layers has 18^n kernels, expansions and SE, over n = 2, 3, 4, times activations and widths."""
    layers = 18**2 + 18**3 + 18**4
    assert SPACE_CACHE["mobilenet_v3"].size == (3 * 2 * 2 * 2) * (layers * 2 * 2) * (layers * 2 * 3) ** 4


@pytest.mark.parametrize(
    "stages, rest",
    [
        ([{**ONE, "kernel": {"one_of": [3, 5]}, "repeat": {"one_of": [1, 2, 3]}}], {}),
        ([{**ONE, "kernel": {"one_of": [3, 5], "per": "layer"}, "repeat": {"one_of": [1, 2, 3]}}], {}),
        ([{**ONE, "op": {"one_of": ["sepconv", "mbconv"]}, "expand": {"one_of": [2, 4], "when": {"op": "mbconv"}}}], {}),
        ([{"width": 8, "repeat": 3, "block": {"one_of": [{"op": "identity"}, {"op": "sepconv", "kernel": 5}], "per": "layer"}}], {}),
        ([{**ONE, "kernel": {"one_of": {"name": "k", "of": [3, 5]}}}, {**ONE, "kernel": {"one_of": {"name": "k", "of": [3, 5]}},
          "se": {"one_of": [0, 0.25], "when": {"k": 5}}}], {"forbid": [{"k": 3, "resolution": 8}]}),
        ([{**ONE, "stride": {"one_of": [1, 2]}}], {"forbid": [{"stages[0].stride": [1, 2], "resolution": 16}]}),
    ],
)  # fmt: skip
def test_size_is_the_number_of_genomes_that_can_be_listed(stages: list[Any], rest: dict[str, Any]) -> None:
    space = make(stages, **{"resolution": {"one_of": [8, 16]}, **rest})
    genomes = list(space.enumerate())
    assert len(genomes) == len(set(genomes)) == space.size
    assert all(space.canonical(g) == g and space.allowed(g) for g in genomes)
    every = itertools.product(*(range(n) for n in space.option_counts))
    assert {space.canonical(g) for g in every if space.allowed(space.canonical(g))} == set(genomes)
    rng = np.random.default_rng(0)
    assert {space.sample(rng) for _ in range(60 * space.size)} == set(genomes)


def test_an_inactive_choice_leaves_the_blocks_own_default() -> None:
    space = make(
        [{**ONE, "kernel": {"one_of": {"name": "k", "of": [3, 5]}}, "se": {"one_of": [0.5, 0.25], "when": {"k": 5}}}]
    )
    small, large = space.decode((0, 1)), space.decode((1, 1))
    assert small.stages[0].layers[0].get("se") is None
    assert large.stages[0].layers[0].get("se") == 0.25


def test_divisor_rounds_stage_widths() -> None:
    space = make([{**ONE, "width": {"one_of": [18, 30]}}])
    widths = [space.with_divisor(8).decode((i,)).stages[0].layers[0].get("width") for i in (0, 1)]
    assert widths == [24, 32]  # 18 rounds to 16, which is under 90 % of it


def test_small_images_drop_the_earliest_strides() -> None:
    space = load_space("mobilenet_v3")
    arch = space.fit(32, 3, 10).decode(space.sample(np.random.default_rng(0)))
    assert arch.strides() == [1, 1, 1, 2, 2, 1, 2]
    assert (arch.resolution, arch.channels, arch.classes) == (32, 3, 10)


@pytest.mark.parametrize(
    "stages, rest, words",
    [
        ([{**ONE, "kernle": 3}], {}, ["stages[0].kernle", "kernel"]),
        ([{**ONE, "op": "mbcnv"}], {}, ["stages[0].op", "'mbcnv'", "mbconv"]),
        ([{**ONE, "width": -3}], {}, ["stages[0].width", "-3"]),
        ([{**ONE, "kernel": {"one_of": [3, "five"]}}], {}, ["stages[0].kernel", "'five'"]),
        ([{**ONE, "kernel": {"one_of": []}}], {}, ["stages[0].kernel.one_of"]),
        ([{**ONE, "kernel": {"oneof": [3, 5]}}], {}, ["stages[0].kernel", "oneof", "one_of"]),
        ([{**ONE, "kernel": {"one_of": [3, 3]}}], {}, ["stages[0].kernel", "twice"]),
        ([{**ONE, "repeat": 10**9}], {}, ["stages[0].repeat"]),
        ([{**ONE, "repeat": {"one_of": [1, 0]}}], {}, ["stages[0].repeat", "0"]),
        ([{**ONE, "se": {"one_of": [0, 0.5], "when": {"kernl": 5}}, "kernel": {"one_of": [3, 5]}}], {}, ["when", "kernl"]),
        ([{**ONE, "se": {"one_of": [0, 0.5], "when": {"kernel": 7}}, "kernel": {"one_of": [3, 5]}}], {}, ["kernel", "never 7"]),
        ([ONE], {"forbid": [{"stages[0].k": 1}]}, ["forbid[0]", "stages[0].k"]),
        ([ONE], {"resolution": "big"}, ["resolution", "'big'"]),
        ([ONE], {"padding": "sam"}, ["padding", "same"]),
        ([ONE], {"defaults": {"akt": "relu"}}, ["defaults.akt", "act"]),
        ([ONE], {"stagse": []}, ["stagse", "stages"]),
        ([], {}, ["stages"]),
        ([{**ONE, "hidden": 8}], {}, ["stages[0]", "hidden"]),
        ([{**ONE, "kernel": {"one_of": [3, 5], "when": {"se": 0.25}}, "se": {"one_of": [0, 0.25], "when": {"kernel": 5}}}],
         {}, ["lead back"]),
        ([{**ONE, "kernel": {"one_of": {"name": "k", "of": [3, 5]}}}, {**ONE, "kernel": {"one_of": {"name": "k", "of": [3]}}}],
         {}, ["'k'"]),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_names_the_place(stages: list[Any], rest: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^made(\.yaml)?:") as error:
        make(stages, **rest)
    line = str(error.value)
    assert "\n" not in line
    assert all(word in line for word in words), line


def test_a_forbidden_space_says_so() -> None:
    with pytest.raises(ValueError, match="forbid leaves no architecture"):
        make([{**ONE, "kernel": {"one_of": [3, 5]}}], forbid=[{"stages[0].kernel": [3, 5]}])


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'mnasnet'"):
        load_space("mnasnt")
    with pytest.raises(ValueError, match="no such file"):
        load_space(str(tmp_path / "no.yaml"))


def test_an_arch_outside_the_space_is_refused_with_the_place() -> None:
    space = load_space("tiny")
    arch = load_space("tiny").decode(space.sample(np.random.default_rng(0)))
    data = arch.to_dict()
    data["stages"][1]["width"] = 1000
    with pytest.raises(ValueError, match=r"not in the space tiny: stages\[1\] has width: 1000"):
        space.encode(arch_from_dict(data))


def test_a_space_is_loaded_by_name_path_content_or_as_it_is(tmp_path: Path) -> None:
    space = SPACE_CACHE["tiny"]
    path = tmp_path / "mine.yaml"
    path.write_text(space_names()["tiny"].read_text())
    assert load_space(space) is space
    assert load_space(path).size == load_space(json.loads(space.source)).size == space.size
    assert repr(space) == f"Space('tiny', {len(space.genes)} genes)"
    with pytest.raises(ValueError, match=r"^mine: stages\[0\]\.kernle: .*did you mean 'kernel'"):
        Space.from_dict({**json.loads(make([ONE]).source), "stages": [{**ONE, "kernle": 3}]}, "mine")


def twin(g: Builder, x: int, *, stride: int = 1, width: int, act: str = "relu") -> int:
    """Two convolutions side by side."""
    one, three = (g.conv_norm_act(x, width, k, stride, act, f"conv{k}") for k in (1, 3))
    return g.add(one, three)


@pytest.fixture
def _own_registry() -> Iterator[None]:
    """Blocks registered by a test are unknown after it."""
    kept = dict(BLOCKS)
    yield
    BLOCKS.clear()
    BLOCKS.update(kept)
    PRIVATE.clear()


@pytest.mark.usefixtures("_own_registry")
def test_a_space_brings_its_blocks_as_functions() -> None:
    data = {**json.loads(make([ONE]).source), "stages": [{"op": "twin", "width": {"one_of": [8, 16]}}]}
    space = Space.from_dict(data, blocks={"twin": twin})
    assert space.blocks == (("twin", f"{__name__}.twin", ""),)
    assert lower(space.decode((1,))).nodes
    assert Space.from_plain(space.to_plain()) == space
    prints = {Space.from_dict(data, blocks={"twin": twin}, version=v).fingerprint for v in ("", "2")}
    assert len(prints | {space.fingerprint}) == 2
    with pytest.raises(ValueError, match=r"^made: the block 'twin' is a function of this process .*; to export it, .*plugins="):
        refuse_private(space.decode((0,)), "export it")
    refuse_private(SPACE_CACHE["tiny"].decode((0,) * len(SPACE_CACHE["tiny"].genes)), "export it")


@pytest.mark.usefixtures("_own_registry")
def test_names_of_blocks_are_not_taken_twice() -> None:
    with pytest.raises(ValueError, match="blocks: the name 'mbconv' is taken"):
        register_block("mbconv", twin)
    register_block("twin", twin)
    with pytest.raises(ValueError, match="blocks: the name 'twin' is taken"):
        register_block("twin", lambda g, x, *, stride=1: x)
