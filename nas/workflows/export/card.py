"""The model card: README.md of a bundle, from figures on record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from nas.core.text import markdown
from nas.records import JSON

MAX_CLASSES = 20
INPUTS = {
    False: "Images are divided by 255, then normalized by `mean` and `std` of bundle.json.",
    True: "The files for runtimes take uint8 images (n, side, side, channels) and give probabilities; model.py takes normalized ones.",
}
RUNTIMES = {"onnx": "ONNX Runtime", "tflite": "LiteRT"}


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts: rows are labels, columns what was predicted."""
    return np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )


def card(facts: Mapping[str, JSON], matrix: np.ndarray | None, classes: Sequence[str], usage: Sequence[str] = ()) -> str:
    """Markdown. `facts` has name, input, task, test, params, macs, memory, files, checks, int8, latencies, data, settings.

    matrix: the confusion of classes; None for a task without classes. usage: lines on how files are run. What a closer look gave
    is in `facts` too: `confidence`, as bundle.json has it, and `lines` of Markdown.
    """
    height, width, channels = facts["input"]
    images, metric = f"{width}x{height} images of {channels} channel{'s' if channels > 1 else ''}", facts["task"]["primary"]
    task = markdown(facts["task"]["name"])
    does = f"Classifies {images} into {len(classes)} classes." if classes else f"A network for {task} from {images}."
    lines = [
        f"# {markdown(facts['name'])}", "",
        does,
        f"{INPUTS[bool(facts.get('preprocess'))]} `nas predict weights=<this folder> "
        "image=<file>` runs it.", "",
        *_table(["", ""], [
            [f"test {metric}", f"{facts['test']['value']:.4f} on {facts['test']['images']} images"],
            *([["test top-5 accuracy", f"{top5:.4f}"]] if (top5 := facts.get("confidence", {}).get("top5")) is not None else []),
            ["parameters", f"{facts['params']:,}"],
            ["multiply-adds", f"{facts['macs'] / 1e6:.2f} M"],
            *([f"latency on {name}", f"{ms:.4f} ms, batch 1, measured"] for name, ms in facts["latencies"].items()),
        ]),
        "", "## Files", "", *_table(["file", "what", "largest difference of logits on real images"], facts["files"]),
    ]  # fmt: skip
    for name, found in facts["int8"].items():
        lines += ["", "8 bits, in {runtime}: {metric} {before:.4f} before, {after:.4f} after, on {images} test images; "
                  "calibrated with {calibrated} training images.".format(metric=metric, runtime=RUNTIMES[name], **found)]  # fmt: skip
    if matrix is not None:
        lines += ["", "## Confusion on the test split", "", *_matrix(matrix, classes)]
    lines += [*facts.get("lines", ()), *usage]
    lines += ["", "## How it came about", "", "```json", json.dumps(facts["origin"], indent=1, default=str), "```", ""]
    return "\n".join(lines)


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
