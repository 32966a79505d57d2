"""Blocks of the networks before and beside the mobile ones: ResNet, ResNeXt, DenseNet, GoogLeNet, ShuffleNet, Xception."""

from __future__ import annotations

from nas.arch.blocks.parts import shortcut, squeeze_excite
from nas.arch.builder import Builder


def residual(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int = 3, act: str = "relu", bias: bool = False,
             se: float = 0) -> int:  # fmt: skip
    """ResNet's basic block (arXiv:1512.03385): two convolutions, the input added before the last activation.

    `se` squeezes to that fraction of the block's width (arXiv:1709.01507).
    """
    y = g.conv_norm_act(x, width, kernel, stride, act, "conv1", bias=bias)
    y = g.conv_norm_act(y, width, kernel, 1, "none", "conv2", bias=bias)
    return _joined(g, x, y, stride, act, bias, se)


def bottleneck(g: Builder, x: int, *, stride: int = 1, width: int, hidden: int = 0, kernel: int = 3, groups: int = 1,
               act: str = "relu", bias: bool = False, stride_at: str = "middle", se: float = 0) -> int:  # fmt: skip
    """ResNet's bottleneck: 1x1 to `hidden` (a quarter of `width` unless given), k x k in `groups`, 1x1 to `width`.

    `stride_at` is `first` in the paper and `middle` in what is known as v1.5; `groups` makes it ResNeXt's (arXiv:1611.05431).
    """
    hidden = hidden or max(1, width // 4)
    first, second = (stride, 1) if stride_at == "first" else (1, stride)
    y = g.conv_norm_act(x, hidden, 1, first, act, "conv1", bias=bias)
    y = g.conv_norm_act(y, hidden, kernel, second, act, "conv2", groups=groups, bias=bias)
    y = g.conv_norm_act(y, width, 1, 1, "none", "conv3", bias=bias)
    return _joined(g, x, y, stride, act, bias, se)


def _joined(g: Builder, x: int, y: int, stride: int, act: str, bias: bool, se: float) -> int:
    if se:
        y = squeeze_excite(g, y, max(1, int(g.width(y) * se)))
    return g.act(g.add(shortcut(g, x, g.width(y), stride, bias=bias), g.drop_path(y)), act)


def dense_layer(
    g: Builder, x: int, *, stride: int = 1, growth: int, expand: int = 4, kernel: int = 3, act: str = "relu"
) -> int:
    """DenseNet-B's layer (arXiv:1608.06993): norm, act, 1x1 to `expand` times `growth`, norm, act, k x k, joined to its input."""
    if stride != 1:
        raise ValueError("stride: a dense layer keeps the size; put a transition before it")
    y = g.act(g.norm(x, "norm1"), act, "act1")
    y = g.conv(y, growth * expand, 1, name="conv1")
    y = g.act(g.norm(y, "norm2"), act, "act2")
    y = g.conv(y, growth, kernel, name="conv2")
    return g.concat([x, y])


def transition(g: Builder, x: int, *, stride: int = 1, compress: float = 0.5, act: str = "relu") -> int:
    """Between DenseNet's stages: norm, act, 1x1 convolution to `compress` times the width, average of stride x stride pixels."""
    y = g.act(g.norm(x, "norm"), act)
    y = g.conv(y, max(1, int(g.width(x) * compress)), 1, name="conv")
    return y if stride == 1 else g.pool(y, "avg", stride, stride, "pool", padding=0)


def inception(g: Builder, x: int, *, stride: int = 1, width1: int, reduce3: int, width3: int, reduce5: int, width5: int,
              width_pool: int, kernel5: int = 5, act: str = "relu") -> int:  # fmt: skip
    """GoogLeNet's module (arXiv:1409.4842): 1x1; 1x1 and 3x3; 1x1 and 5x5; 3x3 max pool and 1x1, side by side.

    Batch norm follows every convolution; `kernel5: 3` is torchvision's third branch.
    """
    a = g.conv_norm_act(x, width1, 1, stride, act, "one")
    b = g.conv_norm_act(x, reduce3, 1, 1, act, "three.reduce")
    b = g.conv_norm_act(b, width3, 3, stride, act, "three")
    c = g.conv_norm_act(x, reduce5, 1, 1, act, "five.reduce")
    c = g.conv_norm_act(c, width5, kernel5, stride, act, "five")
    d = g.conv_norm_act(g.pool(x, "max", 3, stride, "pool"), width_pool, 1, 1, act, "project")
    return g.concat([a, b, c, d])


def shuffle_v1(g: Builder, x: int, *, stride: int = 1, width: int, groups: int = 3, first_groups: int = 0, kernel: int = 3,
               act: str = "relu") -> int:  # fmt: skip
    """ShuffleNet's unit (arXiv:1707.01083): grouped 1x1 to a quarter, shuffle, depthwise, grouped 1x1, added.

    Where size or width change, the pooled input and the unit's output stand side by side instead. `first_groups` are those
    of the first convolution (1 in the unit right after the stem).
    """
    hidden, added = max(1, width // 4), stride == 1 and width == g.width(x)
    if not added and width <= g.width(x):
        raise ValueError(f"width: has to be {g.width(x)}, as the input, or more, got {width}")
    y = g.conv_norm_act(x, hidden, 1, 1, act, "reduce", groups=first_groups or groups)
    y = g.shuffle(y, first_groups or groups)
    y = g.norm(g.depthwise(y, kernel, stride, "depthwise.conv"), "depthwise.norm")
    y = g.conv_norm_act(y, width if added else width - g.width(x), 1, 1, "none", "project", groups=groups)
    if added:
        return g.act(g.add(x, g.drop_path(y)), act)
    x = g.pool(x, "avg", 3, stride, "skip.pool") if stride > 1 else x
    return g.act(g.concat([x, y]), act)


def shuffle_v2(g: Builder, x: int, *, stride: int = 1, width: int, kernel: int = 3, act: str = "relu") -> int:
    """ShuffleNetV2's unit (arXiv:1807.11164): half of the channels pass, the other half go 1x1, depthwise, 1x1; shuffle.

    Where size or width change, both halves come from the whole input, the first one through depthwise and 1x1.
    """
    if width % 2:
        raise ValueError(f"width: has to be even, got {width}")
    half = width // 2
    if stride == 1 and width == g.width(x):
        left, right = g.channels(x, 0, half, "left"), g.channels(x, half, width, "right")
    else:
        left = g.norm(g.depthwise(x, kernel, stride, "left.depthwise.conv"), "left.depthwise.norm")
        left, right = g.conv_norm_act(left, half, 1, 1, act, "left.project"), x
    y = g.conv_norm_act(right, half, 1, 1, act, "reduce")
    y = g.norm(g.depthwise(y, kernel, stride, "depthwise.conv"), "depthwise.norm")
    y = g.conv_norm_act(y, half, 1, 1, act, "project")
    return g.shuffle(g.concat([left, y]), 2)


def xception(g: Builder, x: int, *, stride: int = 1, width: int, hidden: int = 0, depth: int = 2, kernel: int = 3,
             act: str = "relu", act_first: bool = True) -> int:  # fmt: skip
    """Xception's module (arXiv:1610.02357): `depth` times act, separable convolution, norm; 3x3 max pool; the input added.

    All but the last are `hidden` wide (as wide as the last unless given). `act_first: false` leaves out the first activation.
    """
    y = x
    for i in range(depth):
        if i or act_first:
            y = g.act(y, act, f"act{i + 1}")
        y = g.depthwise(y, kernel, 1, f"depthwise{i + 1}")
        y = g.conv(y, width if i == depth - 1 else hidden or width, 1, name=f"pointwise{i + 1}")
        y = g.norm(y, f"norm{i + 1}")
    if stride > 1:
        y = g.pool(y, "max", 3, stride, "pool")
    return g.add(shortcut(g, x, width, stride), g.drop_path(y))
