"""How well shared weights rank networks: some are trained alone, or looked up in a published table, journaled as trials, and compared."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas.arch.blocks import arch_id
from nas.core.text import aligned
from nas.cost import cost
from nas.evaluators.preparation import with_prepared
from nas.evaluators.supernet_worker import ALONE, INHERITED
from nas.journal import Journal
from nas.records import JSON, Job, Trial
from nas.report.panel import duration
from nas.runtime.base import Executor
from nas.runtime.journaled import job_seed, run_journaled
from nas.space import Genome, Space
from nas.supernet.fidelity import MACS, Ranking, kendall, rank_fidelity, warning
from nas.tabular import Table
from nas.tasks import task_of
from nas.workflows.progress import Progress
from nas.workflows.search.preparation import prepared

TRIES = 100  # draws for each network, until a small space is used up


@dataclass(frozen=True)
class Sampled:
    """Random networks of a space, each once; more of them begin with the same.

    seeds: trainings of each. table: published results in their place.
    """

    space: Space
    count: int
    seed: int
    seeds: int = 1
    table: Table | None = None

    def truth(self, trials: Sequence[Sequence[Trial]]) -> np.ndarray:
        """(networks, seeds) values of the primary metric, larger is better."""
        if self.table is not None:
            genomes = [seeds[0].genome for seeds in trials]
            return self.table.accuracy(np.array(genomes)).reshape(-1, 1) if genomes else np.zeros((0, 1))
        task = task_of(self.space)
        sign = 1 if task.metrics[task.primary] == "max" else -1
        return sign * np.array([[trial.metrics[task.primary] for trial in seeds] for seeds in trials]).reshape(-1, self.seeds)

    def genomes(self) -> list[Genome]:
        """At most `count`, fewer where the space has no more."""
        rng, found = np.random.default_rng([self.seed, 6]), dict[Hashable, Genome]()
        for _ in range(TRIES * self.count):
            if len(found) == self.count:
                break
            genome = self.space.sample(rng)
            found.setdefault(self.table.key(genome) if self.table else genome, genome)
        return list(found.values())


def trained_alone(
    sampled: Sampled, recipe: Mapping[str, JSON], journal: Journal, executor: Executor, progress: Progress, timeout_s: float | None
) -> dict[str, JSON]:
    """Trains networks from initial values, and says how the shared weights rank them.

    Args:
        sampled: The networks.
        recipe: Of their trainings.
        journal: Keeps each as a trial: the metrics of its own training, and what the shared weights say as `inherited_<metric>`.
        executor: Where they run.
        progress: Receives a line for each, and the report.
        timeout_s: A training that takes longer is ended; None: never.

    Returns:
        `networks`, how many were trained, `epochs`, `seeds`, `deviation` (standard deviation of the primary metric over the seeds of a
        network; None for one seed), `between_seeds` (Kendall's tau of the first two), `rankings` by metric, and `warning`, a line or None.
        With a table nothing is trained: `epochs` is None, and `table` its name.
    """
    trials = _run(sampled, recipe, journal, executor, progress, timeout_s)
    task, found = task_of(sampled.space), _by_network(trials, sampled.seeds)
    values, firsts, before = sampled.truth(found), [seeds[0].metrics for seeds in found], "" if sampled.table else INHERITED
    ways = {name: way for name, way in task.metrics.items() if firsts and f"{before}{name}" in firsts[0]}
    scores = {name: [metrics[f"{before}{name}"] for metrics in firsts] for name in ways}
    rankings = rank_fidelity(scores, ways, values.mean(1).tolist(), [metrics["macs"] for metrics in firsts])
    several = sampled.seeds > 1 and len(found) > 0
    deviation = float(np.sqrt(values.var(1, ddof=1).mean())) if several else None
    between = kendall(values[:, 0], values[:, 1]) if several else None
    line = warning(rankings, len(found))
    for text in (*lines(rankings), _of_seeds(task.primary, sampled.seeds, deviation, between), line):
        if text:
            progress.message(text)
    plain = {name: one.to_dict() for name, one in rankings.items()}
    table = sampled.table.name if sampled.table else None
    return {"networks": len(found), "epochs": None if table else recipe["epochs"], "seeds": sampled.seeds, "deviation": deviation,
            "between_seeds": between, "rankings": plain, "warning": line, "table": table}  # fmt: skip


def _by_network(trials: Sequence[Trial], seeds: int) -> list[list[Trial]]:
    """The trials of each network all of whose trainings ended well."""
    found: dict[int, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.number // seeds, []).append(trial)
    return [one for one in found.values() if len(one) == seeds]


def _of_seeds(primary: str, seeds: int, deviation: float | None, between: float | None) -> str | None:
    """A line for people: what one training's own noise allows."""
    if deviation is None or between is None:
        return None
    return (
        f"over {seeds} seeds of a network {primary} has a standard deviation of {deviation:.4f}; one seed ranks as another does with a tau "
        f"of {between:.2f}, and shared weights hardly can with more"
    )


def lines(rankings: Mapping[str, Ranking]) -> Sequence[str]:
    """The report for people: a line a metric."""
    if not rankings:
        return ["fidelity: three networks at least are needed to rank"]
    rows = [["ranked by", "Kendall's tau", "Spearman's rho"]]
    for name, one in rankings.items():
        shown = "MACs alone" if name == MACS else f"inherited {name}"
        rows.append([shown, f"{one.kendall:.3f} +-{one.standard_error:.3f}", f"{one.spearman:.3f}"])
    return aligned(rows, left=1).splitlines()


def _run(
    sampled: Sampled, recipe: Mapping[str, JSON], journal: Journal, executor: Executor, progress: Progress, timeout_s: float | None
) -> list[Trial]:
    """The trials that were trained. Reports each, and how long the others may take."""
    alone: dict[str, JSON] = {} if sampled.table else {ALONE: True, "recipe": dict(recipe)}
    data = with_prepared(alone, prepared(journal))
    chosen = [genome for genome in sampled.genomes() for _ in range(sampled.seeds)]
    expected = [_expected(i, genome, sampled, data) for i, genome in enumerate(chosen)]
    before = sum(trial.done for trial in journal.trials())
    primary, began, done = task_of(sampled.space).primary, time.monotonic(), 0
    if before < len(expected):
        what = f"networks of {sampled.table.name} to score" if sampled.table else "trainings of single networks"
        progress.message(f"{len(expected) - before} {what}" + (" ..." if sampled.table else f", {recipe['epochs']} epochs each ..."))

    def ended(trial: Trial) -> None:
        nonlocal done
        done += 1
        left = len(expected) - before - done
        more = f", about {duration(left * (time.monotonic() - began) / done)} left" if left else ""
        said = _said(trial, primary, sampled.table) if trial.ok else trial.error
        progress.message(f"network {trial.number // sampled.seeds}: {primary} {said} ({before + done} of {len(expected)}{more})")

    return [trial for trial in run_journaled(journal, executor, expected, timeout_s=timeout_s, ended=ended) if trial.ok]


def _said(trial: Trial, primary: str, table: Table | None) -> str:
    if table is None:
        return f"{trial.metrics[primary]:.4f} alone, {trial.metrics[INHERITED + primary]:.4f} inherited"
    return f"{float(table.accuracy(np.array([trial.genome]))[0]):.4f} in {table.name}, {trial.metrics[primary]:.4f} inherited"


def _expected(number: int, genome: Genome, sampled: Sampled, data: Mapping[str, JSON]) -> tuple[Trial, Job]:
    arch = sampled.space.decode(genome)
    counted, found = cost(arch), arch_id(arch)
    trial = Trial(number, tuple(genome), found, metrics={"params": counted.params, "macs": counted.macs})
    return trial, Job(number, "train", arch.to_dict(), found, 0, job_seed(sampled.seed, number), data)
