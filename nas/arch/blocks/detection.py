"""Heads that answer for boxes: codes and class scores of every default box."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nas.arch.blocks.taps import Taps
from nas.arch.builder import Builder
from nas.arch.graph import Graph

LEAST_WIDTH = 16  # of a level beyond the backbone, however small the multiplier
POINT = re.compile(r"head/boxes\d+\.point")  # the convolutions that give codes


def ssdlite(g: Builder, x: int, *, classes: int, taps: Taps, conv: int = 0, conv_act: str = "hswish",
            widths: Sequence[int] = (512, 256, 256, 128), multiplier: float = 1.0, boxes: int = 6, first_boxes: int = 0,
            finest: int = 16, expansions: bool = True, act: str = "relu6") -> Mapping[str, int]:  # fmt: skip
    """SSDLite (MobileNetV2, arXiv:1801.04381, section 6.2): single-shot detection with depthwise separable predictions.

    Maps: the expansions of the blocks that halve the maps from stride `finest` on, or without `expansions` these maps, which have fewer
    channels; the last map, through [a 1x1 convolution of `conv`, norm, `conv_act`]; and a level for each of `widths` times
    `multiplier`, each half as large: a 1x1 convolution to half its width, a 3x3 depthwise one of stride 2, a 1x1 one. Of every map a
    3x3 depthwise convolution, norm, activation and a 1x1 convolution give the codes of `boxes` boxes a pixel (`first_boxes` of the
    first map; 0: as many), another pair their classes.

    Returns:
        `boxes` (1, A, 4) codes and `classes` (1, A, classes + 1) logits, background first, of A boxes in the order map, row, column, box.

    Source:
        torchvision's ssdlite.py has 6 boxes everywhere; TensorFlow's object detection API 3 on the first map.
    """
    if not boxes:
        raise ValueError("boxes: expected one or more for each pixel, got 0")
    last = g.conv_norm_act(x, conv, 1, 1, conv_act, "conv") if conv else x
    strides = [stride for stride in sorted(taps.maps) if finest <= stride < max(taps.maps)]
    maps = [*(taps.expansion(stride) if expansions else taps.map(stride) for stride in strides), last]
    for i, width in enumerate(widths, 1):
        maps.append(_extra(g, maps[-1], max(LEAST_WIDTH, int(width * multiplier)), act, f"extra{i}"))
    counts = [first_boxes or boxes, *([boxes] * (len(maps) - 1))]
    outputs = {}
    for name, values in (("classes", classes + 1), ("boxes", 4)):  # the order of torchvision's modules, so that its weights fit
        levels = [_predicted(g, x, count * values, act, f"{name}{i}") for i, (x, count) in enumerate(zip(maps, counts, strict=True))]
        total = sum(g.width(level) for level in levels)
        outputs[name] = g.reshape(g.concat(levels, f"{name}.all"), (1, total // values, values), name)
    return {"boxes": outputs["boxes"], "classes": outputs["classes"]}


def predicted_maps(graph: Graph) -> tuple[tuple[int, int, int], ...]:
    """(rows, columns, boxes a pixel) of each map that a network with this head predicts from, in the order of its boxes.

    Args:
        graph: The network.

    Returns:
        A triple for each map; empty where the network has another head.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> predicted_maps(lower(load_arch("ssdlite320_mobilenet_v3_large")))
        ((20, 20, 6), (10, 10, 6), (5, 5, 6), (3, 3, 6), (2, 2, 6), (1, 1, 6))
    """
    found = [node.shape for node in graph.nodes if POINT.fullmatch(node.name)]
    return tuple((rows, columns, width // 4) for rows, columns, width in found)


def _extra(g: Builder, x: int, width: int, act: str, name: str) -> int:
    x = g.conv_norm_act(x, width // 2, 1, 1, act, f"{name}.narrow")
    x = g.conv_norm_act(x, width // 2, 3, 2, act, f"{name}.depthwise", groups=width // 2)
    return g.conv_norm_act(x, width, 1, 1, act, f"{name}.wide")


def _predicted(g: Builder, x: int, width: int, act: str, name: str) -> int:
    """(1, 1, pixels times width): pixel by pixel, of each first all values of its first box."""
    y = g.conv_norm_act(x, g.width(x), 3, 1, act, f"{name}.depthwise", groups=g.width(x))
    return g.flatten(g.conv(y, width, bias=True, name=f"{name}.point"), f"{name}.flat")
