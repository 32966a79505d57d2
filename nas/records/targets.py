"""`TargetSpec`: what a dataset holds beside each image, and what a task trains on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

TargetKind = Literal["label", "number", "mask", "boxes", "identity"]
NAMES: dict[TargetKind, str] = {
    "label": "class labels",
    "number": "numbers",
    "mask": "masks",
    "boxes": "boxes",
    "identity": "identities",
}


@dataclass(frozen=True)
class TargetSpec:
    """The targets of a dataset: one array for each image.

    Args:
        kind: What they mean. `label`: the number of a class. `number`: a value to predict. `mask`: the class of each pixel, 255
            where none counts. `boxes`: padded rows of eight numbers, as `nas.data.boxes` has them, with class -1 in rows that hold
            no object. `identity`: the number of an individual.
        shape: Of one target: `()` for a label or number, `(h, w)` for a mask, `(most, 8)` for boxes.
        dtype: NumPy's name of their type.
    """

    kind: TargetKind = "label"
    shape: tuple[int, ...] = ()
    dtype: Literal["int32", "float32", "uint8"] = "int32"

    def check(self, targets: np.ndarray, where: str) -> None:
        """Raises ValueError naming `where` for an array of n targets whose shape or type is another."""
        if targets.shape[1:] != self.shape or targets.dtype != self.dtype:
            got = f"{targets.dtype} of shape {targets.shape}"
            raise ValueError(
                f"{where}: expected {NAMES[self.kind]}, {self.dtype} of shape (n, *{self.shape}), got {got}"
            )


LABEL = TargetSpec()
IDENTITY = TargetSpec("identity")
NUMBER = TargetSpec("number", (), "float32")
