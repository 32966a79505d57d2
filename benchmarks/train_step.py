"""One training step of four networks: ours, Flax as one would first write it, PyTorch (channels_last) where it is installed.

    NPROC=2 python benchmarks/train_step.py [--networks tiny mobilenet_v3_small_32] [--rounds 5] [--json step.json]

Each arm has a process of its own; they take turns, `--steps` steps a turn, so that a ratio compares neighbors in time. Min,
median and max are over turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rivals import ARMS, CLASSES, available, machine, set_threads
from turns import Arm, serve

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.arch.graph import Graph
from nas.space import load_space


def network(name: str) -> Graph:
    return lower(_arch(name).with_io(int(SIDES[name]), 3, CLASSES))


SIDES = {"tiny": 8, "nas_bench_macro_11221122": 32, "mobilenet_v3_small_32": 32, "mobilenet_v3_small_96": 96}


def _arch(name: str) -> Arch:
    if name == "tiny":
        space = load_space("tiny")
        return space.decode(space.sample(np.random.default_rng(0)))
    if name.startswith("nas_bench_macro_"):
        return load_space("nas_bench_macro").decode([int(digit) for digit in name.rsplit("_", 1)[1]])
    return find_arch("mobilenet_v3_small")


def timed(name: str, arms: Sequence[str], batch: int, rounds: int, steps: int, threads: int) -> dict[str, Any]:
    """Milliseconds a step of each arm, by turn, and the seconds that building the arm took."""
    processes: dict[str, Arm] = {}
    try:
        for arm in arms:
            processes[arm] = Arm(__file__, (name, arm, batch, steps, threads))
        turns: dict[str, list[float]] = {arm: [] for arm in arms}
        for _ in range(rounds):
            for arm, process in processes.items():
                turns[arm].append(process.turn())
        return {"network": name, "build_s": {arm: process.ready for arm, process in processes.items()}, "ms": turns}
    finally:
        for process in processes.values():
            process.close()


def serve_steps(name: str, arm: str, batch: int, steps: int, threads: int) -> None:
    """An arm's process: says how many seconds building took, then at every turn the milliseconds of a step."""
    set_threads(threads)
    graph, rng = network(name), np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, SIDES[name], SIDES[name], 3), np.uint8)
    labels = rng.integers(CLASSES, size=batch).astype(np.int32)
    start = time.perf_counter()
    step = ARMS[arm](graph, images, labels)
    step()
    built = time.perf_counter() - start
    step()

    def turn(_: Any) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps * 1000

    serve(built, turn)


def summary(values: Sequence[float]) -> str:
    return f"{min(values):8.2f} {statistics.median(values):8.2f} {max(values):8.2f}"


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['network']}: ms a step (min, median, max), times ours (median of turns), seconds to build")
    for arm, turns in result["ms"].items():
        ratio = (
            statistics.median(t / o for t, o in zip(turns, result["ms"]["ours"], strict=True))
            if "ours" in result["ms"]
            else 0
        )
        print(f"  {arm:6} {summary(turns)}   x {ratio:5.2f}   {result['build_s'][arm]:6.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=2, help="PyTorch's threads; XLA takes NPROC from the environment"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        return serve_steps(*asked.serve[:2], *map(int, asked.serve[2:]))
    arms, before, results = available(asked.arms), machine(), []
    print(before)
    for name in asked.networks:
        results.append(timed(name, arms, asked.batch, asked.rounds, asked.steps, asked.threads))
        show(results[-1])
    if asked.json:
        asked.json.write_text(json.dumps({"machine": before, "batch": asked.batch, "results": results}, indent=1))


if __name__ == "__main__":
    main()
