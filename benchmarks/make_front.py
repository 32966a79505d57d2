"""The hypervolumes that search_quality.py divides by: of 300,000 evaluations of NSGA-II on each surrogate of Accel-NASBench.

    python benchmarks/make_front.py path=<folder> [out=benchmarks/fronts.json] [evaluations=300000]

The folder holds `accel_nasbench/anb_dataset_jsons.tar.gz` as published. Takes about a minute of one core.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from options import options_of, run

from nas.objectives.pareto import hypervolume
from nas.tabular import Table, load_table
from nas.tabular.front import best_front

DEVICES = ("a100", "zcu102")
SURROGATES = ("pairs", "trees")


def values_of(table: Table, device: str, genomes: np.ndarray) -> np.ndarray:
    """(n, 2) minimized values: minus accuracy, milliseconds."""
    found = table.metrics(genomes)
    return np.stack([-found["accuracy"], found[f"predicted_ms/{device}"]], axis=1)


def reference_of(table: Table, device: str) -> list[float]:
    """Accuracy 50 %, and the 99th percentile of the time of 4,000 random architectures."""
    genomes = np.random.default_rng(0).integers(table.space.option_counts, size=(4000, len(table.space.genes)))
    return [-0.5, float(np.percentile(table.times(genomes)[f"predicted_ms/{device}"], 99))]


def main(arguments: Sequence[str]) -> int:
    defaults = {"out": str(Path(__file__).with_name("fronts.json")), "evaluations": "300000"}
    options = options_of(arguments, defaults, "accel_nasbench")
    found = {}
    for surrogate in SURROGATES:
        table = load_table("accel_nasbench", Path(options["path"]) / "accel_nasbench", surrogate=surrogate)
        for device in DEVICES:
            reference = reference_of(table, device)
            values = best_front(table.space, partial(values_of, table, device), int(options["evaluations"]))
            volume = hypervolume(values, reference)
            found[f"{surrogate}/{device}"] = {"reference": reference, "hypervolume": volume}
            print(f"{surrogate}/{device}: {volume:.6g} from {reference}", flush=True)
    found["evaluations"] = int(options["evaluations"])
    Path(options["out"]).write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    run(main)
