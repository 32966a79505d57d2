"""Segmentation and detection on public images, from published weights and from nothing, on two cores.

    python benchmarks/masks_and_boxes.py path=<folder with bccd/, camvid/, pennfudan/ and efficientnet_lite0/>
                                         [on=bccd,camvid,pennfudan] [from=lite0,nothing,search] [seeds=1] [run=runs/pixels] [--quick]

Every figure is of the test part, scored once with the weights of the epoch that validation chose; the curve is of validation.

- bccd: blood cells, boxes, official parts, 320 pixels: AP at an IoU of .5. from=lite0: SSDLite on EfficientNet-Lite0 with its weights of
  ImageNet. from=search: eight candidates of `tiny_ssdlite` at 192 pixels, and the best of them trained at 256.
- camvid: street scenes, 11 classes, official parts, trained at 256 pixels and scored at the 480x360 of the photographs: mean IoU.
  from=lite0: LR-ASPP on EfficientNet-Lite0; from=nothing: on a small network from initial values.
- pennfudan: people, 170 photographs of which those with md5(row) mod 5 = 0 are the test part: IoU of `person`, at the photographs' own
  sizes. from=lite0.

A training that was stopped resumes with the same command. Seconds are of the wall clock and of processors, compilation among them.
"""

from __future__ import annotations

import hashlib
import io
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run
from PIL import Image

import nas
from nas.tasks.segmentation_scores import class_scores, confusion
from nas.workflows.train import TrainResult

Settings = dict[str, Any]
ORIGINS = "lite0", "nothing", "search"
CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist", "unlabelled")
LITE0_STAGES = [
    {"op": "mbconv", "repeat": repeat, "expand": expand, "kernel": kernel, "width": width, "stride": stride}
    for repeat, expand, kernel, width, stride in (
        (1, 1, 3, 16, 1), (2, 6, 3, 24, 2), (2, 6, 5, 40, 2), (3, 6, 3, 80, 2), (3, 6, 5, 112, 1), (4, 6, 5, 192, 2), (1, 6, 3, 320, 1),
    )
]  # fmt: skip
SMALL_STAGES = [
    {"op": "mbconv", "repeat": 1, "kernel": 3, "expand": 2, "width": 16, "stride": 1},
    {"op": "mbconv", "repeat": 2, "kernel": 3, "expand": 4, "width": 24, "stride": 2},
    {"op": "mbconv", "repeat": 3, "kernel": 5, "expand": 4, "se": 0.25, "act": "hswish", "width": 40, "stride": 2},
    {"op": "mbconv", "repeat": 3, "kernel": 3, "expand": 6, "se": 0.25, "act": "hswish", "width": 80, "stride": 2},
]
COLORS: Settings = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3}
AUGMENT: Settings = {"flip": True, "crop_padding": 0, "scale": [0.75, 2.0], **COLORS}
RECIPE: Settings = {
    "optimizer": "adamw", "weight_decay": 0.01, "batch": 8, "warmup_epochs": 1, "ema": 0.98, "label_smoothing": 0.0,
    "validate_every": 1, "patience": 1000, "augment": AUGMENT,
}  # fmt: skip
PIXELS: Settings = {**RECIPE, "schedule": "poly", "class_weights": "balanced"}
PLAIN: Settings = {**PIXELS, "class_weights": "none", "dice": 1.0}  # balanced weights find rare classes, and too much of them
BOXES: Settings = {**RECIPE, "schedule": "cosine", "augment": {**AUGMENT, "scale": [0.75, 1.5]}}


def lite0(head: Settings, resolution: int) -> Settings:
    stem = {"op": "conv", "kernel": 3, "stride": 2, "width": 32}
    return {"name": f"lite0_{head['op']}", "resolution": resolution, "defaults": {"act": "relu6"}, "stem": stem,
            "stages": LITE0_STAGES, "head": head}  # fmt: skip


def small(head: Settings, resolution: int) -> Settings:
    stem = {"op": "conv", "kernel": 3, "stride": 2, "width": 16, "act": "hswish"}
    return {"name": f"small_{head['op']}", "resolution": resolution, "defaults": {"act": "relu"}, "stem": stem,
            "stages": SMALL_STAGES, "head": head}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """A dataset and the trainings on it.

    Args:
        dataset: Its settings, or arrays.
        network: Architectures by where they start.
        recipes: Of these, one after the other; each begins with the weights of the one before it.
        score: A trained network's figure on the test part, and its name.
        search: Of `from=search`.
    """

    dataset: Callable[[Path], Settings]
    network: Mapping[str, Settings]
    recipes: Mapping[str, Sequence[Settings]]
    score: Callable[[Path, TrainResult], tuple[str, float]]
    search: Settings = field(default_factory=dict)


def bccd(root: Path) -> Settings:
    return {"name": "voc", "path": str(root / "bccd"), "resolution": 320}


def camvid(root: Path) -> Settings:
    return {"name": "parquet", "path": str(root / "camvid"), "mask_column": "label", "classes": list(CAMVID), "ignore": "unlabelled",
            "resolution": 256}  # fmt: skip


def pennfudan(root: Path) -> Settings:
    """Arrays of photographs of any size; every eighth of those that are not tested validates."""
    encoded, masks = people(root)
    images = [np.asarray(opened(image).convert("RGB")) for image in encoded]
    tested = np.array([is_tested(row) for row in range(len(images))])
    rest = np.flatnonzero(~tested)
    parts = {"train": np.delete(rest, np.s_[::8]), "valid": rest[::8], "test": np.flatnonzero(tested)}
    arrays: Settings = {"resolution": 256, "resize": "squash", "classes": ["background", "person"]}
    for part, rows in parts.items():
        arrays |= {f"x_{part}": [images[row] for row in rows], f"y_{part}": [masks[row] for row in rows]}
    return arrays


def is_tested(row: int) -> bool:
    return int(hashlib.md5(str(row).encode()).hexdigest(), 16) % 5 == 0


def people(root: Path) -> tuple[list[bytes], list[np.ndarray]]:
    images, masks = columns(root / "pennfudan" / "all.parquet", "image", "mask")
    return images, [(np.asarray(opened(mask)) > 0).astype(np.uint8) for mask in masks]


def columns(path: Path, *names: str) -> list[list[bytes]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(names)).to_pydict()
    return [[item["bytes"] if isinstance(item, dict) else item for item in table[name]] for name in names]


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def ap50(root: Path, net: TrainResult) -> tuple[str, float]:
    return "AP50", net.test["ap50"]


def camvid_miou(root: Path, net: TrainResult) -> tuple[str, float]:
    images, labels = columns(root / "camvid" / "test.parquet", "image", "label")
    truth = [np.asarray(opened(label)) for label in labels]
    found = ious(images, [np.where(a == 11, 255, a) for a in truth], net, 11)
    print("  " + ", ".join(f"{name} {iou:.3f}" for name, iou in zip(CAMVID, found, strict=False)))
    return "mean IoU at 480x360", float(found.mean())


def person_iou(root: Path, net: TrainResult) -> tuple[str, float]:
    images, masks = people(root)
    tested = [row for row in range(len(images)) if is_tested(row)]
    return "IoU of people", float(ious([images[row] for row in tested], [masks[row] for row in tested], net, 2)[1])


def ious(images: Sequence[bytes], truth: Sequence[np.ndarray], net: TrainResult, classes: int) -> np.ndarray:
    """Of each class over all pixels of all images."""
    total = np.zeros((classes, classes), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i:04d}.jpg" for i in range(len(images))]
        for file, content in zip(files, images, strict=True):
            file.write_bytes(content)
        predictions = net.predict(files)
    for prediction, mask in zip(predictions, truth, strict=True):
        assert prediction.mask is not None
        total += np.asarray(confusion(mask.astype(np.uint8), prediction.mask, classes))[:, :classes]
    return np.asarray(class_scores(total)["iou"])


LR_ASPP: Settings = {"op": "lr_aspp", "width": 128, "finer": 4, "output_stride": 16}
STUDIES = {
    "bccd": Study(
        bccd,
        {"lite0": lite0({"op": "ssdlite", "widths": [128, 96], "finest": "auto", "scales": "auto"}, 320)},
        {"lite0": [{**BOXES, "lr": 1e-3, "epochs": 15}], "search": [{**BOXES, "lr": 3e-3, "epochs": 40}]},
        ap50,
        {"space": "tiny_ssdlite", "trials": 8, "resolution": 192, "device": [], "objectives": {"accuracy": "max", "macs": "min"},
         "recipe": {**BOXES, "lr": 3e-3, "epochs": 6, "validate_every": 0, "patience": 0}},
    ),
    "camvid": Study(
        camvid,
        {"lite0": lite0(LR_ASPP, 256), "nothing": small({**LR_ASPP, "width": 96, "output_stride": 8}, 256)},
        {"lite0": [{**PIXELS, "lr": 1e-3, "epochs": 12}, {**PLAIN, "lr": 5e-4, "epochs": 5}],
         "nothing": [{**PIXELS, "lr": 3e-3, "epochs": 25}, {**PLAIN, "lr": 1e-3, "epochs": 6}]},
        camvid_miou,
    ),
    "pennfudan": Study(
        pennfudan,
        {"lite0": lite0(LR_ASPP, 256)},
        {"lite0": [{**PLAIN, "lr": 1e-3, "epochs": 30}]},
        person_iou,
    ),
}  # fmt: skip


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._processors = time.perf_counter(), self._spent()

    def _spent(self) -> float:
        return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    def __str__(self) -> str:
        wall, processors = time.perf_counter() - self._wall, self._spent() - self._processors
        return f"{wall / 60:.1f} minutes ({processors / 60:.1f} of processors)"


def train(name: str, origin: str, root: Path, seed: int, folder: Path, quick: bool) -> float:
    study, clock, weights = STUDIES[name], Clock(), None
    dataset = study.dataset(root)
    if origin == "search":
        found = searched(study.search, dataset, seed, folder / f"{name}-searched-{seed}", quick)
        print(f"{name}, seed {seed}: searched in {clock}", flush=True)
        arch, dataset = found, {**dataset, "resolution": 256}
    else:
        arch = study.network[origin]
    if origin == "lite0":
        weights = root / "efficientnet_lite0/efficientnet_lite0_imagenet.npz"
    net = None
    for number, recipe in enumerate(study.recipes[origin]):
        run, given = folder / f"{name}-{origin}-{seed}{f'-{number + 1}' if number else ''}", {**recipe, **({"epochs": 2} if quick else {})}
        net = nas.train(arch, dataset, recipe=given, weights=net.run if net else weights, seed=seed, run=run, progress=said)
        main = "ap50" if "ap50" in net.metrics else "miou"
        curve = [f"{row['epoch']}: {row[main]:.3f}" for row in net.record["curve"] if main in row]
        print(f"{name} from {origin}, seed {seed}: validation {main} by epoch  {'  '.join(curve)}", flush=True)
    assert net
    took = str(clock)
    what, value = study.score(root, net)
    print(f"{name} from {origin}, seed {seed}: {what} {value:.3f} on the test part, after {took}", flush=True)
    return value


def searched(search: Settings, dataset: Settings, seed: int, folder: Path, quick: bool) -> Any:
    given = {**search, "trials": 2, "recipe": {**search["recipe"], "epochs": 1}} if quick else dict(search)
    dataset = {**dataset, "resolution": given.pop("resolution")}
    result = nas.search(given.pop("space"), dataset, seed=seed, run=folder, executor="processes", progress=said, **given)
    best = max(result.front, key=lambda one: one.metrics["map"])
    found = best.arch.to_dict()
    return {**found, "head": {**found["head"], "scales": "auto"}}  # the space has the published ones, which platelets are too small for


def said(update: Any) -> None:
    if update.kind == "message":
        print(f"  {update.text}", flush=True)


def main(arguments: Sequence[str]) -> int:
    defaults = {"on": ",".join(STUDIES), "from": ",".join(ORIGINS), "seeds": "1", "run": "runs/pixels", "quick": ""}
    options = options_of(arguments, defaults, "bccd/, camvid/, pennfudan/ and efficientnet_lite0/")
    root, folder = Path(options["path"]).expanduser(), Path(options["run"])
    for name in options["on"].split(","):
        if name not in STUDIES:
            raise ValueError(f"on: expected {', '.join(STUDIES)}, got {name!r}")
        for origin in (one for one in options["from"].split(",") if one in STUDIES[name].recipes):
            seeds = range(1 if options["quick"] else int(options["seeds"]))
            found = [train(name, origin, root, seed, folder, bool(options["quick"])) for seed in seeds]
            if len(found) > 1:
                print(f"{name} from {origin}: mean {np.mean(found):.3f}, least {min(found):.3f}, of {len(found)} seeds", flush=True)
    return 0


if __name__ == "__main__":
    run(main)
