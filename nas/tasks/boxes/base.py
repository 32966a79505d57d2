"""What the answers of a detector's head mean: an abstract class that each family of heads fills in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from nas.arch import Arch
from nas.arch.anchors import Sizes
from nas.arch.blocks import lower
from nas.recipe import DetectionLoss
from nas.tasks.boxes.anchors import default_boxes

if TYPE_CHECKING:
    from nas.tasks.base import Array


# A softmax with the background, the logistic function of each logit, or that times the one of the first, whether there is an object.
Scoring: TypeAlias = Literal["softmax", "sigmoid", "objectness"]


@dataclass(frozen=True, eq=False)
class Head(ABC):
    """What the answers of a head mean.

    Args:
        maps: Pixels a side of each of its feature maps.
        sizes: Of each map, (height, width) of the default boxes at each pixel, in fractions of the image.
    """

    maps: tuple[int, ...]
    sizes: Sizes

    @cached_property
    def anchors(self) -> np.ndarray:
        """(A, 4) float32 default boxes."""
        return default_boxes(self.maps, self.sizes)

    @property
    @abstractmethod
    def scoring(self) -> Scoring:
        """How `scores` computes, by name, for the same outside of Python."""

    @property
    @abstractmethod
    def in_cells(self) -> np.ndarray | None:
        """(A, 1) sides of cells in fractions of the image, where codes place a center within its cell; None: relative to the box's size."""

    @property
    @abstractmethod
    def smooths(self) -> bool:
        """Whether `recipe.label_smoothing` has a meaning."""

    @abstractmethod
    def scores(self, logits: Any) -> Any:
        """(n, A, classes + 1) -> (n, A, classes) from 0 to 1. Arrays of NumPy or JAX, which may be traced."""

    @abstractmethod
    def decode(self, codes: Any, places: Any) -> Any:
        """The boxes of some answers. Arrays of NumPy or JAX, which may be traced.

        Args:
            codes: (.., 4).
            places: (..) which of the A default boxes they are of.

        Returns:
            (.., 4), which may reach beyond the image.
        """

    @abstractmethod
    def losses(
        self, codes: Array, logits: Array, targets: Array, settings: DetectionLoss, smoothing: float = 0.0
    ) -> tuple[Mapping[str, Array], Array]:
        """The parts of the loss, sums over an image. Traced.

        Args:
            codes: (n, A, 4).
            logits: (n, A, classes + 1).
            targets: (n, most, 8), see `nas.data.boxes`.
            settings: Of the recipe.
            smoothing: Of labels, 0 where the head does not smooth.

        Returns:
            The parts by name, that of `boxes` among them, and how many default boxes answer an object, (n,) each.
        """


@lru_cache(maxsize=16)
def stated(arch: Arch) -> tuple[tuple[int, ...], Sizes]:
    """(maps, sizes) as the graph of an architecture states them, which the exported files are made of too."""
    graph = lower(arch)
    maps, sizes = zip(*graph.nodes[graph.outputs["boxes"]].attr["anchors"], strict=True)
    return maps, sizes


def softmax(logits: Any) -> Any:
    """Over the last axis, of NumPy or JAX."""
    xp = logits.__array_namespace__()
    grown = xp.exp(logits - logits.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


def sigmoid(logits: Any) -> Any:
    """The logistic function, of NumPy or JAX, which never overflows."""
    xp = logits.__array_namespace__()
    small = xp.exp(-xp.abs(logits))
    return xp.where(logits >= 0, 1, small) / (1 + small)
