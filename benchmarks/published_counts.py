"""Are our parameters and multiply-adds those of the published tables, record by record?

    python benchmarks/published_counts.py path=<folder> [table=accel_nasbench]

The folder holds `accel_nasbench/anb_dataset_jsons.tar.gz` (github.com/afzalxo/Accel-NASBench) and
`nas_bench_macro/nas-bench-macro_cifar10.json` (github.com/xiusu/NAS-Bench-Macro) as they are published. Each record's
network is built from the space of that name and counted in the file's own convention; the exit code is 1 where any differs.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from options import options_of, run

from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.cost import cost
from nas.space import Genome, Space, load_space

Record = tuple[str, Genome, int, int]  # name, genome, parameters, multiply-adds


def accel_records(folder: Path, space: Space) -> Iterator[Record]:
    """One JSON file a network, packed; `macs` and `params` are in millions."""
    keys = {"repeat": "l", "kernel": "k", "expand": "e", "se": "se"}
    with tarfile.open(folder / "anb_dataset_jsons.tar.gz") as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is None:
                continue
            record = json.load(file)
            genome = []
            for gene in space.genes:
                stage, key = gene.name.removeprefix("stages[").split("].")
                value = record["architecture"][f"block{stage}_{keys[key]}"]
                genome.append(gene.options.index(0.25 * value if key == "se" else value))
            counts = record["model_info"]
            yield Path(member.name).stem, tuple(genome), round(counts["params"] * 1e6), round(counts["macs"] * 1e6)


def macro_records(folder: Path, space: Space) -> Iterator[Record]:
    """One JSON object, a digit a layer in the keys."""
    del space
    for key, record in json.loads((folder / "nas-bench-macro_cifar10.json").read_text()).items():
        yield key, tuple(map(int, key)), record["params"], record["flops"]


def thop_extra(graph: Graph) -> int:
    """What the thop package adds to the multiply-adds: 4 an element of a batch norm, n + 1 a mean of n pixels."""
    extra = 0
    for node in graph.nodes:
        h, w, c = graph.nodes[node.inputs[0]].shape if node.inputs else node.shape
        extra += 4 * h * w * c if node.op == "norm" else c * (h * w + 1) if node.op == "global_pool" else 0
    return extra


def no_extra(graph: Graph) -> int:
    """Nothing beside convolutions and dense layers."""
    del graph
    return 0


Reader = Callable[[Path, Space], Iterator[Record]]
TABLES: dict[str, tuple[Reader, Callable[[Graph], int]]] = {
    "accel_nasbench": (accel_records, thop_extra),
    "nas_bench_macro": (macro_records, no_extra),
}


def differences(table: str, folder: Path) -> tuple[int, list[str]]:
    """Number of records, and a line for each whose counts differ by one or more."""
    read, extra = TABLES[table]
    space = load_space(table)
    lines, n = [], 0
    for name, genome, params, macs in read(folder / table, space):
        arch = space.decode(genome)
        counted = cost(arch)
        ours = counted.macs + extra(lower(arch))
        n += 1
        if (counted.params, ours) != (params, macs):
            lines.append(f"{name}: {counted.params} parameters, {ours} multiply-adds; published {params}, {macs}")
    return n, lines


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, {"table": ""}, "accel_nasbench and nas_bench_macro")
    if options["table"] not in ("", *TABLES):
        raise ValueError(f"table: expected one of {', '.join(TABLES)}, got {options['table']!r}")
    failed = False
    for table in [options["table"]] if options["table"] else TABLES:
        n, lines = differences(table, Path(options["path"]))
        failed |= bool(lines) or n == 0
        print(f"{table}: {n - len(lines)} of {n} records equal", *lines[:10], sep="\n  ")
    return int(failed)


if __name__ == "__main__":
    run(main)
