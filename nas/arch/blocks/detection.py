"""Heads that answer for boxes: codes and class scores of every default box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

from nas.arch.anchors import HIGH, LOW, ssd_scales, ssd_sizes, yolo_sizes
from nas.arch.blocks.taps import Taps
from nas.arch.builder import Builder

FINEST = 16  # stride of the first map, as published
RARE = -log(99)  # logit of what one box of a hundred shows, from which the focal loss starts (Lin et al. 2017, arXiv:1708.02002)
PREDICTED_STD = 0.03  # of initial kernels of codes and classes, as torchvision's
LEAST_WIDTH = 16  # of a level beyond the backbone, however small the multiplier


def ssdlite(g: Builder, x: int, *, classes: int, taps: Taps, conv: int = 0, conv_act: str = "hswish",
            widths: Sequence[int] = (512, 256, 256, 128), multiplier: float = 1.0, boxes: int = 6, first_boxes: int = 0,
            finest: int | str = 16, expansions: bool = True, scales: Sequence[float] | str = (LOW, HIGH), scores: str = "softmax",
             act: str = "relu6") -> Mapping[str, int]:  # fmt: skip
    """SSDLite (MobileNetV2, arXiv:1801.04381, section 6.2): single-shot detection with depthwise separable predictions.

    Maps: the expansions of the blocks that halve the maps from stride `finest` on, or without `expansions` these maps, which have fewer
    channels; the last map, through [a 1x1 convolution of `conv`, norm, `conv_act`]; and a level for each of `widths` times
    `multiplier`, each half as large: a 1x1 convolution to half its width, a 3x3 depthwise one of stride 2, a 1x1 one. Of every map a
    3x3 depthwise convolution, norm, activation and a 1x1 convolution give the codes of `boxes` boxes a pixel (`first_boxes` of the
    first map; 0: as many), another pair their classes.

    Sizes of these boxes grow from the first of `scales` to the last, fractions of the image (`nas.arch.anchors`). `scores`: softmax with
    the background, or sigmoid of each class, trained by the focal loss. `finest` and `scales` may be auto, which the boxes of a dataset
    decide; until then they are 16 and the published ones.

    Returns:
        `boxes` (1, A, 4) codes and `classes` (1, A, classes + 1) logits, background first, of A boxes in the order map, row, column, box.
        The node of `boxes` has `anchors`, (side of the map, ((height, width), ..)) of each map.

    Source:
        torchvision's ssdlite.py has 6 boxes everywhere; TensorFlow's object detection API 3 on the first map.
    """
    if not boxes:
        raise ValueError("boxes: expected one or more for each pixel, got 0")
    last = g.conv_norm_act(x, conv, 1, 1, conv_act, "conv") if conv else x
    smallest = FINEST if isinstance(finest, str) else finest
    strides = [stride for stride in sorted(taps.maps) if smallest <= stride < max(taps.maps)]
    maps = [*(taps.expansion(stride) if expansions else taps.map(stride) for stride in strides), last]
    for i, width in enumerate(widths, 1):
        maps.append(_extra(g, maps[-1], max(LEAST_WIDTH, int(width * multiplier)), act, f"extra{i}"))
    low, high = (LOW, HIGH) if isinstance(scales, str) else scales
    anchors = tuple(
        zip((g.shape(y)[0] for y in maps), ssd_sizes(ssd_scales(len(maps), low, high), boxes, first_boxes), strict=True)
    )
    outputs = {}
    for name, values in (("classes", classes + 1), ("boxes", 4)):  # the order of torchvision's modules, so that its weights fit
        start = RARE if name == "classes" and scores == "sigmoid" else 0.0
        counted = zip(maps, (len(sizes) * values for _, sizes in anchors), strict=True)
        levels = [_predicted(g, y, width, act, f"{name}{i}", start) for i, (y, width) in enumerate(counted)]
        total = sum(g.width(level) for level in levels)
        outputs[name] = g.reshape(g.concat(levels, f"{name}.all"), (1, total // values, values), name)
    g.state(outputs["boxes"], anchors=anchors)
    if scores == "sigmoid":
        g.state(outputs["classes"], scores=scores)
    return {"boxes": outputs["boxes"], "classes": outputs["classes"]}


def yolo(g: Builder, x: int, *, classes: int, taps: Taps, conv: int = 0, conv_act: str = "hswish",
         widths: Sequence[int] = (512, 256, 128), multiplier: float = 1.0, pairs: int = 2, separable: bool = False, boxes: int = 3,
         finest: int = 8, anchors: Sequence[Sequence[float]] | str = (), act: str = "relu6") -> Mapping[str, int]:  # fmt: skip
    """YOLOv3's head (arXiv:1804.02767): boxes of a few sizes at each pixel of several maps, coarse maps helping finer ones.

    Maps: the last one, through [a 1x1 convolution of `conv`, norm, `conv_act`], and those before it down to the stride `finest`. From
    the coarsest on, a map of `widths` times `multiplier`, w, is made by `pairs` of a 1x1 convolution to w and a 3x3 one to 2 w, and a
    1x1 one to w; a 3x3 one to 2 w and a 1x1 one give the answers of `boxes` boxes a pixel. To the next map it goes by a 1x1 convolution to
    that map's width, resized (bilinear, where the original repeats pixels) and side by side with the backbone's. With `separable` the
    3x3 convolutions are depthwise, each with a 1x1 one behind it.

    `anchors`: (height, width) of the boxes in fractions of the image by rising area, `boxes` for each map, the first of the finest; empty:
    those published for COCO; auto: those that fit the boxes of a dataset best, until then the published ones.

    Returns:
        `boxes` (1, A, 4) codes and `classes` (1, A, classes + 1) logits, first whether there is an object, of A boxes in the order map
        (the finest first), row, column, box. The node of `boxes` has `anchors`, as `ssdlite` has them, and `code`.

    Raises:
        ValueError: For another number of anchors, more maps than widths, or no box.
    """
    if not boxes:
        raise ValueError("boxes: expected one or more for each pixel, got 0")
    x = g.conv_norm_act(x, conv, 1, 1, conv_act, "conv") if conv else x
    strides = sorted((stride for stride in taps.maps if finest <= stride < max(taps.maps)), reverse=True)
    if len(widths) <= len(strides):
        raise ValueError(f"widths: expected {len(strides) + 1}, one for each map of stride {finest} or more, got {len(widths)}")
    scaled = [max(LEAST_WIDTH, int(width * multiplier)) for width in widths]
    values, levels, sides = 5 + classes, list[int](), list[int]()
    for i, (stride, width) in enumerate(zip([None, *strides], scaled, strict=False)):
        if stride is not None:
            finer = taps.map(stride)
            x = g.resize(g.conv_norm_act(x, width, 1, 1, act, f"up{i}"), g.shape(finer)[:2], f"up{i}.resize")
            x = g.concat([x, finer], f"up{i}.both")
        for pair in range(pairs):
            x = g.conv_norm_act(x, width, 1, 1, act, f"level{i}.narrow{pair}")
            x = _wide(g, x, 2 * width, separable, act, f"level{i}.wide{pair}")
        x = g.conv_norm_act(x, width, 1, 1, act, f"level{i}.narrow")
        y = g.conv(_wide(g, x, 2 * width, separable, act, f"level{i}.wide"), boxes * values, bias=True, name=f"level{i}.point")
        start = (0.0, 0.0, 0.0, 0.0, RARE, *[0.0] * classes)  # that most boxes have no object is known before training
        g.state(y, std=PREDICTED_STD, start=start)
        sides.append(g.shape(y)[0])
        levels.append(g.flatten(y, f"level{i}.flat"))
    total = sum(g.width(level) for level in levels) // values
    answers = g.reshape(g.concat(levels[::-1], "all") if len(levels) > 1 else levels[0], (1, total, values), "answers")
    found = {"boxes": g.channels(answers, 0, 4, "boxes"), "classes": g.channels(answers, 4, values, "classes")}
    given = [] if isinstance(anchors, str) else [(height, width) for height, width in anchors]
    sizes = yolo_sizes(given, len(sides), boxes)
    g.state(found["boxes"], anchors=tuple(zip(sides[::-1], sizes, strict=True)), code="yolo")
    return found


def _wide(g: Builder, x: int, width: int, separable: bool, act: str, name: str) -> int:
    if not separable:
        return g.conv_norm_act(x, width, 3, 1, act, name)
    x = g.conv_norm_act(x, g.width(x), 3, 1, act, f"{name}.depthwise", groups=g.width(x))
    return g.conv_norm_act(x, width, 1, 1, act, f"{name}.point")


def _extra(g: Builder, x: int, width: int, act: str, name: str) -> int:
    x = g.conv_norm_act(x, width // 2, 1, 1, act, f"{name}.narrow")
    x = g.conv_norm_act(x, width // 2, 3, 2, act, f"{name}.depthwise", groups=width // 2)
    return g.conv_norm_act(x, width, 1, 1, act, f"{name}.wide")


def _predicted(g: Builder, x: int, width: int, act: str, name: str, start: float) -> int:
    """(1, 1, pixels times width): pixel by pixel, of each first all values of its first box. `start`: of the bias."""
    y = g.conv_norm_act(x, g.width(x), 3, 1, act, f"{name}.depthwise", groups=g.width(x))
    y = g.conv(y, width, bias=True, name=f"{name}.point")
    g.state(y, std=PREDICTED_STD, **({"start": start} if start else {}))
    return g.flatten(y, f"{name}.flat")
