"""Published tables of trained networks, read from the files as published: search them in microseconds, not GPU years.

table = load_table("accel_nasbench", Path("downloads/accel_nasbench"), surrogate="pairs")
table.metrics(genomes)["accuracy"]       # (n,) fractions
table.problem(objectives)                # for a controller
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from nas.core.settings import did_you_mean
from nas.tabular import accel_nasbench, nas_bench_macro
from nas.tabular.base import Table

TABLES: dict[str, Callable[..., Table]] = {
    "accel_nasbench": accel_nasbench.load,
    "nas_bench_macro": nas_bench_macro.load,
}

__all__ = ["TABLES", "Table", "load_table"]


@cache
def load_table(name: str, path: Path, **settings: Any) -> Table:
    """The table of that name in a folder. Read once a process.

    Raises ValueError for an unknown name or a folder without its file.
    """
    if name not in TABLES:
        raise ValueError(f"table: unknown {name!r}{did_you_mean(name, TABLES)} (known: {', '.join(TABLES)})")
    return TABLES[name](path, **settings)
