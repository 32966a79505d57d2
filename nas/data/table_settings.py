"""The settings of files of rows: which columns hold images and their targets, and what these mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nas.data.boxes import check_classes
from nas.data.dataset import StreamSettings
from nas.data.masks import Numbers

# Settings of some kinds of targets -> their columns.
ONLY_OF = {
    "classes": ("mask", "boxes"), "ignore": ("mask",), "instances": ("mask",), "box_format": ("boxes",), "one_based": ("boxes",),
    "strict": ("boxes",),
}  # fmt: skip


@dataclass(frozen=True)
class TableSettings(StreamSettings):
    """Targets are labels, or masks where `mask_column` is set, or boxes where `boxes_column` is.

    Args:
        path: Of the folder.
        image_column: Of structs with `bytes`, or bytes; None: found by type.
        label_column: Of whole numbers or texts; None: found by type. Of boxes: lists of these; None: as structs have them, or one class.
        mask_column: Of PNG files as images are, a number for each pixel.
        boxes_column: Of lists of four numbers for each object, or structs with `bbox` and `category`, as the hub has them.
        classes: Of masks: as `nas.data.masks.Numbers.of` has them. Of boxes: names in their order.
        ignore: Of masks: numbers, or names of classes, that do not count.
        instances: Of masks: whether each object has a number of its own, and all above 0 are class 1.
        box_format: Of boxes: xyxy, the edges; xywh, left, top, width and height; None: xywh of structs, as COCO has them, else xyxy.
        one_based: Of boxes: whether pixels count from 1 and the last one is within the box: left and top are one less then.
        strict: Of boxes: whether one that would be dropped or clipped, and counted, is an error.
    """

    path: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    mask_column: str | None = None
    boxes_column: str | None = None
    classes: tuple[str, ...] | Mapping[int | str, str] | None = None
    ignore: int | str | tuple[int | str, ...] | None = None
    instances: bool = False
    box_format: Literal["xyxy", "xywh"] | None = None
    one_based: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_column is not None and self.boxes_column is not None:
            raise ValueError("boxes_column: expected one of mask_column and boxes_column, got both")
        if self.mask_column is not None and self.label_column is not None:
            raise ValueError("label_column: has no meaning beside mask_column; leave it null")
        of = "mask" if self.mask_column is not None else "boxes" if self.boxes_column is not None else "label"
        for key, columns in ONLY_OF.items():
            if getattr(self, key) not in (None, False) and of not in columns:
                raise ValueError(f"{key}: needs {' or '.join(f'{column}_column' for column in columns)}; leave it out, or set that")
        if of == "mask" and (self.classes is not None or self.instances):
            Numbers.of(self.classes, self.ignore, self.instances)
        if of == "boxes":
            if isinstance(self.classes, Mapping):
                raise ValueError("classes: expected a list of names for boxes, got a mapping")
            check_classes(self.classes)
