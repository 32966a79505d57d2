"""What several blocks are made of: rounding of widths, squeeze-and-excitation, skips and shortcuts."""

from __future__ import annotations

from nas.arch.builder import Builder

SKIPS = ("none", "identity", "pool")


def make_divisible(width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `width`, never under 90 % of it (google-research's MobileNet code)."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def squeeze_excite(g: Builder, x: int, width: int, *, act: str = "relu", gate: str = "sigmoid") -> int:
    """Squeeze-and-excitation (arXiv:1709.01507) with biased 1x1 convolutions and `width` squeezed channels."""
    y = g.global_pool(x, "se.pool")
    y = g.act(g.conv(y, width, bias=True, name="se.reduce"), act, "se.act")
    y = g.act(g.conv(y, g.width(x), bias=True, name="se.expand"), gate, "se.gate")
    return g.mul(x, y, "se.mul")


def gated(
    g: Builder,
    x: int,
    block_input: int,
    se: float,
    se_width: int,
    se_of: str,
    se_divisor: int,
    se_act: str,
    se_gate: str,
    act: str,
) -> int:
    """SE after `x` where `se` (a ratio of the block's input or of `x`, in multiples of `se_divisor`) or `se_width` asks for it.

    `se_act: block` is `act`, the activation of the block that it stands in.
    """
    if not (se or se_width):
        return x
    base = g.width(block_input if se_of == "input" else x)
    width = se_width or (max(1, int(base * se)) if se_divisor == 1 else make_divisible(base * se, se_divisor))
    return squeeze_excite(g, x, width, act=act if se_act == "block" else se_act, gate=se_gate)


def groups_of(channels: int, group_size: int) -> int:
    """Groups of so many channels each: 1 gives a depthwise convolution, 0 one group of all channels."""
    if group_size and channels % group_size:
        raise ValueError(f"group_size: {group_size} does not divide {channels} channels")
    return channels // group_size if group_size else 1


def skipped(g: Builder, x: int, y: int, skip: str, stride: int) -> int:
    """Adds the block's input where widths agree: `identity` at stride 1; `pool` its 3x3 average at any stride."""
    if skip == "none" or g.width(x) != g.width(y):
        return y
    if skip == "pool":
        x = g.pool(x, "avg", 3, stride, "skip.pool")
    if g.shape(x) != g.shape(y):
        return y
    return g.add(x, g.drop_path(y))


def shortcut(g: Builder, x: int, width: int, stride: int, *, bias: bool = False) -> int:
    """The block's input, through a 1x1 convolution and norm where width or size change (ResNet's option B)."""
    if stride == 1 and width == g.width(x):
        return x
    return g.conv_norm_act(x, width, 1, stride, "none", "shortcut", bias=bias)


def padding_of(padding: str | int) -> str | int | None:
    """A block's `padding` knob as the builder takes it: `auto` is the architecture's."""
    return None if padding == "auto" else padding
