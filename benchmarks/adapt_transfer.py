"""What NetAdapt leaves of a fine-tuned network: EfficientNet-Lite0 on ants and bees, shrunk to 60 % of its latency on LiteRT.

    python benchmarks/adapt_transfer.py path=<folder with hymenoptera/ and efficientnet_lite0/> [run=runs/adapt_transfer] [seeds=3]
                                        [target=0.59] [predictor=<file of an earlier run>] [rehearse=no] [--quick]

`nas train` fine-tunes the ImageNet weights on 245 photographs, of which a fifth validates, as `transfer.py` does; `nas adapt` shrinks what
that left in steps of 21 % of the predicted latency, all but the classifier frozen as it was cut. At the end everything is trained, to
answer as the network that it began with and to match its last feature map, by the statistics that the norms have. The proposals are
chosen by the validating fifth. Both networks are measured in turns on LiteRT and scored once on the 153 photographs of val.parquet. The
target is below .6 by as much as the predictor may be wrong. On a busy machine the predictor is wrong by more (the command says by how
much): pass one that was fitted on a quiet one. rehearse=yes puts a fifth of the 245 in place of those 153, so that settings can be chosen
without them. Killed, it resumes with the same command.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run
from transfer import ALL, MEAN, PLAIN, STD, VARIED, photographs

import nas

TUNED: dict[str, Any] = {**ALL, "batch": 32, "warmup_epochs": 0, "augment": dataclasses.asdict(VARIED)}
SHORT: dict[str, Any] = {
    "epochs": 2, "batch": 32, "lr": 0.005, "schedule": "constant", "warmup_epochs": 0, "freeze": ["backbone", "head/conv"],
    "augment": dataclasses.asdict(PLAIN),
}  # fmt: skip
FINAL: dict[str, Any] = {
    "freeze": None, "optimizer": "adamw", "weight_decay": 0.0, "warmup_epochs": 1, "fixed_norms": True, "augment": TUNED["augment"],
    "distill": 0.5, "temperature": 2.0, "match_features": 2.0,
}  # fmt: skip
STEPS: dict[str, Any] = {
    "step": 0.21, "together": 6, "kinds": ["stage", "bottleneck"], "choose": "loss", "final_epochs": 30, "final_lr": 4e-4,
    "final_recipe": FINAL, "final_distill": True,
}  # fmt: skip


def written(root: Path, path: Path, rehearse: bool) -> Path:
    """The photographs as a dataset of `nas`; rehearsing, a fifth of the known ones are the test part."""
    (images, labels), test = photographs(root / "hymenoptera/train.parquet"), photographs(root / "hymenoptera/val.parquet")
    if rehearse:
        rows = np.random.default_rng(1).permutation(len(labels))
        held, rest = np.split(rows, [len(rows) // 5])
        (images, labels), test = (images[rest], labels[rest]), (images[held], labels[held])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=images, y_train=labels, x_test=test[0], y_test=test[1], classes=np.array(["ants", "bees"]))
    return path


def shrunk(root: Path, folder: Path, seed: int, target: float, data: Path, predictor: str, quick: bool) -> int:
    """How many photographs fewer are right afterwards; prints a line on hours, latency and right answers."""
    own, few = folder / f"seed-{seed}", {"epochs": 2, "freeze_epochs": 1} if quick else {}
    dataset = {"name": "npz", "path": str(data)}
    device = {"litert": {"name": "litert", **({"predictor": str(Path(predictor).resolve())} if predictor else {})}}
    weights, normal = root / "efficientnet_lite0/efficientnet_lite0_imagenet.npz", {"mean": [MEAN] * 3, "std": [STD] * 3}
    tuned = nas.train("efficientnet_lite0", dataset, recipe={**TUNED, **few}, weights=weights, normalization=normal, seed=seed,
                      run=own / "tuned", progress=shown)  # fmt: skip
    less = {"final_epochs": 2, "final_recipe": FINAL, "together": 1, "step": 0.3} if quick else {}
    began, steps = time.monotonic(), {**STEPS, **less}
    done = nas.adapt(tuned, dataset, target=target, device=device, recipe=SHORT, evaluator="scratch", adapt=steps, seed=seed,
                     run=own / "adapted", progress=shown)  # fmt: skip
    hours, (before, after), (was, now) = (time.monotonic() - began) / 3600, done.measured_ms, done.test
    if before is None or after is None or was is None or now is None:
        raise ValueError(f"seed {seed}: not measured or not scored; see {own / 'adapted'}")
    count = len(np.load(data)["y_test"])
    right = [round(score * count) for score in (was, now)]
    print(f"seed {seed}: {hours:.2f} hours, {before:.2f} -> {after:.2f} ms measured ({after / before:.1%}), "
          f"{right[0]} -> {right[1]} of {count} photographs right, {len(done.path) - 1} steps", flush=True)  # fmt: skip
    return right[0] - right[1]


def shown(update: nas.Update) -> None:
    if update.kind == "message":
        print(f"  {update.text}", flush=True)


def main(arguments: Sequence[str]) -> int:
    defaults = {"run": "runs/adapt_transfer", "seeds": "3", "target": "0.59", "predictor": "", "rehearse": "no", "quick": ""}
    options = options_of(arguments, defaults, "hymenoptera/ and efficientnet_lite0/")
    root, folder = Path(options["path"]).expanduser(), Path(options["run"])
    data = written(root, folder / "photographs.npz", options["rehearse"] == "yes")
    seeds, target, quick = range(int(options["seeds"])), float(options["target"]), bool(options["quick"])
    fewer = [shrunk(root, folder, seed, target, data, options["predictor"], quick) for seed in seeds]
    print(f"mean over {len(fewer)} seeds: {np.mean(fewer):.1f} photographs fewer right")
    return 0


if __name__ == "__main__":
    run(main)
