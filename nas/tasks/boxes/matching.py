"""Which default boxes are to answer which object, as SSD has it. Traced.

Source:
    Liu et al. 2016 (arXiv:1512.02325), sec. 2.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nas.tasks.boxes.anchors import REACH
from nas.tasks.boxes.geometry import aligned, area, intersection, iou

if TYPE_CHECKING:
    from nas.tasks.base import Array


class Matched(NamedTuple):
    """What each default box of each image is trained towards, (n, A) each.

    truth: the number of an object, meaningful where `positive`. positive: it answers that object. negative: it answers
    background. Those that are neither count in no loss.
    """

    truth: Array
    positive: Array
    negative: Array


def match(anchors: Array, boxes: Array, labels: Array, ignored: Array, reach: float = REACH) -> Matched:
    """A default box answers the object that it overlaps most, at an IoU of `reach` or more; every object has its best one.

    Where one is the best of several objects, it answers the one that it overlaps most. Default boxes that are not positive and lie
    half in an ignored object (a crowd, or one marked as difficult) are neither.

    Args:
        anchors: (A, 4).
        boxes: (n, m, 4), in the same unit.
        labels: (n, m); negative in rows without an object.
        ignored: (n, m) bool, which objects do not count.
        reach: IoU from which a default box is positive.

    Returns:
        (n, A) arrays.
    """
    import jax

    return jax.vmap(lambda one, label, left_out: _match(anchors, one, label, left_out, reach))(boxes, labels, ignored)


def _match(anchors: Array, boxes: Array, labels: Array, ignored: Array, reach: float) -> Matched:
    import jax.numpy as jnp

    counted = (labels >= 0) & ~ignored
    overlaps = jnp.where(counted[:, None], iou(boxes[:, None], anchors[None]), -1.0)  # (m, A)
    at_best = jnp.arange(len(anchors))[None] == overlaps.argmax(1)[:, None]
    forced = jnp.where(at_best & (overlaps > 0), overlaps, -1.0)
    is_forced = forced.max(0) > 0
    positive = is_forced | (overlaps.max(0) >= reach)
    left_out = unsure(anchors, boxes, (labels >= 0) & ignored)
    truth = jnp.where(is_forced, forced.argmax(0), overlaps.argmax(0))
    return Matched(truth, positive, ~positive & ~left_out)


def unsure(anchors: Array, boxes: Array, ignored: Array) -> Array:
    """Which default boxes lie half or more in an object that does not count: (A, 4), (.., m, 4), (.., m) -> (.., A). Traced."""
    objects, anchors = aligned(boxes[..., None, :], anchors)
    within = intersection(objects, anchors) / area(anchors)
    return (ignored[..., None] & (within >= REACH)).any(-2)
