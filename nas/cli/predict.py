"""`nas predict`: a bundle's classes for images of one's own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.core.plugins import load_plugins
from nas.core.settings import build
from nas.core.text import aligned
from nas.workflows.export import load_bundle
from nas.workflows.export.images import answers, image_files, read_image
from nas.workflows.invocation import Invocation


@dataclass(frozen=True)
class PredictCommand:
    """The keys of conf/predict.yaml."""

    weights: str
    image: str
    top: int = 3
    json: bool = False
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top: expected 1 or more, got {self.top}")


def predict(call: Invocation) -> None:
    command = build(PredictCommand, call.config, "")
    load_plugins(command.plugins, [os.getcwd()])
    bundle = load_bundle(Path(command.weights).expanduser())
    files = image_files(Path(command.image).expanduser())
    images = np.stack([read_image(path, bundle.resolution, bundle.arch.channels) for path in files])
    found = answers(bundle, images)
    if "probability" not in found:
        _print_values(files, found, command.json)
        return
    shares = found["probability"]
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


def _print_values(files: Sequence[Path], found: Mapping[str, np.ndarray], as_json: bool) -> None:
    """Answers that are no classes, by name."""
    for i, path in enumerate(files):
        values = {name: column[i].tolist() for name, column in found.items()}
        if as_json:
            print(json.dumps({"image": str(path), **values}))
        else:
            print(aligned([[path.name, *(f"{name} {value:.4g}" for name, value in values.items())]]))
