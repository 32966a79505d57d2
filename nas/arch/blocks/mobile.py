"""Blocks of the MobileNet, MnasNet and EfficientNet families, and the plain ones: convolution, pooling, identity."""

from __future__ import annotations

from collections.abc import Sequence

from nas.arch.blocks.parts import gated, groups_of, make_divisible, padding_of, skipped
from nas.arch.builder import Builder


def conv(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int | Sequence[int] = 3, act: str = "relu",
         norm: bool = True, bias: bool = False, groups: int = 1, padding: str | int = "auto", dilation: int = 1, se: float = 0,
         se_width: int = 0, se_of: str = "input", se_divisor: int = 1, se_act: str = "relu", se_gate: str = "sigmoid",
         skip: str = "none") -> int:  # fmt: skip
    """Convolution, batch norm, activation; SE after it and a skip where asked for (MnasNet's ConvOp `conv`).

    `kernel` is a side, or [rows, columns].
    """
    sides = kernel if isinstance(kernel, int) else (kernel[0], kernel[1])
    y = g.conv(x, width, sides, stride, groups=groups, bias=bias, padding=padding_of(padding), dilation=g.dilation * dilation,
               name="conv")  # fmt: skip
    y = g.act(g.norm(y, "norm") if norm else y, act)
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate, act)
    return skipped(g, x, y, skip, stride)


def sepconv(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int = 3, act: str = "relu", project_act: str = "none",
            depthwise_norm: bool = True, group_size: int = 1, se: float = 0, se_width: int = 0, se_of: str = "input",
            se_divisor: int = 1, se_act: str = "relu", se_gate: str = "sigmoid", skip: str = "identity") -> int:  # fmt: skip
    """Depthwise separable convolution: depthwise, norm, activation, [SE], pointwise, norm.

    MobileNetV1 (arXiv:1704.04861) has an activation after the pointwise too (`project_act`); Xception (arXiv:1610.02357)
    has nothing between the two (`depthwise_norm: false, act: none`). `group_size` is mbconv's.
    """
    y = g.conv(x, g.width(x), kernel, stride, groups=groups_of(g.width(x), group_size), name="depthwise.conv")
    y = g.act(g.norm(y, "depthwise.norm") if depthwise_norm else y, act, "depthwise.act")
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate, act)
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
           se_act: str = "relu", se_gate: str = "sigmoid", skip: str = "identity", force_expand: bool = False,
           group_size: int = 1) -> int:  # fmt: skip
    """Inverted residual (arXiv:1801.04381): 1x1 expansion, depthwise, [SE], linear 1x1 projection.

    The expansion is `hidden` channels, or `expand` times the input rounded to `divisor`; it is left out where it would not
    widen, unless `force_expand`. SE squeezes to `se_width`, or to `se` times the block's input (MnasNet, EfficientNet) or
    the expansion (`se_of: hidden`, `se_divisor: 8`, `se_gate: hsigmoid` are MobileNetV3's). `group_size` channels of the
    k x k convolution are one group; 1 is depthwise, 0 all channels.
    """
    hidden = expanded(g, x, expand, hidden, divisor)
    y = x
    if hidden != g.width(x) or force_expand:
        y = g.conv_norm_act(y, hidden, 1, 1, act, "expand")
    y = g.conv_norm_act(y, hidden, kernel, stride, act, "depthwise", groups=groups_of(hidden, group_size))
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate, act)
    y = g.conv_norm_act(y, width, 1, 1, "none", "project")
    return skipped(g, x, y, skip, stride)


def fused_mbconv(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int = 3, expand: float = 0, hidden: int = 0,
                 divisor: int = 1, act: str = "relu", se: float = 0, se_width: int = 0, se_of: str = "input",
                 se_divisor: int = 1, se_act: str = "relu", se_gate: str = "sigmoid", skip: str = "identity",
                 force_expand: bool = False, group_size: int = 0) -> int:  # fmt: skip
    """EfficientNetV2's fused inverted residual (arXiv:2104.00298): k x k expansion, [SE], linear 1x1 projection.

    Where the expansion would not widen, one k x k convolution with its activation does both, unless `force_expand`. The k x k
    convolution has groups of `group_size` of the expanded channels (MobileNet-EdgeTPU V2); 0 is one group.
    """
    hidden = expanded(g, x, expand, hidden, divisor)
    groups = groups_of(hidden, group_size)
    if hidden == g.width(x) and not force_expand:
        y = g.conv_norm_act(x, width, kernel, stride, act, "conv", groups=groups)
        return skipped(g, x, gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate, act), skip, stride)
    y = g.conv_norm_act(x, hidden, kernel, stride, act, "expand", groups=groups)
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate, act)
    y = g.conv_norm_act(y, width, 1, 1, "none", "project")
    return skipped(g, x, y, skip, stride)


def uib(g: Builder, x: int, *, stride: int = 1, width: int, start_kernel: int = 0, mid_kernel: int = 3, end_kernel: int = 0,
        expand: float = 0, hidden: int = 0, divisor: int = 1, act: str = "relu", se: float = 0, se_width: int = 0,
        se_of: str = "input", se_divisor: int = 1, se_act: str = "relu", se_gate: str = "sigmoid",
        skip: str = "identity") -> int:  # fmt: skip
    """MobileNetV4's universal inverted bottleneck (arXiv:2404.10518): an inverted residual with up to three depthwise convolutions.

    Linear depthwise of `start_kernel`, 1x1 expansion, depthwise of `mid_kernel`, [SE], linear 1x1 projection, linear depthwise of
    `end_kernel`; a kernel of 0 leaves its convolution out. With both of the first it is ExtraDW, with `mid_kernel` alone an
    inverted bottleneck, with `start_kernel` alone ConvNeXt-like, with none a feed-forward network. The stride is the mid
    convolution's, or else the first one's that is there. The expansion is always there, even where it does not widen.
    """
    hidden = expanded(g, x, expand, hidden, divisor)
    if stride > 1 and not (start_kernel or mid_kernel or end_kernel):
        raise ValueError("stride: without a depthwise convolution the block keeps the size")
    at = "mid" if mid_kernel else "start" if start_kernel else "end"

    def depthwise(y: int, kernel: int, fn: str, name: str) -> int:
        return g.conv_norm_act(y, g.width(y), kernel, stride if name == at else 1, fn, name, groups=g.width(y)) if kernel else y

    y = depthwise(x, start_kernel, "none", "start")
    y = g.conv_norm_act(y, hidden, 1, 1, act, "expand")
    y = depthwise(y, mid_kernel, act, "mid")
    y = gated(g, y, x, se, se_width, se_of, se_divisor, se_act, se_gate, act)
    y = g.conv_norm_act(y, width, 1, 1, "none", "project")
    return skipped(g, x, depthwise(y, end_kernel, "none", "end"), skip, stride)


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
