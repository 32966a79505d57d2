"""How well shared weights rank the networks of NAS-Bench-Macro: Kendall's tau against the published accuracies.

    python benchmarks/supernet.py path=<folder with cifar10/ and nas_bench_macro/> out=<folder> [strategy=uniform] [seed=0]
        [epochs=..] [networks=300] [batch=64] [lr=0.02] [dtype=float32] [--quick]

One supernet a (strategy, seed) is trained on CIFAR-10, in <out>/<strategy>-<seed>; killed, it continues where it was, and one that
is finished is only scored. Then distinct networks, drawn at random, are scored with batch-norm statistics of 500 training images on
1,000 validation images, and ranked by loss and by accuracy. MACs rank the same networks for comparison, and 50 of them are scored
without statistics of their own: with the mean of those of 20 random networks, as running averages would have it. The standard
error of tau is that of bootstrap samples of the networks. On an accelerator take larger batches in bfloat16. `--quick` takes 16 pixels,
an epoch and 40 networks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from options import options_of, run
from scipy.stats import kendalltau

from nas.core.yamlio import write_text
from nas.data import Dataset, load_dataset
from nas.nn.weights import load_weights, save_weights
from nas.recipe import Augment, Recipe
from nas.space import Genome, Space
from nas.supernet.paths import Path as Candidate
from nas.supernet.scoring import Scorer, Scoring
from nas.supernet.strategies import strategy_from
from nas.supernet.training import Supernet
from nas.supernet.weights import SharedWeights
from nas.tabular.base import Table
from nas.tabular.nas_bench_macro import load
from nas.train import Checkpoints

RECIPE: dict[str, Any] = {"batch": 64, "lr": 0.02, "weight_decay": 4e-5, "augment": Augment(crop_padding=4, flip=True)}
EPOCHS = {"uniform": 21, "fair": 7, "sandwich": 5}  # as many passes of candidates; an hour of two cores with uniform
VALIDATION, CALIBRATION, WITHOUT, AVERAGED, BOOTSTRAPS = 1000, 500, 50, 20, 1000


def main(arguments: Sequence[str]) -> int:
    options = options_of(
        arguments,
        {
            "out": "", "strategy": "uniform", "seed": "0", "epochs": "", "networks": "300", "batch": "64", "lr": "0.02",
            "dtype": "float32", "quick": "",
        },
        "cifar10/ and nas_bench_macro/",
    )  # fmt: skip
    if not options["out"]:
        raise ValueError("out: name a folder for the trainings")
    path, quick, strategy = Path(options["path"]), bool(options["quick"]), options["strategy"]
    side, epochs = (16, 1) if quick else (32, int(options["epochs"] or EPOCHS.get(strategy, 21)))
    table = load(path / "nas_bench_macro")
    dataset = load_dataset({"name": "parquet", "path": str(path / "cifar10"), "resolution": side})
    space = table.space.fit(side, 3, len(dataset.classes))
    given = {"batch": int(options["batch"]), "lr": float(options["lr"]), "dtype": options["dtype"], "epochs": epochs}
    matrices = strategy_from({"name": strategy}).learns_matrices
    net = Supernet(space, dataset, Recipe(**{**RECIPE, **given}), matrices=matrices)
    folder = Path(options["out"]) / f"{strategy}-{options['seed']}"
    weights = _trained(net, strategy, int(options["seed"]), folder)
    _scored(net, weights, table, folder, 40 if quick else int(options["networks"]))
    return 0


def _trained(net: Supernet, strategy: str, seed: int, folder: Path) -> SharedWeights:
    file = folder / "weights.npz"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        print(
            f"{strategy}, seed {seed}: {len(net.dataset.train)} images, {net.recipe.epochs} epochs of {net.recipe.batch}",
            flush=True,
        )
        kept, heard, spent = Checkpoints(folder / "checkpoints", within_s=300), [time.monotonic()], folder / "cpu_s.txt"
        before = float(spent.read_text()) if spent.is_file() else 0.0

        def report(step: int, steps: int, metrics: dict[str, float]) -> None:
            spent.write_text(f"{before + time.process_time():.1f}")
            if "epoch" in metrics or time.monotonic() - heard[0] > 60:
                heard[0] = time.monotonic()
                print(f"step {step} of {steps}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()), flush=True)

        fit = net.fit(
            strategy_from({"name": strategy}), seed, report=report, checkpoint=kept, scoring=_scoring(net.dataset)
        )
        save_weights(file, {"params": fit.params, "stats": {}})
        cpu_s = float(spent.read_text())
        (folder / "training.json").write_text(
            json.dumps({"train_s": fit.train_s, "cpu_s": cpu_s, "metrics": fit.metrics, "curve": fit.curve})
        )
    record = json.loads((folder / "training.json").read_text())
    hours, used = record["train_s"] / 3600, record["cpu_s"] / 3600
    print(f"trained for {hours:.2f} hours, in which it used {used:.2f} hours of a core")
    print(f"the largest network's validation: {_line(record['metrics'])}")
    return SharedWeights.of(net.paths, load_weights(file))


def _scoring(dataset: Dataset) -> Scoring:
    return Scoring(CALIBRATION, min(VALIDATION, len(dataset.valid)))


def _line(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def distinct(space: Space, table: Table, count: int) -> list[Genome]:
    """Networks that differ, each once, drawn at random."""
    rng, found = np.random.default_rng(0), dict[Any, Genome]()
    while len(found) < count:
        genome = space.sample(rng)
        found.setdefault(table.key(genome), genome)
    return list(found.values())


def _scored(net: Supernet, weights: SharedWeights, table: Table, folder: Path, count: int) -> None:
    genomes = distinct(net.space, table, count)
    scorer, slots = net.scorer(_scoring(net.dataset)), jax.device_put(dict(weights.slots))
    for genome in ((0,) * 8, (1,) * 8, (2,) * 8):  # all programs there are
        scorer.metrics(slots, genome)
    programs, rows = net.programs.count, _kept(folder / "scores.json")
    for i, genome in enumerate(genomes):
        if str(genome) not in rows:
            began = time.perf_counter()
            found = scorer.metrics(slots, genome).compute()
            rows[str(genome)] = {**found, "seconds": time.perf_counter() - began}
        if i % 25 == 24 or i == count - 1:
            write_text(folder / "scores.json", json.dumps(rows))
            print(f"{i + 1} networks scored", flush=True)
    rows = [rows[str(genome)] for genome in genomes]
    took = float(np.median([row["seconds"] for row in rows]))
    truth, macs = table.accuracy(np.array(genomes)), table.costs(np.array(genomes))["macs"].astype(float)
    print(f"{took:.2f} s a network (median), {net.programs.count - programs} programs compiled while scoring")
    loss, accuracy = np.array([-row["loss"] for row in rows]), np.array([row["accuracy"] for row in rows])
    print("| ranked by | tau | its standard error |\n|---|---|---|")
    for name, values in {"loss": loss, "accuracy": accuracy, "MACs": macs}.items():
        print("| {} | {:.3f} | {:.3f} |".format(name, *_tau(values, truth)))
    differences = [_tau(loss[i], truth[i], False)[0] - _tau(macs[i], truth[i], False)[0] for i in _samples(count)]
    print(f"tau by loss is {np.mean(differences):.3f} +- {np.std(differences):.3f} above that of MACs")
    best, everything = int(loss.argmax()), np.array(list(net.space.enumerate()))
    better = (table.accuracy(everything) > truth[best]).mean()
    print(
        f"the best of them by loss, {genomes[best]}: {truth[best]:.4f} in the table, of whose networks {better:.2%} are better"
    )
    few = slice(0, min(WITHOUT, count))
    shared = _uncalibrated(scorer, slots, genomes[few])
    print(
        f"of {few.stop}: tau {_tau(shared, truth[few])[0]:.3f} without own statistics, {_tau(loss[few], truth[few])[0]:.3f} with them"
    )


def _kept(path: Path) -> dict[str, Any]:
    """What networks were scored before."""
    return json.loads(path.read_text()) if path.is_file() else {}


def _samples(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(count, size=count) for _ in range(BOOTSTRAPS // 4)]


def _tau(values: np.ndarray, truth: np.ndarray, resampled: bool = True) -> tuple[float, float]:
    def of(rows: Any) -> float:
        found: Any = kendalltau(values[rows], truth[rows])
        return float(found.statistic)

    return of(slice(None)), float(np.std([of(rows) for rows in _samples(len(values))])) if resampled else 0.0


def _uncalibrated(scorer: Scorer, slots: Any, genomes: Sequence[Genome]) -> np.ndarray:
    """Minus the losses with statistics that are means over random networks."""
    rng, sums, counts = np.random.default_rng(1), dict[Any, Any](), dict[Any, int]()

    def add(path: Candidate) -> None:
        for placed, stats in zip(path.placed, scorer.calibrated(slots, path), strict=True):
            key = placed.slots, placed.unit.in_shape
            sums[key] = jax.tree.map(np.add, sums[key], stats) if key in sums else stats
            counts[key] = counts.get(key, 0) + 1

    for _ in range(AVERAGED):
        add(scorer.paths.path(scorer.paths.layers.space.sample(rng)))
    losses = []
    for genome in genomes:
        path = scorer.paths.path(genome)
        if any((placed.slots, placed.unit.in_shape) not in sums for placed in path.placed):
            add(path)
        stats = [
            jax.tree.map(
                lambda total, n=counts[placed.slots, placed.unit.in_shape]: total / n,
                sums[placed.slots, placed.unit.in_shape],
            )
            for placed in path.placed
        ]
        losses.append(scorer.with_stats(slots, path, stats).compute()["loss"])
    return -np.array(losses)


if __name__ == "__main__":
    run(main)
