"""Width, depth and resolution multipliers, each from Arch to Arch; 1 returns the architecture unchanged."""

from __future__ import annotations

import dataclasses
import math

from nas.arch import MAX_LAYERS, MAX_RESOLUTION, MAX_WIDTH, Arch, Block, Stage, choice, number, whole
from nas.arch.blocks import WIDTHS, make_divisible

HEADS = ("keep", "grow", "scale")


def width_multiplier(
    arch: Arch, alpha: float, *, divisor: int = 8, at_least: float = 0.9, head: str = "grow", stem: bool = True
) -> Arch:
    """Every width times `alpha`, in multiples of `divisor`, never under `at_least` of what was asked for.

    The head's `width` is kept, grows with `alpha` over 1 and never shrinks (MobileNetV2), or scales like the others
    (EfficientNet); whatever else it holds scales. `divisor: 1` cuts the fraction off, at 8 channels or more (MobileNetV1).
    Ratios (`expand`, `se`) and groups stay. Raises ValueError for an alpha out of range or an unknown rule.
    """
    alpha = number(alpha, 1e-3, 64.0, "width_multiplier: alpha")
    choice(head, HEADS, "width_multiplier: head")
    if alpha == 1:
        return arch

    def scaled(width: int) -> int:
        return whole(rounded_width(width * alpha, divisor, at_least), 1, MAX_WIDTH, "width_multiplier: width")

    def block(old: Block, keep: tuple[str, ...] = ()) -> Block:
        return old.replace(**{k: scaled(v) for k, v in old.knobs if k in (*WIDTHS, "conv") and k not in keep and v})

    kept = ("width",) if head == "keep" or (head == "grow" and alpha < 1) else ()
    stages = tuple(dataclasses.replace(s, layers=tuple(block(layer) for layer in s.layers)) for s in arch.stages)
    return dataclasses.replace(
        arch, stem=block(arch.stem) if stem else arch.stem, stages=stages, head=block(arch.head, kept)
    )


def rounded_width(width: float, divisor: int, at_least: float) -> int:
    """A multiple of `divisor` near a width, not under `at_least` of it; with `divisor: 1` cut off, 8 or more.

    Example:
        >>> rounded_width(24 * 1.4, 8, 0.9), rounded_width(24 * 0.35, 1, 0.9)
        (32, 8)
    """
    if divisor == 1:
        return max(8, int(width))
    if at_least == 0.9:
        return make_divisible(width, divisor)
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < at_least * width else rounded


def depth_multiplier(arch: Arch, depth: float, *, keep_ends: bool = False, nearest: bool = False) -> Arch:
    """ceil(`depth` times layers) in every stage: the last layer repeated, or the last ones left out.

    `nearest` rounds to the nearest number instead, 1 or more, so that a little depth adds few layers.
    `keep_ends` leaves the first and the last stage as they are (EfficientNet-Lite).
    """
    depth = number(depth, 1e-3, 64.0, "depth_multiplier: depth")
    ends = (0, len(arch.stages) - 1) if keep_ends else ()

    def layers(repeat: int) -> int:
        return max(1, math.floor(depth * repeat + 0.5)) if nearest else math.ceil(depth * repeat)

    stages = tuple(s if i in ends else _deepened(s, layers(s.repeat)) for i, s in enumerate(arch.stages))
    whole(sum(stage.repeat for stage in stages), 1, MAX_LAYERS, "depth_multiplier: layers")
    return dataclasses.replace(arch, stages=stages)


def _deepened(stage: Stage, repeat: int) -> Stage:
    layers = stage.layers[:repeat] + stage.layers[-1:] * max(repeat - stage.repeat, 0)
    return dataclasses.replace(stage, layers=layers)


def with_resolution(arch: Arch, resolution: int) -> Arch:
    """The same network, strides and all, on images of another size (`Arch.with_io` drops strides on small ones)."""
    return dataclasses.replace(arch, resolution=whole(resolution, 1, MAX_RESOLUTION, "with_resolution: resolution"))


def replace_knobs(arch: Arch, **knobs: object) -> Arch:
    """Knobs set in every block, the stem and the head that has them set already, and in the defaults."""

    def block(old: Block) -> Block:
        return old.replace(**{k: v for k, v in knobs.items() if k in dict(old.knobs)})

    stages = tuple(dataclasses.replace(s, layers=tuple(block(layer) for layer in s.layers)) for s in arch.stages)
    defaults = tuple((k, knobs.get(k, v)) for k, v in arch.defaults)
    return dataclasses.replace(arch, stem=block(arch.stem), stages=stages, head=block(arch.head), defaults=defaults)
