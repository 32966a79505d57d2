"""What the answers of a detector's head mean, read from its graph, and heads whose default boxes follow the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np

from nas.arch import AUTO, Arch, Knob
from nas.arch.anchors import HIGH, LOW, Sizes, ssd_sizes
from nas.arch.blocks import lower
from nas.data.boxes import CLASS, IGNORED
from nas.tasks.boxes.anchors import default_boxes
from nas.tasks.boxes.auto import PLENTY, FittedScales, fit_scales, given

FINEST = (16, 8, 4)  # strides of the first map that `finest: auto` takes, the coarsest that is enough
LARGEST = 64  # pixels a side of a first map that is taken without being asked for


@dataclass(frozen=True, eq=False)
class Head:
    """What the answers of a head mean.

    Args:
        maps: Pixels a side of each of its feature maps.
        sizes: Of each map, (height, width) of the default boxes at each pixel, in fractions of the image.
        sigmoid: Whether classes are trained and scored each by itself, or by a softmax with the background.
    """

    maps: tuple[int, ...]
    sizes: Sizes
    sigmoid: bool = False

    @cached_property
    def anchors(self) -> np.ndarray:
        """(A, 4) float32 default boxes."""
        return default_boxes(self.maps, self.sizes)


@lru_cache(maxsize=16)
def head_of(arch: Arch) -> Head:
    """The head of an architecture, from its graph, which the exported files are made of too."""
    graph = lower(arch)
    maps, sizes = zip(*graph.nodes[graph.outputs["boxes"]].attr["anchors"], strict=True)
    return Head(maps, sizes, arch.head.get("scores", "softmax") == "sigmoid")


def objects_of(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, most, 8) targets -> boxes (k, 4) and classes (k,) of all objects that count."""
    rows = targets[(targets[..., CLASS] >= 0) & (targets[..., IGNORED] == 0)].astype(np.float64)
    return rows[:, :4], rows[:, CLASS].astype(np.int64)


def rule_of(arch: Arch) -> Callable[[Sequence[float]], Sizes]:
    """From scales to default boxes, as the head of an architecture has them."""
    names = {"boxes": "boxes", "first_boxes": "first"}
    return partial(ssd_sizes, **{names[key]: value for key, value in arch.head.knobs if key in names})


def fitted_head(arch: Arch, truths: np.ndarray, labels: np.ndarray) -> Mapping[str, Knob]:
    """Values of `finest` and `scales` in place of `auto`.

    Of the strides that the first map may have it is the coarsest with which default boxes reach 95 % of each class, or where none is
    enough, that which reaches most.

    Args:
        arch: The architecture.
        truths: (k, 4) boxes of the training split, k at least 1.
        labels: (k,) their classes.

    Raises:
        ValueError: Without a box.
    """
    best: tuple[float, FittedScales, Knob] | None = None
    for stride in FINEST if arch.head.get("finest") == AUTO else (arch.head.get("finest"),):
        head = head_of(arch.with_head({"finest": stride}))
        if best is not None and head.maps[0] > LARGEST:
            break
        found = _fitted(arch, head, truths, labels)
        merit = sum(min(part, PLENTY) for part in found.coverage.values())
        if best is None or found.enough or merit > best[0] + 0.01:
            best = merit, found, stride
        if found.enough:
            break
    assert best is not None
    return {"finest": best[2], "scales": (best[1].low, best[1].high)}


def reach_lines(arch: Arch, truths: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Lines for people: how many objects of each class the default boxes of a head reach, and what would reach more."""
    head = head_of(arch)
    own = given(truths, labels, head.maps, _ends(arch), rule_of(arch))
    shown = ", ".join(f"{names[label]} {100 * part:.1f} %" for label, part in sorted(own.coverage.items()))
    line = f"default boxes reach, at an IoU of 0.5: {shown}"
    if own.enough:
        return (line,)
    best = fit_scales(truths, labels, head.maps, rule_of(arch), resolution=arch.resolution)
    if best.enough:
        return (line, f"95 % of each class: head scales: [{best.low:g}, {best.high:g}], or auto, which finds them")
    if best.remedy is None:
        return (line, "no scales, nor a finer map, nor larger images that were tried reach 95 % of each class")
    stride, resolution = best.remedy
    finer = (
        f"a first map of stride {stride} (head finest: {stride})" if stride != arch.resolution // head.maps[0] else ""
    )
    larger = f"images of {resolution} pixels" if resolution != arch.resolution else ""
    return (line, f"95 % of each class: {' and '.join(filter(None, [finer, larger]))}, with head scales: auto")


def _fitted(arch: Arch, head: Head, truths: np.ndarray, labels: np.ndarray) -> FittedScales:
    if arch.head.get("scales") == AUTO:
        return fit_scales(truths, labels, head.maps, rule_of(arch))
    return given(truths, labels, head.maps, _ends(arch), rule_of(arch))


def _ends(arch: Arch) -> tuple[float, float]:
    """The first and the last scale of a head, until it follows the data the published ones."""
    scales = arch.head.get("scales")
    return scales if isinstance(scales, tuple) else (LOW, HIGH)
