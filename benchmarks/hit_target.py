"""Does one search end at the latency that was asked for? Searched is Accel-NASBench with the times of an A100.

    python benchmarks/hit_target.py path=<folder> [evaluations=300] [seeds=3] [targets=0.08,0.13,0.2]

Printed is the time of the best network over the target: by the absolute reward (whose slope `beta` must be steeper than the
front at the target, or the optimum lies above it), by MnasNet's soft reward for comparison, and by accuracy under a hard limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from options import options_of, run
from threadpoolctl import threadpool_limits

from nas.bench import race
from nas.controllers import make_controller
from nas.objectives import Objectives
from nas.tables import Table, load_table

COST = "latency_ms/a100"
AXES = (("accuracy", "max"), (COST, "min"))
CASES = {
    "absolute, beta -0.1": ("evolution", {"reward": "absolute", "cost": COST}),
    "absolute, beta -0.3": ("evolution", {"reward": "absolute", "cost": COST, "beta": -0.3}),
    "mnas_soft": ("evolution", {"reward": "mnas_soft", "cost": COST}),
    "hard limit": ("guided", {"reward": "first"}),
}


def ratio(table: Table, case: str, target: float, evaluations: int, seed: int) -> float:
    """Time of the best network over the target."""
    name, settings = CASES[case]
    limits = ((COST, target),) if case == "hard limit" else ()
    objectives = Objectives(AXES, limits, target=target, **settings)  # type: ignore[arg-type]
    found = race(table, table.problem(objectives), make_controller({"name": name}), evaluations, seed)
    rewards = [objectives.reward_of({"accuracy": -a, COST: ms}) for a, ms in found.values.tolist()]
    return float(found.values[int(np.argmax(rewards)), 1]) / target


def main(arguments: Sequence[str]) -> int:
    defaults = {"evaluations": "300", "seeds": "3", "targets": "0.08,0.13,0.2", "cases": ";".join(CASES)}
    options = options_of(arguments, defaults, "accel_nasbench")
    table = load_table("accel_nasbench", Path(options["path"]) / "accel_nasbench")
    with threadpool_limits(1):
        for case in options["cases"].split(";"):
            for target in map(float, options["targets"].split(",")):
                found = [ratio(table, case, target, int(options["evaluations"]), seed) for seed in range(int(options["seeds"]))]
                print(f"{case:20s} target {target:g} ms: " + ", ".join(f"{100 * r:.1f} %" for r in found), flush=True)
    return 0


if __name__ == "__main__":
    run(main)
