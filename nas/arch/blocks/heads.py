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


def spp(g: Builder, x: int, *, classes: int, levels: Sequence[int] = (4, 3, 2, 1), width: int = 0, act: str = "relu",
        dropout: float = 0) -> int:  # fmt: skip
    """Spatial pyramid pooling (SPPnet, arXiv:1406.4729): [1x1 convolution, norm, activation], maxima of n x n parts, dropout, dense.

    `levels` are the n. The dense layer is of the same shape at any resolution of 4 pixels or more in the last map (the largest n), so
    that the weights of one are those of all. As in the paper windows are apart by the map's size over n, rounded down; they are as
    large as it takes for the last one to reach the end, which is the paper's size wherever that does so.
    """
    if width:
        x = g.conv_norm_act(x, width, 1, 1, act, "conv")
    size, parts = min(g.shape(x)[:2]), []
    for n in levels:
        if n > size:
            raise ValueError(f"levels: {n}x{n} parts of a map of {size} pixels; take fewer")
        stride = size // n
        pooled = g.pool(x, "max", size - (n - 1) * stride, stride, f"pool{n}", padding="valid")
        parts.append(g.flatten(pooled, f"flat{n}"))
    return g.dense(g.dropout(g.concat(parts, "pyramid"), dropout), classes, "logits")


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
        dropout_at: str = "after", window: int = 0) -> int:  # fmt: skip
    """Every pixel into dense layers of `widths`: the tail of LeNet, AlexNet and VGG. Dropout after or before each of them.

    With `window`, the side of the last map that the dense layers were trained for, they are convolutions: they slide over a larger map and
    their logits are averaged (OverFeat, arXiv:1312.6229, section 3.5; VGG, arXiv:1409.1556, section 3.2). Weights of the dense layers fit.
    """
    x = x if window else g.flatten(x)

    def layer(x: int, width: int, name: str) -> int:
        if not window:
            return g.dense(x, width, name)
        return g.conv(x, width, window if name in ("dense1", *([] if widths else ["logits"])) else 1, bias=True, padding="valid", name=name)

    for i, width in enumerate(widths, 1):
        if dropout_at == "before":
            x = g.dropout(x, dropout, f"dropout{i}")
        x = g.act(layer(x, width, f"dense{i}"), act, f"act{i}")
        if dropout_at == "after":
            x = g.dropout(x, dropout, f"dropout{i}")
    x = layer(x, classes, "logits")
    return g.flatten(g.global_pool(x, "windows")) if window else x
