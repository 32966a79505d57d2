"""How images were made ready for the weights of other libraries: mean and std, size, and the rule that made them square.

timm writes it into `config.json` beside the weights, as its hub has them, and is believed. Without that file it is what the library
does with all its networks of that name (`nas.data.crops`), at the size of the architecture that the weights are for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nas.core.jsonio import parse_json
from nas.data.crops import cropped, of_timm, of_torchvision, padded_by_32
from nas.data.pixels import Resize
from nas.nn.weights import IMAGENET, split_source

Named: TypeAlias = Literal["imagenet", "inception"]
Numbers: TypeAlias = tuple[float, ...]

NORMALIZATIONS: Mapping[str, tuple[Numbers, Numbers]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
LITE: tuple[Numbers, Numbers] = ((127 / 255,) * 3, (128 / 255,) * 3)  # (x - 127) / 128, of all that `weights=imagenet` knows
CONFIG = "config.json"
RULES: Mapping[object, Resize] = {"center": "crop", "squash": "squash"}  # by timm's crop_mode
HALVES = re.compile(r"tf_(efficientnet_(lite|e[slm]|cc_)|efficientnetv2_([slm]|xl)|mobilenetv3_|inception_v3)")
TRANSFORMED = re.compile(r"googlenet|inception_v3")  # torchvision's own models of them turn ImageNet's convention into this one
LARGEST = 1 << 20  # bytes of a config.json
MAX_SIDE = 4096


@dataclass(frozen=True)
class Convention:
    """How images were made ready.

    Args:
        mean: Per channel, of images / 255.
        std: The same.
        resize: The nearest of our rules to the one that made images square, with the part of the center that it keeps; None: not
            known.
        said: What tells.
        side: Of the images, in pixels; None: not known.
    """

    mean: Numbers
    std: Numbers
    resize: Resize | None
    said: str
    side: int | None = None


def convention_of(source: str, side: int | None = None) -> Convention | None:
    """How images were made ready for weights of timm or torchvision, or for `imagenet`.

    Args:
        source: As `weights=` has it.
        side: The resolution of the architecture that they are for, as its file has it: of references the published one.

    Returns:
        The convention; None for weights from elsewhere.

    Raises:
        ValueError: Naming a config.json that cannot be read, or what in it is wrong.

    Example:
        >>> convention_of("torchvision:nets/resnet50.pth").mean
        (0.485, 0.456, 0.406)
        >>> convention_of("timm:nets/tf_efficientnet_lite0.pth").std
        (0.5, 0.5, 0.5)
        >>> convention_of("nets/resnet50.pth") is None
        True
    """
    origin, path = split_source(source)
    if origin == IMAGENET:
        return Convention(*LITE, padded_by_32(side or 224), "as EfficientNet-Lite was trained", side)
    network = network_name(path)
    if origin == "torchvision":
        name: Named = "inception" if TRANSFORMED.match(network) else "imagenet"
        rule, own = of_torchvision(network)
        return Convention(*NORMALIZATIONS[name], rule, "as torchvision trains its classifiers", own or side)
    if origin != "timm":
        return None
    if (config := path.with_name(CONFIG)).is_file():
        return _stated(config, network, side)
    name, said = "inception" if HALVES.match(network) else "imagenet", "as timm trains most networks of this name"
    return Convention(*NORMALIZATIONS[name], of_timm(network, side), f"{said}; its {CONFIG} beside the file decides", side)


def network_name(path: Path) -> str:
    """What the network of a file is called: the hub has it in a folder of that name, or, in its cache, of a revision's.

    Example:
        >>> network_name(Path("models--timm--tf_mixnet_s.in1k/snapshots/5f1c/model.safetensors"))
        'tf_mixnet_s.in1k'
    """
    if path.stem not in ("model", "pytorch_model"):
        return path.stem
    cached = len(path.parents) > 3 and path.parent.parent.name == "snapshots"
    return path.parents[2].name.rpartition("--")[2] if cached else path.parent.name


def _stated(path: Path, network: str, side: int | None) -> Convention:
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large to be what timm writes")
        found = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(found, Mapping):
            raise ValueError("expected a mapping")
        nested = found.get("pretrained_cfg")
        stated = nested if isinstance(nested, Mapping) else found
        mean, std = numbers_of(stated.get("mean"), "mean"), numbers_of(stated.get("std"), "std")
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError("mean, std: expected as many of each, std above 0")
        rule, own = _form(stated, network, side)
    except (OSError, ValueError) as error:
        raise ValueError(f"weights: {path}: {error}; mend or remove it") from None
    return Convention(mean, std, rule, f"as {CONFIG} beside them says", own)


def _form(stated: Mapping[str, object], network: str, side: int | None) -> tuple[Resize | None, int | None]:
    """The rule, with the part of the center, and the side; what timm left out is as it is of most networks of that name."""
    if (size := stated.get("input_size")) is not None:
        sides = numbers_of(size, "input_size")
        if len(sides) != 3 or not 1 <= sides[1] <= MAX_SIDE or not sides[1] == sides[2] == int(sides[1]):
            raise ValueError(f"input_size: expected channels and equal sides of at most {MAX_SIDE} pixels, got {size!r:.60}")
        side = int(sides[1])
    mode, fraction = stated.get("crop_mode", "center"), stated.get("crop_pct")
    name = RULES.get(mode) if isinstance(mode, str) else None
    if name is None or fraction is None:
        return name and of_timm(network, side, name), side
    (kept,) = numbers_of([fraction], "crop_pct")
    if not 0 < kept <= 1:
        raise ValueError(f"crop_pct: expected a fraction of at most 1, got {fraction!r:.60}")
    return cropped(name, kept), side


def numbers_of(found: object, key: str) -> Numbers:
    """Finite numbers from a list. Raises ValueError naming the key."""
    values = list(found) if isinstance(found, list | tuple) else []
    if not values or not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in values):
        raise ValueError(f"{key}: expected a list of numbers, got {found!r:.60}")
    return tuple(float(x) for x in values)
