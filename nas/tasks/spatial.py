"""What tasks share whose targets lie in the image: masks, boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.data.augment_targets import augment_targets
from nas.recipe import Augment
from nas.tasks.base import BaseTask


class SpatialTask(BaseTask):
    """Geometry moves targets with their images, and predictions are drawn: a subclass has its own `draw`."""

    pictures = True

    def augment(
        self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator, settings: Augment, *,
        fill: int | Sequence[int] = 0, first: int = 0, of: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        return augment_targets(images, targets, rng, settings, fill, first, of)
