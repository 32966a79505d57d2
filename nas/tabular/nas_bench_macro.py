"""NAS-Bench-Macro (Su et al. 2021, arXiv:2103.11922): 6,561 trained networks, 3,969 of them distinct; an exact lookup.

The published file is `nas-bench-macro_cifar10.json` (github.com/xiusu/NAS-Bench-Macro).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.core.jsonio import parse_json
from nas.cost import Costs
from nas.space import Genome, load_space
from nas.tabular.base import Table

FILE = "nas-bench-macro_cifar10.json"
STAGES = ((0, 2), (2, 5), (5, 8))


def canonical(genome: Genome) -> str:
    """The key of a network: an identity that is not first in its stage does nothing, so these stand last."""
    parts = []
    for first, last in STAGES:
        rest = [option for option in genome[first + 1 : last] if option]
        parts += [genome[first], *rest, *[0] * (last - first - 1 - len(rest))]
    return "".join(map(str, parts))


def load(path: Path) -> Table:
    """The table in the folder or file `path`. A network's accuracy is the mean over all its records and their three seeds.

    Raises ValueError where the file is missing.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"path: no file {file}; expected the folder that holds the published {FILE}")
    try:
        records = parse_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"path: {file}: no table of NAS-Bench-Macro: {error}") from None
    runs: dict[str, list[float]] = {}
    for key, record in records.items():
        runs.setdefault(canonical(tuple(map(int, key))), []).extend(record["test_acc"])
    means = {key: float(np.mean(values)) / 100 for key, values in runs.items()}
    variance = np.mean([np.var(record["test_acc"], ddof=1) for record in records.values()])
    space = load_space("nas_bench_macro")

    def accuracy(rows: np.ndarray) -> np.ndarray:
        return np.array([means[canonical(tuple(row))] for row in rows.tolist()], float)

    return Table(
        "nas_bench_macro", space, Costs(space), accuracy, lambda rows: {}, canonical, float(np.sqrt(variance)) / 100
    )
