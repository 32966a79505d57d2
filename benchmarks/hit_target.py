"""Does one search end at the latency that was asked for? Searched is Accel-NASBench, with the times of two devices.

    python benchmarks/hit_target.py path=<folder> [evaluations=300] [seeds=3] [controllers=evolution,reinforce] [cases=absolute;constraint]

Printed is the time of the best network over the target, worst and by seed, how many searches ended under or within 2 % of it,
and the best accuracy that each found there: by the absolute reward as the settings have it and as published, as steep below the
target as above (with the slope -0.1), by MnasNet's soft reward, and by accuracy under a constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run
from threadpoolctl import threadpool_limits

from nas.controllers import make_controller
from nas.core.paths import CONF
from nas.core.yamlio import read_yaml
from nas.objectives import Objectives, metric_of
from nas.tabular import Table, load_table
from nas.workflows.bench import race

TARGETS = {"a100": (0.08, 0.13, 0.2), "zcu102": (5.0, 8.0, 11.0)}  # milliseconds
CASES: dict[str, dict[str, Any]] = {
    "absolute": {"reward": "absolute"},
    "absolute, as steep below": {"reward": "absolute", "beta": -0.1, "over": 1.0},
    "mnas_soft": {"reward": "mnas_soft"},
    "constraint": {"reward": "first"},
}
WITHIN = 1.02


def search(table: Table, case: str, name: str, device: str, target: float, evaluations: int, seed: int) -> tuple[float, float]:
    """Time of the best network by the reward over the target, and the best accuracy in % under or within 2 % of it."""
    cost = f"latency_ms/{device}"
    limits = ((cost, target),) if case == "constraint" else ()
    objectives = Objectives((("accuracy", "max"), (cost, "min")), limits, cost=cost, target=target, **CASES[case])
    controller = make_controller(read_yaml(CONF / "controller" / f"{name}.yaml"))
    values = race(table, table.problem(objectives), controller, evaluations, seed).values
    rewards = [objectives.reward_of({"accuracy": -a, metric_of(cost): ms}) for a, ms in values.tolist()]
    kept = values[values[:, 1] <= WITHIN * target, 0]
    return float(values[int(np.argmax(rewards)), 1]) / target, -100 * float(kept.min(initial=0))


def main(arguments: Sequence[str]) -> int:
    defaults = {"evaluations": "300", "seeds": "3", "controllers": "evolution,reinforce", "cases": ";".join(CASES)}
    options = options_of(arguments, defaults, "accel_nasbench")
    table = load_table("accel_nasbench", Path(options["path"]) / "accel_nasbench")
    seeds, evaluations = range(int(options["seeds"])), int(options["evaluations"])
    with threadpool_limits(1):
        for case in options["cases"].split(";"):
            if case not in CASES:
                raise ValueError(f"cases: unknown {case!r} (known: {'; '.join(CASES)})")
            for name in options["controllers"].split(","):
                for device, targets in TARGETS.items():
                    for target in targets:
                        found = [search(table, case, name, device, target, evaluations, seed) for seed in seeds]
                        print(f"{case}, {name}, {device} {target:g} ms: {_words(found)}", flush=True)
    return 0


def _words(found: Sequence[tuple[float, float]]) -> str:
    hits = sum(ratio <= WITHIN for ratio, _ in found)
    each = ", ".join(f"{100 * ratio:.1f} %" for ratio, _ in found)
    return f"{hits} of {len(found)} hit; {each}; best accuracy there {np.median([accuracy for _, accuracy in found]):.2f} %"


if __name__ == "__main__":
    run(main)
