"""How much of an image's center the networks of each library see where they are scored, which no weights file says.

    of_torchvision("resnet50-11ad3fa6")        # ("crop:0.9655", None): the center 224 of the shorter side made 232

Libraries resize the shorter side to a number of pixels and take the square of the network's input from the center; the same pixels,
up to rounding, are the center `input / number` of the largest square.

Source:
    torchvision 0.29, `transforms` of each entry of its weights (`torchvision.models.get_model_weights`). timm 1.0.31, `crop_pct` and
    `crop_mode` of its `default_cfg`s. EfficientNet's own evaluation, `CROP_PADDING = 32` in preprocessing.py of tensorflow/tpu,
    whose fractions timm has to three digits: input / (input + 32).
"""

from __future__ import annotations

import re

from nas.data.pixels import Resize

USUAL = 0.875  # 224 of 256: both libraries' most frequent
# torchvision: what differs from 224 of 256, by the beginning of a file's name: (input, shorter side).
TORCHVISION: tuple[tuple[str, tuple[int, int]], ...] = (
    (r"efficientnet_b1_rwightman", (240, 256)), (r"efficientnet_b1", (240, 255)), (r"efficientnet_b2", (288, 288)),
    (r"efficientnet_b3", (300, 320)), (r"efficientnet_b4", (380, 384)), (r"efficientnet_b5", (456, 456)),
    (r"efficientnet_b6", (528, 528)), (r"efficientnet_b7", (600, 600)), (r"efficientnet_v2_s", (384, 384)),
    (r"efficientnet_v2_[ml]", (480, 480)), (r"inception_v3", (299, 342)), (r"mnasnet(0_75|1_3)", (224, 232)),
    (r"shufflenetv2_x(1_5|2_0)", (224, 232)), (r"resnext101_64x4d", (224, 232)),
)  # fmt: skip
# Its second weights of a network (IMAGENET1K_V2) were scored at 224 of 232; their files have these digits of their SHA-256.
SECOND = re.compile(r".*-(7ebf99e0|5c1a4163|cd907fc2|f82ba261|11ad3fa6|110c445d|1a0047aa|d733dc28|9ba9bcbe)$")
# timm: what differs from .875; None: input / (input + 32). The tag behind the dot says how a network was trained.
TIMM: tuple[tuple[str, str, float | None], ...] = (
    (r"tf_efficientnetv2_(m|l|xl)", "squash", 1.0), (r"tf_efficientnetv2_b3\.in21k_ft", "squash", 0.9), (r"mobilenet_edgetpu", "crop", 0.9),
    (r"tf_efficientnetv2_s|efficientnetv2_rw", "crop", 1.0),
    (r"tf_efficientnet(v2_b|_(b|lite|cc_b|e[slm]))|efficientnet_(b[123]_pruned|e[ml])", "crop", None),
    (r"inception_resnet_v2|legacy_xception", "crop", 0.8975), (r"xception(41|65|71)\.tf", "crop", 0.903),
    (r"fbnetv3|test_efficientnet|mobilenetv4_(?!conv_small(_050)?\.e(1200|2400|3000))", "crop", 0.95),
    (r"(se)?res(net|next)(18|34|50|101|152)(d|_\d+x\d+d)?\.([abcd]\d?[hk]?|b[12]k)_in1k", "crop", 0.95),
)  # fmt: skip


def of_torchvision(network: str) -> tuple[Resize, int | None]:
    """The rule by which torchvision scores the network of a file's name, and its input's side where that is not 224.

    Example:
        >>> of_torchvision("resnet50-0676ba61"), of_torchvision("efficientnet_b2_rwightman-c35c1473")
        (('crop:0.875', None), ('crop', 288))
    """
    for pattern, (side, shorter) in TORCHVISION:
        if re.match(pattern, network):
            return cropped("crop", side / shorter), side
    return cropped("crop", 224 / 232 if SECOND.match(network) else USUAL), None


def of_timm(network: str, side: int | None, rule: str | None = None) -> Resize:
    """The rule of most of timm's networks of this name.

    Args:
        network: Its name, such as `tf_efficientnet_b1.in1k`.
        side: Of its input, in pixels; None: 224.
        rule: `crop` or `squash` where that is known.

    Example:
        >>> of_timm("tf_efficientnet_b1.in1k", 240), of_timm("resnet50.a1_in1k", 224), of_timm("mobilenetv2_100", 224)
        ('crop:0.8824', 'crop:0.95', 'crop:0.875')
    """
    for pattern, name, fraction in TIMM:
        if re.match(pattern, network):
            return padded_by_32(side or 224, rule or name) if fraction is None else cropped(rule or name, fraction)
    return cropped(rule or "crop", USUAL)


def padded_by_32(side: int, rule: str = "crop") -> Resize:
    """EfficientNet's: the input's side of a square that is 32 pixels larger."""
    return cropped(rule, side / (side + 32))


def cropped(rule: str, fraction: float) -> Resize:
    """A rule that keeps a fraction of the center, to four digits.

    Example:
        >>> cropped("crop", 224 / 256), cropped("squash", 1.0)
        ('crop:0.875', 'squash')
    """
    kept = round(fraction, 4)
    return rule if kept == 1 else f"{rule}:{kept:g}"
