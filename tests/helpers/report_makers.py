"""Journals filled with made-up trials, for the tests of reports and for looking at one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.journal import Journal
from nas.records import Evaluation, Measurement, Trial

HOST = "predicted_ms/host"
LATENCY = "latency_ms/host"
OBJECTIVES = {
    "metrics": [["accuracy", "max"], [LATENCY, "min"]], "constraints": [], "reward": "mnas_soft", "exponent": -0.07, "beta": -0.1,
    "cost": LATENCY, "target": 4.0,
}  # fmt: skip
ARCH = {
    "name": "tiny", "resolution": 32, "stem": {"op": "conv", "kernel": 3, "stride": 1, "width": 16},
    "stages": [{"op": "mbconv", "repeat": 2, "kernel": 3, "expand": 4, "width": 24, "stride": 2}],
    "head": {"op": "classifier", "width": 96},
}  # fmt: skip


def arch_id(number: int) -> str:
    return f"{number:012x}"


def new_journal(folder: Path, **meta: Any) -> Journal:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"trials": 24, "controller": {"name": "mnasnet", "clip": 0.2}, "dataset": {"name": "digits"}}
    base = {
        "settings": settings, "versions": {"nas": "0.1", "jax": "0.10.0"}, "objectives": OBJECTIVES,
        "space": {"name": "tiny", "size": 497664, "fingerprint": "abc", "genes": ["a", "b"]},
        "command": "nas search space=tiny trials=24",
    }  # fmt: skip
    return Journal.create(folder / "journal.sqlite", base | meta)


def add(journal: Journal, metrics: dict[str, float] | None = None, outcome: str = "ok", error: str = "", **rest: Any) -> Trial:
    """One finished trial, with its architecture and, where it trained, an evaluation."""
    number = journal.next_number
    trial = Trial(number, (number,), rest.pop("id", arch_id(number)), metrics=metrics or {}, **rest)
    journal.put(f"arch/{trial.arch_id}", {**ARCH, "resolution": 32 + number % 7})
    done = replace(trial, outcome=outcome, error=error)
    if outcome == "infeasible" or trial.repeat_of is not None:
        return journal.settle(done)
    return journal.settle(done, [Evaluation(number, 0, 1, metrics or {}, 2.0, 3.0, "w0", outcome, error)])


def measure(journal: Journal, trial: Trial, ms: float, device: str = "host") -> None:
    journal.add_measurement(Measurement(trial.arch_id, device, "cpu", ms, 1.05 * ms, 1.1 * ms, 50))


def score_on_test(journal: Journal, trial: Trial, accuracy: float) -> None:
    journal.add_evaluation(Evaluation(trial.number, 0, 1, {"accuracy": accuracy}, 0.0, 1.0, purpose="test"))


def fill(journal: Journal, trials: int, seed: int = 0, wrecks: bool = True) -> None:
    """A search as one sees it: better over time, some failures, some infeasible, a few never learn."""
    rng = np.random.default_rng(seed)
    outcomes = ("ok",) * 30 + (("oom", "nan", "timeout", "infeasible", "infeasible") if wrecks else ())
    columns = []
    for number in range(trials):
        size = float(np.exp(rng.normal(0, 0.5)))
        learned = min(1.0, 0.4 + 0.6 * number / max(trials, 1) + rng.uniform(0, 0.3))
        accuracy = 0.97 - 0.12 / (1 + size) - 0.12 * (1 - learned) * rng.uniform(0.3, 1)
        accuracy = 0.1 if wrecks and rng.random() < 0.03 else float(np.clip(accuracy + rng.normal(0, 0.006), 0, 1))
        costs = {
            HOST: 4.0 * size**0.8 * float(rng.lognormal(0, 0.1)), "params": float(int(60_000 * size)),
            "macs": float(int(4.2e6 * size * rng.lognormal(0, 0.15))), "memory_bytes": float(int(260_000 * size**0.5)),
        }  # fmt: skip
        columns.append((str(rng.choice(outcomes)), accuracy, costs))
    for outcome, accuracy, costs in columns:
        if outcome == "ok":
            add(journal, {"accuracy": accuracy, "loss": 2 * (1 - accuracy), **costs})
        else:
            texts = {"oom": "RESOURCE_EXHAUSTED: 4.1 GB <expected>", "infeasible": f"params {costs['params']:.0f} > constraint 90k"}
            add(journal, costs, outcome, texts.get(outcome, f"{outcome} at step 12"))
