"""Heads: from the last feature map to logits or an embedding."""

from __future__ import annotations

from collections.abc import Sequence

from nas.arch.builder import Builder


def classifier(g: Builder, x: int, *, classes: int, width: int = 0, act: str = "relu", dropout: float = 0,
               norm_first: bool = False) -> int:  # fmt: skip
    """[norm, activation], [1x1 convolution, norm, activation], global pool, dropout, dense; the norm first is DenseNet's."""
    if norm_first:
        x = g.act(g.norm(x, "norm"), act)
    if width:
        x = g.conv_norm_act(x, width, 1, 1, act, "conv")
    x = g.flatten(g.global_pool(x))
    return g.dense(g.dropout(x, dropout), classes, "logits")


def mobilenet_v3(g: Builder, x: int, *, classes: int, conv: int = 0, width: int, act: str = "hswish", dropout: float = 0,
                 bias: bool = True, norm: bool = False) -> int:  # fmt: skip
    """MobileNetV3's efficient last stage (arXiv:1905.02244, fig. 5): [1x1 conv], pool, [biased] 1x1 conv without norm, dense.

    Without `conv` it is LCNet's (arXiv:2109.15099); `norm: true` and `bias: false` are MobileNetV4's.
    """
    if conv:
        x = g.conv_norm_act(x, conv, 1, 1, act, "conv")
    x = g.conv(g.global_pool(x), width, bias=bias, name="wide")
    x = g.norm(x, "wide.norm") if norm else x
    x = g.flatten(g.act(x, act, "wide.act"))
    return g.dense(g.dropout(x, dropout), classes, "logits")


def embedding(g: Builder, x: int, *, classes: int, size: int = 128, width: int = 0, act: str = "relu", dropout: float = 0,
              pool: bool = True) -> int:  # fmt: skip
    """[1x1 convolution, norm, activation], global pool, dropout, dense to `size`, divided by its length (FaceNet, arXiv:1503.03832).

    Without `pool` every pixel enters the dense layer, which keeps where things are. `classes` has no effect: an embedding has
    as many numbers whatever it is trained on.
    """
    if width:
        x = g.conv_norm_act(x, width, 1, 1, act, "conv")
    x = g.flatten(g.global_pool(x) if pool else x)
    return g.l2_normalize(g.dense(g.dropout(x, dropout), size, "embedding"))


def mlp(g: Builder, x: int, *, classes: int, widths: Sequence[int] = (4096, 4096), act: str = "relu", dropout: float = 0,
        dropout_at: str = "after") -> int:  # fmt: skip
    """Every pixel into dense layers of `widths`: the tail of LeNet, AlexNet and VGG. Dropout after or before each of them."""
    x = g.flatten(x)
    for i, width in enumerate(widths, 1):
        if dropout_at == "before":
            x = g.dropout(x, dropout, f"dropout{i}")
        x = g.act(g.dense(x, width, f"dense{i}"), act, f"act{i}")
        if dropout_at == "after":
            x = g.dropout(x, dropout, f"dropout{i}")
    return g.dense(x, classes, "logits")
