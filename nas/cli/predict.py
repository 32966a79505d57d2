"""`nas predict`: a bundle's classes for images of one's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.core.text import aligned
from nas.workflows.export import load_bundle
from nas.workflows.export.images import classify, image_files, read_image


@dataclass(frozen=True)
class PredictCommand:
    """The keys of conf/predict.yaml."""

    weights: str
    image: str
    top: int = 3
    json: bool = False

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top: expected 1 or more, got {self.top}")


def predict(call: Invocation) -> None:
    command = build(PredictCommand, call.config, "")
    bundle = load_bundle(Path(command.weights).expanduser())
    files = image_files(Path(command.image).expanduser())
    images = np.stack([read_image(path, bundle.resolution, bundle.arch.channels) for path in files])
    shares = classify(bundle, images)
    order = np.argsort(-shares, axis=1, kind="stable")[:, : command.top]
    if command.json:
        for path, row, best in zip(files, shares, order, strict=True):
            print(json.dumps({"image": str(path), "classes": {bundle.trained.classes[i]: float(row[i]) for i in best}}))
        return
    rows = [
        [path.name, *(f"{bundle.trained.classes[i]} {row[i]:.1%}" for i in best)]
        for path, row, best in zip(files, shares, order, strict=True)
    ]
    print(aligned(rows))
