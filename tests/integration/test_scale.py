"""Compound scaling: the published family to the parameter, budgets that hold, grids that have what they should."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import Arch, Block, Stage
from nas.arch.blocks import arch_id
from nas.arch.files import load_arch
from nas.cli import run
from nas.cost import cost
from nas.journal import Journal
from nas.workflows.scale import Coefficients, compound, depth_multiplier, family_space, grid, preset, to_budget
from report_makers import add, new_journal

# Parameters and multiply-adds of the published networks, 1000 classes.
PUBLISHED = [
    (1, 240, 7_794_184, 686.80), (2, 260, 9_109_994, 993.56), (3, 300, 12_233_232, 1_827.14), (4, 380, 19_341_616, 4_393.77),
    (5, 456, 30_389_784, 10_266.38), (6, 528, 43_040_704, 19_067.59), (7, 600, 66_347_960, 37_745.88), (8, 672, 87_413_142, 62_597.46),
]  # fmt: skip
SMALL = Arch(
    name="small",
    resolution=32,
    stem=Block.of("conv", width=16),
    stages=(Stage((Block.of("mbconv", width=16, expand=2),) * 2, stride=2), Stage((Block.of("mbconv", width=24, expand=3),), stride=2)),
    head=Block.of("classifier", width=64, dropout=0.2),
    classes=10,
)  # fmt: skip


@pytest.mark.parametrize("phi, resolution, params, macs", PUBLISHED)
def test_the_preset_gives_the_published_networks(phi: int, resolution: int, params: int, macs: float) -> None:
    arch = preset(load_arch("efficientnet_b0"), phi)
    counted = cost(arch)
    assert (arch.resolution, counted.params, round(counted.macs / 1e6, 2)) == (resolution, params, macs)
    assert arch.name == f"efficientnet_b{phi}"


@pytest.mark.parametrize("phi", [1, 4])
def test_the_preset_gives_the_reference_files(phi: int) -> None:
    assert arch_id(preset(load_arch("efficientnet_b0"), phi)) == arch_id(load_arch(f"efficientnet_b{phi}"))


def test_phi_0_is_the_identity() -> None:
    assert compound(SMALL, 0) is SMALL
    assert preset(SMALL, 0) is SMALL


def test_members_are_rounded_as_the_published_code_does() -> None:
    twice = compound(SMALL, 2, Coefficients(1.2, 1.1, 1.15))
    assert twice.resolution == round(32 * 1.15**2)
    assert [stage.repeat for stage in twice.stages] == [3, 2]  # ceil(1.44 * 2), ceil(1.44)
    assert [stage.layers[0].get("width") for stage in twice.stages] == [24, 32]  # 19.36 under the 10 % rule, 29.04
    assert depth_multiplier(SMALL, 1.2, nearest=True).stages[0].repeat == 2


@pytest.mark.parametrize("phi", [0, 1, 2, 3])
def test_multiply_adds_about_double(phi: int) -> None:
    b0 = load_arch("efficientnet_b0")
    ratio = cost(compound(b0, phi + 1)).macs / cost(compound(b0, phi)).macs
    assert 1.5 < ratio < 2.9


@settings(max_examples=12)
@given(st.floats(0.1, 30))
def test_a_budget_holds_and_is_used(share: float) -> None:
    target = share * cost(SMALL).macs
    phi, member = to_budget(SMALL, target, lambda arch: cost(arch).macs)
    assert cost(member).macs <= target
    assert cost(member).macs > 0.45 * target
    assert (phi > 0) <= (share >= 1)


def test_a_budget_out_of_reach_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"small: even at phi -8 it costs .* more than 1"):
        to_budget(SMALL, 1, lambda arch: cost(arch).macs)


def test_the_grid_has_the_published_coefficients() -> None:
    found = list(grid(0.05, 0.1))
    assert Coefficients(1.2, 1.1, 1.15) in found
    assert all(abs(c.product - 2) <= 0.1 + 1e-9 for c in found)
    assert len(set(found)) == len(found) > 10
    assert Coefficients(1.2, 1.1, 1.15) not in list(grid(0.05, 0.05))


def test_a_family_space_holds_its_members() -> None:
    space = family_space(SMALL)
    assert arch_id(space.decode(space.encode(SMALL))) == arch_id(SMALL)
    assert {gene.name for gene in space.genes} >= {
        "resolution",
        "stages[0].repeat",
        "stages[0].width",
        "stages[1].width",
    }


@pytest.mark.parametrize(
    "args, words",
    [
        (["preset=efficientnet", "phi=[9]"], "phi: preset efficientnet has 0 to 8"),
        (["preset=efficientnet", "macs=[1e6]"], "preset: its coefficients are fixed"),
        (["target_ms=[1]"], "target_ms: expected one device"),
        (["alpha=0.5"], "alpha: expected a number from 1 to 8"),
        (["macs=[-1]"], "macs: expected numbers above 0"),
        (["grid.search=true", "grid.step=0.3", "grid.tolerance=0.01"], "grid: no alpha beta^2 gamma^2"),
    ],
)
def test_wrong_settings_are_named(here: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str) -> None:
    assert run(["scale", "arch=efficientnet_b0", "executor=local", *args]) == 2
    assert words in capsys.readouterr().err


TINY = [
    "arch=net.yaml", "executor=local", "dataset=npz", "dataset.path=images.npz", "recipe=quick", "recipe.epochs=1",
    "recipe.warmup_epochs=0", "recipe.batch=8",
]  # fmt: skip


def test_a_grid_is_trained_once_and_its_members_are_references(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    from nas.core.yamlio import dump_yaml

    rng = np.random.default_rng(0)
    np.savez("images.npz", x_train=rng.integers(0, 256, (24, 8, 8, 1), np.uint8), y_train=np.arange(24) % 2)
    net = {"name": "net", "resolution": 8, "stem": {"op": "conv", "width": 8}, "stages": [{"op": "conv", "width": 8}],
           "head": {"op": "classifier"}}  # fmt: skip
    Path("net.yaml").write_text(dump_yaml(net))
    args = ["scale", *TINY, "grid.search=true", "grid.step=0.5", "grid.tolerance=0.3", "phi=[1]", "train=true", "run=f"]
    Path("table.csv").write_text(
        "op,input,output,kernel,stride,expansion,se,activation,ms\nconv,,,,,,,,0.25\nclassifier,,,,,,,,0.25\n"
    )
    args += ["device=table", "device.table.path=table.csv"]
    assert run(args) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "best: alpha" in out
    result = json.loads(Path("f/net_phi1/result.json").read_text())
    assert 0 <= result["valid"]["accuracy"] <= 1
    assert {path.name for path in Path("f/net_phi1").iterdir()} == {"arch.yaml", "result.json", "weights.npz"}

    def trainings() -> int:
        with Journal.open(Path("f/journal.sqlite"), read_only=True) as journal:
            return len(list(journal.evaluations()))

    before = trainings()
    assert run(args) == 0
    assert trainings() == before == 4, "nothing is trained twice"
    assert "measured ms on table" in capsys.readouterr().out
    check_on_a_front(here, capsys)


def check_on_a_front(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The trained member in the report of a search on the same images."""
    recipe = json.loads(Path("f/net_phi1/result.json").read_text())["recipe"]
    settings = {"dataset": {"name": "npz"}, "recipe": {**recipe, "epochs": 3}, "device": {"table": {"name": "table"}}}
    axes = {"metrics": [["accuracy", "max"], ["latency_ms/table", "min"]], "reward": "first"}
    with new_journal(Path("s"), settings=settings, objectives=axes) as journal:
        add(journal, {"accuracy": 0.01, "predicted_ms/table": 9.0})
    assert run(["report", "run=s", "scaled=[f]", "json=true"]) == 0
    (member,) = json.loads(capsys.readouterr().out)["front"]
    assert member["scaled"] == "net_phi1"
    assert member["measured_ms"]["table"] in (0.75, 1.0), "one layer or two, and stem and head"
    assert run(["report", "run=s", "scaled=[f]"]) == 0
    assert "scaled; epochs 1, not 3" in capsys.readouterr().out
    for wrong, words in (
        (["scaled=[none]"], "scaled: none: no trained members there"),
        (["runs=[s]", "scaled=[f]"], "scaled: beside one run"),
    ):
        assert run(["report", *(["run=s"] if len(wrong) == 1 else []), *wrong]) == 2
        assert words in capsys.readouterr().err
