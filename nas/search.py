"""The search loop: propose, screen, run, record, tell.

Proposal n is asked with the state after telling trials 0 .. n - K - 1 in order of number, and with the K trials before it
as pending ones (K = `in_flight`), whether or not their results are known by then. So, given equal results, the sequence of
proposals depends on the seed alone: not on the number of workers, on timing, or on how often the run was killed.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from nas.blocks import lower
from nas.executors.base import Event, Executor
from nas.jobs import Job, Outcome, training_of
from nas.journal import Evaluation, Journal, Proposal, Trial


@dataclass(frozen=True)
class SearchSettings:
    """`search.*`: K, threads a trial, what a repeated architecture gets, and how much trouble is borne."""

    in_flight: int = 4
    threads: int = 1
    repeat: Literal["journal", "reseed"] = "journal"
    retries: int = 2
    timeout_s: float | None = 3600
    max_screened: int = 1000
    enqueue: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, low, high in (
            ("in_flight", 0, 10_000),
            ("threads", 1, 1024),
            ("retries", 0, 100),
            ("max_screened", 1, 10**7),
        ):
            if not low <= getattr(self, key) <= high:
                raise ValueError(f"{key}: wanted {low} to {high}, got {getattr(self, key)}")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ValueError(f"timeout_s: wanted more than 0 seconds or null, got {self.timeout_s:g}")


class Observer(Protocol):
    """Sees the run as it goes: the display."""

    def trial(self, trial: Trial) -> None: ...
    def progress(self, number: int, step: int, steps: int) -> None: ...


@dataclass
class _Active:
    ticket: int
    number: int
    since: float


class Search:
    """One run over a journal. `proposed_first` are genomes that come before the controller's own."""

    def __init__(
        self, problem: Any, controller: Any, journal: Journal, executor: Executor, settings: SearchSettings, seed: int,
        observer: Observer, proposed_first: Sequence[tuple[int, ...]] = (), clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self._problem, self._controller, self._journal, self._executor = problem, controller, journal, executor
        self._settings, self._seed, self._observer = settings, seed, observer
        self._first, self._clock = list(proposed_first), clock
        self._rungs = tuple(getattr(controller, "rungs", ()))  # what fidelities mean, where trainings differ in length
        self.trials: list[Trial] = []
        self.counted = self._idle = 0  # trained trials; proposals since the last of them
        self._seen: dict[tuple[str, int], int] = {}
        self._genomes: set[tuple[int, ...]] = set()
        self._repeats: dict[int, list[int]] = {}
        for trial in journal.trials():
            self._append(trial)
        self._state, self._told = controller.init(problem, seed), 0
        self._waiting: deque[Trial] = deque()
        self._active: dict[int, _Active] = {}

    def run(self, trials: int) -> str:
        """Goes on until `trials` are counted: those that are trained, not screened out or answered from the journal.

        Returns "" or the reason why it ended before.
        """
        self._waiting.extend(trial for trial in self.trials if not trial.done and trial.repeat_of is None)
        for trial in [t for t in self.trials if not t.done and t.repeat_of is not None]:
            self._answer(trial)
        reason = ""
        while True:
            while not reason and self.counted < trials and self._ready():
                reason = self._ended() or self._propose()
            self._submit()
            if not self._active and not self._waiting and (reason or self.counted >= trials):
                return reason
            for event in self._executor.poll(0.5):
                self._handle(event)
            self._expire()

    def _ready(self) -> bool:
        need = len(self.trials) - self._settings.in_flight - 1
        return need < 0 or self.trials[need].done

    def _ended(self) -> str:
        size = self._problem.space.size
        if len(self._genomes) >= size and self._settings.repeat == "journal" and not self._rungs:
            return f"all {size} architectures of the space were tried"
        if self._idle >= self._settings.max_screened:
            return f"the last {self._idle} proposals were repeats or broke a limit; widen the space or the limits"
        return ""

    def _propose(self) -> str:
        number = len(self.trials)
        self._tell_up_to(number - self._settings.in_flight)
        pending = [trial.proposal for trial in self.trials[self._told :]]
        if number < len(self._first):
            proposal = Proposal(self._first[number], note={"enqueued": True})
        else:
            proposal = self._controller.ask(self._state, pending, np.random.default_rng([self._seed, number]))
        genome = self._problem.space.canonical(proposal.genome)
        arch = self._problem.space.decode(genome)
        graph_id = lower(arch).id
        costs = {
            k: v.item() for k, v in ((k, np.asarray(v)[0]) for k, v in self._problem.costs(np.array([genome])).items())
        }
        trial = Trial.of(number, dataclasses.replace(proposal, genome=genome), graph_id, metrics=costs)
        if genome not in self._genomes:
            self._journal.put(f"arch/{graph_id}", arch.to_dict())
        if broken := self._problem.objectives.violations(costs):
            self._record(
                self._journal.settle(dataclasses.replace(trial, outcome="infeasible", error="; ".join(broken)))
            )
            return ""
        first = self._seen.get((graph_id, trial.fidelity))
        if first is not None and self._settings.repeat == "journal":
            self._record(self._journal.begin(dataclasses.replace(trial, repeat_of=first)))
            self._answer(self.trials[-1])
            return ""
        self._record(self._journal.begin(trial))
        self._waiting.append(self.trials[-1])
        return ""

    def _tell_up_to(self, number: int) -> None:
        while self._told < number:
            trial = self.trials[self._told]
            rng = np.random.default_rng([self._seed, trial.number, 1])
            self._state = self._controller.tell(self._state, trial, rng)
            self._told += 1

    def _record(self, trial: Trial) -> None:
        if trial.number == len(self.trials):
            self._append(trial)
        else:
            self.trials[trial.number] = trial
        self._observer.trial(trial)

    def _append(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._genomes.add(trial.genome)
        trained = trial.repeat_of is None and trial.outcome != "infeasible"
        self.counted, self._idle = self.counted + trained, 0 if trained else self._idle + 1
        if trained:
            self._seen.setdefault((trial.arch_id, trial.fidelity), trial.number)
        elif trial.repeat_of is not None:
            self._repeats.setdefault(trial.repeat_of, []).append(trial.number)

    def _answer(self, trial: Trial) -> None:
        """Gives a repeat its result as soon as the first one has it."""
        assert trial.repeat_of is not None
        first = self.trials[trial.repeat_of]
        if first.done:
            answered = dataclasses.replace(trial, outcome=first.outcome, error=first.error, metrics=first.metrics)
            self._record(self._journal.finish(answered))

    def _submit(self) -> None:
        while self._waiting and len(self._active) < self._executor.capacity():
            trial = self._waiting.popleft()
            ticket = self._executor.submit([self._job(trial)])
            self._active[ticket] = _Active(ticket, trial.number, self._clock())

    def _job(self, trial: Trial) -> Job:
        arch = self._problem.space.decode(trial.genome).to_dict()
        root = root_of(self.trials, trial)
        seed = int(np.random.default_rng([self._seed, root, 2]).integers(2**31))
        data = training_of(self._rungs, trial.fidelity, root)
        return Job(trial.number, "train", arch, trial.arch_id, trial.fidelity, seed, data)

    def _handle(self, event: Event) -> None:
        active = self._active.get(event.ticket)
        if active is None:
            return
        if event.kind == "progress":
            self._observer.progress(event.number, event.step, event.steps)
            return
        del self._active[event.ticket]
        if event.kind == "lost":
            self._lost(active.number, event.error)
        else:
            for outcome in event.outcomes:
                self._finish(outcome)

    def _lost(self, number: int, error: str) -> None:
        trial = self._journal.retry(number, error)
        self.trials[number] = trial
        if trial.attempts > self._settings.retries:
            self._finish(Outcome(number, "lost", f"{error} ({trial.attempts} times)"))
        else:
            self._waiting.append(trial)

    def _expire(self) -> None:
        limit = self._settings.timeout_s
        for active in list(self._active.values()) if limit else ():
            if self._clock() - active.since > limit:  # type: ignore[operator]
                self._executor.kill(active.ticket)
                del self._active[active.ticket]
                self._finish(Outcome(active.number, "timeout", f"took longer than {limit:g} s"))

    def _finish(self, outcome: Outcome) -> None:
        trial = self.trials[outcome.number]
        metrics = {**trial.metrics, **outcome.metrics} if outcome.outcome == "ok" else trial.metrics
        done = dataclasses.replace(trial, outcome=outcome.outcome, error=outcome.error, metrics=metrics)
        evaluation = Evaluation(
            trial.number, trial.fidelity, self._job(trial).seed, outcome.metrics, outcome.compile_s, outcome.train_s,
            outcome.worker, outcome.outcome, outcome.error, outcome.memory_bytes,
        )  # fmt: skip
        self._record(self._journal.finish(done, [evaluation]))
        for later in self._repeats.get(trial.number, ()):
            if not self.trials[later].done:
                self._answer(self.trials[later])


def root_of(trials: Sequence[Trial], trial: Trial) -> int:
    """Number of the trial that this one's training began with: its own, or where it was promoted, that of the first rung."""
    while trial.fidelity and trial.parent is not None:
        trial = trials[trial.parent]
        trial = trial if trial.repeat_of is None else trials[trial.repeat_of]
    return trial.number


def check_feasible(problem: Any, seed: int, samples: int = 500, steps: int = 60) -> None:
    """Looks for one architecture within the hard limits: random ones, then descent on what is over.

    Raises ValueError naming the limit that even the best one found breaks, before anything is trained.
    """
    rng = np.random.default_rng([seed, 2**31])
    genomes = np.array([problem.space.sample(rng) for _ in range(samples)])
    over = _excess(problem, genomes)
    if (over == 0).any() or not problem.objectives.limits:
        return
    best, excess = tuple(genomes[over.argmin()].tolist()), over.min()
    for _ in range(steps):
        near = list(problem.space.neighbours(best))
        scores = _excess(problem, np.array(near)) if near else np.array([np.inf])
        if scores.min() >= excess:
            break
        best, excess = near[int(scores.argmin())], scores.min()
        if excess == 0:
            return
    costs = {k: np.asarray(v)[0].item() for k, v in problem.costs(np.array([best])).items()}
    broken = "; ".join(problem.objectives.violations(costs))
    raise ValueError(f"objective.limits: no architecture of {problem.space.name} was found within them; the nearest: {broken}")


def _excess(problem: Any, genomes: np.ndarray) -> np.ndarray:
    """(n,) summed relative excess over the hard limits that costs tell, 0 where all hold."""
    costs = problem.costs(genomes)
    total = np.zeros(len(genomes))
    for metric, limit in problem.objectives.limits:
        if metric in costs:
            total += np.maximum(np.asarray(costs[metric]) / limit - 1, 0)
    return total
