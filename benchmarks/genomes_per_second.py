"""Genomes a second whose parameters, multiply-adds and memory are counted exactly, in one process.

    python benchmarks/genomes_per_second.py [--space mnasnet] [--genomes 100000] [--json FILE]

Genomes are distinct and sampled beforehand; the first call, which builds tables, is timed apart; five repetitions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from nas.cost import Costs, cost
from nas.space import load_space


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", default="mnasnet")
    parser.add_argument("--genomes", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    space, rng = load_space(arguments.space), np.random.default_rng(0)
    distinct = list({space.sample(rng) for _ in range(arguments.genomes + 1000)})
    first, genomes = np.array(distinct[:1000]), np.array(distinct[1000:])
    start = time.perf_counter()
    costs = Costs(space)
    part, counted = first, costs(first)
    warm_s = time.perf_counter() - start
    rates = []
    for part in np.array_split(genomes, 5):
        start = time.perf_counter()
        counted = costs(part)
        rates.append(len(part) / (time.perf_counter() - start))
    exact = cost(space.decode(tuple(part[-1].tolist())))
    assert (counted["params"][-1], counted["macs"][-1]) == (exact.params, exact.macs)
    row = {
        "space": space.name,
        "first_call_s": warm_s,
        "min": min(rates),
        "median": statistics.median(rates),
        "max": max(rates),
    }
    rates_text = " ".join(f"{name} {row[name]:,.0f}" for name in ("min", "median", "max"))
    print(f"{space.name}: first call {warm_s:.2f} s, then genomes a second: {rates_text}")
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
