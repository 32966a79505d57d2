"""`nas predict`: the classes of images by an exported or trained network, as text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.core.text import aligned
from nas.workflows.predict import find_bundle
from nas.workflows.predict import predict as run_predict


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
    """Prints the most likely classes of each image."""
    command = build(PredictCommand, call.config, "")
    found = run_predict(find_bundle(command.weights), command.image)
    if command.json:
        for one in found:
            print(json.dumps({"image": one.image, "classes": one.top(command.top)}))
        return
    rows = [[Path(one.image).name, *(f"{name} {p:.1%}" for name, p in one.top(command.top).items())] for one in found]
    print(aligned(rows))
