"""Short trainings first, or all of them long: fronts found in the same seconds of training, with and without successive halving.

    python benchmarks/asha.py --out runs/asha --seeds 3 --json FILE

Each base controller searches a small space on digits twice from every seed, in turns: alone, every training of the last fidelity's
epochs, and under `controller=asha`. Trials are so many that both train about as many epochs. The space has 1,554 networks
of six distinct layers, and the images are few, so that it takes minutes and not hours. What counts is the hypervolume
(accuracy of trainings of full length, multiply-adds) that is there when so many seconds of training, or so many epochs, are
spent; compiling is left out, it depends on what the cache has. Runs are kept: the same command resumes with what is missing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run

from nas.core.yamlio import write_text
from nas.journal import Journal
from nas.objectives.pareto import hypervolume
from nas.report.proxy import proxy_rows, proxy_text

SPACE = """name: few_layers
resolution: 8
stem: {op: conv, kernel: 3, stride: 1, width: 16, act: hswish}
stages:
  - {op: mbconv, repeat: {one_of: [1, 2, 3, 4]}, kernel: {one_of: [3, 5], per: layer}, expand: {one_of: [1, 3, 6], per: layer},
     width: 16, act: relu}
head: {op: classifier}
"""
EPOCHS, ETA = (1, 3, 9), 3
BASES = {"random": {}, "bayesian": {"start": 8}}
COMMON = [
    "dataset=digits",
    "dataset.train_size=900",
    "dataset.valid_size=300",
    "evaluator=layerwise",
    "executor=local",
    "device=[]",
    "objective=macs",
    "track=[]",
]
FLOOR = 0.5  # accuracy of the reference point
SHARES = (0.25, 0.5, 1.0)  # of the budget that both have spent


@dataclass(frozen=True)
class Run:
    """Trainings in the order that they ended: (n,) seconds and epochs that each took, (n, 2) values (inf of short ones)."""

    seconds: np.ndarray
    epochs: np.ndarray
    values: np.ndarray

    def front(self, spent: np.ndarray, budget: float) -> np.ndarray:
        return self.values[np.cumsum(spent) <= budget]


def arguments_of(base: str, halved: bool, full: int) -> list[str]:
    """The search's own part of the command: controller, its settings and as many trials as train `full` networks' epochs."""
    own = BASES[base]
    if not halved:
        return [
            f"controller={base}",
            *(f"controller.{k}={v}" for k, v in own.items()),
            f"recipe.epochs={EPOCHS[-1]}",
            f"trials={full}",
        ]
    more = np.diff(EPOCHS, prepend=0) / ETA ** np.arange(len(EPOCHS))
    first = full * EPOCHS[-1] / more.sum()
    trials = round(sum(first / ETA**i for i in range(len(EPOCHS))))
    settings = ",".join(f"{k}:{v}" for k, v in own.items())
    return ["controller=asha", f"controller.epochs={[*EPOCHS]}".replace(" ", ""), f"controller.eta={ETA}",
            f"controller.base={base}", f"controller.base_settings={{{settings}}}", f"trials={trials}"]  # fmt: skip


def read(folder: Path) -> tuple[Run, list[str]]:
    """The run, and how well its short trainings rank the long ones in words."""
    with Journal.open(folder / "journal.sqlite", read_only=True) as journal:
        trials, fidelities = {t.number: t for t in journal.trials()}, journal.get("fidelities", [])
        rows = [(e.train_s, trials[e.trial]) for e in journal.evaluations("search")]
    lengths = [fidelity["epochs"] for fidelity in fidelities] or [EPOCHS[-1]]
    took = [lengths[t.fidelity] - (lengths[t.fidelity - 1] if t.fidelity else 0) for _, t in rows]
    done = [
        (-t.metrics["accuracy"], t.metrics["macs"]) if t.ok and t.fidelity == len(lengths) - 1 else (np.inf, np.inf)
        for _, t in rows
    ]
    found = Run(np.nan_to_num([s for s, _ in rows]), np.array(took, float), np.array(done))
    return found, proxy_text(proxy_rows([*trials.values()]), fidelities)


def share(found: Run, spent: np.ndarray, budget: float, reference: Sequence[float], best: float) -> float:
    front = found.front(spent, budget)
    return hypervolume(front[np.isfinite(front).all(axis=1)], reference) / best


def compared(runs: Mapping[tuple[str, bool, int], Run]) -> list[dict[str, Any]]:
    """A row for each base, unit and fraction of what both had spent: the two fractions of the best hypervolume by seed."""
    every = np.concatenate([one.values for one in runs.values()])
    every = every[np.isfinite(every).all(axis=1)]
    reference = (-FLOOR, float(every[:, 1].max()))
    best, rows = hypervolume(every, reference), []
    for base in {name: None for name, _, _ in runs}:
        seeds = sorted(seed for name, halved, seed in runs if name == base and halved and (base, False, seed) in runs)
        for unit in ("seconds", "epochs"):
            for part in SHARES:
                found: list[list[float]] = [[], []]
                for seed in seeds:
                    pair = [runs[base, halved, seed] for halved in (False, True)]
                    budget = part * min(float(getattr(one, unit).sum()) for one in pair)
                    for column, one in zip(found, pair, strict=True):
                        column.append(share(one, getattr(one, unit), budget, reference, best))
                rows.append({"base": base, "unit": unit, "part": part, "alone": found[0], "asha": found[1]})
    return rows


def main(arguments: Sequence[str]) -> int:
    options = options_of(
        arguments, {"out": "runs/asha", "bases": ",".join(BASES), "seeds": "3", "full": "20", "json": ""}
    )
    runs: dict[tuple[str, bool, int], Run] = {}
    bases = [base for base in options["bases"].split(",") if base in BASES]
    space = Path(options["out"]) / "few_layers.yaml"
    space.parent.mkdir(parents=True, exist_ok=True)
    write_text(space, SPACE)
    for seed in range(int(options["seeds"])):
        for base in bases:
            for halved in (False, True):
                folder = Path(options["out"]) / f"{base}{'-halving' if halved else ''}-{seed}"
                command = [
                    f"space={space}",
                    *COMMON,
                    *arguments_of(base, halved, int(options["full"])),
                    f"seed={seed}",
                    f"run={folder}",
                ]
                subprocess.run([sys.executable, "-m", "nas", "search", *command], check=True, stdout=subprocess.DEVNULL)
                runs[base, halved, seed], proxies = read(folder)
                one = runs[base, halved, seed]
                print(
                    f"{folder.name}: {len(one.epochs)} trainings, {one.epochs.sum():.0f} epochs, {one.seconds.sum():.0f} s",
                    flush=True,
                )
                print(*(f"  {line}" for line in proxies), sep="\n", end="\n" if proxies else "", flush=True)
    rows = compared(runs)
    for row in rows:
        cells = [f"{np.median(row[k]):.3f} ({min(row[k]):.3f}-{max(row[k]):.3f})" for k in ("alone", "asha")]
        print(f"{row['base']:8s} {row['part']:4.0%} of the {row['unit']:7s}  alone {cells[0]}  halving {cells[1]}")
    if options["json"]:
        Path(options["json"]).write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    run(main)
