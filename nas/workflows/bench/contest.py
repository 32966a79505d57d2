"""A contest: controllers that search one table, each from several seeds, and the yardstick that all are measured with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nas.controllers import make_controller
from nas.core.settings import did_you_mean
from nas.objectives import COSTS, LATENCY, Objectives, device_of, metric_of
from nas.objectives.pareto import hypervolume
from nas.problem import Problem
from nas.records import JSON
from nas.tabular import Table, load_table
from nas.tabular.front import best_front
from nas.workflows.bench.race import best_within, grid, hypervolume_fractions, race

SAMPLES = 4000  # random architectures that the reference point and the default limit are taken from


@dataclass(frozen=True)
class Contest:
    """What is searched. `cost` is the second objective; None: accuracy alone. Architectures under the accuracy `floor` span no
    hypervolume; `limit` bounds the cost of the best accuracy that is shown (None: the median of random architectures)."""

    benchmark: Literal["accel_nasbench", "nas_bench_macro"]
    path: str
    surrogate: Literal["pairs", "trees"] = "pairs"
    cost: str | None = "macs"
    learn_cost: bool = False
    noise: bool = False
    floor: float = 0.5
    limit: float | None = None
    front_evaluations: int = 60_000

    def table(self) -> Table:
        """Loads the published table."""
        return _table(self.benchmark, self.path, self.surrogate)

    def check(self) -> None:
        """Raises ValueError naming the key, before anything runs."""
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor: expected a fraction from 0 to below 1, got {self.floor:g}")
        if self.limit is not None and not self.limit > 0:
            raise ValueError(f"limit: expected a positive number, got {self.limit:g}")
        if not 300 <= self.front_evaluations <= 10**8:
            raise ValueError(f"front_evaluations: expected 300 to 100000000, got {self.front_evaluations}")
        known = [*COSTS, *self._times()]
        if self.cost is not None and self.cost not in known:
            raise ValueError(f"cost: {self.cost} is not in this table{did_you_mean(self.cost, known)} (known: {', '.join(known)}, null)")
        if self.limit is not None and self.cost is None:
            raise ValueError("limit: a limit of the cost, and cost is null")

    def _times(self) -> list[str]:
        table = self.table()
        times = table.times(np.zeros((1, len(table.space.genes)), np.int64))
        return [f"{LATENCY}/{device_of(name)}" for name in times]

    def problem(self, target: float | None = None) -> Problem:
        """Returns the problem; `target` is the target of the cost, for controllers that follow a reward."""
        if self.cost is None:
            return self.table().problem(Objectives((("accuracy", "max"),), reward="first"))
        objectives = Objectives((("accuracy", "max"), (self.cost, "min")), cost=self.cost, target=target)
        learned = [self.cost] if self.learn_cost and self.cost.startswith(LATENCY) else []
        return self.table().problem(objectives, learned)


@dataclass(frozen=True)
class Yardstick:
    """`volume` of the best front known, from `reference`; `best` accuracy there, and `within` the limit; `limit` of the cost."""

    best: float
    within: float
    limit: float | None = None
    reference: tuple[float, ...] = ()
    volume: float = 0.0

    @classmethod
    def of(cls, contest: Contest) -> Yardstick:
        """Finds the best front of the table, and the limit of the cost."""
        table, problem = contest.table(), contest.problem(1.0)
        values = best_front(table.space, lambda rows: _values(table, problem, rows), contest.front_evaluations)
        best = -float(values[:, 0].min())
        if contest.cost is None:
            return cls(best, best)
        random = np.random.default_rng(0).integers(table.space.option_counts, size=(SAMPLES, len(table.space.genes)))
        costs = _values(table, problem, random)[:, 1]
        limit = float(np.median(costs)) if contest.limit is None else contest.limit
        reference = (-contest.floor, float(np.percentile(costs, 99)))
        within = values[values[:, 1] <= limit, 0]
        return cls(best, -float(within.min(initial=np.inf)), limit, reference, hypervolume(values, reference))


def tasks(
    contest: Contest, controllers: Mapping[str, Mapping[str, JSON]], seeds: int, evaluations: int, in_flight: int, yardstick: Yardstick
) -> list[dict[str, JSON]]:
    """Lists the searches of a contest, seed by seed, so that the results at any moment compare all controllers.

    Args:
        contest: What is searched.
        controllers: Settings by label.
        seeds: Searches per controller.
        evaluations: Networks that a search may try.
        in_flight: Proposals ahead of results.
        yardstick: What all are measured with.

    Returns:
        One task per controller and seed, as plain data for `work`.
    """
    shared = {"contest": asdict(contest), "evaluations": evaluations, "in_flight": in_flight, "yardstick": asdict(yardstick)}
    plain = json.loads(json.dumps(shared))
    return [
        {"controller": label, "seed": seed, "settings": dict(settings), **plain}
        for seed in range(seeds) for label, settings in controllers.items()
    ]  # fmt: skip


def work(task: Mapping[str, JSON]) -> dict[str, JSON]:
    """Runs a task.

    Args:
        task: One of `tasks`.

    Returns:
        Curves over the budgets of `grid`, the number of proposals, and the controller's processor time in seconds.
    """
    contest, yardstick = Contest(**task["contest"]), Yardstick(**task["yardstick"])
    table, problem = contest.table(), contest.problem(yardstick.limit)
    noise = table.noise if contest.noise else 0.0
    controller = make_controller(task["settings"])
    found = race(table, problem, controller, task["evaluations"], task["seed"], noise, task["in_flight"])
    budgets = grid(task["evaluations"])
    best = best_within(found.values, problem.objectives, None, budgets)
    within = best_within(found.values, problem.objectives, yardstick.limit, budgets)
    curves = {"best": best, "within": _finite(within), "regret": [yardstick.best - value for value in best]}
    if yardstick.reference:
        curves["hypervolume"] = hypervolume_fractions(found.values, yardstick.reference, yardstick.volume, budgets)
    return {"budgets": budgets, **curves, "asked": found.asked, "seconds": round(found.seconds, 3)}


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values]


def _values(table: Table, problem: Problem, rows: np.ndarray) -> np.ndarray:
    found = {**table.costs(rows), **table.metrics(rows)}
    return np.stack([found[metric_of(name)] * (-1 if way == "max" else 1) for name, way in problem.objectives.metrics], axis=1)


def _table(name: str, path: str, surrogate: str) -> Table:
    return load_table(name, Path(path), **({"surrogate": surrogate} if name == "accel_nasbench" else {}))
