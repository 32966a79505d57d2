"""Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934) toward a front: many short trainings, few long ones.

Promotions go by non-dominated rank over all objectives, then by crowding distance, and consider observed trials only, so that
they do not depend on the number of workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nas.controllers.base import Controller, History, make_controller
from nas.controllers.nsga2 import best_first
from nas.problem import Problem
from nas.records import JSON, Fidelity, Proposal, Trial


@dataclass(frozen=True)
class State:
    """The base controller's state, the observed trials of each fidelity, and the numbers of the promoted trials."""

    base: object
    observed: tuple[History, ...]
    promoted: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Asha:
    """Settings of asynchronous successive halving.

    A genome starts on fidelity 0. When a fidelity has `eta` observed trials for each promoted one, the best trial not yet
    promoted continues on the next fidelity, if it is among the first 1 / `eta` of its own. New genomes come from the
    controller `base`, which learns from fidelity 0 alone.

    Args:
        epochs: epochs of each fidelity, counted from the start of the training.
        fractions: fraction of the training images of each fidelity; empty: all of them.
        resolutions: image size of each fidelity in pixels; empty: the dataset's.
        eta: one of so many trials is promoted.
        base: name of the controller that proposes new genomes.
        base_settings: its settings where they differ from the defaults.
    """

    epochs: tuple[int, ...] = (1, 3, 9)
    fractions: tuple[float, ...] = ()
    resolutions: tuple[int, ...] = ()
    eta: int = 3
    base: str = "random"
    base_settings: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.epochs) < 2:
            raise ValueError(f"epochs: expected two fidelities or more, got {list(self.epochs)}")
        for key in ("fractions", "resolutions"):
            if getattr(self, key) and len(getattr(self, key)) != len(self.epochs):
                raise ValueError(
                    f"{key}: expected none or {len(self.epochs)}, one a fidelity, got {len(getattr(self, key))}"
                )
        if not 2 <= self.eta <= 1000:
            raise ValueError(f"eta: expected 2 to 1000, got {self.eta}")
        if any(later < sooner for sooner, later in zip(self.epochs, self.epochs[1:], strict=False)):
            raise ValueError(f"epochs: expected no fidelity shorter than the one before it, got {list(self.epochs)}")
        assert self.fidelities
        assert self._base

    @cached_property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """What the fidelities 0, 1, .. of the proposals mean."""
        n = len(self.epochs)
        return tuple(map(Fidelity, self.epochs, self.fractions or (1.0,) * n, self.resolutions or (None,) * n))

    @cached_property
    def _base(self) -> Controller[object]:
        if self.base == "asha":
            raise ValueError("base: asha cannot be its own base; take random or bayesian")
        return make_controller({**self.base_settings, "name": self.base}, "base_settings")

    def init(self, problem: Problem, seed: int) -> State:
        return State(self._base.init(problem, seed), tuple(History(problem) for _ in self.fidelities))

    def ask(self, state: State, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        for fidelity in range(len(self.fidelities) - 2, -1, -1):
            busy = state.promoted | {p.parent for p in pending if p.fidelity == fidelity + 1}
            history = state.observed[fidelity]
            if (best := self._ready(history, state.observed[fidelity + 1], busy)) is not None:
                return Proposal(history.genomes[best], fidelity + 1, history.numbers[best])
        own = [dataclasses.replace(p, note=p.note.get("base", {})) for p in pending if p.fidelity == 0]
        proposal = self._base.ask(state.base, own, rng)
        return dataclasses.replace(proposal, fidelity=0, note={"base": dict(proposal.note)})

    def _ready(self, history: History, above: History, busy: frozenset[int | None]) -> int | None:
        """Position of the best trial among the first 1 / eta of a fidelity that was not promoted, nor an equal one."""
        places = min(len(history) // self.eta, len(history.ok))
        if places <= sum(number in busy for number in history.numbers):
            return None
        best = history.ok[best_first(history.values[history.ok], places)]
        return next(
            (int(i) for i in best if history.numbers[i] not in busy and not above.saw(history.genomes[i])), None
        )

    def tell(self, state: State, trial: Trial, rng: np.random.Generator) -> State:
        fidelity = min(trial.fidelity, len(self.fidelities) - 1)
        observed = tuple(history.add(trial) if i == fidelity else history for i, history in enumerate(state.observed))
        if fidelity:
            return dataclasses.replace(state, observed=observed, promoted=state.promoted | {trial.parent})
        base = self._base.tell(state.base, dataclasses.replace(trial, note=trial.note.get("base", {})), rng)
        return dataclasses.replace(state, base=base, observed=observed)
