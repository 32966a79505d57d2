"""`nas search`: checks everything first, then fits latency, searches, verifies the front and writes the report."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from nas.core.versions import versions
from nas.journal import Journal
from nas.report import front_text, summarize, write_outputs
from nas.report.panel import Display
from nas.report.trackers import open_trackers
from nas.runtime.device_executors import DeviceExecutors
from nas.workflows.invocation import Invocation
from nas.workflows.run_folder import log_to, open_run, run_folder
from nas.workflows.search.feasibility import check_feasible
from nas.workflows.search.finish import Keeper, measure_front, prune_weights, test_front
from nas.workflows.search.loop import Search, Several
from nas.workflows.search.plan import Plan, make_plan
from nas.workflows.search.problem import make_problem
from nas.workflows.workers import start_workers, worker_spec


def search(call: Invocation) -> None:
    """Runs a search to the end, or goes on with one. Raises ValueError for the user's mistakes."""
    plan = make_plan(call)
    folder = run_folder(plan.command.run, call.overrides, call.job).absolute()
    shown = os.path.relpath(folder)
    meta = {"settings": dict(plan.config), "versions": versions(), "command": call.again, "space": {
        "name": plan.space.name, "size": plan.space.size, "fingerprint": plan.space.fingerprint,
        "genes": [gene.name for gene in plan.space.genes]}}  # fmt: skip
    with open_run(folder, plan.identity, meta) as journal:
        log_to(folder)
        _save_config(folder, call)
        if journal.get("finished", 0) >= plan.command.trials:
            print(
                f"{shown}: this run is finished, {journal.get('finished')} trials; a larger trials= goes on from there"
            )
            print(front_text(summarize(journal)))
            return
        try:
            _run(plan, journal, folder)
        except KeyboardInterrupt:
            done = sum(trial.done for trial in journal.trials())
            journal.add_event("interrupted")
            raise KeyboardInterrupt(
                f"stopped with {done} trials on record in {shown}; the same command resumes:\n  {call.again}"
            ) from None
        print(front_text(summarize(journal)))
        print(f"\nreport  {shown}/report.html\nbest    {shown}/best.yaml   (nas train arch={shown}/best.yaml)")


def _save_config(folder: Path, call: Invocation) -> None:
    from nas.core.yamlio import dump_plain, write_text

    write_text(folder / "config.yaml", f"# {call.again}\n" + dump_plain(dict(call.config)))


def _run(plan: Plan, journal: Journal, folder: Path) -> None:
    command = plan.command
    journal.add_event("start", trials=command.trials, pid=os.getpid(), executor=dict(command.executor))
    data = "published results" if plan.published else command.dataset.get("name")
    title = f"nas search  {plan.space.name} on {data}, {command.controller.get('name')}  ({os.path.relpath(folder)})"
    print(f"{title}\n{plan.space.size:.3g} architectures, {len(plan.space.genes)} genes", flush=True)
    for note in filter(None, plan.notes):
        print(note)
    settings = {k: plan.config[k] for k in ("dataset", "recipe", "evaluator", "device")}
    storage = Path(command.storage).expanduser().absolute() / folder.name if command.storage else folder
    executor = start_workers(
        command.executor, settings, plan.space.to_plain(), command.plugins, storage, plan.settings.threads, plan.dataset
    )
    spec = worker_spec(settings, plan.space.to_plain(), command.plugins, storage, plan.settings.threads)
    placed = DeviceExecutors(executor, spec, plan.devices)
    if executor.dashboard:
        print(f"Ray's dashboard: {executor.dashboard}")
    try:
        problem = make_problem(plan, journal, placed)
        check_feasible(problem, command.seed)
        with (
            closing(open_trackers(command.track, folder, plan.config)) as trackers,
            Display(command.trials, problem.objectives) as display,
        ):
            display.replayed(journal.trials())
            observer = Several(display, trackers, Keeper(journal, problem.objectives, storage))
            loop = Search(
                problem, plan.controller, journal, executor, plan.settings, command.seed, observer, plan.first
            )  # fmt: skip
            reason = loop.run(command.trials)
        if reason:
            print(f"ended early: {reason}")
            journal.add_event("ended", reason=reason)
        prune_weights(journal, problem.objectives, storage)
        timeouts = {name: device.timeout_s for name, device in plan.devices.items()}
        measure_front(journal, problem.objectives, placed, timeouts, print)
        test_front(journal, problem.objectives, executor, print)
        journal.add_event("finish")
        journal.put("finished", command.trials)
    finally:
        placed.close()
        executor.close()
        if journal.trials():
            write_outputs(folder, journal)
