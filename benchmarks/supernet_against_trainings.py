"""One budget, two ways to spend it: candidates trained one by one, or weights that all of them share.

    python benchmarks/supernet_against_trainings.py path=<folder with cifar10/> [run=runs/budgets] [seeds=2] [minutes=60] [epochs=65]
                                                    [images=10000] [trials=300] [final=20] [--quick]

Both arms search NAS-Bench-Macro's space on the first `images` of CIFAR-10, with the Bayesian controller, for accuracy against the
latency that ONNX Runtime is predicted to have on this machine. `trainings` trains candidates by recipe=proxy until `minutes` have
passed. `supernet` trains shared weights for `epochs`, scores at most `trials` networks with them, and fine-tunes the members of its
front; give it the epochs that take as long here. What each spent is printed. At most five members of each front, at even steps of the
latency, are then trained from nothing for `final` epochs by recipe=full, scored on CIFAR-10's 10,000 test images and measured in turns
with all others.

The hypervolume of an arm is that of test accuracy above chance (.1) and latency below that of the space's largest network, as a fraction
of both ranges. Killed, it resumes with the same command: minutes are counted over all its processes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run

import nas
from nas.data import load_dataset
from nas.latency import make_device
from nas.objectives.pareto import hypervolume

SPACE, DEVICE, CHANCE, MEMBERS, CHUNK = "nas_bench_macro", "onnxruntime", 0.1, 5, 8
SHARED: dict[str, Any] = {"batch": 64, "lr": 0.1, "weight_decay": 4e-5}
FINETUNE = {"finetune_epochs": 2, "finetune_lr": 0.01}


class Clock:
    """Counts the seconds that an arm spends, in a file, so that a killed one does not begin anew."""

    def __init__(self, file: Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.before, self.began = file, float(file.read_text()) if file.is_file() else 0.0, time.monotonic()

    def count(self) -> float:
        """The seconds so far, which it writes."""
        found = self.before + time.monotonic() - self.began
        self.file.write_text(f"{found:.1f}")
        return found

    def heard(self, update: nas.Update) -> None:
        """Called by a search whenever there is news."""
        self.count()
        if update.kind == "message":
            print(f"  {update.text}", flush=True)


Spent = tuple[list[nas.Arch], float, int]  # members of the front, hours, candidates


def trainings(folder: Path, data: dict[str, Any], seed: int, minutes: float) -> Spent:
    """Candidates trained one by one, a few more at a time until the minutes have passed."""
    trials, clock = CHUNK, Clock(folder / "seconds.txt")
    while True:
        found = nas.search(SPACE, data, evaluator="layerwise", controller="bayesian", device=DEVICE, trials=trials, seed=seed,
                           run=folder / "search", progress=clock.heard)  # fmt: skip
        seconds, done = clock.count(), len(found.trials)
        if seconds >= 60 * minutes:
            return [member.arch for member in found.front], seconds / 3600, done
        trials = done + CHUNK


def shared(folder: Path, data: dict[str, Any], seed: int, epochs: int, trials: int) -> Spent:
    """Candidates scored with weights that they share."""
    clock, evaluator = Clock(folder / "seconds.txt"), {"name": "supernet", "strategy": {"name": "uniform"}}
    found = nas.search(SPACE, data, evaluator=evaluator, recipe={**SHARED, "epochs": epochs}, controller="bayesian", device=DEVICE,
                       trials=trials, search=FINETUNE, seed=seed, run=folder / "search", progress=clock.heard)  # fmt: skip
    return [member.arch for member in found.front], clock.count() / 3600, len(found.trials)


def chosen(ms: Sequence[float]) -> list[int]:
    """At most five members, at even steps of their latencies, both ends among them."""
    steps = np.linspace(min(ms), max(ms), MEMBERS)
    return sorted({int(np.abs(np.array(ms) - step).argmin()) for step in steps})


def volume(points: Sequence[tuple[float, float]], slowest_ms: float) -> float:
    """Of (accuracy, latency), as a fraction of the accuracies above chance and the latencies up to the slowest."""
    values = [(-(accuracy - CHANCE) / (1 - CHANCE), ms / slowest_ms) for accuracy, ms in points]
    return hypervolume(values, (0.0, 1.0))


def written(path: Path, file: Path, images: int) -> dict[str, Any]:
    """The dataset that both arms search on; the test part is CIFAR-10's own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file():
        whole = load_dataset({"name": "parquet", "path": str(path / "cifar10")})
        rows = slice(0, images)
        np.savez(file, x_train=np.asarray(whole.train.images[rows]), y_train=whole.train.targets[rows],
                 x_test=np.asarray(whole.test.images), y_test=whole.test.targets)  # fmt: skip
    return {"name": "npz", "path": str(file.resolve())}


def main(arguments: Sequence[str]) -> int:
    defaults = {"run": "runs/budgets", "seeds": "2", "minutes": "60", "epochs": "65", "images": "10000", "trials": "300", "final": "20"}
    options = options_of(arguments, {**defaults, "quick": ""}, "cifar10/")
    if options["quick"]:
        options |= {"minutes": "0.1", "epochs": "1", "images": "600", "trials": "6", "final": "1", "seeds": "1"}
    folder, final = Path(options["run"]), int(options["final"])
    data = written(Path(options["path"]).expanduser(), folder / "cifar10.npz", int(options["images"]))
    device, space = make_device({"name": DEVICE}), nas.load_space(SPACE).fit(32, 3, 10)
    largest = space.decode(space.canonical([len(gene.options) - 1 for gene in space.genes]))
    print("| seed | arm | hours | candidates | front | hypervolume | members: test accuracy, ms |\n|---|---|---|---|---|---|---|")
    for seed in range(int(options["seeds"])):
        own = folder / f"seed-{seed}"
        arms = {
            "trainings": trainings(own / "trainings", data, seed, float(options["minutes"])),
            "supernet": shared(own / "supernet", data, seed, int(options["epochs"]), int(options["trials"])),
        }
        measured = device.measure([largest, *(arch for front, _, _ in arms.values() for arch in front)])
        slowest, *rest = [one.latency_ms for one in measured]
        for name, (front, hours, count) in arms.items():
            ms, rest = rest[: len(front)], rest[len(front) :]
            points = []
            for i in chosen(ms):
                trained = nas.train(front[i], data, recipe="full", epochs=final, seed=seed, run=own / name / "final" / str(i))
                points.append((trained.test["accuracy"], ms[i]))
            listed = ", ".join(f"{accuracy:.3f} {each:.2f}" for accuracy, each in points)
            print(f"| {seed} | {name} | {hours:.2f} | {count} | {len(front)} | {volume(points, slowest):.4f} | {listed} |", flush=True)
    return 0


if __name__ == "__main__":
    run(main)
