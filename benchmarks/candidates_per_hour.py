"""How many random candidates of a space train in an hour, compilation included, in one process.

    NPROC=2 python benchmarks/candidates_per_hour.py [--space tiny --dataset digits --epochs 5] [--arms scratch one_program]

Arms: `scratch`, our program a candidate; `one_program`, ours compiled once for the space; `torch`, eager; `flax`, one jit a
candidate as one would first write it, on `--few` networks, its rate extrapolated. Arms take turns network by network. Ours load,
augment and validate; the rivals repeat one batch, which favours them. `one_program` pays its compilation before the first
network. Beside the wall clock stands the processor time of this process, which a busy machine disturbs less.
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

import numpy as np
from rivals import RECIPE, available, machine, naive_flax, pytorch, random_dataset, set_threads

from nas.arch import Arch
from nas.blocks import lower
from nas.data import Dataset, load_dataset
from nas.recipe import Recipe
from nas.space import Space, load_space
from nas.train import fit
from nas.train.one_program import compile_space

Arm = Callable[[Arch, int], None]
NAMES = ("scratch", "one_program", "flax", "torch")


def rival(build: Any, dataset: Dataset, recipe: Recipe) -> Arm:
    rows = min(recipe.batch, len(dataset.train))
    steps = recipe.epochs * (len(dataset.train) // rows)

    def train(arch: Arch, seed: int) -> None:
        step = build(lower(arch), np.ascontiguousarray(dataset.train.images[:rows]), dataset.train.labels[:rows])
        for _ in range(steps):
            step()

    return train


def make_arm(name: str, space: Space, dataset: Dataset, recipe: Recipe) -> Arm:
    if name == "one_program":
        program = compile_space(space, dataset, recipe)
        return lambda arch, seed: void(program.fit(arch, seed))
    if name == "scratch":
        return lambda arch, seed: void(fit(arch, dataset, recipe, seed))
    return rival(naive_flax if name == "flax" else pytorch, dataset, recipe)


def void(_: Any) -> None:
    pass


def clocked(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    out = work()
    return out, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def measure(
    names: list[str], space: Space, dataset: Dataset, recipe: Recipe, networks: int, few: int
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    archs = [space.decode(space.sample(rng)) for _ in range(networks)]
    built = {name: clocked(lambda name=name: make_arm(name, space, dataset, recipe)) for name in names}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    memory = []
    for i, arch in enumerate(archs):
        for name, (arm, _) in built.items():
            if name != "flax" or i < few:
                times[name].append(clocked(lambda arm=arm, arch=arch, i=i: arm(arch, i))[1])
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        print(
            f"network {i + 1}/{networks}: " + ", ".join(f"{n} {t[-1]['wall_s']:.2f} s" for n, t in times.items()),
            flush=True,
        )
    return {"build": {name: clock for name, (_, clock) in built.items()}, "times": times, "peak_mib": memory}


def per_hour(result: dict[str, Any], name: str, networks: int, clock: str) -> float:
    mean = statistics.fmean(one[clock] for one in result["times"][name])
    return 3600 * networks / (result["build"][name][clock] + networks * mean)


def show(result: dict[str, Any], networks: int) -> None:
    print("arm           wall s a network (min, median, max)   once s   an hour: wall, processor")
    for name, times in result["times"].items():
        walls = [one["wall_s"] for one in times]
        spread = f"{min(walls):8.2f} {statistics.median(walls):8.2f} {max(walls):8.2f}"
        rates = [per_hour(result, name, networks, clock) for clock in ("wall_s", "cpu_s")]
        note = f"   from {len(times)} networks" if len(times) < networks else ""
        print(f"{name:12} {spread} {result['build'][name]['wall_s']:18.1f} {rates[0]:14.0f} {rates[1]:9.0f}{note}")
    print(
        f"peak memory, all arms together: {result['peak_mib'][0]} MiB after one network, {result['peak_mib'][-1]} after all"
    )


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
    asked = parser.parse_args()
    set_threads(asked.threads)
    dataset = find_dataset(asked.dataset, asked.images)
    space = load_space(asked.space).fit(dataset.resolution, dataset.channels, len(dataset.classes))
    recipe = dataclasses.replace(RECIPE, epochs=asked.epochs, batch=asked.batch)
    names, before = available(asked.arms), machine()
    print(before)
    result = measure(names, space, dataset, recipe, asked.networks, asked.few)
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
