"""A search around a known network on few photographs: networks within EfficientNet-Lite0, for ants and bees, on LiteRT.

    python benchmarks/supernet_transfer.py path=<folder with hymenoptera/ and efficientnet_lite0/> [run=runs/supernet_transfer] [seeds=1]
                                           [target=0.57] [trials=200] [epochs=60] [rehearse=no] [--quick]

`nas train` fine-tunes the ImageNet weights on 245 photographs, of which a fifth validates, as `transfer.py` does. `nas search
evaluator=supernet` lets the largest network of `efficientnet_lite0_elastic` start from what that left, trains weights for all networks of
the space, scores `trials` of them that are predicted to take at most `target` of Lite0's time, and fine-tunes the one of the lowest loss.
Both networks are then measured in turns on LiteRT, and scored once on the 153 photographs of val.parquet. The target is below .6 by as
much as the predictor may be wrong. rehearse=yes puts a fifth of the 245 in place of those 153. Killed, it resumes with the same command.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from adapt_transfer import TUNED, shown, written
from options import options_of, run
from transfer import MEAN, STD, VARIED

import nas
from nas.latency import make_device
from nas.latency.predictors.loading import load_predictor

SPACE = "efficientnet_lite0_elastic"
SHARED: dict[str, Any] = {
    "batch": 32, "lr": 0.005, "warmup_epochs": 1, "weight_decay": 4e-5, "distill": 0.5, "temperature": 2.0,
    "augment": dataclasses.asdict(VARIED),
}  # fmt: skip
STRATEGY = {"name": "sandwich", "random": 1}
FINETUNE = {"finetune_epochs": 20, "finetune_lr": 0.0007, "finetune_distill": True}


def found(root: Path, folder: Path, seed: int, options: dict[str, str], data: Path) -> str:
    """One line on a seed: hours, latency and right answers of both networks."""
    own, quick = folder / f"seed-{seed}", bool(options["quick"])
    few: dict[str, Any] = {"epochs": 2, "freeze_epochs": 1} if quick else {}
    dataset = {"name": "npz", "path": str(data.resolve())}
    weights, normal = root / "efficientnet_lite0/efficientnet_lite0_imagenet.npz", {"mean": [MEAN] * 3, "std": [STD] * 3}
    tuned = nas.train("efficientnet_lite0", dataset, recipe={**TUNED, **few}, weights=weights, normalization=normal, seed=seed,
                      run=own / "tuned", progress=shown)  # fmt: skip
    began, trials = time.monotonic(), 4 if quick else int(options["trials"])
    device, lite0 = make_device({"name": "litert"}), nas.load_arch(tuned.run / "arch.yaml")
    space, file = nas.load_space(SPACE).fit(224, 3, 2), own / "predictor-litert.json"
    if not file.exists():
        file.write_text(json.dumps(device.fit(space, 0).to_dict()))
    predictor = load_predictor(json.loads(file.read_text()), space)
    print(f"  {lite0.name}: {predictor.predict_arch(lite0):.2f} ms predicted (mean error {predictor.mape or 0:.1%})", flush=True)
    limit = {"latency_ms/litert": float(options["target"]) * predictor.predict_arch(lite0)}
    start = str((tuned.run / "weights.npz").resolve())
    search = nas.search(
        SPACE, dataset, recipe={**SHARED, "epochs": 1 if quick else int(options["epochs"])}, executor="local", controller="evolution",
        device={"litert": {"name": "litert", "predictor": str(file.resolve())}}, objectives={"loss": "min"}, constraints=limit,
        evaluator={"name": "supernet", "start": start, "strategy": STRATEGY}, trials=trials, seed=seed,
        search={"threads": 2, **({"finetune_epochs": 1} if quick else FINETUNE)}, run=own / "search", progress=shown,
    )  # fmt: skip
    hours = (time.monotonic() - began) / 3600
    assert search.best, "no network was scored"
    record = json.loads((search.run / "finetuned" / search.best.id / "result.json").read_text())
    was, now = (one.latency_ms for one in device.measure([lite0, search.best.arch]))
    count = len(labels(data))
    right = [round(score * count) for score in (tuned.test["accuracy"], record["test"]["accuracy"])]
    inherited = search.best.metrics
    return (f"seed {seed}: {hours:.2f} hours, {was:.2f} -> {now:.2f} ms measured ({now / was:.1%}), {right[0]} -> {right[1]} of {count} "
            f"photographs right; validation {inherited['accuracy']:.1%} (loss {inherited['loss']:.3f}) with shared weights, "
            f"{record['valid']['accuracy']:.1%} (loss {record['valid']['loss']:.3f}) fine-tuned")  # fmt: skip


def labels(data: Path) -> np.ndarray:
    """Labels of the test part."""
    return np.load(data)["y_test"]


def main(arguments: Sequence[str]) -> int:
    defaults = {"run": "runs/supernet_transfer", "seeds": "1", "target": "0.57", "trials": "200", "epochs": "60"}
    defaults |= {"rehearse": "no", "quick": ""}
    options = options_of(arguments, defaults, "hymenoptera/ and efficientnet_lite0/")
    root, folder = Path(options["path"]).expanduser(), Path(options["run"])
    data = written(root, folder / "photographs.npz", options["rehearse"] == "yes")
    for seed in range(int(options["seeds"])):
        print(found(root, folder, seed, options, data), flush=True)
    return 0


if __name__ == "__main__":
    run(main)
