"""How sure an accuracy is: the standard error of a fraction of images, and members of a front that it cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from nas.objectives.alike import COUNTED
from nas.report.front import FrontRow


def standard_error(fraction: float, images: int) -> float:
    """The standard error of a fraction of images that were classified correctly.

    Half an image of each kind is added, so that 100 % of 50 images is not certain.

    Args:
        fraction: 0 to 1.
        images: How many; 0 where that is not known.

    Returns:
        The error; nan where the number is not known.

    Source:
        Agresti and Coull 1998, "Approximate is better than exact", with z = 1.

    Example:
        >>> round(standard_error(0.9, 400), 4)
        0.0151
    """
    if images < 1 or math.isnan(fraction):
        return math.nan
    near = (fraction * images + 0.5) / (images + 1)
    return math.sqrt(near * (1 - near) / (images + 1))


def shown_error(name: str, fraction: float, images: Mapping[str, int]) -> str:
    """` +-0.87` behind a metric in percent that is a fraction of images; empty behind others, and where the images are not known."""
    part = "test" if name.startswith("test_") else "valid"
    error = standard_error(fraction, images.get(part, 0)) if name.removeprefix("test_") in COUNTED else math.nan
    return "" if math.isnan(error) else f" +-{100 * error:.2f}"


def within_noise(front: Sequence[FrontRow], metric: str, images: int) -> dict[int, str]:
    """Members whose accuracy is not told from that of the next better one by its images.

    Args:
        front: Best first.
        metric: The accuracy.
        images: Of the validation split.

    Returns:
        Title of the next better member by the number of a member, where they differ by no more than the standard error of
        their difference.
    """
    found: dict[int, str] = {}
    if metric not in COUNTED:
        return found
    for better, row in pairwise(front):
        first, second = (one.metrics.get(metric, math.nan) for one in (better, row))
        if abs(first - second) <= math.hypot(standard_error(first, images), standard_error(second, images)):
            found[row.number] = better.title
    return found
