"""Heads that answer for every pixel: (height, width, classes) logits at the resolution of the image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from nas.arch.blocks.taps import Taps
from nas.arch.builder import Builder

LOGITS_STD = 0.01  # of initial kernels


def lr_aspp(g: Builder, x: int, *, classes: int, taps: Taps, conv: int = 0, conv_act: str = "hswish", width: int = 128,
            act: str = "relu", gate: str = "sigmoid", finer: int = 8, output_stride: int = 0) -> int:  # fmt: skip
    """MobileNetV3's segmentation head, Lite R-ASPP (arXiv:1905.02244, fig. 10), as torchvision builds it.

    [1x1 convolution of `conv`, norm, `conv_act`]; a 1x1 convolution of `width`, norm, activation, times a gate of all pixels (global
    pool, 1x1 convolution), resized to the map of stride `finer` or less; the logits of both, added and resized to the image.
    """
    low = taps.map(taps.finer(finer))
    x = g.conv_norm_act(x, conv, 1, 1, conv_act, "conv") if conv else x
    high = g.conv_norm_act(x, width, 1, 1, act, "high")
    scale = g.act(g.conv(g.global_pool(x, "scale.pool"), width, name="scale.conv"), gate, "scale.gate")
    high = g.resize(g.mul(high, scale, "scaled"), g.shape(low)[:2], "high.resize")
    logits = _logits(g, low, classes, "low.logits"), _logits(g, high, classes, "high.logits")
    return g.resize(g.add(*logits, name="sum"), taps.image, "logits")


def deeplab_v3(g: Builder, x: int, *, classes: int, taps: Taps, conv: int = 0, conv_act: str = "hswish", width: int = 256,
               rates: Sequence[int] = (12, 24, 36), act: str = "relu", dropout: float = 0.5,
               output_stride: int = 0) -> int:  # fmt: skip
    """Atrous spatial pyramid pooling (DeepLabV3, arXiv:1706.05587, section 3.3), as torchvision builds it.

    [1x1 convolution of `conv`, norm, `conv_act`]; of `width` channels each a 1x1 convolution, a 3x3 one dilated by each of `rates`, and
    the mean of all pixels through a 1x1 convolution; these together through a 1x1 convolution, dropout and a 3x3 one. The paper has the
    rates 6, 12, 18 at output stride 16 and twice these at 8.
    """
    x = g.conv_norm_act(x, conv, 1, 1, conv_act, "conv") if conv else x
    branches = [g.conv_norm_act(x, width, 1, 1, act, "aspp.point")]
    for i, rate in enumerate(rates, 1):
        dilated = g.norm(g.conv(x, width, 3, padding="torch", dilation=rate, name=f"aspp.dilated{i}.conv"), f"aspp.dilated{i}.norm")
        branches.append(g.act(dilated, act, f"aspp.dilated{i}.act"))
    mean = g.conv_norm_act(g.global_pool(x, "aspp.pool"), width, 1, 1, act, "aspp.mean")
    branches.append(g.resize(mean, g.shape(x)[:2], "aspp.mean.resize"))
    y = g.conv_norm_act(g.concat(branches, "aspp"), width, 1, 1, act, "project")
    y = g.conv_norm_act(g.dropout(y, dropout), width, 3, 1, act, "last")
    return g.resize(_logits(g, y, classes, "small.logits"), taps.image, "logits")


def unet(g: Builder, x: int, *, classes: int, taps: Taps, widths: Sequence[int] = (), act: str = "relu", norm: bool = True,
         bias: bool = False, valid: bool = False, output_stride: int = 0) -> int:  # fmt: skip
    """U-Net's expanding path (arXiv:1505.04597): from map to map, twice as large each time, two 3x3 convolutions behind each.

    A transposed convolution to the next finer map's size and width, beside that map. `widths`: of the maps from the coarsest on; empty:
    as they come from the backbone. Biases or norms, as in the backbone. `valid` is the original without padding: maps are cut to what
    is left, and the logits are of the image's center, (388, 388) of 572 pixels; otherwise they are resized to the image.
    """
    strides = sorted(taps.maps, reverse=True)
    if widths and len(widths) != len(strides) - 1:
        raise ValueError(f"widths: expected {len(strides) - 1}, one for each map finer than the last, got {len(widths)}")
    for i, (coarse, stride) in enumerate(pairwise(strides)):
        finer = taps.map(stride)
        width = widths[i] if widths else g.width(finer)
        x = g.conv_transpose(x, width, coarse // stride, coarse // stride, f"up{stride}.transposed")
        (h, w, _), (own_h, own_w, _) = g.shape(finer), g.shape(x)
        size = min(h, own_h), min(w, own_w)
        x = g.concat([g.crop(finer, size, f"up{stride}.crop"), g.crop(x, size, f"up{stride}.own")], f"up{stride}.both")
        for name in (f"up{stride}.first", f"up{stride}.second"):
            x = g.conv(x, width, 3, bias=bias, padding="valid" if valid else None, name=f"{name}.conv")
            x = g.act(g.norm(x, f"{name}.norm") if norm else x, act, f"{name}.act")
    logits = _logits(g, x, classes, "logits")
    return logits if valid else g.resize(logits, taps.image, "logits.resize")


def _logits(g: Builder, x: int, classes: int, name: str) -> int:
    """Of each pixel. Drawn for their outputs, kernels of few classes behind many channels would give a loss of many nats at first."""
    y = g.conv(x, classes, bias=True, name=name)
    g.state(y, std=LOGITS_STD)
    return y
