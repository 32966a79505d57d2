"""A search from its settings to its result: everything is checked first, then latency fitted, searched, the front verified."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from nas.core.versions import versions
from nas.core.yamlio import dump_plain, write_text
from nas.data.described import described
from nas.data.record import KEY, record_of
from nas.estimates.run import SPACE
from nas.evaluators import Context
from nas.evaluators.inspection import inspectable
from nas.evaluators.preparation import preparation_jobs
from nas.journal import Journal
from nas.report import write_outputs
from nas.report.trackers import open_trackers
from nas.runtime import make_executor_settings
from nas.runtime.device_executors import DeviceExecutors
from nas.workflows.custom import NOTHING, Custom
from nas.workflows.default_device import AUTO, kept_settings, with_device
from nas.workflows.log import logged
from nas.workflows.progress import SILENT, Progress, Several
from nas.workflows.run_folder import Run, as_config, open_run
from nas.workflows.search.feasibility import check_feasible, fitting
from nas.workflows.search.finish import Keeper, inspect_best, measure_front, prune_weights, test_front
from nas.workflows.search.further import all_further, train_further
from nas.workflows.search.in_flight import choose_in_flight
from nas.workflows.search.loop import Search
from nas.workflows.search.plan import Plan, SearchCommand, make_plan
from nas.workflows.search.preparation import prepare
from nas.workflows.search.problem import counted_problem, make_problem
from nas.workflows.search.result import SearchResult, read_result
from nas.workflows.search.stratified import stratified_by_cost
from nas.workflows.workers import start_workers, worker_spec


def search(command: SearchCommand, run: Run, progress: Progress = SILENT, custom: Custom = NOTHING) -> SearchResult:
    """Runs a search until its trials are done, or resumes it.

    Args:
        command: The settings.
        run: The folder, and the command that resumes.
        progress: Receives messages and trials.
        custom: Objects of the caller's process in place of settings.

    Returns:
        The front, the best member, and all trials.

    Raises:
        ValueError: A setting is wrong, or no architecture satisfies the constraints; raised before any training, and for
            constraints on what is counted before any measurement.
        KeyboardInterrupt: After Ctrl-C, with the journal closed; its message has the command that resumes.
    """
    command, line = with_device(command, run.folder)
    if command.evaluator.get("name") == AUTO and (kept := kept_settings(run.folder, "evaluator")):
        command = replace(command, evaluator=kept)  # chosen when the run began
    plan = make_plan(command, custom)
    plan = replace(plan, notes=(*filter(None, [line]), *plan.notes))
    check_feasible(counted_problem(plan), command.seed)
    with open_run(run.folder, plan.identity, _meta(plan, run)) as journal, logged(run.folder):
        settled = {**as_config(command), "evaluator": plan.config["evaluator"]}
        write_text(run.folder / "config.yaml", f"# {run.again}\n" + dump_plain(settled))
        if journal.get(SPACE) is None:
            journal.put(SPACE, plan.space.to_plain())
        if (finished := journal.get("finished", 0)) >= command.trials and all_further(journal, plan.settings):
            progress.message(f"{run.shown}: this run is finished, {finished} trials; a larger trials= resumes it from there")
        else:
            _run_or_stop(plan, journal, run, progress)
        return read_result(journal, run.folder)


def _meta(plan: Plan, run: Run) -> dict[str, object]:
    """The metadata of the run in its journal."""
    genes = plan.space.genes
    space = {
        "name": plan.space.name,
        "size": plan.space.size,
        "fingerprint": plan.space.fingerprint,
        "genes": [gene.name for gene in genes],
        "options": [list(gene.options) for gene in genes],
    }
    data = {KEY: record_of(plan.dataset).plain()} if plan.dataset else {}
    return {"settings": dict(plan.config), "versions": versions(), "command": run.again, "space": space, **data}


def _run_or_stop(plan: Plan, journal: Journal, run: Run, progress: Progress) -> None:
    try:
        _run(plan, journal, run, progress)
    except KeyboardInterrupt:
        done = sum(trial.done for trial in journal.trials())
        journal.add_event("interrupted")
        raise run.stopped(f"stopped with {done} trials on record in {run.shown}") from None
    except Exception as error:
        with contextlib.suppress(ValueError):  # a full disk: the error itself says so
            journal.add_event("failed", error=f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
        raise


def _run(plan: Plan, journal: Journal, run: Run, progress: Progress) -> None:
    command, custom = plan.command, plan.custom
    if plan.dataset is not None and plan.evaluator.capabilities.tests:
        journal.put("images", {part: len(getattr(plan.dataset, part)) for part in ("valid", "test")})
    journal.add_event("start", trials=command.trials, pid=os.getpid(), executor=dict(command.executor))
    _announce(plan, run, progress)
    settings = {k: plan.config[k] for k in ("recipe", "evaluator", "device")} | {"dataset": plan.images}
    settings |= {KEY: record_of(plan.dataset).plain()} if plan.dataset else {}
    storage = Path(command.storage).expanduser().absolute() / run.folder.name if command.storage else run.folder
    jobs = preparation_jobs(plan.evaluator, Context(settings, storage, "", plan.space.to_plain(), plan.dataset), command.seed)
    started = (settings, plan.space.to_plain(), command.plugins, storage, plan.settings.threads)
    executor = start_workers(command.executor, *started, plan.dataset, custom.evaluator)
    placed = DeviceExecutors(executor, worker_spec(*started), plan.devices)
    if executor.dashboard:
        progress.message(f"Ray's dashboard: {executor.dashboard}")
    _messages(executor.notes, progress)
    journal.add_event("workers", count=executor.capacity())
    try:
        on_cluster = make_executor_settings(command.executor).cluster is not None
        group = plan.evaluator.trains_together()
        in_flight, line = choose_in_flight(plan.settings.in_flight, journal, executor.capacity(), on_cluster, group)
        loop_settings = replace(plan.settings, in_flight=in_flight)
        _messages([line], progress)
        problem = make_problem(plan, counted_problem(plan), journal, placed, progress)
        check_feasible(problem, command.seed)
        _messages([fitting(problem, command.seed)], progress)
        prepare(jobs, journal, executor, plan.settings.retries, progress)
        with (
            closing(open_trackers(command.track, run.folder, plan.config)) as trackers,
            progress.watch(command.trials, problem.objectives, journal.trials()) as display,
        ):
            observer = Several(display, trackers, Keeper(journal, problem.objectives, storage))
            first = [*plan.first, *stratified_by_cost(problem, plan.settings.stratified, command.seed)]
            loop = Search(problem, plan.controller, journal, executor, loop_settings, command.seed, observer, first, group=group)
            reason = loop.run(command.trials)
        if reason:
            progress.message(f"ended early: {reason}")
            journal.add_event("ended", reason=reason)
        prune_weights(journal, problem.objectives, storage)
        timeouts = {name: device.timeout_s for name, device in plan.devices.items()}
        measure_front(journal, problem.objectives, placed, timeouts, progress.message, plan.space)
        if plan.evaluator.capabilities.tests:
            test_front(journal, problem.objectives, executor, progress.message)
        train_further(journal, plan.settings, problem.objectives, executor, storage, progress)
        if plan.evaluator.capabilities.inspects and plan.dataset is not None and inspectable(plan.space, plan.dataset):
            inspect_best(journal, problem.objectives, executor, progress.message)
        journal.add_event("finish")
        journal.put("finished", command.trials)
    finally:
        placed.close()
        executor.close()
        if journal.trials():
            write_outputs(run.folder, journal)


def _announce(plan: Plan, run: Run, progress: Progress) -> None:
    command = plan.command
    data = command.dataset.get("name") if plan.dataset else plan.evaluator.source
    progress.message(f"nas search  {plan.space.name} on {data}, {command.controller.get('name')}  ({run.shown})")
    progress.message(f"{plan.space.size:.3g} architectures, {len(plan.space.genes)} genes")
    _messages([*(described(plan.dataset) if plan.dataset else ()), *plan.notes], progress)


def _messages(notes: Sequence[str], progress: Progress) -> None:
    for note in filter(None, notes):
        progress.message(note)
