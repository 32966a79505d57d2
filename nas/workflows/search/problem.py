"""What a search knows before any training: exact costs, published or predicted times, and the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from nas.cost import Costs
from nas.journal import Journal
from nas.objectives import LATENCY, PREDICTED, metric_of
from nas.problem import CostsOf, Problem
from nas.report.format import show
from nas.runtime.base import Executor
from nas.tasks import about, task_of
from nas.workflows.progress import Progress
from nas.workflows.search.plan import Plan
from nas.workflows.workers import kept_predictor

TARGET_SAMPLES = 200


def counted_problem(plan: Plan) -> Problem:
    """The problem as far as nothing needs to be measured for it: exact costs and published times, and no target yet."""
    counted, known = Costs(plan.space), plan.evaluator.known()
    return Problem(plan.space, plan.objectives, lambda genomes: {**counted(genomes), **known(genomes)}, counted.features)


def make_problem(
    plan: Plan, counted: Problem, journal: Journal, placed: Mapping[str, Executor], progress: Progress
) -> Problem:  # fmt: skip
    """The counted problem with frozen latency predictors and the target, made once and kept in the journal."""
    costs = _costs(plan, counted.costs, journal, placed, progress)
    objectives = plan.objectives
    if objectives.needs_target:
        objectives = dataclasses.replace(objectives, target=_target(plan, journal, costs, progress))
    elif objectives.limited:
        progress.message(f"target {objectives.cost} {show(metric_of(objectives.cost), objectives.target or 0)} (the constraint)")
    journal.put("objectives", dataclasses.asdict(objectives))
    journal.put("task", about(task_of(plan.space)))
    if fidelities := plan.controller.fidelities:
        journal.put("fidelities", [dataclasses.asdict(fidelity) for fidelity in fidelities])
    return dataclasses.replace(counted, objectives=objectives, costs=costs)


def _costs(plan: Plan, counted: CostsOf, journal: Journal, placed: Mapping[str, Executor], progress: Progress) -> CostsOf:
    seed, limit = plan.command.seed, plan.settings.timeout_s
    predictors = {
        name: kept_predictor(name, journal, placed[name], seed, limit, plan.space, device.predictor, progress)
        for name, device in plan.devices.items()
    }

    def costs(genomes: np.ndarray) -> dict[str, np.ndarray]:
        predicted = {f"{PREDICTED}/{name}": p.predict_many(plan.space, genomes) for name, p in predictors.items()}
        return {**counted(genomes), **predicted}

    return costs


def _target(plan: Plan, journal: Journal, costs: CostsOf, progress: Progress) -> float:
    kept = journal.get("target")
    if kept is None:
        rng = np.random.default_rng([plan.command.seed, 2**31 + 1])
        genomes = np.array([plan.space.sample(rng) for _ in range(TARGET_SAMPLES)])
        kept = float(np.median(costs(genomes)[metric_of(plan.objectives.cost)]))
        journal.put("target", kept)
    unit = " ms" if plan.objectives.cost.startswith(LATENCY) else ""
    progress.message(f"target {plan.objectives.cost} {kept:.4g}{unit} (the median of sampled architectures)")
    return kept
