"""Reference architectures against published counts: parameters exactly, multiply-adds to 0.01 million."""

import dataclasses

import pytest

from nas.arch import Arch
from nas.arch.blocks import arch_id
from nas.arch.files import load_arch
from nas.core.paths import SPACES
from nas.cost import cost
from nas.space import load_space
from nas.workflows.scale import depth_multiplier, width_multiplier, with_resolution

# Parameters without batch norm's moving statistics; what torchvision and Keras ship agrees with their own counts.
GOLDEN = {
    "mobilenet_v1": (4_231_976, 568.74),
    "mobilenet_v1_075": (2_585_560, 325.40),
    "mobilenet_v1_050": (1_331_592, 149.50),
    "mobilenet_v1_025": (470_072, 41.03),
    "mobilenet_v2": (3_504_872, 300.77),
    "mobilenet_v2_140": (6_108_776, 582.20),
    "mobilenet_v2_130": (5_386_792, 509.37),
    "mobilenet_v2_075": (2_636_424, 209.07),
    "mobilenet_v2_050": (1_968_680, 97.13),
    "mobilenet_v2_035": (1_677_128, 59.29),
    "mobilenet_v3_large": (5_483_032, 216.59),
    "mobilenet_v3_large_075": (3_993_528, 154.56),
    "mobilenet_v3_large_minimalistic": (3_924_288, 209.14),
    "mobilenet_v3_small": (2_542_856, 56.51),
    "mobilenet_v3_small_075": (2_041_872, 43.40),
    "mobilenet_v3_small_minimalistic": (2_044_736, 52.29),
    "mnasnet_a1": (3_887_038, 311.58),
    "mnasnet_b1": (4_383_312, 314.42),
    "mnasnet_small": (2_030_264, 68.34),
    "efficientnet_b0": (5_288_548, 385.81),
    "efficientnet_b1": (7_794_184, 686.80),
    "efficientnet_b2": (9_109_994, 993.56),
    "efficientnet_b3": (12_233_232, 1_827.14),
    "efficientnet_b4": (19_341_616, 4_393.77),
    "efficientnet_b5": (30_389_784, 10_266.38),
    "efficientnet_b6": (43_040_704, 19_067.59),
    "efficientnet_b7": (66_347_960, 37_745.88),
    "efficientnet_lite0": (4_652_008, 385.19),
    "efficientnet_lite1": (5_416_680, 600.19),
    "efficientnet_lite2": (6_092_072, 859.74),
    "efficientnet_lite3": (8_197_096, 1_383.32),
    "efficientnet_lite4": (13_006_568, 2_553.03),
    "efficientnetv2_s": (21_458_488, 8_365.62),
    "efficientnetv2_m": (54_139_356, 24_582.46),
    "efficientnetv2_l": (118_515_272, 56_079.70),
    "efficientnetv2_b0": (7_139_704, 718.09),
    "efficientnetv2_b1": (8_141_052, 1_196.82),
    "efficientnetv2_b2": (10_096_086, 1_697.54),
    "efficientnetv2_b3": (14_358_406, 3_011.46),
    "resnet18": (11_689_512, 1_814.07),
    "resnet34": (21_797_672, 3_663.76),
    "resnet50": (25_557_032, 4_089.18),
    "resnet50_v1": (25_583_592, 3_857.97),
    "se_resnet50": (28_088_024, 4_091.70),
    "resnext50_32x4d": (25_028_904, 4_230.48),
    "densenet121": (7_978_856, 2_834.16),
    "vgg16": (138_357_544, 15_470.26),
    "alexnet": (61_100_840, 714.19),
    "googlenet": (6_624_904, 1_498.38),
    "lenet5": (61_706, 0.42),
    "shufflenet_v1": (1_865_728, 137.46),
    "shufflenet_v2": (2_278_604, 144.91),
    "xception": (22_855_952, 8_357.40),
    "lraspp_mobilenet_v3_large": (3_221_538, 2_086.22),
    "deeplabv3_mobilenet_v3_large": (11_025_477, 10_436.35),
    "unet": (31_037_698, 192_686.33),
    "unet_original": (31_030_658, 150_428.42),
    "ssdlite320_mobilenet_v3_large": (3_440_060, 583.17),
    "ssdlite320_mobilenet_v3_small": (1_785_743, 162.30),
    "ssdlite_mobilenet_v2": (4_500_543, 804.40),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_published_counts(name: str):
    counted = cost(load_arch(name))
    assert (counted.params, round(counted.macs / 1e6, 2)) == GOLDEN[name]


def test_the_table_names_every_file():
    assert sorted(GOLDEN) == sorted(path.stem for path in (SPACES / "reference").glob("*.yaml"))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "googlenet", "lenet5"])
def test_a_reference_is_a_space_of_size_one(name: str):
    space = load_space(name)
    assert space.size == 1
    assert arch_id(space.decode(())) == arch_id(load_arch(name))


def scaled(name: str, alpha: float, **rules: object) -> Arch:
    return width_multiplier(load_arch(name), alpha, **rules)  # type: ignore[arg-type]


def efficientnet(width: float, depth: float, resolution: int) -> Arch:
    arch = depth_multiplier(scaled("efficientnet_b0", width, head="scale"), depth)
    return with_resolution(arch, resolution)


def lite(width: float, depth: float, resolution: int) -> Arch:
    arch = scaled("efficientnet_lite0", width, head="keep", stem=False)
    return with_resolution(depth_multiplier(arch, depth, keep_ends=True), resolution)


def v2(width: float, depth: float, resolution: int) -> Arch:
    arch = scaled("efficientnetv2_b0", width, head="scale", at_least=0)
    return with_resolution(depth_multiplier(arch, depth), resolution)


@pytest.mark.parametrize(
    "arch, name",
    [
        (scaled("mobilenet_v1", 0.25, divisor=1), "mobilenet_v1_025"),
        (scaled("mobilenet_v2", 1.4), "mobilenet_v2_140"),
        (scaled("mobilenet_v2", 0.35), "mobilenet_v2_035"),
        (scaled("mobilenet_v3_large", 0.75, head="keep"), "mobilenet_v3_large_075"),
        (efficientnet(1.1, 1.2, 260), "efficientnet_b2"),
        (efficientnet(2.0, 3.1, 600), "efficientnet_b7"),
        (lite(1.2, 1.4, 280), "efficientnet_lite3"),
        (v2(1.2, 1.4, 300), "efficientnetv2_b3"),
    ],
)
def test_files_are_what_the_multipliers_give(arch: Arch, name: str):
    expected = load_arch(name)
    assert dataclasses.replace(arch, name=name, head=expected.head) == expected
    assert arch.head.get("width") == expected.head.get("width")


@pytest.mark.parametrize(
    "arch, params, macs",
    [
        (scaled("mnasnet_a1", 1.4, head="keep"), 6_105_992, 586.32),
        (scaled("mnasnet_a1", 0.75), 2_912_278, 223.45),
        (scaled("mnasnet_a1", 0.5), 2_082_006, 103.16),
        (scaled("mnasnet_a1", 0.35), 1_747_018, 61.68),
        (scaled("mobilenet_v3_large", 0.75, head="scale"), 3_442_808, 154.01),
        (scaled("mobilenet_v3_small", 0.75, head="scale"), 1_675_024, 43.03),
        (scaled("mobilenet_v3_large", 0.5, head="keep"), 2_689_520, 69.25),
        (scaled("mobilenet_v3_small", 0.5, head="keep"), 1_592_704, 21.05),
        (scaled("mobilenet_v3_large", 0.35, head="keep"), 2_131_832, 39.47),
        (scaled("mobilenet_v3_small", 0.35, head="keep"), 1_358_288, 12.82),
        (scaled("mobilenet_v3_large", 1.25), 8_256_296, 355.93),
        (efficientnet(2.2, 3.6, 672), 87_413_142, 62_597.46),
        (efficientnet(4.3, 5.3, 800), 480_309_308, 475_703.65),
        (with_resolution(load_arch("efficientnetv2_s"), 300), 21_458_488, 5_307.56),
    ],
)
def test_published_counts_of_scaled_networks(arch: Arch, params: int, macs: float):
    counted = cost(arch)
    assert (counted.params, round(counted.macs / 1e6, 2)) == (params, macs)


def test_multipliers_of_one_change_nothing():
    arch = load_arch("mobilenet_v3_large")
    assert width_multiplier(arch, 1.0, divisor=1) == arch
    assert depth_multiplier(arch, 1.0) == arch


def test_depth_multiplier_leaves_out_the_last_layers():
    arch = depth_multiplier(load_arch("efficientnet_b3"), 0.5)
    assert [stage.repeat for stage in arch.stages] == [1, 2, 2, 3, 3, 3, 1]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda arch: width_multiplier(arch, 0), "alpha: expected a number from 0.001"),
        (lambda arch: width_multiplier(arch, 2, head="growing"), "did you mean 'grow'"),
        (lambda arch: width_multiplier(arch, 64, head="scale"), "width: expected a whole number from 1 to 65536"),
        (lambda arch: depth_multiplier(arch, 60), "layers: expected a whole number from 1 to 1000"),
        (lambda arch: with_resolution(arch, 0), "resolution: expected a whole number"),
    ],
)
def test_multipliers_refuse(call, words: str):
    with pytest.raises(ValueError, match=words):
        call(load_arch("efficientnet_b7"))
