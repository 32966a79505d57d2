"""The model card: README.md of a bundle, from figures on record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from nas.core.text import markdown
from nas.records import JSON
from nas.workflows.placing import SURE

MAX_CLASSES = 20
INPUTS = {
    False: "Images are divided by 255, then normalized by `mean` and `std` of bundle.json.",
    True: "The files for runtimes take uint8 images (n, side, side, channels){gives}; model.py takes normalized ones.",
}
GIVES = {"classification": " and give probabilities"}
DOES = {
    "classification": "Classifies {images} into {count} classes.",
    "detection": "Detects: {named}, in {images}.",
    "segmentation": "Segments: {named}, in {images}.",
    "embedding": "Compares {images}: gives a vector of length 1 for each, whose distances say how alike they are.",
}
RUN = {
    "detection": ", `draw=<folder>` draws what it finds",
    "segmentation": ", `draw=<folder>` draws what it finds",
    "embedding": " with `compare=<file>` or `gallery=<folder>`",
}
RAW = {
    "detection": "Files give `boxes`, codes relative to the default boxes, and `classes`, logits the first of which is the background's.",
    "segmentation": "Files give logits of pixels.",
}
WHOLE = {
    "detection": "Files for ONNX Runtime give the objects with scores above {threshold} by falling score: `boxes` (n, rows, 4), "
    "x0, y0, x1, y1 in fractions of the square that the network sees, `scores`, `classes`, numbers from 0 on, and `count`, the objects "
    "of each image; rows beyond have the score 0 and the class -1. The other files give `boxes`, codes relative to the default boxes, "
    "and `classes`, logits the first of which is the background's.",
    "segmentation": "Files for ONNX Runtime give `mask` (n, h, w) uint8, the number of each pixel's class; the others logits of pixels.",
}
RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts: rows are labels, columns what was predicted."""
    return np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )


def card(facts: Mapping[str, JSON], matrix: np.ndarray | None, classes: Sequence[str], usage: Sequence[str] = ()) -> str:
    """Markdown. `facts` has name, input, task, preprocess, postprocess, test, params, macs, files, int8, latencies, origin.

    matrix: the confusion of classes; None for a task without classes. usage: lines on how files are run. What a closer look gave
    is in `facts` too: `confidence`, as bundle.json has it, and `lines` of Markdown.
    """
    height, width, channels = facts["input"]
    images, metric = f"{width}x{height} images of {channels} channel{'s' if channels > 1 else ''}", facts["task"]["primary"]
    alone = ", without the post-processing" if facts.get("postprocess") else ""
    lines = [
        f"# {markdown(facts['name'])}", "",
        *_does(facts, images, classes), "",
        *_table(["", ""], [
            *_metrics(facts),
            *([["test top-5 accuracy", f"{top5:.4f}"]] if (top5 := facts.get("confidence", {}).get("top5")) is not None else []),
            ["parameters", f"{facts['params']:,}"],
            ["multiply-adds", f"{facts['macs'] / 1e6:.2f} M"],
            *([f"latency on {name}", f"{ms:.4f} ms, batch 1, measured{alone}"] for name, ms in facts["latencies"].items()),
        ]),
        "", "## Files", "", *_table(["file", "what", "largest difference of outputs on real images"], facts["files"]),
    ]  # fmt: skip
    for name, found in facts["int8"].items():
        lines += ["", "8 bits, in {runtime}: {metric} {before:.4f} before, {after:.4f} after, on {images} test images; "
                  "calibrated with {calibrated} training images.".format(metric=metric, runtime=RUNTIMES[name], **found)]  # fmt: skip
    if matrix is not None:
        lines += ["", "## Confusion on the test split", "", *_matrix(matrix, classes)]
    lines += [*facts.get("lines", ()), *usage]
    lines += ["", "## How it came about", "", "```json", json.dumps(facts["origin"], indent=1, default=str), "```", ""]
    return "\n".join(lines)


def _does(facts: Mapping[str, JSON], images: str, classes: Sequence[str]) -> list[str]:
    """What the network is for, what goes in and what comes out."""
    task, inputs = facts["task"]["name"], INPUTS[bool(facts.get("preprocess"))].format(gives=GIVES.get(facts["task"]["name"], ""))
    named = ", ".join(map(markdown, classes[:MAX_CLASSES])) + (f", .. ({len(classes)} classes)" if len(classes) > MAX_CLASSES else "")
    does = DOES.get(task, "A network for {task} from {images}.")
    does = does.format(task=markdown(task), images=images, named=named, count=len(classes))
    given = (WHOLE if facts.get("postprocess") else RAW).get(task, "").format(threshold=SURE)
    run = f"`nas predict weights=<this folder> image=<file>` runs it{RUN.get(task, '')}."
    return [does, *(line for line in (inputs, given, run) if line)]


def _metrics(facts: Mapping[str, JSON]) -> list[list[str]]:
    """A row a metric of the test split, and of the validation split where the training recorded it."""
    valid = facts["origin"].get("valid")
    valid = valid if isinstance(valid, Mapping) else {}
    images = facts["test"]["images"]
    return [
        [f"test {name}", f"{_number(value)} on {images} images" + (f"; validation {_number(valid[name])}" if name in valid else "")]
        for name, value in facts["test"]["metrics"].items()
    ]


def _number(value: float) -> str:
    """A dash for what no image says anything of, such as the precision of large objects where there is none."""
    return "-" if np.isnan(value) or value == -1 else f"{value:.4f}"


def _matrix(matrix: np.ndarray, classes: Sequence[str]) -> list[str]:
    if len(classes) > MAX_CLASSES:
        wrong = [
            (int(matrix[i, j]), i, j)
            for i in range(len(classes))
            for j in range(len(classes))
            if i != j and matrix[i, j]
        ]
        worst = sorted(wrong, reverse=True)[:MAX_CLASSES]
        return _table(["label", "predicted", "images"], [[classes[i], classes[j], n] for n, i, j in worst])
    right = [f"{row[i] / row.sum():.1%}" if row.sum() else "-" for i, row in enumerate(matrix)]
    rows = [[name, *row.tolist(), part] for name, row, part in zip(classes, matrix, right, strict=True)]
    return _table(["label / predicted", *classes, "right"], rows)


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    """Every cell escaped: names of classes and devices are data."""
    lines = ["| " + " | ".join(markdown(str(cell)) for cell in row) + " |" for row in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]
