"""Optuna's samplers as controllers: TPE, NSGA-II, Gaussian processes (Akiba et al. 2019, arXiv:1907.10902), by ask and tell.

A study cannot go back: its samplers hold chance, and its storage only grows. So each `ask` makes a sampler from the proposal's
own generator, and ends what it left in the study (trials that were asked for, caches of generations). What samplers see is
then the observed trials and the pending ones, whatever was asked before.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from nas.controllers.base import History, fresh
from nas.problem import Problem
from nas.records import JSON, Fidelity, Proposal, Trial
from nas.space import Genome

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

GENERATION, PARENTS = "NSGAIISampler:generation", "NSGAIISampler:parent:"  # Optuna's names for what its NSGA-II notes
TRIES = 8  # proposals of the sampler until one is new; then mutants of the last
Entry = tuple[Genome, tuple[float, ...], Mapping[str, JSON]]


@dataclass(frozen=True)
class State:
    """The observed trials, and a study that has at least these."""

    history: History
    study: _Study


@dataclass(frozen=True)
class Optuna:
    """Settings of Optuna's samplers. All choices are categorical; the values are the objectives, or with `reward` the reward alone.

    A trial without a result counts with the worst value so far of every objective, so that samplers avoid similar ones.
    """

    fidelities: ClassVar[tuple[Fidelity, ...]] = ()
    sampler: Literal["tpe", "nsga2", "gp"] = "tpe"
    reward: bool = False

    def __post_init__(self) -> None:
        if importlib.util.find_spec("optuna") is None:
            raise ValueError("name: optuna is not installed; pip install 'nas[optuna]'")
        if self.sampler == "gp" and importlib.util.find_spec("torch") is None:
            raise ValueError("sampler: gp needs PyTorch, which is not installed; pip install torch, or take tpe")

    def init(self, problem: Problem, seed: int) -> State:
        return State(History(problem), _Study(problem, 1 if self.reward else len(problem.objectives.names)))

    def ask(self, state: State, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        study, space = state.study.upto(len(state.history)), state.history.problem.space
        notes: dict[Genome, Mapping[str, JSON]] = {}

        def draw(n: int) -> list[Genome]:
            found = study.ask(self._sampler(rng), pending, n) if n <= TRIES else []
            notes.update({space.canonical(genome): note for genome, note in found})
            return [space.canonical(genome) for genome, _ in found]

        genome = fresh(state.history, pending, draw, rng)
        return Proposal(genome, note=notes.get(genome, {}))

    def tell(self, state: State, trial: Trial, rng: np.random.Generator) -> State:
        study, history = state.study.upto(len(state.history)), state.history.add(trial)
        values = -history.rewards[:, None] if self.reward else history.values
        known = values[history.ok]
        value = (
            values[-1]
            if len(history.ok) and history.ok[-1] == len(history) - 1
            else known.max(axis=0)
            if len(known)
            else ()
        )
        study.add((history.genomes[-1], tuple(float(v) for v in value), trial.note))
        return dataclasses.replace(state, history=history, study=study)

    def _sampler(self, rng: np.random.Generator) -> BaseSampler:
        from optuna import samplers

        seed = int(rng.integers(2**31))
        kinds = {"tpe": samplers.TPESampler, "nsga2": samplers.NSGAIISampler, "gp": samplers.GPSampler}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a sampler is experimental
            return kinds[self.sampler](seed=seed)


class _Study:
    """An Optuna study of observed trials; it only grows, and states of one search share it."""

    def __init__(self, problem: Problem, objectives: int, entries: Sequence[Entry] = ()):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.problem, self.objectives, self.entries = problem, objectives, [*entries]
        self.study = optuna.create_study(directions=[optuna.study.StudyDirection.MINIMIZE] * objectives)
        counts = problem.space.option_counts.tolist()
        self.space: dict[str, BaseDistribution] = {
            f"{i:03d}": optuna.distributions.CategoricalDistribution(range(n)) for i, n in enumerate(counts)
        }
        self.study.add_trials([trial for entry in self.entries if (trial := self._observed(entry)) is not None])

    def upto(self, length: int) -> _Study:
        """This one, or where it knows more than `length` trials, a copy of its beginning."""
        return self if len(self.entries) == length else _Study(self.problem, self.objectives, self.entries[:length])

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        if (trial := self._observed(entry)) is not None:
            self.study.add_trial(trial)

    def ask(self, sampler: BaseSampler, pending: Sequence[Proposal], n: int) -> list[tuple[Genome, Mapping[str, JSON]]]:
        """n proposals, made one after the other, with the pending ones as running trials."""
        from optuna.trial import TrialState

        self.study.sampler = sampler
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.study.add_trials([self._trial(p.genome, p.note, state=TrialState.RUNNING) for p in pending])
            found = [self._proposal() for _ in range(n)]
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self.study.tell(trial.number, state=TrialState.FAIL)
        storage, number = self.study._storage, self.study._study_id
        for key in storage.get_study_system_attrs(number):
            if key.startswith(PARENTS):
                storage.set_study_system_attr(number, key, None)
        return found

    def _proposal(self) -> tuple[Genome, Mapping[str, JSON]]:
        trial = self.study.ask(self.space)
        noted = self.study._storage.get_trial(trial._trial_id).system_attrs
        return tuple(int(trial.params[key]) for key in self.space), (
            {"generation": noted[GENERATION]} if GENERATION in noted else {}
        )

    def _observed(self, entry: Entry) -> FrozenTrial | None:
        genome, values, note = entry
        return self._trial(genome, note, values=list(values)) if values else None

    def _trial(self, genome: Genome, note: Mapping[str, JSON], **what: Any) -> FrozenTrial:
        from optuna.trial import create_trial

        generation = note.get("generation")
        kept = {GENERATION: generation} if isinstance(generation, int) else {}
        params = dict(zip(self.space, genome, strict=True))
        return create_trial(params=params, distributions=self.space, system_attrs=kept, **what)
