"""Parts of a network by name: what each stands for, which one a mistyped name may mean, and which factor a layer gets."""

from typing import Any

import pytest

from nas.arch import Arch, Block, Stage
from nas.arch.blocks import lower
from nas.arch.parts import factors_of, frozen_nodes, nodes_of, part_names

LAYER = Block.of("conv", width=4)
NET = Arch("net", 8, LAYER, (Stage((LAYER, LAYER)), Stage((LAYER,)), Stage((LAYER,))), Block.of("classifier", width=8, dropout=0.1))
GRAPH = lower(NET)
SCOPES = ["stem", "stages.0.0", "stages.0.1", "stages.1.0", "stages.2.0", "head"]


@pytest.mark.parametrize(
    "part, scopes",
    [
        ("backbone", SCOPES[:-1]),
        ("stem", ["stem"]),
        ("stages", SCOPES[1:-1]),
        ("stages.0", ["stages.0.0", "stages.0.1"]),
        ("stages.0-1", ["stages.0.0", "stages.0.1", "stages.1.0"]),
        ("stages.1-1", ["stages.1.0"]),
        ("stages.0.1", ["stages.0.1"]),
        ("stages.0.0-1", ["stages.0.0", "stages.0.1"]),
        ("head", ["head"]),
    ],
)
def test_a_part_is_all_nodes_of_its_layers(part: str, scopes: list[str]) -> None:
    found = nodes_of(GRAPH, part, "here")
    assert found == {node.name for node in GRAPH.nodes[1:] if node.scope in scopes}


@pytest.mark.parametrize(
    "part, names",
    [
        ("head/conv", {"head/conv.conv", "head/conv.norm", "head/conv.act"}),
        ("head/conv.norm", {"head/conv.norm"}),
        ("head/logits", {"head/logits"}),
    ],
)
def test_a_part_may_be_a_layer_of_a_block(part: str, names: set[str]) -> None:
    assert nodes_of(GRAPH, part, "here") == names


@pytest.mark.parametrize(
    "part, message",
    [
        ("bakbone", "here: no part 'bakbone'; did you mean backbone?"),
        ("Stem", "here: no part 'Stem'; did you mean stem?"),
        ("stages.3", "here: no part 'stages.3'; did you mean stages."),
        ("stages.1-3", "here: no part 'stages.3'; did you mean stages."),
        ("stages.0-99999", "here: no part 'stages.0-99999'"),
        ("stages.2-1", "here: no part 'stages.2-1'"),
        ("stages.", "here: no part 'stages.'"),
        ("stage.0", "here: no part 'stage.0'; did you mean stages.0?"),
        ("head/logit", "here: no part 'head/logit'; did you mean head/logits?"),
        ("input", "here: no part 'input'"),
        ("", "here: no part ''"),
    ],
)
def test_a_wrong_name_is_answered_with_all_and_the_nearest(part: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^here: ") as caught:
        nodes_of(GRAPH, part, "here")
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("(parts: backbone, stem, stages.0 to stages.2, head)")


def test_all_parts_are_listed_in_the_order_of_execution() -> None:
    assert part_names(GRAPH) == ["backbone", "stem", "stages.0", "stages.1", "stages.2", "head"]


@pytest.mark.parametrize(
    "parts, fresh, message",
    [
        (["head"], ["head/logits"], "here: head/logits would stay at initial values"),
        (["backbone"], [n.name for n in GRAPH.nodes], r"here: stem/conv, stem/norm, stages.0.0/conv, stages.0.0/norm and 6 more would"),
        (["backbone", "head"], [], "here: nothing is left to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused(parts: list[str], fresh: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frozen_nodes(GRAPH, parts, fresh, "here")


def test_layers_without_weights_are_never_fresh() -> None:
    assert "stem/act" in frozen_nodes(GRAPH, ["stem"], ["stem/act", "head/logits"], "here")
    assert frozen_nodes(GRAPH, [], [node.name for node in GRAPH.nodes], "here") == frozenset()


@pytest.mark.parametrize(
    "factors, expected",
    [
        ({"head": 10.0}, {"head/logits": 10.0, "stem/conv": None}),
        ({"backbone": 0.1, "stages.1": 0.5}, {"stem/conv": 0.1, "stages.0.0/conv": 0.1, "stages.1.0/conv": 0.5}),
        ({"stages.1": 0.5, "backbone": 0.1}, {"stem/conv": 0.1, "stages.1.0/conv": 0.5}),
        ({"stages.1.0": 3.0, "stages.1": 2.0}, {"stages.1.0/conv": 3.0}),  # of the same layers: the longer name
        ({"head": 0.0, "head/logits": 1.0}, {"head/conv.conv": 0.0, "head/logits": 1.0}),
    ],
)
def test_the_smallest_part_gives_the_factor(factors: dict[str, float], expected: dict[str, Any]) -> None:
    found = factors_of(GRAPH, factors, "here")
    assert {name: found.get(name) for name in expected} == expected
