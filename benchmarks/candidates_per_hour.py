"""How many random candidates of a space train in an hour, compilation included, by one worker of each kind.

    NPROC=2 python benchmarks/candidates_per_hour.py [--space tiny --dataset digits --epochs 5] [--arms scratch switched]

Arms: `layerwise`, our programs of single layers, kept between candidates; `switched`, ours compiled once for the space;
`scratch`, our program a candidate; `torch`, eager; `flax`, one jit a
candidate as one would first write it, on `--few` networks, its rate extrapolated. Each arm has a process of its own; they take
turns network by network. Ours load, augment and validate; the rivals repeat one batch, which favors them. `switched` pays
its compilation before the first network; nothing compiled earlier is reused. Beside the wall clock stands the processor time
of the process, which a busy machine disturbs less, and its peak memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rivals import RECIPE, available, machine, naive_flax, pytorch, random_dataset, set_threads
from turns import Arm, serve

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.core.process import keep_memory
from nas.data import Dataset, load_dataset
from nas.recipe import Recipe
from nas.space import Space, load_space
from nas.tasks import CLASSIFICATION
from nas.train import fit
from nas.train.compilation.layerwise import Layerwise
from nas.train.compilation.switched import compile_space

Train = Callable[[Arch, int], None]
NAMES = ("layerwise", "switched", "scratch", "flax", "torch")


def rival(build: Any, dataset: Dataset, recipe: Recipe) -> Train:
    rows = min(recipe.batch, len(dataset.train))
    steps = recipe.epochs * (len(dataset.train) // rows)

    def train(arch: Arch, seed: int) -> None:
        step = build(lower(arch), np.ascontiguousarray(dataset.train.images[:rows]), dataset.train.targets[:rows])
        for _ in range(steps):
            step()

    return train


def make_arm(name: str, space: Space, dataset: Dataset, recipe: Recipe) -> Train:
    if name == "switched":
        program = compile_space(space, dataset, recipe)
        return lambda arch, seed: void(program.fit(arch, seed))
    if name == "layerwise":
        layerwise = Layerwise(dataset, recipe, CLASSIFICATION)
        return lambda arch, seed: void(layerwise.fit(arch, seed))
    if name == "scratch":
        return lambda arch, seed: void(fit(arch, dataset, recipe, seed))
    return rival(naive_flax if name == "flax" else pytorch, dataset, recipe)


def void(_: Any) -> None:
    pass


def clocked(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    out = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return out, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "peak_mib": peak}


def measure(names: list[str], asked: argparse.Namespace) -> dict[str, Any]:
    arms: dict[str, Arm] = {}
    try:
        for name in names:
            arms[name] = Arm(__file__, (name, json.dumps({k: v for k, v in vars(asked).items() if k != "json"})))
        times: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for i in range(asked.networks):
            for name, arm in arms.items():
                if name != "flax" or i < asked.few:
                    times[name].append(arm.turn(i))
            latest = ", ".join(f"{name} {turns[-1]['wall_s']:.2f} s" for name, turns in times.items())
            print(f"network {i + 1}/{asked.networks}: {latest}", flush=True)
        return {"build": {name: arm.ready for name, arm in arms.items()}, "times": times}
    finally:
        for arm in arms.values():
            arm.close()


def serve_networks(name: str, asked: argparse.Namespace) -> None:
    """An arm's process: builds what it builds once, then trains network i of the same random ones at every turn."""
    set_threads(asked.threads)
    dataset = find_dataset(asked.dataset, asked.images)
    space = load_space(asked.space).fit(dataset.resolution, dataset.channels, len(dataset.classes))
    rng = np.random.default_rng(0)
    archs = [space.decode(space.sample(rng)) for _ in range(asked.networks)]
    recipe = dataclasses.replace(RECIPE, epochs=asked.epochs, batch=asked.batch)
    if name in ("layerwise", "switched", "scratch"):
        keep_memory()  # as every worker does
    train, once = clocked(lambda: make_arm(name, space, dataset, recipe))

    def turn(i: int) -> dict[str, float]:
        _, clock = clocked(lambda: train(archs[i], i))
        jax.clear_caches()  # as every worker does
        return clock

    serve(once, turn)


def per_hour(result: dict[str, Any], name: str, networks: int, clock: str) -> float:
    mean = statistics.fmean(one[clock] for one in result["times"][name])
    return 3600 * networks / (result["build"][name][clock] + networks * mean)


def show(result: dict[str, Any], networks: int) -> None:
    print("arm           wall s a network (min, median, max)   once s   an hour: wall, processor   peak MiB: first, last")
    for name, times in result["times"].items():
        walls = [one["wall_s"] for one in times]
        summary = f"{min(walls):8.2f} {statistics.median(walls):8.2f} {max(walls):8.2f}"
        rates = [per_hour(result, name, networks, clock) for clock in ("wall_s", "cpu_s")]
        note = f"   from {len(times)} networks" if len(times) < networks else ""
        once, peaks = result["build"][name]["wall_s"], [times[i]["peak_mib"] for i in (0, -1)]
        print(f"{name:12} {summary} {once:18.1f} {rates[0]:14.0f} {rates[1]:9.0f} {peaks[0]:14.0f} {peaks[1]:6.0f}{note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="nas_bench_macro")
    parser.add_argument(
        "--dataset", default="noise", help="noise (of CIFAR-10's shape), digits, or a folder of parquet files"
    )
    parser.add_argument("--arms", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--few", type=int, default=3, help="networks of the arm flax")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--threads", type=int, default=2, help="PyTorch's threads; XLA takes NPROC from the environment"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        return serve_networks(asked.serve[0], argparse.Namespace(**json.loads(asked.serve[1])))
    names, before = available(asked.arms), machine()
    print(before)
    result = measure(names, asked)
    show(result, asked.networks)
    if asked.json:
        settings = {k: str(v) for k, v in vars(asked).items()}
        asked.json.write_text(json.dumps({"machine": before, "settings": settings, **result}, indent=1))


def find_dataset(name: str, images: int) -> Dataset:
    if name == "noise":
        return random_dataset(32, images)
    if name == "digits":
        return load_dataset({"name": "digits"})
    return load_dataset({"name": "parquet", "path": name, "train_size": images, "valid_size": 64, "test_size": 64})


if __name__ == "__main__":
    main()
