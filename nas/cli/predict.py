"""`nas predict`: the classes of images by an exported or trained network, as text."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.core.text import aligned
from nas.records import JSON
from nas.workflows.predict import NONE, Prediction, find_bundle
from nas.workflows.predict import predict as run_predict
from nas.workflows.progress import Callback
from nas.workflows.run_folder import use_plugins


@dataclass(frozen=True)
class PredictCommand:
    """The keys of conf/predict.yaml."""

    weights: str
    image: str
    top: int = 3
    json: bool = False
    calibrated: bool = False
    threshold: float = 0.0
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top: expected 1 or more, got {self.top}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: expected 0 to 1, got {self.threshold}")


def predict(call: Invocation) -> None:
    """Prints the most likely classes of each image."""
    command = build(PredictCommand, call.config, "")
    use_plugins(command.plugins)
    progress = Callback(lambda update: print(update.text, file=sys.stderr))
    bundle = find_bundle(command.weights)
    found = run_predict(bundle, command.image, progress, calibrated=command.calibrated, threshold=command.threshold)
    if command.json:
        for one in found:
            print(json.dumps({"image": one.image, **_plain(one, command.top)}))
        return
    print(aligned([[Path(one.image).name, *_shown(one, command.top)] for one in found if not one.error]))
    for one in found:
        if one.error:
            print(one.error.removeprefix("image: "), file=sys.stderr)


def _plain(one: Prediction, top: int) -> dict[str, JSON]:
    if one.error:
        return {"error": one.error}
    if not one.probabilities:
        return {**one.values}
    return {"classes": one.top(top), **({"answer": one.label} if one.threshold else {})}


def _shown(one: Prediction, top: int) -> list[str]:
    if one.probabilities:
        first, *others = (f"{name} {p:.1%}" for name, p in one.top(top).items())
        return [f"{NONE} ({first})" if one.label == NONE else first, *others]
    return [f"{name} {value:.4g}" for name, value in one.values.items()]
