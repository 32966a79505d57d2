"""Width and depth multipliers of block strings: published lists are one network, and code beside them makes a family of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from nas.arch import MAX_LAYERS, MAX_WIDTH, Arch, number, whole
from nas.arch.blockstrings.grammar import LayerString
from nas.arch.multipliers import rounded_width, width_multiplier
from nas.core.settings import build

Stages = list[list[LayerString]]


@dataclass(frozen=True)
class Scale:
    """What stands under `scale` beside strings.

    Attributes:
        width: of the widths that strings say, declared inputs (`i`, `fc`) too.
        depth: of the layers of each stage, or a number for each.
        divisor: widths in multiples of it.
        at_least: widths are never under that fraction of what was asked for, squeezed ones in timm's form neither.
        stem: whether the stem's width scales too.
        head: `keep`, `grow` (over 1 alone) or `scale`: what becomes of the head's width.
        keep_ends: whether the first and the last stage keep their layers.
        nearest: layers to the nearest number instead of up.

    Example:
        >>> from nas.arch.find import find_arch
        >>> b2 = {"blocks": "ir_r2_k3_s2_e6_c24", "scale": {"width": 1.1, "depth": 1.2}, "resolution": 224,
        ...       "head": {"op": "classifier"}}
        >>> arch = find_arch(b2)
        >>> arch.stages[0].repeat, arch.stages[0].layers[0].get("width")
        (3, 24)
    """

    width: float = 1.0
    depth: float | tuple[float, ...] = 1.0
    divisor: int = 8
    at_least: float = 0.9
    stem: bool = True
    head: Literal["keep", "grow", "scale"] = "grow"
    keep_ends: bool = False
    nearest: bool = False

    def __post_init__(self) -> None:
        number(self.width, 1e-3, 64.0, "width")
        for depth in self.depth if isinstance(self.depth, tuple) else (self.depth,):
            number(depth, 1e-3, 64.0, "depth")
        whole(self.divisor, 1, 256, "divisor")
        number(self.at_least, 0.0, 1.0, "at_least")


def scale_of(data: object, where: str) -> Scale:
    """Reads the mapping under `scale`. Raises ValueError naming the key."""
    return Scale() if data is None else build(Scale, cast(Mapping[str, object], data), f"{where}: scale")


def scaled_stages(stages: Stages, scale: Scale, where: str) -> Stages:
    """The strings of each stage with their widths and repeats multiplied.

    The layers of a stage are given to its strings in proportion, from the last to the first, one or more to each.
    """
    depths = scale.depth if isinstance(scale.depth, tuple) else (scale.depth,) * len(stages)
    if len(depths) != len(stages):
        raise ValueError(f"{where}: scale.depth: expected a number or one for each of {len(stages)} stages, got {len(depths)}")
    scaled = []
    for i, (stage, depth) in enumerate(zip(stages, depths, strict=True)):
        kept = depth == 1 or (scale.keep_ends and i in (0, len(stages) - 1))
        repeats = [layer.repeat for layer in stage]
        counts = repeats if kept else _proportional(repeats, depth, scale.nearest)
        scaled.append([_wider(replace(layer, repeat=n), scale, where) for layer, n in zip(stage, counts, strict=True)])
    whole(sum(layer.repeat for stage in scaled for layer in stage), 1, MAX_LAYERS, f"{where}: scale.depth: layers")
    return scaled


def _proportional(repeats: Sequence[int], depth: float, nearest: bool) -> list[int]:
    left = sum(repeats)
    total = max(1, math.floor(left * depth + 0.5)) if nearest else math.ceil(left * depth)
    counts = []
    for repeat in reversed(repeats):
        counts.append(max(1, round(repeat / left * total)))
        left, total = left - repeat, total - counts[-1]
    return counts[::-1]


def _wider(layer: LayerString, scale: Scale, where: str) -> LayerString:
    def scaled(width: int) -> int:
        wide = rounded_width(width * scale.width, scale.divisor, scale.at_least)
        return whole(wide, 1, MAX_WIDTH, f"{where}: scale.width: width")

    if (scale.width, scale.divisor) == (1, Scale.divisor):
        return layer
    names = [name for name in ("width", "given", "hidden_of") if getattr(layer, name)]
    return replace(layer, **{name: scaled(getattr(layer, name)) for name in names})


def scaled_ends(arch: Arch, scale: Scale) -> Arch:
    """Stem and head of an architecture multiplied by the same rules."""
    return width_multiplier(
        arch, scale.width, divisor=scale.divisor, at_least=scale.at_least, head=scale.head, stem=scale.stem
    )
