"""After the search: the front's members are measured whole on the device and scored once on the test split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.executors.base import Executor, run_all
from nas.jobs import Job, Rung, training_of
from nas.journal import Evaluation, Journal, Measurement, Trial, scored
from nas.objectives import Objectives
from nas.pareto import non_dominated
from nas.search import root_of


def front_trials(trials: Sequence[Trial], objectives: Objectives) -> list[Trial]:
    """Trained trials that no other dominates, in order of number."""
    ok = scored(trials)
    if not ok:
        return []
    mask = non_dominated(np.array([objectives.values(trial.metrics) for trial in ok]))
    return [trial for trial, on in zip(ok, mask, strict=True) if on]


def measure_front(
    journal: Journal, objectives: Objectives, executor: Executor, devices: Sequence[str], say: Callable[[str], Any]
) -> None:
    """Measures members that were not yet, interleaved in one worker while nothing else runs."""
    front = front_trials(journal.trials(), objectives)
    for device in devices:
        known = {m.arch_id for m in journal.measurements() if m.device == device}
        missing = [trial for trial in front if trial.arch_id not in known]
        if not missing:
            continue
        say(f"measuring {len(missing)} members of the front on {device} ...")
        archs = [journal.get(f"arch/{trial.arch_id}") for trial in missing]
        (outcome,) = run_all(executor, [Job(-1, "measure", data={"device": device, "archs": archs})])
        if outcome.outcome != "ok":
            journal.add_event("measure_failed", device=device, error=outcome.error)
            say(f"the front could not be measured on {device}: {outcome.error}")
            continue
        for measured in outcome.data["measurements"]:
            journal.add_measurement(Measurement(**measured))


def test_front(journal: Journal, objectives: Objectives, executor: Executor, say: Callable[[str], Any]) -> None:
    """One journalled evaluation on the test split for each member that has none."""
    known, trials = {e.trial for e in journal.evaluations("test")}, journal.trials()
    missing = [trial for trial in front_trials(trials, objectives) if trial.number not in known]
    if not missing:
        return
    say(f"scoring {len(missing)} members of the front on the test split ...")
    seeds = {e.trial: e.seed for e in journal.evaluations("search")}
    rungs = [Rung(**rung) for rung in journal.get("rungs", [])]
    jobs = [
        Job(t.number, "test", journal.get(f"arch/{t.arch_id}"), t.arch_id, t.fidelity, seeds[t.number],
            training_of(rungs, t.fidelity, root_of(trials, t)))
        for t in missing
    ]  # fmt: skip
    for trial, job, outcome in zip(missing, jobs, run_all(executor, jobs), strict=True):
        journal.add_evaluation(Evaluation(
            trial.number, trial.fidelity, job.seed, outcome.metrics, outcome.compile_s, outcome.train_s, outcome.worker,
            outcome.outcome, outcome.error, outcome.memory_bytes, "test",
        ))  # fmt: skip


def prune_weights(journal: Journal, objectives: Objectives, folder: Path) -> None:
    """Keeps the weights of the front's members only."""
    keep = {f"trial-{trial.number:06d}.npz" for trial in front_trials(journal.trials(), objectives)}
    for path in (folder / "checkpoints").glob("trial-*.npz"):
        if path.name not in keep:
            path.unlink(missing_ok=True)
