"""After the search: the front's members are measured whole on the device and scored once on the test split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.executors.base import Executor
from nas.executors.dispatch import run_all
from nas.history import trained
from nas.jobs import Job
from nas.journal import Evaluation, Journal, Measurement, Trial
from nas.objectives import Objectives
from nas.pareto import non_dominated


def front_trials(trials: Sequence[Trial], objectives: Objectives) -> list[Trial]:
    """Trained trials that no other dominates, in order of number."""
    ok = [trial for trial in trials if trial.ok and trial.repeat_of is None]
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
    known = {e.trial for e in journal.evaluations("test")}
    missing = [trial for trial in front_trials(journal.trials(), objectives) if trial.number not in known]
    if not missing:
        return
    say(f"scoring {len(missing)} members of the front on the test split ...")
    seeds = {e.trial: e.seed for e in journal.evaluations("search")}
    jobs = [
        Job(t.number, "test", journal.get(f"arch/{t.arch_id}"), t.arch_id, t.fidelity, seeds[t.number]) for t in missing
    ]
    for trial, job, outcome in zip(missing, jobs, run_all(executor, jobs), strict=True):
        journal.add_evaluation(Evaluation(
            trial.number, trial.fidelity, job.seed, outcome.metrics, outcome.compile_s, outcome.train_s, outcome.worker,
            outcome.outcome, outcome.error, outcome.memory_bytes, "test",
        ))  # fmt: skip


def prune_weights(journal: Journal, objectives: Objectives, folder: Path) -> list[Trial]:
    """Keeps the weights of the front's members, and the checkpoints of trials in flight; gives the front."""
    trials = journal.trials()
    front = front_trials(trials, objectives)
    keep = {_stem(trial) for trial in front} | {_stem(trial) for trial in trials if not trial.done}
    for path in (folder / "checkpoints").glob("trial-*"):
        if path.stem not in keep:
            _remove(path)
    return front


class Keeper:
    """Sees a run as it goes, and deletes what a trial left as soon as it is off the front: at most front + in flight stay.

    A trial that is dominated once stays so, hence nothing is deleted that the end would want.
    """

    def __init__(self, journal: Journal, objectives: Objectives, folder: Path):
        self._objectives, self._folder = objectives, folder / "checkpoints"
        self._front = prune_weights(journal, objectives, folder)

    def trial(self, trial: Trial) -> None:
        if not trial.done or not trained(trial):
            return
        before = [*self._front, trial]
        self._front = front_trials(before, self._objectives)
        kept = {member.number for member in self._front}
        for gone in (member for member in before if member.number not in kept):
            _remove(self._folder / f"{_stem(gone)}.npz")
        _remove(self._folder / _stem(trial))

    def started(self, number: int, worker: str) -> None: ...
    def progress(self, number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None: ...
    def lost(self, number: int, error: str) -> None: ...


def _stem(trial: Trial) -> str:
    return f"trial-{trial.number:06d}"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
