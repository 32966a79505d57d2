"""Controllers side by side on published tables: races, their records, their statistics, and a page about them.

    table = load_table("nas_bench_macro", Path("downloads"))
    found = race(table, table.problem(objectives), make_controller({"name": "bayesian"}), evaluations=100, seed=0)
"""

from nas.workflows.bench.race import Race, best_within, grid, hypervolume_fractions, race
from nas.workflows.bench.store import Store, run_all

__all__ = ["Race", "Store", "best_within", "grid", "hypervolume_fractions", "race", "run_all"]
