"""What `postprocess` puts behind a network in ONNX files, and whether such a file gives what `nas predict` would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.records import JSON
from nas.tasks import task_of
from nas.tasks.base import HostOutputs, Task
from nas.tasks.boxes.base import Head
from nas.tasks.boxes.geometry import LARGEST, SCALE
from nas.tasks.boxes.selection import LOOKED_AT, MOST, OF_CLASS, OVERLAP
from nas.tasks.detection import Detection
from nas.tasks.segmentation import Segmentation
from nas.workflows.placing import SURE

if TYPE_CHECKING:
    from nas.convert import Objects, Postprocess

NEAR = 1e-3  # of scores, and of edges in fractions of the image
TIES = 0.01  # fraction of the objects, or pixels, that rounding may decide
FEW = 2  # objects that it may decide where they are few


def behind(arch: Arch) -> Postprocess:
    """What an ONNX file does behind the network. Raises ValueError for a task without it."""
    from nas.convert import PixelClasses

    task = task_of(arch)
    if isinstance(task, Segmentation):
        height, width, _ = lower(arch).nodes[-1].shape
        return PixelClasses(height, width)
    if isinstance(task, Detection):
        return objects_of(task.head, arch.classes)
    other = "; preprocess=true gives probabilities" if task.name == "classification" else ""
    raise ValueError(f"postprocess: is for segmentation and detection, this network is for {task.name}{other}; leave it out")


def objects_of(head: Head, classes: int) -> Objects:
    """What an ONNX file does behind a detector's head, as `nas predict` does it."""
    from nas.convert import Objects

    return Objects(head.anchors, head.in_cells, SCALE, LARGEST, classes, head.scoring, OF_CLASS, LOOKED_AT, OVERLAP, MOST, SURE)


def facts_of(head: Head) -> dict[str, JSON]:
    """What decodes the outputs of a head."""
    boxes = [[side, [list(pair) for pair in pairs]] for side, pairs in zip(head.maps, head.sizes, strict=True)]
    code = {"code": "ssd", "code_scale": list(SCALE)} if head.in_cells is None else {"code": "yolo"}
    return {"default_boxes": boxes, **code, "scores": head.scoring, "overlap": OVERLAP, "threshold": SURE}


def outputs_of(task: Task, has_classes: bool, preprocess: bool, postprocess: bool) -> dict[str, JSON]:
    """What a file says of its outputs, and of a detector what it takes to decode them."""
    if isinstance(task, Segmentation):
        return {"output": "mask: numbers of classes" if postprocess else "logits of pixels"}
    if not isinstance(task, Detection):
        values = "embedding of length 1" if task.compares else "values"
        return {"output": ("probabilities" if preprocess else "logits") if has_classes else values}
    if postprocess:
        return {"output": "boxes: x0, y0, x1, y1 in fractions of the square; scores; classes, -1 behind the last object; count"}
    first = "whether there is an object" if task.head.scoring == "objectness" else "the background"
    return {"output": f"boxes: codes relative to the default boxes; classes: logits, the first of {first}", **facts_of(task.head)}


def run_whole(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """What a file with post-processing gives, by name, for images (n, h, w, c): normalized, or uint8 where it does that itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    moved = images if images.dtype == np.uint8 else images.transpose(0, 3, 1, 2)
    found = session.run(None, {"images": np.ascontiguousarray(moved)})
    return {one.name: np.asarray(value) for one, value in zip(session.get_outputs(), found, strict=True)}


def check(task: Task, path: Path, images: np.ndarray, raw: HostOutputs) -> None:
    """Compares a file with post-processing with the task's own of the file's raw outputs, so that rounding decides little.

    Raises:
        ValueError: It gives other objects or classes.
    """
    found, own = run_whole(path, images), task.postprocess(raw)
    if "mask" in found:
        wrong, most = int((found["mask"] != own["mask"]).sum()), TIES * found["mask"].size
    else:
        wrong, total = without_partner(found, own)
        most = max(FEW, TIES * total)
    if wrong > most:
        what = "pixels" if "mask" in found else "objects"
        raise ValueError(f"postprocess: {path.name}: loaded back, {wrong} {what} differ from those of nas predict; nothing was written")


def without_partner(found: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """(objects of a file and of the task that the other has not, all objects)."""
    wrong = total = 0
    for i, count in enumerate(found["count"]):
        rows = own["scores"][i] >= SURE
        theirs = np.c_[found["boxes"][i], found["scores"][i], found["classes"][i]][:count]
        ours = np.c_[own["boxes"][i][:, [1, 0, 3, 2]], own["scores"][i], own["classes"][i]][rows]
        same = (np.abs(theirs[:, None] - ours[None]) < NEAR).all(2)
        wrong += int((~same.any(1)).sum() + (~same.any(0)).sum())
        total += len(theirs) + len(ours)
    return wrong, total
