"""How good are predictions from a few evaluations? On the published table of NAS-Bench-Macro, where every answer is known.

    python benchmarks/estimates.py path=<folder> [evaluations=10,30,100] [draws=20] [--json FILE]

The folder holds the published file in `nas_bench_macro/`. For each draw so many of the 3,969 distinct networks are chosen by chance and
evaluated, the model of `nas estimate` is fitted, and all other networks are predicted. Kendall's tau is between predictions
and true accuracies (the mean of all trainings). `one training` observes each network with the noise of one training and scores
intervals by one new training of each other network; `mean` observes and scores by the mean. The forms, priors and numbers of
the model were chosen on made-up problems and on Accel-NASBench, never on this table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from options import options_of, run

from nas.surrogates.additive import Additive, kendall
from nas.surrogates.inputs import SpaceInputs
from nas.tabular import Table, load_table

DEFAULTS = {"evaluations": "10,30,100", "draws": "20", "json": ""}
FIGURES = ("tau", "coverage", "width", "held_out_tau", "tau_macs", "seconds")


def networks_of(table: Table) -> np.ndarray:
    """(n, genes) a genome of each distinct network."""
    first: dict[object, tuple[int, ...]] = {}
    for genome in table.space.enumerate():
        first.setdefault(table.key(genome), genome)
    return np.array([*first.values()], np.int64)


def draw(table: Table, inputs: SpaceInputs, networks: np.ndarray, evaluations: int, noise: float, seed: int) -> dict[str, float]:
    """One fit: figures over all networks that it was not given. `width` is that of the intervals, in points of accuracy."""
    rng = np.random.default_rng([seed, evaluations])
    order = rng.permutation(len(networks))
    seen, others = networks[order[:evaluations]], networks[order[evaluations:]]
    observed, true = (table.accuracy(rows) for rows in (seen, others))
    began = time.perf_counter()
    model = Additive.fit(inputs(seen), observed + noise * rng.normal(size=len(seen)))
    seconds = time.perf_counter() - began
    rows = inputs(others)
    low, high = model.interval(rows)
    new = true + noise * rng.normal(size=len(true))
    return {
        "tau": kendall(model.mean(rows), true), "coverage": float(((low <= new) & (new <= high)).mean()),
        "width": 100 * float((high - low).mean()), "held_out_tau": model.tau,
        "tau_macs": kendall(table.costs(others)["macs"], true), "seconds": seconds,
    }  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, DEFAULTS, "nas_bench_macro/")
    table = load_table("nas_bench_macro", Path(options["path"]) / "nas_bench_macro")
    networks, inputs = networks_of(table), SpaceInputs(table.space, table.costs)
    print(f"{len(networks):,} networks; mean and standard error over {options['draws']} draws\n")
    print(f"| evaluations | observed | {' | '.join(FIGURES)} |\n|{'---|' * (2 + len(FIGURES))}")
    records = []
    for evaluations in map(int, options["evaluations"].split(",")):
        for what, noise in (("one training", table.noise), ("mean", 0.0)):
            found = [draw(table, inputs, networks, evaluations, noise, seed) for seed in range(int(options["draws"]))]
            values = np.array([[one[name] for name in FIGURES] for one in found])
            errors = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.full(len(FIGURES), np.nan)
            cells = [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(np.nanmean(values, axis=0), errors, strict=True)]
            print(f"| {evaluations} | {what} | {' | '.join(cells)} |", flush=True)
            records += [{"evaluations": evaluations, "observed": what, "seed": seed, **one} for seed, one in enumerate(found)]
    if options["json"]:
        Path(options["json"]).write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    run(main)
