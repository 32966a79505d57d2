"""REINFORCE with an independent categorical for each gene: the controller of TuNAS (Bender et al. 2020, arXiv:2008.06120)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nas.controllers.base import History, fresh
from nas.problem import Problem
from nas.records import Fidelity, Proposal, Trial
from nas.space import Genome


@dataclass(frozen=True)
class State:
    """`logits` (genes, options), -inf where a gene has no such option; Adam's second moments; the moving average of rewards."""

    history: History
    logits: np.ndarray
    squares: np.ndarray
    average: float = 0.0
    updates: int = 0


@dataclass(frozen=True)
class Reinforce:
    """Settings of REINFORCE: each observed trial is one step of Adam on the log-probability of its active genes.

    Adam has no momentum, as in TuNAS. The advantage of a trial is its reward less a bias-corrected moving average of rewards.

    Args:
        learning_rate: of Adam.
        baseline: decay of the moving average of rewards.
        decay: of Adam's second moments.
        warmup: first trials, which only set the average.
        entropy: weight of the entropy bonus.
        failed: reward of trials without a result: a number, or "worst" so far.
    """

    fidelities: ClassVar[tuple[Fidelity, ...]] = ()
    learning_rate: float = 0.15
    baseline: float = 0.95
    decay: float = 0.999
    warmup: int = 20
    entropy: float = 0.0003
    failed: float | Literal["worst"] = "worst"

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate: expected a positive number, got {self.learning_rate:g}")
        for key in ("baseline", "decay"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key}: expected a decay from 0 to below 1, got {getattr(self, key):g}")
        if not 0 <= self.warmup <= 1_000_000:
            raise ValueError(f"warmup: expected 0 to 1000000, got {self.warmup}")
        if not 0 <= self.entropy < math.inf:
            raise ValueError(f"entropy: expected 0 or more, got {self.entropy:g}")
        if self.failed != "worst" and not math.isfinite(self.failed):
            raise ValueError(f"failed: expected a finite number or worst, got {self.failed:g}")

    def init(self, problem: Problem, seed: int) -> State:
        counts = problem.space.option_counts
        options = np.arange(int(counts.max(initial=1)))
        logits = np.where(options[None, :] < counts[:, None], 0.0, -np.inf)
        return State(History(problem), logits, np.zeros(logits.shape))

    def ask(self, state: State, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        space = state.history.problem.space

        def draw(n: int) -> list[Genome]:
            drawn = (state.logits + rng.gumbel(size=(n, *state.logits.shape))).argmax(axis=2)
            return [space.canonical(genome) for genome in drawn.tolist()]

        return Proposal(fresh(state.history, pending, draw, rng))

    def tell(self, state: State, trial: Trial, rng: np.random.Generator) -> State:
        history = state.history.add(trial)
        state = dataclasses.replace(state, history=history)
        rewards = history.rewards
        known = rewards[~np.isnan(rewards)]
        if not len(known):
            return state
        reward = float(rewards[-1]) if not np.isnan(rewards[-1]) else self._failed(known)
        updates = state.updates + 1
        before = state.average / (1 - self.baseline**state.updates) if state.updates else reward
        average = self.baseline * state.average + (1 - self.baseline) * reward
        state = dataclasses.replace(state, average=average, updates=updates)
        return state if len(history) <= self.warmup else self._step(state, reward - before)

    def _failed(self, known: np.ndarray) -> float:
        return float(known.min()) if self.failed == "worst" else self.failed

    def _step(self, state: State, advantage: float) -> State:
        """Up the gradient of advantage * log-probability + entropy of the last trial's active genes."""
        genome = state.history.rows[-1]
        probabilities = np.exp(state.logits)
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
        slope = -advantage * probabilities
        slope[np.arange(len(genome)), genome] += advantage
        if self.entropy:
            logs = np.log(np.maximum(probabilities, 1e-12))
            slope -= self.entropy * probabilities * (logs - (probabilities * logs).sum(axis=1, keepdims=True))
        slope *= np.array(state.history.problem.space.active(genome.tolist()), bool)[:, None]
        squares = self.decay * state.squares + (1 - self.decay) * slope**2
        steps = max(state.updates - self.warmup, 1)
        scaled = slope / (np.sqrt(squares / (1 - self.decay**steps)) + 1e-8)
        return dataclasses.replace(state, logits=state.logits + self.learning_rate * scaled, squares=squares)
