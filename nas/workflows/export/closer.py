"""A closer look at a classifier for its model card: how far its confidence can be trusted, and what its answers rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.core.text import markdown
from nas.data.dataset import Dataset
from nas.data.record import DataRecord
from nas.evaluators.inspection import chosen
from nas.nn.weights import Variables
from nas.records import JSON
from nas.tasks.confidence import LEVELS, at_an_end, confidence_of, probabilities
from nas.workflows.export.inference import own_maps, prepared, rows_for

PICTURE = "explanation.png"
FITTED = 2000  # images of the validation split, at most, to which a temperature is fitted
SIDE = 128  # pixels of an image in the picture


def confidence(valid: np.ndarray, test: np.ndarray, dataset: Dataset, rows: np.ndarray) -> dict[str, JSON]:
    """What bundle.json keeps of a classifier's confidence: fitted on the validation split, looked at on the test split.

    Args:
        valid: (n, classes) logits of rows of the validation split.
        test: (m, classes) logits of the test split.
        dataset: Has the labels of both.
        rows: (n,)
    """
    return confidence_of((valid, np.asarray(dataset.valid.targets)[rows]), (test, np.asarray(dataset.test.targets))).plain()


def confidence_lines(found: Mapping[str, JSON]) -> list[str]:
    """The section of the card."""
    ece, temperature = found["ece"], found["temperature"]
    end = " That is the end of the range that is looked at: do not rely on its probabilities." if at_an_end(temperature) else ""
    lines = [
        "", "## Confidence", "",
        f"Logits are divided by a temperature of {temperature:.3g}, fitted on the validation split, to calibrate probabilities.{end} The "
        f"expected calibration error on the test split is {ece['before']:.4f} before and {ece['after']:.4f} after. "
        "`nas predict` gives calibrated probabilities with `calibrated=true`.",
    ]  # fmt: skip
    if found["thresholds"]:
        row = "| {accuracy:.0%} | {confidence:.3f} | {answered:.1%} | {right:.1%} |"
        lines += [
            "", "Below a threshold of the calibrated probability (`threshold=`) the answer is \"none of these\":", "",
            "| answers to be right | threshold | images answered | of these right |", "|---|---|---|---|",
            *(row.format(**one) for one in found["thresholds"]),
            "", "Thresholds are of the validation split, the last two columns of the test split.",
        ]  # fmt: skip
    else:
        lines += ["", f"No threshold of it makes {min(LEVELS):.0%} of the answers right on the validation split."]
    return lines


def draw(folder: Path, arch: Arch, variables: Variables, dataset: Dataset, data: DataRecord, logits: np.ndarray) -> list[str]:
    """Writes a picture of test images and Grad-CAM of the network's answers, and gives the section of the card about it.

    Args:
        folder: The bundle.
        arch: The network, a classifier with one output.
        variables: Its weights and statistics.
        dataset: Its test split is shown.
        data: What the network was trained with.
        logits: (n, classes) of the test split.
    """
    from nas.explain.pictures import png, sheet, with_colors
    from nas.explain.shown import grad_cam_pictures

    labels, found, probability = np.asarray(dataset.test.targets), logits.argmax(1), probabilities(logits)
    rows = chosen(labels, found, probability)
    images = dataset.test.images[np.asarray(rows)]
    shown = [with_colors(image) for image in images]
    seen = own_maps(arch, variables, prepared(images, arch, data.mean, data.std), rows_for(len(labels)))
    maps = grad_cam_pictures(lower(arch), variables, shown, seen, found[rows], SIDE)
    (folder / PICTURE).write_bytes(png(sheet(shown, maps, SIDE)))
    return _explanation_lines([(data.classes[found[i]], float(probability[i].max()), data.classes[labels[i]]) for i in rows])


def _explanation_lines(answers: Sequence[tuple[str, float, str]]) -> list[str]:
    """answers: (answer, probability, label) of each image."""
    rows = [
        f"| {i} | {markdown(answer)} | {probability:.0%} | {'' if answer == label else markdown(label)} |"
        for i, (answer, probability, label) in enumerate(answers, 1)
    ]
    return [
        "", "## What its answers rest on", "",
        f"![Images of the test split, and below each where the evidence for the answer is]({PICTURE})", "",
        "Images of the test split, and below each Grad-CAM of the answer: where in the image its evidence is, from dark over red to "
        "light, each up to its own strongest place. The last ones are mistakes that it was surest of. "
        "`nas explain weights=<this folder> image=<file>` does this "
        "for others.", "",
        "| image | answer | probability | is |", "|---|---|---|---|", *rows,
    ]  # fmt: skip
