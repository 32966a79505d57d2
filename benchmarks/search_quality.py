"""How good are controllers after so many evaluations? Searched are published tables, so that a run takes seconds.

    python benchmarks/search_quality.py path=<folder> [--json FILE] [--quick] [problems=pairs/a100,macro] [controllers=bayesian,nsga2]
                                        [seeds=20] [slow_seeds=5] [first_seed=0] [jobs=2] [in_flight=0] [show=no]

The folder holds the published files in `accel_nasbench/` and `nas_bench_macro/`. Problems are `<surrogate>/<device>` (accuracy
and time, the time known before training), with `/noise` (the accuracy is observed with the noise of one training and scored
without) or `/learned` (the time is learned too); `accuracy` (pairs, accuracy alone); `macro` (NAS-Bench-Macro). Fronts are scored
as a fraction of the hypervolume that make_front.py found. A result is a line of FILE as soon as it is there; the same command goes
on after it was killed, and `show=yes` prints what FILE has without running anything. Rivals take part where they are
installed: Optuna's samplers (`pip install optuna`; its GP needs torch) and pymoo's NSGA-II (`pip install pymoo`).
Accuracies over 67.05 % are extrapolations of the surrogates.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run
from threadpoolctl import threadpool_limits

from nas.controllers import CONTROLLERS, make_controller
from nas.core.paths import CONF
from nas.core.settings import did_you_mean
from nas.core.yamlio import read_yaml
from nas.objectives import Objectives
from nas.problem import Problem
from nas.tabular import Table, load_table
from nas.workflows.bench import Race, Store, best_within, grid, hypervolume_fractions, race, run_all

FRONTS = [f"{s}/{d}{n}" for n in ("", "/noise") for s in ("pairs", "trees") for d in ("a100", "zcu102")]
PROBLEMS = [*FRONTS, "pairs/a100/learned", "pairs/zcu102/learned", "accuracy", "macro"]
BUDGETS = {"front": (100, 300, 1000), "accuracy": (100, 300, 600), "macro": (10, 50, 60, 100, 120, 1000)}
QUICK = {"front": (100,), "accuracy": (100, 300), "macro": (60, 120)}
QUICK_PROBLEMS = ["pairs/a100", "trees/zcu102", "accuracy", "macro"]
MACRO_LONG = "random"  # the only one that NAS-Bench-Macro is searched with for 1,000 evaluations
RIVALS: dict[str, dict[str, Any]] = {
    "optuna_tpe": {"name": "optuna", "sampler": "tpe"},
    "optuna_nsga2": {"name": "optuna", "sampler": "nsga2"},
    "optuna_gp": {"name": "optuna", "sampler": "gp"},
    "pymoo_nsga2": {"name": "pymoo"},
}
NEEDS = {"optuna_tpe": "optuna", "optuna_nsga2": "optuna", "optuna_gp": "torch", "pymoo_nsga2": "pymoo"}
OURS = [name for name in CONTROLLERS if name not in ("optuna", "asha")]
SLOW = ("bayesian", "mnasnet", "optuna_tpe", "optuna_nsga2", "optuna_gp")
QUICK_CONTROLLERS = ["random", "evolution", "nsga2", "local", "mnasnet", "reinforce", "bayesian"]
MOST = {"optuna_gp": 200}  # evaluations
DEFAULTS = {"json": "", "problems": "", "controllers": "", "seeds": "", "slow_seeds": "", "quick": ""}
DEFAULTS |= {"first_seed": "0", "jobs": "2", "in_flight": "0", "show": "no"}
TARGETS = {"a100": 0.13, "zcu102": 8.0}  # milliseconds, for controllers that follow a reward: about the mean of the space


def kind_of(problem: str) -> str:
    return problem if problem in ("accuracy", "macro") else "front"


@functools.cache
def table_of(path: str, name: str, **settings: str) -> Table:
    return load_table(name, Path(path) / name, **settings)


def table_for(path: str, problem: str) -> Table:
    if problem == "macro":
        return table_of(path, "nas_bench_macro")
    return table_of(path, "accel_nasbench", surrogate="pairs" if problem == "accuracy" else problem.split("/")[0])


def problem_of(table: Table, name: str) -> Problem:
    if kind_of(name) != "front":
        return table.problem(Objectives((("accuracy", "max"),), reward="first"))
    device = name.split("/")[1]
    cost = f"latency_ms/{device}"
    objectives = Objectives((("accuracy", "max"), (cost, "min")), cost=cost, target=TARGETS[device])
    return table.problem(objectives, learned=[cost] if name.endswith("learned") else [])


def scores(values: np.ndarray, problem: str, table: Table, budgets: Sequence[int]) -> list[float]:
    """Fraction of the hypervolume, best accuracy in %, or regret in points of accuracy, after each budget."""
    if kind_of(problem) == "front":
        stored = json.loads(Path(__file__).with_name("fronts.json").read_text())["/".join(problem.split("/")[:2])]
        return hypervolume_fractions(values, stored["reference"], stored["hypervolume"], budgets)
    best = best_within(values, Objectives((("accuracy", "max"),), reward="first"), None, budgets)
    if problem == "accuracy":
        return [100 * value for value in best]
    top = table.metrics([*table.space.enumerate()])["accuracy"].max()
    return [100 * float(top - value) for value in best]


def pymoo_race(problem: Problem, table: Table, evaluations: int, seed: int, noise: float) -> Race:
    """pymoo's NSGA-II as its guide sets it up for integers, population 50, duplicates left out."""
    observed, true, counts = problem.objectives, [], problem.space.option_counts

    def part(module: str, name: str) -> Any:
        return getattr(importlib.import_module(f"pymoo.{module}"), name)

    class Search(part("core.problem", "Problem")):
        def __init__(self) -> None:
            super().__init__(n_var=len(counts), n_obj=len(observed.names), xl=0 * counts, xu=counts - 1, vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            rows = [tuple(row) for row in x.tolist()]
            shown, real = table.metrics(rows, noise, seed), table.metrics(rows)
            as_values = [[observed.values({k: float(v[i]) for k, v in m.items()}) for i in range(len(rows))] for m in (shown, real)]
            true.extend(as_values[1])
            out["F"] = np.array(as_values[0])

    settings = {"prob": 1.0, "eta": 3.0, "vtype": float, "repair": part("operators.repair.rounding", "RoundingRepair")()}
    operators = {
        "sampling": part("operators.sampling.rnd", "IntegerRandomSampling")(),
        "crossover": part("operators.crossover.sbx", "SBX")(**settings),
        "mutation": part("operators.mutation.pm", "PM")(**settings),
    }
    algorithm = part("algorithms.moo.nsga2", "NSGA2")(pop_size=50, eliminate_duplicates=True, **operators)
    part("optimize", "minimize")(Search(), algorithm, ("n_eval", evaluations), seed=seed, verbose=False)
    return Race(np.array(true[:evaluations]), len(true), float("nan"))


def work(task: Mapping[str, Any]) -> dict[str, Any]:
    problem, evaluations, seed = task["problem"], task["evaluations"], task["seed"]
    table = table_for(os.environ["NAS_TABLES"], problem)
    noise = table.noise if problem.endswith("noise") else 0.0
    with threadpool_limits(1):
        if task["settings"]["name"] == "pymoo":
            found = pymoo_race(problem_of(table, problem), table, evaluations, seed, noise)
        else:
            controller = make_controller(task["settings"])
            found = race(table, problem_of(table, problem), controller, evaluations, seed, noise, task["in_flight"])
    budgets = grid(evaluations, BUDGETS[kind_of(problem)])
    curve = dict(zip(map(str, budgets), scores(found.values, problem, table, budgets), strict=True))
    return {"curve": curve, "asked": found.asked, "seconds": round(found.seconds, 2)}


def chosen(given: str, default: Sequence[str], known: Sequence[str], key: str) -> list[str]:
    names = given.split(",") if given else list(default)
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: unknown {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    return names


def settings_of(name: str) -> dict[str, Any]:
    return RIVALS.get(name) or read_yaml(CONF / "controller" / f"{name}.yaml")


def tasks_of(options: Mapping[str, str], problems: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """Seed by seed, so that whatever there is time for has all problems in it."""
    quick = bool(options["quick"])
    seeds, slow = int(options["seeds"] or (3 if quick else 20)), int(options["slow_seeds"] or (2 if quick else 5))
    first, budgets = int(options["first_seed"]), QUICK if quick else BUDGETS
    found = []
    for seed in range(first, first + max(seeds, slow)):
        for problem in problems:
            for name in names:
                if seed - first >= (slow if name in SLOW else seeds):
                    continue
                most = budgets[kind_of(problem)][-1]
                most = 120 if problem == "macro" and name != MACRO_LONG and most > 120 else most
                found.append(
                    {"problem": problem, "controller": name, "settings": settings_of(name), "seed": seed,
                     "evaluations": min(most, MOST.get(name, most)), "in_flight": int(options["in_flight"])}
                )  # fmt: skip
    return found


def show(records: Sequence[Mapping[str, Any]], problems: Sequence[str], names: Sequence[str], budgets: Mapping[str, Any]) -> None:
    units = {"front": "fraction of the hypervolume", "accuracy": "best accuracy, %", "macro": "regret, points of accuracy"}
    for problem in problems:
        kind = kind_of(problem)
        print(f"\n{problem}: {units[kind]} after {', '.join(map(str, budgets[kind]))} evaluations: median (quartiles)")
        for name in names:
            runs = [r for r in records if (r["problem"], r["controller"]) == (problem, name)]
            if not runs:
                continue
            cells = [_cell([r["curve"].get(str(n)) for r in runs]) for n in budgets[kind]]
            pace = float(np.median([r["seconds"] / r["asked"] for r in runs]))
            print(f"  {name:12s} {'  '.join(cells)}   {1000 * pace:7.1f} ms a proposal, {len(runs)} seeds")


def _cell(column: Sequence[float | None]) -> str:
    known = [value for value in column if value is not None]
    if not known:
        return f"{'-':>22s}"
    low, median, high = np.percentile(known, [25, 50, 75])
    return f"{median:7.3f} ({low:.3f}-{high:.3f})"


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, DEFAULTS, "accel_nasbench and nas_bench_macro")
    quick = bool(options["quick"])
    installed = [name for name in RIVALS if importlib.util.find_spec(NEEDS[name]) is not None]
    for name in RIVALS.keys() - set(installed):
        print(f"without {name}: {NEEDS[name]} is not installed")
    problems = chosen(options["problems"], QUICK_PROBLEMS if quick else PROBLEMS, PROBLEMS, "problems")
    names = chosen(
        options["controllers"], QUICK_CONTROLLERS if quick else [*OURS, *installed], [*CONTROLLERS, *installed], "controllers"
    )
    os.environ["NAS_TABLES"] = str(Path(options["path"]).absolute())
    store = Store(Path(options["json"]) if options["json"] else None)
    tasks = tasks_of(options, problems, names)
    if options["show"] == "yes":
        records = store.records()
    else:
        records = [*run_all(tasks, work, store, int(options["jobs"]))]
    show(records, problems, names, QUICK if quick else BUDGETS)
    return 0


if __name__ == "__main__":
    run(main)
