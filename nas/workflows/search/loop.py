"""The search loop: propose, check the constraints, run, record, observe.

Proposal n is asked with the state after observing trials 0 .. n - K - 1 in order of number, and with the K trials before it
as pending ones (K = `in_flight`), whether or not their results are known by then. So, given equal results, the sequence of
proposals depends on the seed alone: not on the number of workers, on timing, or on how often the run was killed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from nas.controllers import Controller
from nas.core.settings import check_ranges
from nas.evaluators.preparation import with_prepared
from nas.journal import Journal
from nas.problem import Problem
from nas.records import JSON, UNPREPARED, Evaluation, Job, Outcome, Proposal, Trial, training_of
from nas.runtime.base import Executor, JobEvent
from nas.runtime.dispatch import Dispatcher, Loss
from nas.runtime.journaled import job_seed
from nas.runtime.machines import unlike
from nas.workflows.progress import Observer
from nas.workflows.search.in_flight import LOCAL
from nas.workflows.search.ledger import History, root_of
from nas.workflows.search.preparation import prepared
from nas.workflows.search.proposing import Proposed, ask, decoded

STATUS_S = 1.0


@dataclass(frozen=True)
class SearchSettings:
    """`search.*`: K, threads per trial, how repeated architectures are handled, and limits on failures.

    `in_flight` None: K is chosen when the run begins, by `nas.workflows.search.in_flight`. `stratified`: trials that
    `nas.workflows.search.stratified` proposes before the controller. `finetune_epochs`, `finetune_lr`, `finetune_distill`,
    `scratch_epochs`: how members of the front are trained after the search, by `nas.workflows.search.further`.
    """

    in_flight: int | None = None
    threads: int = 1
    repeat: Literal["journal", "reseed"] = "journal"
    retries: int = 2
    timeout_s: float | None = 3600
    max_infeasible: int = 1000
    enqueue: tuple[str, ...] = ()
    stratified: int = 0
    finetune_epochs: int = 0
    finetune_lr: float | None = None
    finetune_distill: bool = False
    scratch_epochs: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, in_flight=(0, 10_000), threads=(1, 1024), retries=(0, 100), max_infeasible=(1, 10**7), stratified=(0, 1000))
        check_ranges(self, finetune_epochs=(0, 10**6), scratch_epochs=(0, 10**6), finetune_lr=(1e-9, 1e3))
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ValueError(f"timeout_s: expected more than 0 seconds or null, got {self.timeout_s:g}")


class Search:
    """One run over a journal. `proposed_first`: genomes before the controller's own; `group`: trials that a worker trains at a time."""

    def __init__(
        self, problem: Problem, controller: Controller, journal: Journal, executor: Executor, settings: SearchSettings, seed: int,
        observer: Observer, proposed_first: Sequence[tuple[int, ...]] = (), clock: Callable[[], float] = time.monotonic, group: int = 1,
    ):  # fmt: skip
        self._problem, self._controller, self._journal, self._executor = problem, controller, journal, executor
        self._settings, self._seed, self._observer = settings, seed, observer
        self._in_flight = LOCAL if settings.in_flight is None else settings.in_flight
        self._first, self._clock = list(proposed_first), clock
        self._fidelities, self._prepared = controller.fidelities, prepared(journal)
        self._history = History(journal, self._in_flight + 1)
        self._state, self._observed = controller.init(problem, seed), 0
        self._work = Dispatcher(executor, settings.retries, settings.timeout_s, self._lost, self._seen, clock, group)
        self._status: dict[str, JSON] = {}
        journal.show(lambda: self._status)

    def run(self, trials: int) -> str:
        """Runs until `trials` are counted: those that are trained, not infeasible or answered from the journal.

        Returns "" or the reason why it ended before.
        """
        history, reason = self._history, ""
        for trial in history.pending:
            if trial.repeat_of is None:
                self._work.add(self._job(trial), trial.attempts)
            else:
                self._answer(trial)
        while True:
            while not reason and history.counted < trials and self._ready():
                reason = self._ended() or self._propose()
            if not self._work and (reason or history.counted >= trials):
                return reason
            for _, outcome in self._work.step():
                self._finish(outcome)
            self._tell_status()

    def _ready(self) -> bool:
        need = self._history.count - self._in_flight - 1
        return need < 0 or self._history[need].done

    def _ended(self) -> str:
        idle = self._history.idle
        if self._settings.repeat == "journal" and not self._fidelities and self._nothing_left():
            limited = self._problem.objectives.constraints
            what = "architectures within the constraints were tried" if limited else "architectures of the space were tried"
            return f"all {self._history.counted} {what}"
        if idle >= self._settings.max_infeasible:
            return f"the last {idle} proposals were repeats or violated a constraint; widen the space or the constraints"
        return ""

    def _nothing_left(self) -> bool:
        """Whether all that a small space has within the constraints was tried: all genomes, or all that they mean."""
        if self._problem.listed is None:
            return self._history.genomes >= self._problem.space.size
        if all(map(self._history.has, self._feasible)):
            return True
        return self._history.repeated and all(self._history.tried(arch_id, 0) for arch_id in self._architectures)

    @cached_property
    def _feasible(self) -> list[tuple[int, ...]]:
        assert self._problem.listed is not None
        return [genome for genome, fits in zip(*self._problem.listed, strict=True) if fits]

    @cached_property
    def _architectures(self) -> dict[str, tuple[int, ...]]:
        """A genome by id of the feasible ones of a small space; they take seconds, so they wait for the first repeat."""
        return {decoded(self._problem.space, Proposal(genome)).arch_id: genome for genome in self._feasible}

    def _propose(self) -> str:
        number = self._history.count
        self._tell_up_to(number - self._in_flight)
        pending = [trial.proposal for trial in self._history.between(self._observed, number)]
        proposed = self._asked(number, pending)
        costs = self._problem.costs(np.array([proposed.proposal.genome]))
        metrics = {name: np.asarray(value)[0].item() for name, value in costs.items()}
        trial, plain = Trial.of(number, proposed.proposal, proposed.arch_id, metrics=metrics), proposed.arch
        first = self._history.first(trial.arch_id, trial.fidelity)
        if broken := self._problem.objectives.violations(metrics):
            turned_away = dataclasses.replace(trial, outcome="infeasible", error="; ".join(broken))
            self._record(self._journal.settle(turned_away, arch=plain))
        elif first is not None and self._settings.repeat == "journal":
            repeat = self._journal.begin(dataclasses.replace(trial, repeat_of=first))
            self._record(repeat)
            self._answer(repeat)
        else:
            begun = self._journal.begin(trial, arch=plain)
            self._record(begun)
            self._work.add(self._job(begun, plain))
        return ""

    def _asked(self, number: int, pending: Sequence[Proposal]) -> Proposed:
        space = self._problem.space
        if number < len(self._first):
            return decoded(space, Proposal(self._first[number], note={"enqueued": True}))
        if self._settings.repeat == "reseed":
            return ask(self._controller, self._state, pending, space, (self._seed, number), _never)
        found = ask(self._controller, self._state, pending, space, (self._seed, number), self._history.tried)
        if self._problem.listed is None or found.proposal.fidelity or not self._history.tried(found.arch_id, 0):
            return found
        left = [genome for arch_id, genome in self._architectures.items() if not self._history.tried(arch_id, 0)]
        rng = np.random.default_rng([self._seed, number, 3])
        return decoded(space, Proposal(left[rng.integers(len(left))])) if left else found

    def _tell_up_to(self, number: int) -> None:
        for trial in self._history.between(self._observed, max(number, self._observed)):
            rng = np.random.default_rng([self._seed, trial.number, 1])
            self._state = self._controller.tell(self._state, trial, rng)
        self._observed = max(number, self._observed)
        self._history.forget(self._observed)

    def _record(self, trial: Trial) -> None:
        self._history.put(trial)
        self._observer.trial(trial)

    def _answer(self, trial: Trial) -> None:
        """Gives a repeat its result as soon as the first one has it."""
        assert trial.repeat_of is not None
        first = self._history[trial.repeat_of]
        if first.done:
            answered = dataclasses.replace(trial, outcome=first.outcome, error=first.error, metrics=first.metrics)
            self._record(self._journal.finish(answered))

    def _job(self, trial: Trial, arch: Mapping[str, JSON] | None = None) -> Job:
        plain = self._problem.space.decode(trial.genome).to_dict() if arch is None else arch
        root = root_of(self._history, trial)
        data = with_prepared(training_of(self._fidelities, trial.fidelity, root), self._prepared)
        return Job(trial.number, "train", plain, trial.arch_id, trial.fidelity, job_seed(self._seed, root), data)

    def _seen(self, event: JobEvent) -> None:
        if event.kind == "started":
            self._observer.started(event.number, event.worker)
        else:
            self._observer.progress(event.number, event.step, event.steps, event.metrics)

    def _lost(self, loss: Loss) -> None:
        self._history.put(self._journal.retry(loss.job.number, loss.error, loss.cause, loss.counts))
        self._observer.lost(loss.job.number, loss.error)

    def _check_machine(self, outcome: Outcome) -> None:
        """Raises ValueError for a training on an unlike machine: its result could not be compared with the others."""
        if not outcome.machine:
            return
        kept = self._journal.get("machine")
        if kept is None:
            self._journal.put("machine", dict(outcome.machine))
        elif differs := unlike(kept, outcome.machine):
            raise ValueError(
                f"trial {outcome.number}: {outcome.worker}: a machine unlike that of the run's other trials ({differs}); "
                "resume it where it began, or take run=<another folder>"
            )

    def _check_prepared(self, outcome: Outcome) -> None:
        """Raises ValueError where the first worker could not begin to train: every trial would end so. It stays pending."""
        if UNPREPARED in outcome.data and self._journal.get("machine") is None and not self._journal.evaluations():
            raise ValueError(outcome.data[UNPREPARED])

    def _finish(self, outcome: Outcome) -> None:
        self._check_prepared(outcome)
        self._check_machine(outcome)
        trial = self._history[outcome.number]
        metrics = {**trial.metrics, **outcome.metrics} if outcome.outcome == "ok" else trial.metrics
        done = dataclasses.replace(trial, outcome=outcome.outcome, error=outcome.error, metrics=metrics)
        seed = job_seed(self._seed, root_of(self._history, trial))
        self._record(self._journal.finish(done, [Evaluation.of(outcome, trial, seed)]))
        for later in self._history.repeats(trial.number):
            self._answer(later)

    def _tell_status(self) -> None:
        """What `nas status` shows, written with the journal's heartbeat."""
        now, wall = self._clock(), time.time()
        if wall - self._status.get("time", 0) < STATUS_S:
            return
        self._status = {
            "time": wall,
            "capacity": self._executor.capacity(),
            "dashboard": self._executor.dashboard,
            "running": [
                {"number": job.number, "worker": r.worker, "step": r.step, "steps": r.steps, "since": wall - (now - r.since)}
                for r in self._work.running.values()
                if r.since is not None
                for job in r.jobs
            ],
        }


def _never(arch_id: str, fidelity: int) -> bool:
    return False
