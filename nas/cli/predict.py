"""`nas predict`: the classes of images by an exported or trained network, as text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.core.text import aligned
from nas.workflows.predict import Prediction, find_bundle
from nas.workflows.predict import predict as run_predict
from nas.workflows.run_folder import use_plugins


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
    """Prints the most likely classes of each image."""
    command = build(PredictCommand, call.config, "")
    use_plugins(command.plugins)
    found = run_predict(find_bundle(command.weights), command.image)
    if command.json:
        for one in found:
            print(json.dumps({"image": one.image, **({"classes": one.top(command.top)} if one.probabilities else one.values)}))
        return
    print(aligned([[Path(one.image).name, *_shown(one, command.top)] for one in found]))


def _shown(one: Prediction, top: int) -> list[str]:
    if one.probabilities:
        return [f"{name} {p:.1%}" for name, p in one.top(top).items()]
    return [f"{name} {value:.4g}" for name, value in one.values.items()]
