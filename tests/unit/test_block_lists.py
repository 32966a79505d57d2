"""Published block lists in timm's form, with what its code has beside them, against the parameters of its models."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from nas.arch import blockstrings
from nas.arch.blocks import arch_id, lower
from nas.arch.files import load_arch
from nas.arch.find import find_arch
from nas.cost import cost

V3 = {"act": "hswish", "se_of": "hidden", "se_divisor": 8, "se_gate": "hsigmoid"}
V3_HEAD = {"op": "mobilenet_v3", "width": 1280}
V4_HEAD = {"op": "mobilenet_v3", "width": 1280, "bias": False, "norm": True}
LCNET = ("dsa_r1_k3_s1_c32,dsa_r2_k3_s2_c64,dsa_r2_k3_s2_c128,dsa_r1_k3_s2_c256+dsa_r1_k5_s1_c256,dsa_r4_k5_s1_c256,"
         "dsa_r2_k5_s2_c512_se0.25")  # fmt: skip
V4_SMALL = (
    "cn_r1_k3_s2_e1_c32+cn_r1_k1_s1_e1_c32,cn_r1_k3_s2_e1_c96+cn_r1_k1_s1_e1_c64,"
    "uir_r1_a5_k5_s2_e3_c96+uir_r4_a0_k3_s1_e2_c96+uir_r1_a3_k0_s1_e4_c96,uir_r1_a3_k3_s2_e6_c128+uir_r1_a5_k5_s1_e4_c128+"
    "uir_r1_a0_k5_s1_e4_c128+uir_r1_a0_k5_s1_e3_c128+uir_r2_a0_k3_s1_e4_c128,cn_r1_k1_s1_c960"
)
V3_LARGE = (
    "ds_r1_k3_s1_e1_c16_nre,ir_r1_k3_s2_e4_c24_nre+ir_r1_k3_s1_e3_c24_nre,ir_r3_k5_s2_e3_c40_se0.25_nre,"
    "ir_r1_k3_s2_e6_c80+ir_r1_k3_s1_e2.5_c80+ir_r2_k3_s1_e2.3_c80,ir_r2_k3_s1_e6_c112_se0.25,ir_r3_k5_s2_e6_c160_se0.25,"
    "cn_r1_k1_s1_c960"
)
EDGE_V2_S = (
    "cn_r1_k1_s1_c24,er_r1_k3_s2_e8_c48+er_r1_k3_s1_e4_gs64_c48,er_r1_k3_s2_e8_c64+er_r1_k3_s1_e4_gs64_c64+er_r1_k3_s1_e4_c64+"
    "er_r1_k3_s1_e4_gs64_c64,er_r1_k3_s2_e8_c128+ir_r3_k3_s1_e4_c128,ir_r1_k3_s1_e8_c160+ir_r3_k3_s1_e4_c160,"
    "ir_r1_k3_s2_e8_c192+ir_r3_k3_s1_e4_c192,ir_r1_k3_s1_e8_c256"
)
B0 = (
    "ds_r1_k3_s1_e1_c16_se0.25,ir_r2_k3_s2_e6_c24_se0.25,ir_r2_k5_s2_e6_c40_se0.25,ir_r3_k3_s2_e6_c80_se0.25,"
    "ir_r3_k5_s1_e6_c112_se0.25,ir_r4_k5_s2_e6_c192_se0.25,ir_r1_k3_s1_e6_c320_se0.25"
)
EDGE = (
    "er_r1_k3_s1_e4_c24_fc24_noskip,er_r2_k3_s2_e8_c32,er_r4_k3_s2_e8_c48,ir_r5_k5_s2_e8_c96,ir_r4_k5_s1_e8_c144,"
    "ir_r2_k5_s2_e8_c192"
)
SWISH = {"act": "swish", "se_act": "block"}


def listed(text: str, first: int, last: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, kernel: int = 3,
           **scale: Any) -> dict[str, Any]:  # fmt: skip
    """A file of ours."""
    return {
        "resolution": 224, "defaults": dict(defaults or {}), "stem": {"op": "conv", "kernel": kernel, "stride": 2, "width": first},
        "head": dict(last), "blocks": {"timm": text}, **({"scale": scale} if scale else {}),
    }  # fmt: skip


def pooled(width: int) -> dict[str, Any]:
    return {"op": "classifier", "width": width}


LISTS = {
    "lcnet_100": (listed(LCNET, 16, V3_HEAD), 2_953_800),
    "lcnet_035": (listed(LCNET, 16, V3_HEAD, width=0.35, head="keep"), 1_644_370),
    "mobilenetv3_large_100": (listed(V3_LARGE, 16, V3_HEAD, V3), 5_483_032),
    "mobilenetv3_large_150d": (listed(V3_LARGE, 16, V3_HEAD, V3, width=1.5, depth=1.2, head="keep"), 14_622_320),
    "mobilenetv4_conv_small": (listed(V4_SMALL, 32, V4_HEAD), 3_774_024),
    "mobilenetv4_conv_small_035": (listed(V4_SMALL, 32, V4_HEAD, width=0.35, stem=False, head="keep"), 1_905_384),
    "mobilenet_edgetpu_v2_s": (listed(EDGE_V2_S, 64, pooled(1280), kernel=5), 5_986_456),
    "efficientnet_b3": (listed(B0, 32, pooled(1536), SWISH, width=1.2, depth=1.4, head="keep"), 12_233_232),
    "tinynet_e": (listed(B0, 32, pooled(1280), SWISH, width=0.51, depth=0.6, stem=False, head="keep", nearest=True), 2_042_972),
    "efficientnet_el": (listed(EDGE, 32, pooled(1536), width=1.2, depth=1.4, head="keep"), 10_589_712),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_the_parameters_of_its_model(name: str) -> None:
    data, params = LISTS[name]
    assert cost(find_arch(data)).params == params


def test_the_last_convolution_of_a_list_is_the_heads() -> None:
    arch = find_arch(listed(V3_LARGE, 16, {**V3_HEAD, "dropout": 0.2}, V3))
    assert (len(arch.stages), arch.head.get("conv")) == (6, 960)
    assert arch_id(arch) == arch_id(load_arch("mobilenet_v3_large"))
    kept = find_arch(listed(V3_LARGE, 16, {**V3_HEAD, "conv": 960}, V3))
    assert len(kept.stages) == 7


@pytest.mark.parametrize(
    "text, defaults, acts",
    [
        # timm's block hands its activation to its squeeze-and-excitation: in silence another network, were it not read so
        ("ir_r1_k3_s1_e3_c24_se0.25_nre,ir_r1_k3_s1_e3_c24_se0.25", {"act": "hswish", "se_act": "block"}, ["relu", "hswish"]),
        ("ir_r1_k3_s1_e3_c24_se0.25_nre,ir_r1_k3_s1_e3_c24_se0.25", {"act": "hswish", "se_act": "relu6"}, ["relu6", "relu6"]),
        ("ir_r1_k3_s1_e3_c24_se0.25_nhs,ds_r1_k3_s1_c24_se0.25_nsw", None, ["hswish", "swish"]),
    ],
)
def test_a_strings_activation_is_its_squeeze_and_excitations_too(text: str, defaults: dict[str, Any] | None, acts: list[str]) -> None:
    arch = find_arch(listed(text, 32, pooled(0), defaults)) if defaults else blockstrings.parse(text)
    assert [node.attr["fn"] for node in lower(arch).nodes if node.name.endswith("/se.act")] == acts
    strings = blockstrings.format(arch, "timm")
    assert strings.text == text
    assert arch_id(blockstrings.parse(strings.text, "timm", strings.keys)) == arch_id(arch)


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "mobilenet_edgetpu_v2_s", "lcnet_100"])
def test_what_is_read_is_written(name: str) -> None:
    arch = find_arch(LISTS[name][0])
    strings = blockstrings.format(arch, "timm")
    assert arch_id(blockstrings.parse(strings.text, "timm", strings.keys)) == arch_id(arch)


def test_timm_rounds_squeezed_widths_where_tensorflow_cuts_them_off() -> None:
    arch = blockstrings.parse("ir_r1_k3_s1_e2_c24_se0.02,ir_r1_k3_s1_e2_c24_se0.07")  # 32 * .02 = .64, 24 * .07 = 1.68
    assert [node.shape[2] for node in lower(arch).nodes if node.name.endswith("/se.reduce")] == [1, 2]
    assert blockstrings.format(arch, "timm").text.startswith("ir_r1_k3_s1_e2_c24_se0.02,")


@pytest.mark.parametrize(
    "width, depth, stage",
    [(None, None, (24, 2)), (1.4, None, (32, 2)), (None, 1.2, (24, 3)), (2, 2, (48, 4))],
)
@pytest.mark.parametrize("source", ["name", "text", "file"])
def test_multipliers_beside_whatever_names_an_architecture(source: str, width: float | None, depth: float | None, stage: Any) -> None:
    text = blockstrings.format(load_arch("mobilenet_v2"), "timm").text
    given = {"name": "mobilenet_v2", "text": text, "file": listed(text, 32, pooled(1280), {"act": "relu6"})}[source]
    arch = find_arch(given, width=width, depth=depth)
    assert (arch.stages[1].layers[0].get("width"), arch.stages[1].repeat) == stage
    assert arch.stem.get("width") == {None: 32, 1.4: 48, 2: 64}[width]
    assert arch.head.get("width") == {None: 1280, 1.4: 1792, 2: 2560}[width]


@pytest.mark.parametrize(
    "scale, words",
    [
        ({"width": 0}, "arch: scale.width: expected a number from 0.001"),
        ({"depth": [1.0, 2.0]}, "arch: scale.depth: expected a number or one for each of 1 stages, got 2"),
        ({"depth": 64}, "arch: scale.depth: layers: expected a whole number from 1 to 1000"),
        ({"width": 64}, "width: expected a whole number from 1 to 65536"),
        ({"head": "grows"}, "arch: scale.head: expected"),
        ({"widht": 2}, "arch: scale.widht: unknown key; did you mean width?"),
        (3, "arch: scale: expected settings as a mapping"),
    ],
)
def test_a_scale_is_refused_by_its_key(scale: Any, words: str) -> None:
    data = {**listed("ir_r40_k3_s1_e1_c2048", 32, pooled(0)), "scale": scale}
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        find_arch(data)
    assert "\n" not in str(error.value)
