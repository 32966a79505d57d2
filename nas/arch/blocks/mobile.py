"""Blocks of the MobileNet, MnasNet and EfficientNet families, and the plain ones: convolution, pooling, identity."""

from __future__ import annotations

from nas.arch.blocks.parts import gated, make_divisible, padding_of, skipped
from nas.arch.builder import Builder


def conv(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int = 3, act: str = "relu", norm: bool = True,
         bias: bool = False, groups: int = 1, padding: str | int = "auto", se: float = 0, se_width: int = 0,
         se_of: str = "input", se_divisor: int = 1, se_act: str = "relu", se_gate: str = "sigmoid",
         skip: str = "none") -> int:  # fmt: skip
    """Convolution, batch norm, activation; SE after it and a skip where asked for (MnasNet's ConvOp `conv`)."""
    y = g.conv(x, width, kernel, stride, groups=groups, bias=bias, padding=padding_of(padding), name="conv")
    y = g.act(g.norm(y, "norm") if norm else y, act)
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate)
    return skipped(g, x, y, skip, stride)


def sepconv(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int = 3, act: str = "relu", project_act: str = "none",
            depthwise_norm: bool = True, se: float = 0, se_width: int = 0, se_of: str = "input", se_divisor: int = 1, se_act: str = "relu",
            se_gate: str = "sigmoid", skip: str = "identity") -> int:  # fmt: skip
    """Depthwise separable convolution: depthwise, norm, activation, [SE], pointwise, norm.

    MobileNetV1 (arXiv:1704.04861) has an activation after the pointwise too (`project_act`); Xception (arXiv:1610.02357)
    has nothing between the two (`depthwise_norm: false, act: none`).
    """
    y = g.depthwise(x, kernel, stride, "depthwise.conv")
    y = g.act(g.norm(y, "depthwise.norm") if depthwise_norm else y, act, "depthwise.act")
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate)
    y = g.conv_norm_act(y, width, 1, 1, project_act, "project")
    return skipped(g, x, y, skip, stride)


def expanded(g: Builder, x: int, expand: float, hidden: int, divisor: int) -> int:
    """Width of an expansion: `hidden`, or `expand` times the input's."""
    if bool(expand) == bool(hidden):
        raise ValueError("expand: set either expand (a ratio) or hidden (a width)")
    if hidden:
        return hidden
    expected = g.width(x) * expand
    return max(1, make_divisible(expected, divisor) if divisor > 1 else round(expected))


def mbconv(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int = 3, expand: float = 0, hidden: int = 0,
           divisor: int = 1, act: str = "relu", se: float = 0, se_width: int = 0, se_of: str = "input", se_divisor: int = 1,
           se_act: str = "relu", se_gate: str = "sigmoid", skip: str = "identity", force_expand: bool = False) -> int:  # fmt: skip
    """Inverted residual (arXiv:1801.04381): 1x1 expansion, depthwise, [SE], linear 1x1 projection.

    The expansion is `hidden` channels, or `expand` times the input rounded to `divisor`; it is left out where it would not
    widen, unless `force_expand`. SE squeezes to `se_width`, or to `se` times the block's input (MnasNet, EfficientNet) or
    the expansion (`se_of: hidden`, `se_divisor: 8`, `se_gate: hsigmoid` are MobileNetV3's).
    """
    hidden = expanded(g, x, expand, hidden, divisor)
    y = x
    if hidden != g.width(x) or force_expand:
        y = g.conv_norm_act(y, hidden, 1, 1, act, "expand")
    y = g.depthwise(y, kernel, stride, "depthwise.conv")
    y = g.act(g.norm(y, "depthwise.norm"), act, "depthwise.act")
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate)
    y = g.conv_norm_act(y, width, 1, 1, "none", "project")
    return skipped(g, x, y, skip, stride)


def fused_mbconv(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int = 3, expand: float = 0, hidden: int = 0,
                 divisor: int = 1, act: str = "relu", se: float = 0, se_width: int = 0, se_of: str = "input",
                 se_divisor: int = 1, se_act: str = "relu", se_gate: str = "sigmoid", skip: str = "identity",
                 force_expand: bool = False) -> int:  # fmt: skip
    """EfficientNetV2's fused inverted residual (arXiv:2104.00298): k x k expansion, [SE], linear 1x1 projection.

    Where the expansion would not widen, one k x k convolution with its activation does both, unless `force_expand`.
    """
    hidden = expanded(g, x, expand, hidden, divisor)
    if hidden == g.width(x) and not force_expand:
        y = g.conv_norm_act(x, width, kernel, stride, act, "conv")
        return skipped(g, x, gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate), skip, stride)
    y = g.conv_norm_act(x, hidden, kernel, stride, act, "expand")
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate)
    y = g.conv_norm_act(y, width, 1, 1, "none", "project")
    return skipped(g, x, y, skip, stride)


def identity(g: Builder, x: int, *, stride: int = 1, width: int = 0) -> int:
    """Nothing at all; where stride or width change, a 1x1 convolution and batch norm."""
    if stride == 1 and width in (0, g.width(x)):
        return x
    return g.conv_norm_act(x, width or g.width(x), 1, stride, "none", "project")


def max_pool(
    g: Builder, x: int, *, stride: int = 1, kernel: int = 3, padding: str | int = "auto", ceil: bool = False
) -> int:
    """Maximum of each window; `ceil` lets the last window reach over the edge."""
    return g.pool(x, "max", kernel, stride, "pool", padding=padding_of(padding), ceil=ceil)


def avg_pool(
    g: Builder, x: int, *, stride: int = 1, kernel: int = 3, padding: str | int = "auto", ceil: bool = False
) -> int:
    """Average of each window's pixels, those of the padding left out."""
    return g.pool(x, "avg", kernel, stride, "pool", padding=padding_of(padding), ceil=ceil)
