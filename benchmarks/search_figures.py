"""Tables and curves of what search_quality.py found, for the documentation.

    python benchmarks/search_figures.py records=a.jsonl,b.jsonl [out=docs] [problems=pairs/a100,accuracy] [controllers=bayesian,nsga2]

Files of records are put together; where two have the same problem, controller and seed, the later file's counts. Printed are
Markdown tables of medians and quartiles over seeds, and with `out` a plot of each problem is written there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run
from search_quality import BUDGETS, PROBLEMS, kind_of

from nas.core.yamlio import write_text
from nas.workflows.bench import Store, grid
from nas.workflows.bench.contest import Contest, Yardstick
from nas.workflows.bench.page import Results, curves_svg

MEASURES = {"front": "share", "accuracy": "best", "macro": "regret"}
UNITS = {"front": 1.0, "accuracy": 0.01, "macro": 0.01}  # of the records, as fractions
NAMES = {"pymoo_nsga2": "pymoo's NSGA-II", "optuna_tpe": "Optuna's TPE", "optuna_nsga2": "Optuna's NSGA-II", "optuna_gp": "Optuna's GP"}
Record = Mapping[str, Any]


def merged(files: Sequence[Path]) -> list[Record]:
    found = {}
    for file in files:
        if not file.is_file():
            raise ValueError(f"records: no file {file}")
        for record in Store(file).records():
            found[record["problem"], record["controller"], record["seed"]] = record
    return [*found.values()]


def by_controller(records: Sequence[Record], problem: str, expected: Sequence[str]) -> dict[str, list[Record]]:
    """Runs by controller, in the order expected, else the best first."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record["problem"] == problem:
            found.setdefault(record["controller"], []).append(record)
    budget = str(BUDGETS[kind_of(problem)][2 if kind_of(problem) == "macro" else 1])
    sign = 1 if kind_of(problem) == "macro" else -1

    def rank(name: str) -> float:
        known = [run["curve"][budget] for run in found[name] if budget in run["curve"]]
        return sign * float(np.median(known)) if known else np.inf

    return {name: found[name] for name in expected or sorted(found, key=rank) if name in found}


def table(runs: Mapping[str, Sequence[Record]], kind: str) -> str:
    """Medians (and quartiles) after each budget, a row a controller."""
    budgets = [n for n in BUDGETS[kind] if any(str(n) in run["curve"] for each in runs.values() for run in each)]
    lines = [f"| controller | {' | '.join(map(str, budgets))} | seeds |", "|---" * (len(budgets) + 2) + "|"]
    for name, each in runs.items():
        cells = [cell([run["curve"][str(n)] for run in each if str(n) in run["curve"]], kind) for n in budgets]
        lines.append(f"| {NAMES.get(name, f'`{name}`')} | {' | '.join(cells)} | {len(each)} |")
    return "\n".join(lines)


def cell(values: Sequence[float], kind: str) -> str:
    if not values:
        return "-"
    digits = 3 if kind == "front" else 2
    low, median, high = (f"{q:.{digits}f}".removeprefix("0") for q in np.percentile(values, [25, 50, 75]))
    return median if len(values) < 3 else f"{median} ({low}-{high})"


def plot(runs: Mapping[str, Sequence[Record]], kind: str) -> str:
    """Curves of medians with bands between the quartiles."""
    measure, budgets = MEASURES[kind], grid(BUDGETS[kind][-1], BUDGETS[kind])
    cost = "latency_ms" if kind == "front" else None
    curves = {
        NAMES.get(name, name): [{"budgets": budgets, measure: stepped(run["curve"], budgets, UNITS[kind])} for run in each]
        for name, each in runs.items()
    }
    return curves_svg(Results(Contest("accel_nasbench", "", cost=cost), Yardstick(0.0, 0.0), curves), measure)


def stepped(curve: Mapping[str, float], budgets: Sequence[int], unit: float) -> list[float | None]:
    """The curve at each budget; None behind its end and before its beginning."""
    known = sorted(map(int, curve))
    past = [max((n for n in known if n <= budget), default=None) for budget in budgets]
    return [None if n is None or budget > known[-1] else unit * curve[str(n)] for n, budget in zip(past, budgets, strict=True)]


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, {"records": "", "out": "", "problems": "", "controllers": ""})
    if not options["records"]:
        raise ValueError("records: name the files that search_quality.py wrote, separated by commas")
    records = merged([Path(name) for name in options["records"].split(",")])
    expected = options["controllers"].split(",") if options["controllers"] else []
    for problem in options["problems"].split(",") if options["problems"] else PROBLEMS:
        if runs := by_controller(records, problem, expected):
            print(f"\n{problem}\n\n{table(runs, kind_of(problem))}")
            if options["out"]:
                write_text(Path(options["out"]) / f"search_{problem.replace('/', '_')}.svg", plot(runs, kind_of(problem)))
    return 0


if __name__ == "__main__":
    run(main)
