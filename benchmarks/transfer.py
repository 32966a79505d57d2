"""What published weights are worth on 245 photographs: EfficientNet-Lite0, trained on ImageNet and fitted to ants and bees.

    python benchmarks/transfer.py path=<folder with hymenoptera/ and efficientnet_lite0/> [on=head,all] [seeds=3] [folds=5] [--quick]

`head`: the classifier alone is trained, on features that are computed once. `all`: the classifier first, then everything, at rates
by part. Settings are chosen by cross-validation inside the 245 training photographs (folds=0: the first of each list is taken; for
`head` five folds chose it). Then one network a seed is trained on all of them, and the 153 photographs of val.parquet, the test part,
are scored once. Images are the middle 224 of the stored photograph made 256 square, (x - 127) / 128, as in the weights' own training.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.files import load_arch
from nas.convert import starting_weights
from nas.convert.fill import Imported
from nas.data import Dataset, Encoded, Split
from nas.data.arrays import dataset_of_arrays
from nas.data.images import read_images
from nas.recipe import Augment, Recipe
from nas.tasks import CLASSIFICATION
from nas.train import evaluate, fit

STORED, SIDE = 256, 224
MEAN, STD = 127 / 255, 128 / 255
PLAIN, VARIED = Augment(crop_padding=0, flip=False), Augment(crop_padding=16, padding="reflect", flip=True)
HEAD: dict[str, Any] = {"freeze": ["backbone", "head/conv"], "augment": PLAIN, "epochs": 30, "weight_decay": 1e-3}
ALL: dict[str, Any] = {
    "freeze": ["backbone", "head/conv"], "freeze_epochs": 4, "lr_scale": {"backbone": 0.3}, "augment": VARIED, "epochs": 10,
    "lr": 0.02,
}  # fmt: skip
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "head": tuple({**HEAD, "lr": lr, "label_smoothing": smoothing} for lr in (0.01, 0.03) for smoothing in (0.1, 0.0)),
    "all": (ALL, {**ALL, "lr_scale": {"backbone": 0.1}}),
}


@dataclass(frozen=True)
class Study:
    """The network with its published weights, and the photographs."""

    arch: Arch
    weights: Imported
    known: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def trained(self, settings: dict[str, Any], seed: int, train: np.ndarray, held_out: np.ndarray | None = None) -> float:
        """Accuracy on the rows held out of a training, or on the test part where none are."""
        data = self.dataset(train, self.test if held_out is None else (self.known[0][held_out], self.known[1][held_out]))
        recipe = Recipe(batch=32, warmup_epochs=0, **settings)
        done = fit(self.arch, data, recipe, seed, variables=self.weights.variables, fresh=self.weights.fresh)
        values = {"params": done.params, "stats": done.stats}
        return evaluate(lower(self.arch), values, data.test, data, 51, task=CLASSIFICATION)["accuracy"]

    def dataset(self, train: np.ndarray, scored: tuple[np.ndarray, np.ndarray]) -> Dataset:
        """`scored` as the test part; validation, which decides nothing here, is a few of the training images."""
        images, labels = self.known[0][train], self.known[1][train]
        found = dataset_of_arrays({"x_train": images, "y_train": labels, "x_test": scored[0], "y_test": scored[1],
                                   "x_valid": images[:32], "y_valid": labels[:32]}, "hymenoptera")  # fmt: skip
        return dataclasses.replace(found, train=Split(images, labels), mean=(MEAN,) * 3, std=(STD,) * 3)


def photographs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(n, 224, 224, 3) uint8, (n,) labels."""
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pydict()
    items = [Encoded(item["path"], item["bytes"]) for item in table["image"]]
    images, edge = read_images({"all": items}, STORED, "crop")["all"], (STORED - SIDE) // 2
    return np.ascontiguousarray(images[:, edge : edge + SIDE, edge : edge + SIDE]), np.array(table["label"], np.int32)


def study_of(root: Path) -> Study:
    arch = dataclasses.replace(load_arch("efficientnet_lite0"), resolution=SIDE, classes=2)
    weights = starting_weights(str(root / "efficientnet_lite0/efficientnet_lite0_imagenet.npz"), lower(arch), 0)
    folder = root / "hymenoptera"
    return Study(arch, weights, photographs(folder / "train.parquet"), photographs(folder / "val.parquet"))


def chosen(study: Study, options: Sequence[dict[str, Any]], folds: int) -> dict[str, Any]:
    """The option of the highest mean accuracy over the folds; prints each."""
    rows, best, found = np.random.default_rng(0).permutation(len(study.known[1])), -1.0, dict(options[0])
    for settings in options if folds else ():
        scores = [study.trained(settings, 0, np.setdiff1d(rows, part), part) for part in np.array_split(rows, folds)]
        tried = {key: value for key, value in settings.items() if key in ("lr", "label_smoothing", "lr_scale")}
        print(f"  {folds} folds: {np.mean(scores):.2%}  {tried}", flush=True)
        if np.mean(scores) > best:
            best, found = float(np.mean(scores)), dict(settings)
    return found


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, {"on": "head,all", "seeds": "3", "folds": "5", "quick": ""}, "hymenoptera/ and efficientnet_lite0/")
    seeds, folds = (1, 0) if options["quick"] else (int(options["seeds"]), int(options["folds"]))
    study = study_of(Path(options["path"]).expanduser())
    everything = np.arange(len(study.known[1]))
    for name in options["on"].split(","):
        if name not in OPTIONS:
            raise ValueError(f"on: expected {' and '.join(OPTIONS)}, got {name!r}")
        settings, found = chosen(study, OPTIONS[name], folds), []
        for seed in range(seeds):
            began = time.monotonic()
            short = {"epochs": 2, "freeze_epochs": 1 if name == "all" else None} if options["quick"] else {}
            found.append(study.trained({**settings, **short}, seed, everything))
            took = f"{time.monotonic() - began:.0f} s"
            print(f"{name}, seed {seed}: {found[-1]:.2%} of {len(study.test[1])} test photographs, {took}", flush=True)
        print(f"{name}: mean {np.mean(found):.2%} over {seeds} seeds")
    return 0


if __name__ == "__main__":
    run(main)
