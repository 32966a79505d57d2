"""How good are our controllers after so many evaluations? Searched are published tables, so that a run takes seconds.

    python benchmarks/search_quality.py path=<folder> [--json FILE] [--quick] [problems=pairs/a100,macro] [controllers=guided,nsga2]
                                        [seeds=5] [jobs=1] [in_flight=0]

The folder holds the published files in `accel_nasbench/` and `nas_bench_macro/`. Problems are `<surrogate>/<device>` (accuracy
and time, the time known before training), with `/noise` (the accuracy is told with the noise of one training and scored
without) or `/learnt` (the time is learnt too); `accuracy` (pairs, accuracy alone); `macro` (NAS-Bench-Macro). Fronts are scored
as a share of the hypervolume that make_front.py found. Results go to FILE as they come; the same command goes on from there.
Accuracies over 67.05 % are extrapolations of the surrogates.
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from nas.controllers import CONTROLLERS, Problem, make_controller
from nas.journal import Trial
from nas.objectives import Objectives
from nas.pareto import hypervolume
from nas.paths import CONF
from nas.settings import did_you_mean
from nas.tables import Table, load_table
from nas.yamlio import read_yaml

FRONTS = [f"{s}/{d}{n}" for n in ("", "/noise") for s in ("pairs", "trees") for d in ("a100", "zcu102")]
PROBLEMS = [*FRONTS, "pairs/a100/learnt", "pairs/zcu102/learnt", "accuracy", "macro"]
BUDGETS = {"front": (100, 300, 1000), "accuracy": (100, 300, 600), "macro": (60, 120)}
QUICK = {"front": (100,), "accuracy": (100,), "macro": (60,)}
QUICK_PROBLEMS = ["pairs/a100", "trees/zcu102", "macro"]
QUICK_CONTROLLERS = ["random", "evolution", "nsga2", "local", "guided"]
TARGETS = {
    "a100": 0.13,
    "zcu102": 8.0,
}  # milliseconds, for controllers that follow a reward: about the mean of the space


def kind_of(problem: str) -> str:
    return problem if problem in ("accuracy", "macro") else "front"


@functools.cache
def table_of(path: str, problem: str) -> Table:
    if problem == "macro":
        return load_table("nas_bench_macro", Path(path) / "nas_bench_macro")
    surrogate = "pairs" if problem == "accuracy" else problem.split("/")[0]
    return load_table("accel_nasbench", Path(path) / "accel_nasbench", surrogate=surrogate)


def problem_of(table: Table, name: str) -> Problem:
    if kind_of(name) != "front":
        return table.problem(Objectives((("accuracy", "max"),), reward="first"))
    device = name.split("/")[1]
    cost = f"latency_ms/{device}"
    objectives = Objectives((("accuracy", "max"), (cost, "min")), cost=cost, target=TARGETS[device])
    return table.problem(objectives, learnt=[cost] if name.endswith("learnt") else [])


def search(
    table: Table, problem: Problem, controller: Any, evaluations: int, seed: int, noise: float, in_flight: int
) -> tuple[np.ndarray, float]:
    """(evaluations, axes) true minimised values in the order of proposals, and the controller's seconds.

    As in a search, a network that was tried is answered for nothing, at most ten times the evaluations in all.
    """
    axes, spent = problem.objectives.names, time.perf_counter()
    state, told, done = controller.init(problem, seed), 0, []
    values, known = [], set()
    while len(values) < evaluations and len(done) < 10 * evaluations:
        number = len(done)
        while told < number - in_flight:
            state = controller.tell(state, done[told], np.random.default_rng([seed, told, 1]))
            told += 1
        proposal = controller.ask(state, [t.proposal for t in done[told:]], np.random.default_rng([seed, number]))
        shown = {name: float(v[0]) for name, v in table.metrics([proposal.genome], noise, seed).items()}
        true = {name: float(v[0]) for name, v in table.metrics([proposal.genome]).items()} if noise else shown
        done.append(Trial.of(number, proposal, "", outcome="ok", metrics={name: shown[name] for name in axes}))
        if (key := table.key(proposal.genome)) not in known:
            known.add(key)
            values.append(problem.objectives.values(true))
    return np.array(values), time.perf_counter() - spent


def scores(values: np.ndarray, problem: str, table: Table, budgets: Sequence[int]) -> list[float]:
    """Share of the hypervolume, best accuracy in %, or regret in points of accuracy, after each budget."""
    if problem == "accuracy":
        return [-100 * float(values[:n].min()) for n in budgets]
    if problem == "macro":
        best = table.metrics([*table.space.enumerate()])["accuracy"].max()
        return [100 * float(best + values[:n].min()) for n in budgets]
    stored = json.loads(Path(__file__).with_name("fronts.json").read_text())["/".join(problem.split("/")[:2])]
    return [hypervolume(values[:n], stored["reference"]) / stored["hypervolume"] for n in budgets]


def run(path: str, problem: str, name: str, seed: int, budgets: Sequence[int], in_flight: int) -> dict[str, Any]:
    table = table_of(path, problem)
    controller = make_controller(read_yaml(CONF / "controller" / f"{name}.yaml"))
    noise = table.noise if problem.endswith("noise") else 0.0
    values, seconds = search(table, problem_of(table, problem), controller, budgets[-1], seed, noise, in_flight)
    return {"scores": scores(values, problem, table, budgets), "seconds": round(seconds, 2)}


def options_of(arguments: Sequence[str]) -> dict[str, str]:
    options = {"path": "", "json": "", "problems": "", "controllers": "", "seeds": "", "jobs": "1", "in_flight": "0"}
    options |= {"quick": ""}
    rest = iter(arguments)
    for argument in rest:
        key, _, value = argument.removeprefix("--").partition("=")
        if key not in options:
            raise ValueError(f"{key}: unknown key{did_you_mean(key, options)} (keys: {', '.join(options)})")
        options[key] = "yes" if key == "quick" else value or next(rest, "")
    if not options["path"]:
        raise ValueError("path: name the folder that holds accel_nasbench and nas_bench_macro")
    return options


def chosen(given: str, default: Sequence[str], known: Sequence[str], key: str) -> list[str]:
    names = given.split(",") if given else list(default)
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: unknown {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    return names


def show(results: Mapping[str, Any], problems: Sequence[str], names: Sequence[str], budgets: Mapping[str, Any]) -> None:
    units = {"front": "share of the hypervolume", "accuracy": "best accuracy, %", "macro": "regret, points of accuracy"}
    for problem in problems:
        kind = kind_of(problem)
        print(f"\n{problem}: {units[kind]} after {', '.join(map(str, budgets[kind]))} evaluations: median (quartiles)")
        for name in names:
            runs = [r for key, r in results.items() if key.startswith(f"{problem} {name} ")]
            if not runs:
                continue
            cells = []
            for column in zip(*(r["scores"] for r in runs), strict=True):
                low, middle, high = np.percentile(column, [25, 50, 75])
                cells.append(f"{middle:7.3f} ({low:.3f} to {high:.3f})")
            print(
                f"  {name:10s} {'  '.join(cells)}   {np.median([r['seconds'] for r in runs]):6.1f} s, {len(runs)} seeds"
            )


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments)
    quick = bool(options["quick"])
    budgets, seeds = (QUICK if quick else BUDGETS), int(options["seeds"] or (3 if quick else 5))
    problems = chosen(options["problems"], QUICK_PROBLEMS if quick else PROBLEMS, PROBLEMS, "problems")
    names = chosen(
        options["controllers"], QUICK_CONTROLLERS if quick else [*CONTROLLERS], [*CONTROLLERS], "controllers"
    )
    file = Path(options["json"]) if options["json"] else None
    results: dict[str, Any] = json.loads(file.read_text()) if file and file.exists() else {}
    with ProcessPoolExecutor(int(options["jobs"])) as pool:
        waiting = {}
        for problem, seed, name in itertools.product(problems, range(seeds), names):
            plan = (budgets[kind_of(problem)], int(options["in_flight"]))
            key = f"{problem} {name} {seed} {plan[0][-1]} {plan[1]}"
            if key not in results:
                waiting[key] = pool.submit(run, options["path"], problem, name, seed, *plan)
        for key, future in waiting.items():
            results[key] = future.result()
            if file:
                file.write_text(json.dumps(results, indent=0) + "\n")
    wanted = {key: r for key, r in results.items() if _same_plan(key, budgets, options["in_flight"])}
    show(wanted, problems, names, budgets)
    return 0


def _same_plan(key: str, budgets: Mapping[str, Sequence[int]], in_flight: str) -> bool:
    problem, _, _, evaluations, ahead = key.split(" ")
    return int(evaluations) == budgets[kind_of(problem)][-1] and ahead == in_flight


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
