"""After the search: the front's members are measured whole on the device and scored once on the test split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nas.evaluators.preparation import with_prepared
from nas.journal import Journal
from nas.objectives import Objectives, claims, front, latest, violated
from nas.records import JSON, Evaluation, Fidelity, Job, Trial, trained, training_of
from nas.report.front import unconfirmed, verified
from nas.runtime.base import Executor
from nas.runtime.dispatch import run_all
from nas.space import Space
from nas.workflows.over_time import measure_over_time
from nas.workflows.search.ledger import root_of
from nas.workflows.search.preparation import prepared

NO_DATA: Mapping[str, JSON] = {}


def measure_front(
    journal: Journal, objectives: Objectives, executors: Mapping[str, Executor], timeouts_s: Mapping[str, float],
    message: Callable[[str], object], space: Space,
) -> None:  # fmt: skip
    """Measures members that were not yet, interleaved in one worker while nothing else runs, and reports the constraints that they violate.

    `executors` has one for each device, `timeouts_s` the seconds after which a network is given up. What cannot be measured
    is noted; the rest is kept. Networks of the fit are measured beside them, by which a machine that is not what it was is noticed.
    """
    members = claims(journal.trials(), objectives)
    for device, executor in executors.items():
        known = {m.arch_id for m in journal.measurements() if m.device == device}
        missing = [trial for trial in members if trial.arch_id not in known]
        if not missing:
            continue
        message(f"measuring {len(missing)} members of the front on {device} ...")
        archs = [(trial.arch_id, journal.get(f"arch/{trial.arch_id}")) for trial in missing]
        measure_over_time(journal, executor, device, archs, timeouts_s[device], space, message)
    times = latest(journal.measurements())
    for trial in members:
        for text in unconfirmed(times.get(trial.arch_id, {})):
            message(f"trial {trial.number}: {text}")
        if broken := violated({device: m.latency_ms for device, m in times.get(trial.arch_id, {}).items()}, objectives):
            message(f"trial {trial.number}: constraint violated by measurement: {'; '.join(broken)}")


def test_front(journal: Journal, objectives: Objectives, executor: Executor, message: Callable[[str], object]) -> None:
    """One journaled evaluation on the test split for each member that has none."""
    known, trials = {e.trial for e in journal.evaluations("test")}, journal.trials()
    missing = [trial for trial in front(trials, objectives) if trial.number not in known]
    if not missing:
        return
    message(f"scoring {len(missing)} members of the front on the test split ...")
    jobs = jobs_of(journal, "test", missing)
    for trial, job, outcome in zip(missing, jobs, run_all(executor, jobs), strict=True):
        journal.add_evaluation(Evaluation.of(outcome, trial, job.seed, "test"))


def inspect_best(journal: Journal, objectives: Objectives, executor: Executor, message: Callable[[str], object]) -> None:
    """What the best member answers on the validation split, kept in the journal for the report."""
    trials = journal.trials()
    images = (journal.get("images") or {}).get("valid", 0)
    best = verified(trials, objectives, journal.measurements(), images=images).best
    trial = next((t for t in front(trials, objectives) if best and t.number == best.number), None)
    if trial is None or (journal.get("inspected") or {}).get("trial") == trial.number:
        return
    message("inspecting the best network on the validation split ...")
    [job] = jobs_of(journal, "inspect", [trial])
    [outcome] = run_all(executor, [job])
    if outcome.outcome == "ok":
        journal.put("inspected", {"trial": trial.number, **outcome.data})
    else:
        journal.add_event("inspect_failed", trial=trial.number, error=outcome.error)


def jobs_of(journal: Journal, kind: str, members: Sequence[Trial], data: Mapping[str, JSON] = NO_DATA) -> list[Job]:
    """Jobs on what the trials left, at the fidelity that they had; `data` goes with each."""
    trials, seeds = journal.trials(), {e.trial: e.seed for e in journal.evaluations("search")}
    fidelities = [Fidelity(**fidelity) for fidelity in journal.get("fidelities", [])]
    return [
        Job(t.number, kind, journal.get(f"arch/{t.arch_id}"), t.arch_id, t.fidelity, seeds[t.number],
            with_prepared({**data, **training_of(fidelities, t.fidelity, root_of(trials, t))}, prepared(journal)))
        for t in members
    ]  # fmt: skip


def prune_weights(journal: Journal, objectives: Objectives, folder: Path, running: bool = False) -> list[Trial]:
    """Keeps the weights of the front's members, and the checkpoints of trials in flight; returns the front.

    While a search is `running` whose trainings are promoted, their checkpoints stay too: any may be continued.
    """
    promoted = running and bool(journal.get("fidelities", []))
    trials = journal.trials()
    members = front(trials, objectives)
    keep = {_stem(trial) for trial in members} | {_stem(trial) for trial in trials if not trial.done}
    for path in (folder / "checkpoints").glob("trial-*"):
        if path.stem not in keep and not (promoted and path.is_dir()):
            _remove(path)
    return members


class Keeper:
    """Sees a run as it goes, and deletes what a trial left as soon as it is off the front: at most front + in flight stay.

    A trial that is dominated once stays so, hence nothing is deleted that the end would want.
    """

    def __init__(self, journal: Journal, objectives: Objectives, folder: Path):
        self._objectives, self._folder = objectives, folder / "checkpoints"
        self._front = prune_weights(journal, objectives, folder, running=True)
        self._promoted = bool(journal.get("fidelities", []))

    def trial(self, trial: Trial) -> None:
        if not trial.done or not trained(trial):
            return
        before = [*self._front, trial]
        self._front = front(before, self._objectives)
        kept = {member.number for member in self._front}
        for gone in (member for member in before if member.number not in kept):
            _remove(self._folder / f"{_stem(gone)}.npz")
        if not self._promoted:
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
