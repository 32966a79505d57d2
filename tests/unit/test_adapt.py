"""NetAdapt: what shrinks and what is inherited, the steps over a journal, and kills at any moment."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from adapt_formula import NET, Formula, Stop, latency
from nas.arch.blocks import arch_id, lower
from nas.arch.builder import Builder
from nas.arch.files import load_arch
from nas.arch.graph import Graph
from nas.convert.inherit import inherit
from nas.convert.moments import moments_of, summed
from nas.cost import cost
from nas.journal import Journal
from nas.nn.network import init
from nas.nn.ops import ACT_FNS
from nas.workflows.adapt import KINDS, Adapter, AdaptSettings, Point, absolute, changes, shrunk_space, within
from nas.workflows.adapt.pace import Pace, steps_left
from nas.workflows.adapt.steps import joined, ranked
from networks import images_of, logits, settled


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_large", "mobilenet_v3_small", "mnasnet_a1", "efficientnet_b0", "mobilenet_v2"]
)
def test_absolute_widths_are_the_same_network(name: str) -> None:
    arch = load_arch(name)
    assert arch_id(absolute(arch)) == arch_id(arch)
    assert arch_id(absolute(absolute(arch))) == arch_id(arch)


def test_what_may_shrink_is_named_and_shrinks_alone() -> None:
    names = [change.name for change in changes(absolute(NET))]
    assert names == [
        "expansion of stages[1].layers[0]", "expansion of stages[1].layers[1]", "expansion of stages[2].layers[0]",
        "bottleneck of stem to stages[0].layers[0]", "bottleneck of stages[1].layers[0] to stages[2].layers[0]",
        "bottleneck of stages[2].layers[1]", "kernel of stages[1].layers[0]", "kernel of stages[1].layers[1]",
        "squeeze-and-excitation of stages[1].layers[0]", "squeeze-and-excitation of stages[1].layers[1]",
    ]  # fmt: skip
    for change in changes(absolute(NET)):
        before = cost(NET).macs
        for smaller in change.smaller():
            assert cost(smaller).macs < before, change.name
            before = cost(smaller).macs


def test_no_bottleneck_shrinks_to_where_a_residual_would_begin() -> None:
    """Stage 4 of EfficientNet-Lite0 keeps the pixels of stage 3: at the width of that, its first layer would add its input."""
    arch = absolute(load_arch("efficientnet_lite0"))
    [change] = [one for one in changes(arch, ("bottleneck",)) if one.name.startswith("bottleneck of stages[4]")]
    widths = [smaller.stages[4].layers[0].get("width", 0) for smaller in change.smaller()]
    assert widths == [width for width in range(104, 0, -8) if width != 80]


def test_weights_for_a_residual_that_the_parent_has_not_are_refused() -> None:
    arch = absolute(load_arch("efficientnet_lite0").with_io(32, 3, 2))
    stages = [stage if i != 4 else dataclasses.replace(stage, layers=tuple(layer.replace(width=80) for layer in stage.layers))
              for i, stage in enumerate(arch.stages)]  # fmt: skip
    parent, child = lower(arch), lower(dataclasses.replace(arch, stages=tuple(stages)))
    with pytest.raises(ValueError, match="read one sum in the narrower network, and tensors of different widths in the parent"):
        inherit(parent, child, init(parent, 0), 0)


def test_the_fewest_channels_that_meet_the_limit_go() -> None:
    arch = absolute(NET)
    change = changes(arch)[0]
    found = within(change, lambda a: float(cost(a).macs), cost(arch).macs - 1)
    assert found is not None
    assert found.stages[1].layers[0].get("hidden") == 40  # of 16 * 3 = 48
    assert within(change, lambda a: 1.0, 0.5) is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_inherited_fits_every_proposal(kind: str) -> None:
    arch = absolute(NET)
    values = settled(lower(arch), 1)
    for change in changes(arch, (kind,)):
        child = lower(next(change.smaller()))
        given = inherit(lower(arch), child, values, 0)
        fresh = init(child, 0)
        for part in ("params", "stats"):
            for node, arrays in fresh[part].items():
                assert {k: v.shape for k, v in given[part][node].items()} == {k: v.shape for k, v in arrays.items()}, (
                    change.name
                )
                same = [np.array_equal(given[part][node][k], v) for k, v in arrays.items()]
                assert not any(same), f"{change.name}: {node} is as it was before any training"


@pytest.mark.parametrize(
    "name", ["expansion of stages[1].layers[0]", "bottleneck of stages[1].layers[0] to stages[2].layers[0]"]
)
def test_channels_that_do_nothing_go_first_and_leave_the_logits(name: str) -> None:
    arch = absolute(NET)
    graph, change = lower(arch), next(c for c in changes(arch) if c.name == name)
    values, dead = settled(graph), [1, 4, 5, 9, 11, 13, 14, 15]
    if name.startswith("expansion"):
        made, silent = ["expand.conv", "se.expand"], ["expand.norm", "depthwise.norm"]
        made, silent = ([f"stages.1.0/{node}" for node in nodes] for nodes in (made, silent))
    else:
        layers = ("stages.1.0", "stages.1.1", "stages.2.0")
        made = [f"{layer}/project.conv" for layer in layers]
        silent = [*(f"{layer}/project.norm" for layer in layers), "stages.2.1/depthwise.norm"]
    for node in made:
        values["params"][node]["kernel"][..., dead] = 0
    for node in silent:
        values["params"][node]["bias"][dead] = 0
        values["stats"][node]["mean"][dead] = values["stats"][node]["var"][dead] = 0
    child = lower(next(change.smaller()))
    images = images_of(graph, 3)
    given = inherit(graph, child, values, 0)
    np.testing.assert_allclose(logits(child, given, images), logits(graph, values, images), rtol=1e-4, atol=1e-5)


def test_what_constant_channels_added_goes_into_the_statistics() -> None:
    """They carry no information, so they go first; the norm behind has learned a mean with them in it."""
    arch = absolute(NET)
    graph, change = lower(arch), next(c for c in changes(arch) if c.name == "expansion of stages[2].layers[0]")
    values, constant = settled(graph), [0, 3, 7, 8, 20, 31, 40, 47]
    values["params"]["stages.2.0/depthwise.norm"]["scale"][constant] = 0
    values["params"]["stages.2.0/depthwise.norm"]["bias"][constant] = 0.8
    child, images = lower(next(change.smaller())), images_of(graph, 3)
    given = inherit(graph, child, values, 0)
    np.testing.assert_allclose(logits(child, given, images), logits(graph, values, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fn", ["relu", "relu6", "hswish", "swish"])
def test_moments_are_those_of_many_draws(fn: str) -> None:
    b = Builder()
    x = b.act(b.norm(b.input((4, 4, 3)), "norm"), fn)
    b.norm(b.conv(b.mul(x, b.global_pool(x)), 5, 1, bias=False, name="conv"), "next")
    graph = Graph(tuple(b.nodes))
    values = settled(graph)
    found, kernel = moments_of(graph, values), values["params"]["stem/conv"]["kernel"]
    (mean, var), given = found[1] or ((), ()), summed(graph.nodes[5], kernel, found[4])
    draws = np.random.default_rng(0).standard_normal((2, 20_000, 3)) * np.sqrt(var) + mean
    made = np.asarray(ACT_FNS[fn](jnp.asarray(draws))).prod(0) @ kernel[0, 0]
    assert given is not None
    np.testing.assert_allclose(np.array(given), np.array([made.mean(0), made.var(0)]), rtol=0.03, atol=0.01)


def test_a_wider_network_inherits_nothing() -> None:
    wider = dataclasses.replace(NET, head=NET.head.replace(width=64))
    with pytest.raises(ValueError, match=r"head/conv.conv: 64 channels cannot be cut from the parent's 32"):
        inherit(lower(NET), lower(wider), settled(lower(NET)), 0)


def test_the_space_of_shrunk_forms_has_the_network_and_narrower_ones() -> None:
    arch = absolute(NET)
    space = shrunk_space(arch)
    assert arch_id(space.decode(space.encode(arch))) == arch_id(arch)
    layers = [space.decode(space.sample(np.random.default_rng(i))).stages[1].layers[0] for i in range(20)]
    assert max(widths := {layer.get("width") for layer in layers}) == 24
    assert len(widths) > 1
    assert {layer.get("kernel") for layer in layers} == {3, 5}
    assert {layer.get("se_width") for layer in layers} == {0, 4}


def adapted(folder: Path, target: float, left: int = 10**6, **settings: Any) -> tuple[list[tuple[str, str]], list[int]]:
    folder.mkdir(exist_ok=True)
    executor, path = Formula(folder, left), folder / "journal.sqlite"
    with Journal.open(path) if path.exists() else Journal.create(path, {}) as journal:
        adapter = Adapter(
            latency, "formula", journal, executor, AdaptSettings(**settings), 0, lambda number: folder / f"{number}.npz",
            folder / "seed.npz",
        )  # fmt: skip
        points = adapter.run(NET, target * latency(NET))
        assert points[-1].predicted_ms <= target * latency(NET)
        last = adapter.finish({"epochs": 1})
    assert {path.name for path in folder.glob("*.npz")} == {f"{p.number}.npz" for p in (*points, last)}
    return [(point.change, arch_id(point.arch)) for point in points], executor.seen


def test_it_steps_to_the_target_and_takes_the_same_steps_again(tmp_path: Path) -> None:
    steps, seen = adapted(tmp_path / "a", 0.6)
    assert len(steps) > 3
    assert (steps, seen) == adapted(tmp_path / "b", 0.6)
    assert seen == list(range(len(seen)))


@pytest.mark.parametrize("left", [0, 1, 5, 12])
def test_killed_and_called_again_it_resumes(tmp_path: Path, left: int) -> None:
    steps, seen = adapted(tmp_path / "undisturbed", 0.6)
    with pytest.raises(Stop):
        adapted(tmp_path / "killed", 0.6, left)
    again, rest = adapted(tmp_path / "killed", 0.6)
    assert again == steps
    assert len(rest) == len(seen) - left, "what is on record is not run again"


@pytest.mark.parametrize(
    "choose, proposals, number",  # accuracy, ms and loss of each, after 0.9 at 10 ms with a loss of 0.2
    [
        ("ratio", [(0.8, 9, 0.3), (0.8, 8, 0.5)], 1),
        ("ratio", [(0.9, 9, 0.3), (0.9, 8, 0.5), (0.9, 9, 0.25)], 2),
        ("accuracy", [(0.8, 8, 0.1), (0.85, 9, 0.9), (0.85, 9, 0.8)], 2),
        ("loss", [(0.9, 9, 0.3), (0.8, 7, 0.4), (0.9, 8, 0.5)], 1),
    ],
)
def test_the_loss_decides_between_equals(choose: str, proposals: list[tuple[float, float, float]], number: int) -> None:
    points = [Point(1, i, "change", NET, *figures) for i, figures in enumerate(proposals)]
    assert ranked(points, Point(0, 9, "seed", NET, 0.9, 10, 0.2), choose)[0].number == number


def test_a_stage_shrinks_in_proportion() -> None:
    arch = absolute(dataclasses.replace(NET, stages=(NET.stages[0], dataclasses.replace(NET.stages[1], stride=1))))
    assert not list(changes(absolute(NET), ("stage",)))[1:], "one expansion alone is no stage"
    (change,) = changes(arch, ("stage",))
    widths = [[layer.get("hidden") for layer in smaller.stages[1].layers] for smaller in change.smaller()]
    assert change.name == "expansions of stages[1]"
    assert widths[0] == [40, 64]
    assert widths[-1] == [8, 8]


def test_the_best_changes_are_made_together_until_the_step_is_made() -> None:
    arch, settings = absolute(NET), AdaptSettings(together=3)
    rows = {"stages[1].layers[1]": 2, "stages[1].layers[0]": 1, "stages[2].layers[0]": 3}
    names = ["kernel of stages[1].layers[1]", "gone", *(f"expansion of {place}" for place in rows)]
    cut = 0.3 * latency(arch)
    child, made = joined(names, arch, settings, latency, cut, latency(arch) - cut)
    assert latency(child) <= latency(arch) - cut
    assert 2 <= len(made) < 5
    assert made == [name for name in names if name in made]
    for name in made:
        (before, after) = ([layer for stage in one.stages for layer in stage.layers] for one in (arch, child))
        row = rows[name.split(" of ")[1]]
        assert before[row] != after[row], name


def test_the_choice_of_a_step(tmp_path: Path) -> None:
    steps = {rule: adapted(tmp_path / rule, 0.7, choose=rule)[0] for rule in ("ratio", "accuracy")}
    assert all(rows[0][0] == "seed" for rows in steps.values())


def test_steps_of_several_changes_are_fewer_and_resume(tmp_path: Path) -> None:
    single = adapted(tmp_path / "single", 0.7)[0]
    steps, seen = adapted(tmp_path / "a", 0.7, step=0.15, together=3)
    assert 1 < len(steps) < len(single)
    assert " and " in steps[1][0]
    with pytest.raises(Stop):
        adapted(tmp_path / "b", 0.7, len(seen) - 2, step=0.15, together=3)
    assert adapted(tmp_path / "b", 0.7, step=0.15, together=3)[0] == steps


def test_how_long_it_may_still_take_is_told_now_and_then() -> None:
    now, said = [0.0], []
    pace = Pace(said.append, lambda: now[0])
    for done in range(1, 5):
        now[0] += 10
        pace.trained(1, done, 4, 2)
    assert said == ["step 1: 2 of 4 proposals trained, 2 more steps expected, about 100 s left".replace("100 s", "2 min")]
    assert pace.stepped(4, 2) == ", 2 more expected, about 80 s left"
    assert pace.stepped(4, 0) == ""
    assert Pace(said.append).stepped(4, 2) == ", 2 more expected", "all of it was on record"
    for step in range(0, 41, 10):
        pace.final(step, 40)
        now[0] += 10
    assert said[1:] == ["final training: 50 %, about 20 s left"]


@pytest.mark.parametrize(
    "latencies, cut, target, steps",
    [([10], 1, 7, 3), ([10], 1, 6.9, 4), ([10, 9.5], 1, 7, 5), ([10, 8], 1, 7, 1), ([10, 7], 1, 7, 0)],
)
def test_steps_left(latencies: list[float], cut: float, target: float, steps: int) -> None:
    assert steps_left(latencies, cut, target) == steps


def test_a_target_out_of_reach_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target_ms: nothing left to shrink makes the network faster than"):
        adapted(tmp_path / "x", 0.01, kinds=("kernel",))


@pytest.mark.parametrize(
    "settings, words",
    [({"step": 0}, "step"), ({"decay": 2}, "decay"), ({"kinds": ()}, "kinds"), ({"max_steps": 0}, "max_steps")],
)
def test_wrong_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"{words}: expected"):
        AdaptSettings(**settings)
