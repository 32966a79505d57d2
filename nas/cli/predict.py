"""`nas predict`: classes of images by an exported or trained network, objects, masks, or their distances, as text and pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nas.cli.invocation import Invocation
from nas.core.settings import build
from nas.core.text import aligned
from nas.records import JSON
from nas.workflows.drawn import draw_all
from nas.workflows.gallery import LookUp, compare, look_up
from nas.workflows.predict import NONE, Prediction, find_bundle
from nas.workflows.predict import predict as run_predict
from nas.workflows.progress import Callback
from nas.workflows.run_folder import use_plugins


@dataclass(frozen=True)
class PredictCommand:
    """The keys of conf/predict.yaml."""

    weights: str
    image: str
    arch: str | None = None
    top: int = 3
    compare: str | None = None
    gallery: str | None = None
    draw: str | None = None
    json: bool = False
    calibrated: bool = False
    threshold: float = 0.0
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top: expected 1 or more, got {self.top}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: expected 0 to 1, got {self.threshold}")
        if self.draw and (self.compare or self.gallery):
            raise ValueError(f"draw: there are distances alone with {'compare' if self.compare else 'gallery'}; leave it out")
        if self.compare and self.gallery:
            raise ValueError("compare: leave it out where images are looked up in a gallery")
        if (self.compare or self.gallery) and (self.calibrated or self.threshold):
            key = "calibrated" if self.calibrated else "threshold"
            raise ValueError(f"{key}: is of probabilities, and there are distances alone where images are compared; leave it out")


def predict(call: Invocation) -> None:
    """Prints the most likely classes of each image; of embeddings, a distance or what a gallery has."""
    command = build(PredictCommand, call.config, "")
    use_plugins(command.plugins)
    progress, bundle = Callback(lambda update: print(update.text, file=sys.stderr)), find_bundle(command.weights, command.arch)
    if command.compare:
        _compared(command, compare(bundle, command.image, command.compare))
        return
    if command.gallery:
        _looked_up(command, look_up(bundle, command.image, command.gallery, progress))
        return
    found = run_predict(bundle, command.image, progress, calibrated=command.calibrated, threshold=command.threshold)
    if not command.json and any("embedding" in one.values for one in found):
        raise ValueError("image: an embedding is a list of numbers: json=true prints it, compare=<image> and gallery=<folder> use it")
    if command.draw:
        drawn = draw_all(bundle.arch, found, command.draw)
        print(f"drawn: {len(drawn)} images in {command.draw}", file=sys.stderr)
    if command.json:
        for one in found:
            print(json.dumps({"image": one.image, **_plain(one, command.top)}))
        return
    print(aligned([[Path(one.image).name, *_shown(one, command.top)] for one in found if not one.error]))
    _errors([one.error for one in found])


def _compared(command: PredictCommand, distance: float) -> None:
    if command.json:
        print(json.dumps({"image": command.image, "compare": command.compare, "distance": distance}))
        return
    print(f"distance {distance:.3f}: 0 is equal, {2**0.5:.2f} unrelated")


def _looked_up(command: PredictCommand, found: Sequence[LookUp]) -> None:
    if command.json:
        for one in found:
            nearest = [asdict(neighbor) for neighbor in one.nearest[: command.top]]
            print(json.dumps({"image": one.image, **({"error": one.error} if one.error else {"nearest": nearest})}))
        return
    rows = [[Path(one.image).name, *(f"{n.label} {n.distance:.3f}" for n in one.nearest[: command.top])] for one in found if not one.error]
    longest = max(len(row) for row in rows)  # an image of the gallery that is alone under its label has one label less
    print(aligned([row + [""] * (longest - len(row)) for row in rows]))
    _errors([one.error for one in found])


def _errors(lines: Sequence[str]) -> None:
    for line in lines:
        if line:
            print(line.removeprefix("image: "), file=sys.stderr)


def _plain(one: Prediction, top: int) -> dict[str, JSON]:
    if one.error:
        return {"error": one.error}
    if one.objects is not None:
        return {"objects": [asdict(found) for found in one.objects]}
    if one.mask is not None:
        return {"shares": dict(one.shares)}
    if not one.probabilities:
        return {**one.values}
    return {"classes": one.top(top), **({"answer": one.label} if one.threshold else {})}


def _shown(one: Prediction, top: int) -> list[str]:
    if one.probabilities:
        first, *others = (f"{name} {p:.1%}" for name, p in one.top(top).items())
        return [f"{NONE} ({first})" if one.label == NONE else first, *others]
    if one.mask is not None:
        return ["; ".join(f"{name} {share:.1%}" for name, share in [*one.shares.items()][:top])]
    if one.objects is not None:
        more = [f"and {len(one.objects) - top} more"] if len(one.objects) > top else []
        shown = (f"{found.label} {found.score:.0%} at {', '.join(f'{side:.0f}' for side in found.box)}" for found in one.objects[:top])
        return ["; ".join([*shown, *more]) or "nothing found"]
    return [f"{name} {value:.4g}" for name, value in one.values.items()]
