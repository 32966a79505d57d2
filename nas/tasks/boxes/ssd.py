"""SSD's family of heads: codes and classes of default boxes, whose scales may follow the data.

Source:
    Liu et al. 2016 (arXiv:1512.02325).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nas.arch import AUTO, Arch, Knob
from nas.arch.anchors import HIGH, LOW, Sizes, ssd_sizes
from nas.data.boxes import CLASS, IGNORED
from nas.recipe import DetectionLoss
from nas.tasks.boxes.auto import PLENTY, FittedScales, fit_scales, given
from nas.tasks.boxes.base import Head, Scoring, sigmoid, softmax, stated
from nas.tasks.boxes.geometry import decode
from nas.tasks.boxes.losses import focal_loss, giou_loss, smooth_l1, softmax_loss
from nas.tasks.boxes.matching import match

if TYPE_CHECKING:
    import numpy as np

    from nas.tasks.base import Array

FINEST = (16, 8, 4)  # strides of the first map that `finest: auto` takes, the coarsest that is enough
LARGEST = 64  # pixels a side of a first map that is taken without being asked for
BOXES = {"smooth_l1": smooth_l1, "giou": giou_loss}


@dataclass(frozen=True, eq=False)
class SsdHead(Head):
    """Logits of the background and of each class; codes of `nas.tasks.boxes.geometry`.

    Args:
        sigmoid: Whether classes are trained and scored each by itself, or by a softmax with the background.
    """

    sigmoid: bool = False

    @classmethod
    def of(cls, arch: Arch) -> SsdHead:
        """That of an architecture."""
        return cls(*stated(arch), arch.head.get("scores", "softmax") == "sigmoid")

    @property
    def scoring(self) -> Scoring:
        return "sigmoid" if self.sigmoid else "softmax"

    @property
    def in_cells(self) -> None:
        return None

    @property
    def smooths(self) -> bool:
        return not self.sigmoid

    def scores(self, logits: Any) -> Any:
        return (sigmoid(logits) if self.sigmoid else softmax(logits))[..., 1:]

    def decode(self, codes: Any, places: Any) -> Any:
        return decode(codes, codes.__array_namespace__().asarray(self.anchors)[places])

    def losses(
        self, codes: Array, logits: Array, targets: Array, settings: DetectionLoss, smoothing: float = 0.0
    ) -> tuple[Mapping[str, Array], Array]:
        import jax.numpy as jnp

        anchors, labels = jnp.asarray(self.anchors), targets[..., CLASS].astype(jnp.int32)
        found = match(anchors, targets[..., :4], labels, targets[..., IGNORED] > 0)
        boxes = jnp.take_along_axis(targets[..., :4], found.truth[..., None], axis=1)
        label = jnp.take_along_axis(labels, found.truth, axis=1)
        answered = found.positive, found.negative
        if self.sigmoid:
            classes = focal_loss(logits[..., 1:], label, *answered, settings.alpha, settings.gamma)
        else:
            classes = softmax_loss(
                logits, label + 1, *answered, settings.negatives, settings.least_negatives, smoothing
            )
        parts = {"boxes": BOXES[settings.boxes](codes, boxes, anchors, found.positive), "classes": classes}
        return parts, found.positive.sum(1)


def _rule(arch: Arch) -> Callable[[Sequence[float]], Sizes]:
    """From scales to default boxes, as the head of an architecture has them."""
    names = {"boxes": "boxes", "first_boxes": "first"}
    return partial(ssd_sizes, **{names[key]: value for key, value in arch.head.knobs if key in names})


def fitted_ssd(arch: Arch, truths: np.ndarray, labels: np.ndarray) -> Mapping[str, Knob]:
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
        maps, _ = stated(arch.with_head({"finest": stride}))
        if best is not None and maps[0] > LARGEST:
            break
        found = _fitted(arch, maps, truths, labels)
        merit = sum(min(part, PLENTY) for part in found.coverage.values())
        if best is None or found.enough or merit > best[0] + 0.01:
            best = merit, found, stride
        if found.enough:
            break
    assert best is not None
    return {"finest": best[2], "scales": (best[1].low, best[1].high)}


def ssd_lines(arch: Arch, truths: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Lines for people: how many objects of each class the default boxes of a head reach, and what would reach more."""
    maps, _ = stated(arch)
    own = given(truths, labels, maps, _ends(arch), _rule(arch))
    shown = ", ".join(f"{names[label]} {100 * part:.1f} %" for label, part in sorted(own.coverage.items()))
    line = f"default boxes reach, at an IoU of 0.5: {shown}"
    if own.enough:
        return (line,)
    best = fit_scales(truths, labels, maps, _rule(arch), resolution=arch.resolution)
    if best.enough:
        return (line, f"95 % of each class: head scales: [{best.low:g}, {best.high:g}], or auto, which finds them")
    if best.remedy is None:
        return (line, "no scales, nor a finer map, nor larger images that were tried reach 95 % of each class")
    stride, resolution = best.remedy
    finer = f"a first map of stride {stride} (head finest: {stride})" if stride != arch.resolution // maps[0] else ""
    larger = f"images of {resolution} pixels" if resolution != arch.resolution else ""
    return (line, f"95 % of each class: {' and '.join(filter(None, [finer, larger]))}, with head scales: auto")


def _fitted(arch: Arch, maps: Sequence[int], truths: np.ndarray, labels: np.ndarray) -> FittedScales:
    if arch.head.get("scales") == AUTO:
        return fit_scales(truths, labels, maps, _rule(arch))
    return given(truths, labels, maps, _ends(arch), _rule(arch))


def _ends(arch: Arch) -> tuple[float, float]:
    """The first and the last scale of a head, until it follows the data the published ones."""
    scales = arch.head.get("scales")
    return scales if isinstance(scales, tuple) else (LOW, HIGH)
