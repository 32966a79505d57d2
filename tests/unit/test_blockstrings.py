"""Block strings: known networks in both forms, round trips, and errors that name the token."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import blockstrings
from nas.arch.blocks import arch_id, lower
from nas.arch.files import load_arch
from nas.arch.find import find_arch
from nas.core.paths import SPACES
from nas.cost import cost
from nas.space import load_space

A1 = {
    "tf": "r1_k3_s11_e1_i32_o16_noskip,r2_k3_s22_e6_i16_o24,r3_k5_s22_e3_i24_o40_se0.25,r4_k3_s22_e6_i40_o80,"
    "r2_k3_s11_e6_i80_o112_se0.25,r3_k5_s22_e6_i112_o160_se0.25,r1_k3_s11_e6_i160_o320",
    "timm": "ds_r1_k3_s1_e1_c16_noskip,ir_r2_k3_s2_e6_c24,ir_r3_k5_s2_e3_c40_se0.25,ir_r4_k3_s2_e6_c80,"
    "ir_r2_k3_s1_e6_c112_se0.25,ir_r3_k5_s2_e6_c160_se0.25,ir_r1_k3_s1_e6_c320",
}
SMALL = (
    "r1_k3_s11_e1_i16_o8,r1_k3_s22_e3_i8_o16,r2_k3_s22_e6_i16_o16,r4_k5_s22_e6_i16_o32_se0.25,"
    "r3_k3_s11_e6_i32_o32_se0.25,r3_k5_s22_e6_i32_o88_se0.25,r1_k3_s11_e6_i88_o144"
)
EDGE_TPU_S = (
    "r1_k3_s11_e4_i24_o24_c1_noskip,r2_k3_s22_e8_i24_o32_c1,r4_k3_s22_e8_i32_o48_c1,r5_k5_s22_e8_i48_o96,"
    "r4_k5_s11_e8_i96_o144,r2_k5_s22_e8_i144_o192"
)
V3_LARGE = (
    "ds_r1_k3_s1_e1_c16_nre,ir_r1_k3_s2_e4_c24_nre+ir_r1_k3_s1_e3_c24_nre,ir_r3_k5_s2_e3_c40_se0.25_nre,"
    "ir_r1_k3_s2_e6_c80+ir_r1_k3_s1_e2.5_c80+ir_r2_k3_s1_e2.3_c80,ir_r2_k3_s1_e6_c112_se0.25,ir_r3_k5_s2_e6_c160_se0.25"
)
FAMILIES = ("mnasnet", "efficientnet", "mobilenet_v2", "mobilenet_v3")
NAMES = sorted(path.stem for path in (SPACES / "reference").glob("*.yaml"))


@pytest.mark.parametrize("form", ["tf", "timm"])
def test_mnasnet_a1(form: str):
    arch = load_arch("mnasnet_a1")
    assert blockstrings.format(arch, form).text == A1[form]
    assert arch_id(blockstrings.parse(A1[form])) == arch_id(arch)


def test_tensorflow_goes_by_the_declared_input():
    keys = {"stem": {"op": "conv", "kernel": 3, "stride": 2, "width": 8}, "head": {"op": "classifier", "width": 1280}}
    assert arch_id(blockstrings.parse(SMALL, keys=keys)) == arch_id(load_arch("mnasnet_small"))


def test_a_fused_block_expands_its_declared_input():
    keys = {"stem": {"op": "conv", "kernel": 3, "stride": 2, "width": 32}}
    arch = blockstrings.parse(EDGE_TPU_S, keys=keys)
    assert arch.stages[0].layers[0].get("hidden") == 96
    assert [layer.op for layer in arch.stages[1].layers] == ["fused_mbconv"] * 2
    assert arch_id(arch) == arch_id(blockstrings.parse("er_r1_k3_s1_e4_c24_fc24_noskip," + EDGE_TPU_AS_TIMM, keys=keys))


EDGE_TPU_AS_TIMM = "er_r2_k3_s2_e8_c32,er_r4_k3_s2_e8_c48,ir_r5_k5_s2_e8_c96,ir_r4_k5_s1_e8_c144,ir_r2_k5_s2_e8_c192"


def test_mobilenet_v3_with_its_keys_beside_the_strings():
    keys = {
        "defaults": {"act": "hswish", "se_of": "hidden", "se_divisor": 8, "se_gate": "hsigmoid"},
        "stem": {"op": "conv", "kernel": 3, "stride": 2, "width": 16},
        "head": {"op": "mobilenet_v3", "conv": 960, "width": 1280, "dropout": 0.2},
    }
    arch = blockstrings.parse(V3_LARGE, keys=keys)
    assert arch_id(arch) == arch_id(load_arch("mobilenet_v3_large"))
    assert [stage.repeat for stage in arch.stages] == [1, 2, 3, 4, 2, 3]
    assert blockstrings.format(arch, "timm").text == V3_LARGE


@pytest.mark.parametrize("form", ["tf", "timm"])
@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(FAMILIES) and "v1" not in n])
def test_families_round_trip(name: str, form: str):
    arch = load_arch(name)
    if form == "tf" and "mobilenet_v3" in name:
        with pytest.raises(
            ValueError, match=rf"{name}: stages\[\d\]\.layers\[\d\]: the tf form has whole expansions only"
        ):
            blockstrings.format(arch, form)
        return
    strings = blockstrings.format(arch, form)
    back = blockstrings.parse(strings.text, form, strings.keys)
    assert arch_id(back) == arch_id(arch)
    assert (back.name, back.resolution, back.stem, back.head) == (arch.name, arch.resolution, arch.stem, arch.head)
    assert [s.repeat for s in back.stages] == [s.repeat for s in arch.stages]
    assert blockstrings.format(back, form).strings == strings.strings


@pytest.mark.parametrize(
    "name, form, words",
    [
        ("resnet50", "timm", "stages[0].layers[0]: the timm form has no block for max_pool"),
        ("mobilenet_v1", "tf", "stages[0].layers[0].project_act: the tf form cannot express it"),
        ("xception", "timm", "stages[0].layers[0].padding: the timm form has no token for it"),
    ],
)
def test_what_a_form_cannot_express(name: str, form: str, words: str):
    with pytest.raises(ValueError, match=re.escape(f"{name}: {words}")):
        blockstrings.format(load_arch(name), form)


@pytest.mark.parametrize(
    "text, words",
    [
        ("ir_r2_k3_s2_e6_c24_q7", "unknown token 'q7'"),
        ("ir_r2_k3_s2_e6_c24_nfoo", "unknown token 'nfoo'"),
        ("ir_r2_k3_s2_e6_c24_nmi", "nmi: the activation mish"),
        ("ir_r2_k3_s2_e6_c24_cc4", "cc4: CondConv"),
        ("cn_r2_k3_s2_c24_gs8", "gs8: cn has no group size"),
        ("ir_r2_k3_s2_e6_c24_gs5", "stages[0].group_size: 5 does not divide 192 channels"),
        ("r2_k3_s22_e6_i16_o24_gs8", "gs8: a group size"),
        ("ir_r2_k3.5.7_s2_e6_c24", "k3.5.7: MixNet's mixed kernels"),
        ("ir_r2_k3_s2_e6_c24_a1.1", "a1.1: MixNet's grouped 1x1 expansion"),
        ("ir_r2_k3_s2_e6_c24_p1.1", "p1.1: MixNet's grouped 1x1 projection"),
        ("ds_r1_k3_s1_e1_c16_se0.25_d1", "d1: EfficientNet-X's space to depth"),
        ("mqa_r4_k3_h8_s1_d64_c256", "mqa: multi-query attention"),
        ("mha_r4_k3_h8_s1_d64_c256", "mha: multi-head attention"),
        ("uir_r1_a5_k5_s2_e3_c96_gs8", "gs8: uir has no group size"),
        ("uir_r1_a40_k5_s2_e3_c96", "a40: expected a and a whole number from 0 to 31"),
        ("uir_r1_a0_k0_s2_e3_c96", "stages[0].stride: without a depthwise convolution"),
        ("zz_r1_k3_s1_c8", "unknown block type"),
        ("cn_r1_k3_s1_c8_se0.25", "cn has no squeeze-excite"),
        ("ir_r1_k3_s1_e6_c24_fc24", "only er has forced"),
        ("ir_r1_k3_s1_e6_c24_nre_nhs", "contradict"),
        ("ir_r1_k3_s1_e6_c24_c32", "stands twice"),
        ("ir_r1_k3_s1_c24", "missing token 'e'"),
        ("ir_r1_k3_s1_e6", "missing token 'c'"),
        ("ir_r0_k3_s1_e6_c24", "r0: expected r and a whole number from 1"),
        ("ir_r1_k3_s1_e6x_c24", "e6x: expected e and a number"),
        ("ir_r1_k3_s1_e6_c24+ir_r1_k3_s2_e6_c24", "only a stage's first string may have a stride"),
        ("ir_r999_k3_s1_e6_c24,ir_r999_k3_s1_e6_c24", "more than 100 stages or 1000 layers"),
        ("r2_k3_s22_e6_i16", "missing token 'o'"),
        ("r2_k3_s12_e6_i16_o24", "s12: expected s"),
        ("r2_k3_s22_e2.5_i16_o24", "e2.5: expected e and a whole number"),
        ("r2_k3_s22_e6_i16_o24_cc2", "cc2: CondConv"),
        ("r2_k3_s22_e6_i16_o24_p1.1", "p1.1: MixNet"),
        ("r2_k3_s22_e6_i16_o24_sw", "sw: MixNet"),
        ("r2_k3_s22_e6_i16_o24_a2", "a0 (ReLU) or a1 (swish)"),
        ("r2_k3_s22_e6_i16_o24_nre", "unknown token 'nre'"),
        ("r2_k3_s22_e6_i16_o24,", "expected a block string"),
        ("", "expected a block string"),
    ],
)
def test_every_token_is_read_or_refused_by_name(text: str, words: str):
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        blockstrings.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["ir_r2_k3_s2_e6_c24", "r1_k3_s11_e1_i32_o16", A1["tf"], V3_LARGE, "mqa_r1_k3_s1_c8"])
def test_strings_are_told_from_names(text: str):
    assert blockstrings.looks_like(text)


@pytest.mark.parametrize("text", ["mnasnet_a1", "resnet18", "dsa.yaml", "er", "runs/r1_k3/best.yaml", "cn_tower"])
def test_names_are_told_from_strings(text: str):
    assert not blockstrings.looks_like(text)


def tf_texts() -> st.SearchStrategy[str]:
    """Canonical strings whose declared widths follow one another."""
    layer = st.tuples(
        st.integers(1, 4), st.sampled_from([3, 5, 7]), st.integers(1, 3), st.integers(1, 6), st.integers(1, 12),
        st.sampled_from(["", "_se0.25", "_se0.5"]), st.sampled_from(["", "_c1"]), st.sampled_from(["", "_a1"]),
        st.sampled_from(["", "_noskip"]),
    )  # fmt: skip

    def joined(layers: list[tuple]) -> str:
        width, out = 16, []
        for r, k, s, e, c, *flags in layers:
            out.append(f"r{r}_k{k}_s{s}{s}_e{e}_i{width}_o{8 * c}{''.join(flags)}")
            width = 8 * c
        return ",".join(out)

    return st.lists(layer, min_size=1, max_size=5).map(joined)


def timm_texts() -> st.SearchStrategy[str]:
    size = st.tuples(st.integers(1, 4), st.sampled_from([3, 5]), st.integers(1, 3))
    act = st.sampled_from(["", "_nre", "_nr6", "_nhs", "_nsw"])
    width, se = st.integers(1, 12).map(lambda n: 8 * n), st.sampled_from(["", "_se0.25", "_se0.125"])
    expand = st.sampled_from(["1", "2.5", "3", "3.67", "6"])

    def text(kind: str, rks: tuple[int, int, int], e: str, c: int, tail: str) -> str:
        return f"{kind}_r{rks[0]}_k{rks[1]}_s{rks[2]}{e}_c{c}{tail}"

    tails = st.tuples(se, act, st.sampled_from(["", "_noskip"])).map("".join)
    wide = st.builds(text, st.sampled_from(["ir", "er"]), size, expand.map("_e{}".format), width, tails)
    groups = expand.flatmap(lambda e: st.sampled_from([f"_e{e}_gs4", f"_e{e}_gs8", f"_e{e}_gs0"]))
    grouped = st.builds(text, st.just("ir"), size, groups, width, tails)
    uir = st.builds(
        lambda r, a, k, p, e, c, tail: f"uir_r{r}_a{a}_k{k}{p}_s1_e{e}_c{c}{tail}", st.integers(1, 3), st.sampled_from([0, 3, 5]),
        st.sampled_from([0, 3, 5]), st.sampled_from(["", "_p3"]), expand, width, tails,
    )  # fmt: skip
    ds = st.builds(text, st.just("ds"), size, st.sampled_from(["", "_e1"]), width, tails)
    cn = st.builds(text, st.just("cn"), size, st.sampled_from(["", "_e1"]), width,
                   st.tuples(act, st.sampled_from(["", "_skip"])).map("".join))  # fmt: skip
    dsa = st.builds(text, st.just("dsa"), size, st.just(""), width, st.tuples(se, act).map("".join))
    return st.lists(st.one_of(wide, grouped, uir, ds, cn, dsa), min_size=1, max_size=5).map(",".join)


@settings(deadline=None, max_examples=60)
@given(st.one_of(tf_texts(), timm_texts()))
def test_strings_round_trip(text: str):
    arch = blockstrings.parse(text)
    assert blockstrings.format(arch, blockstrings.form_of(text)).text == text


FOUND = [("accel_nasbench", "tf"), ("accel_nasbench", "timm"), ("ofa_mobilenet_v3", "timm"), ("proxylessnas", "tf"),
         ("proxylessnas", "timm")]  # fmt: skip


@pytest.mark.parametrize("name, form", FOUND)
def test_archs_of_spaces_round_trip(name: str, form: str):
    space, rng = load_space(name), np.random.default_rng(0)
    for _ in range(8):
        arch = space.decode(space.sample(rng))
        strings = blockstrings.format(arch, form)
        assert lower(blockstrings.parse(strings.text, form, strings.keys)).id == lower(arch).id


def test_an_uib_has_no_word_in_the_form_of_tensorflow():
    with pytest.raises(ValueError, match=r"stages\[0\]\.layers\[0\]: the tf form has no block for uib"):
        blockstrings.format(blockstrings.parse("uir_r1_a5_k5_s2_e3_c96"), "tf")


@pytest.mark.parametrize(
    "knobs, words", [({"kernel": [1, 3]}, r"\.kernel: the timm form has square"), ({"dilation": 2}, r"\.dilation: .* no token")]
)
def test_a_window_that_is_no_square_or_is_dilated_has_no_word(knobs: dict[str, Any], words: str):
    stage = {"op": "conv", "width": 8, **knobs}
    arch = find_arch({"resolution": 16, "stem": {"op": "conv", "width": 8}, "stages": [stage], "head": {"op": "classifier"}})
    with pytest.raises(ValueError, match=rf"stages\[0\]\.layers\[0\]{words}"):
        blockstrings.format(arch, "timm")


def test_an_activation_without_a_token_is_refused():
    space = load_space("ofa_mobilenet_v3")
    with pytest.raises(ValueError, match=r"stages\[3\]\.act: the tf form has no token for hswish"):
        blockstrings.format(space.decode([0] * len(space.genes)), "tf")


@settings(deadline=None, max_examples=300)
@given(st.text("irdscnk_0123456789.,+eac ", max_size=60))
def test_any_text_is_read_or_refused(text: str):
    line = ""
    try:
        arch = blockstrings.parse(text)
    except ValueError as error:
        line = str(error)
    else:
        assert cost(arch).params > 0
    assert len(line.splitlines()) < 2
