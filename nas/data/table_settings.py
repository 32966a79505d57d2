"""The settings of files of rows: which columns hold images and their targets, and what these mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas.data.dataset import StreamSettings
from nas.data.masks import Numbers


@dataclass(frozen=True)
class TableSettings(StreamSettings):
    """Targets are labels, or masks where `mask_column` is set.

    Args:
        path: Of the folder.
        image_column: Of structs with `bytes`, or bytes; None: found by type.
        label_column: Of whole numbers or texts; None: found by type.
        mask_column: Of PNG files as images are, a number for each pixel.
        classes: Of masks: as `nas.data.masks.Numbers.of` has them.
        ignore: Of masks: numbers, or names of classes, that do not count.
        instances: Of masks: whether each object has a number of its own, and all above 0 are class 1.
    """

    path: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    mask_column: str | None = None
    classes: tuple[str, ...] | Mapping[int, str] | None = None
    ignore: int | str | tuple[int | str, ...] | None = None
    instances: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_column is not None:
            if self.label_column is not None:
                raise ValueError("label_column: has no meaning beside mask_column; leave it null")
            if self.classes is not None or self.instances:
                Numbers.of(self.classes, self.ignore, self.instances)
            return
        for key in ("classes", "ignore", "instances"):
            if getattr(self, key) not in (None, False):
                raise ValueError(f"{key}: is of masks; set mask_column, or leave it out")
