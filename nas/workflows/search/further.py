"""After a search with shared weights: the front's members are trained further, and from initial values where one wants to compare."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from nas.arch import arch_from_dict
from nas.core.versions import versions
from nas.core.yamlio import dump_yaml, write_text
from nas.data.record import KEY
from nas.evaluators import Further
from nas.journal import Journal
from nas.objectives import Objectives, front
from nas.records import JSON, Job, Outcome, Trial
from nas.report.panel import duration
from nas.runtime.base import Executor
from nas.runtime.dispatch import run_all
from nas.tasks import task_of
from nas.workflows.progress import Progress
from nas.workflows.search.finish import jobs_of
from nas.workflows.search.loop import SearchSettings
from nas.workflows.trained import RESULT

KEPT, ASKED = "further", "further_asked"  # in the journal: metrics by trial and training; the trainings that were all done


def asked_of(settings: SearchSettings) -> Iterator[Further]:
    """The trainings that the settings ask for."""
    if settings.finetune_epochs:
        yield Further("finetuned", settings.finetune_epochs, settings.finetune_lr, settings.finetune_distill)
    if settings.scratch_epochs:
        yield Further("scratch", settings.scratch_epochs)


def all_further(journal: Journal, settings: SearchSettings) -> bool:
    """Whether a finished run has nothing left to train further."""
    return _plain(settings) == journal.get(ASKED, [])


def train_further(
    journal: Journal, settings: SearchSettings, objectives: Objectives, executor: Executor, storage: Path, progress: Progress
) -> None:
    """Trains the front's members; each is on record as soon as it ends, with a folder as `nas train` leaves it.

    Args:
        journal: Keeps the metrics, by trial and training.
        settings: How many epochs.
        objectives: Of the front.
        executor: Where they run.
        storage: Where the workers leave weights, in `finetuned/<id>` and `scratch/<id>`.
        progress: Receives a line for each, with the time left.
    """
    for asked in asked_of(settings):
        kept = {**journal.get(KEPT, {})}
        missing = [t for t in front(journal.trials(), objectives) if not _has(kept, t, asked)]
        if missing:
            _train(asked, missing, journal, executor, storage, progress)
    journal.put(ASKED, _plain(settings))


def _plain(settings: SearchSettings) -> list[JSON]:
    return [asked.to_data()["further"] for asked in asked_of(settings)]


def _has(kept: Mapping[str, JSON], trial: Trial, asked: Further) -> bool:
    found = kept.get(str(trial.number), {}).get(asked.what, {})
    return found.get("asked") == asked.to_data()["further"]


def _train(asked: Further, members: list[Trial], journal: Journal, executor: Executor, storage: Path, progress: Progress) -> None:
    how = "from their shared weights" if asked.what == "finetuned" else "from initial values"
    progress.message(f"training {len(members)} members of the front {how}, {asked.epochs} epochs each ...")
    jobs = jobs_of(journal, "further", members, asked.to_data())
    began, ended = time.monotonic(), 0

    def done(i: int, outcome: Outcome) -> None:
        nonlocal ended
        ended += 1
        left = (time.monotonic() - began) / ended * (len(jobs) - ended)
        more = f", about {duration(left)} left" if left else ""
        primary = task_of(arch_from_dict(dict(jobs[i].arch))).primary
        if outcome.outcome == "ok":
            _keep(asked, jobs[i], outcome, journal, storage)
            said = f"{primary} {outcome.metrics[primary]:.4f}, {members[i].metrics[primary]:.4f} with shared weights"
        else:
            journal.add_event("further_failed", trial=jobs[i].number, what=asked.what, outcome=outcome.outcome, error=outcome.error)
            said = f"{outcome.outcome}: {outcome.error}"
        progress.message(f"trial {jobs[i].number}: {said} ({ended} of {len(jobs)}{more})")

    run_all(executor, jobs, done=done)


def _keep(asked: Further, job: Job, outcome: Outcome, journal: Journal, storage: Path) -> None:
    """The metrics in the journal, and arch.yaml and result.json beside the weights."""
    kept = {**journal.get(KEPT, {})}
    entry = {"asked": asked.to_data()["further"], "metrics": dict(outcome.metrics)}
    kept[str(job.number)] = {**kept.get(str(job.number), {}), asked.what: entry}
    folder, settings = asked.folder(storage, job.arch_id), journal.get("settings", {})
    tested = {name: value for name, value in outcome.metrics.items() if name.startswith("test_")}
    record = {
        "arch": job.arch_id, "valid": {k: v for k, v in outcome.metrics.items() if k not in tested},
        "test": {name.removeprefix("test_"): value for name, value in tested.items()}, "train_s": outcome.train_s, "seed": job.seed,
        "recipe": outcome.data["recipe"], "dataset": settings.get("dataset"), **journal.get(KEY, {}), "versions": versions(),
    }  # fmt: skip
    write_text(folder / "arch.yaml", dump_yaml(dict(job.arch)))
    write_text(folder / RESULT, json.dumps(record, indent=1) + "\n")
    journal.put(KEPT, kept)
