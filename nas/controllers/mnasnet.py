"""MnasNet's controller (Tan et al. 2019, arXiv:1807.11626, section 4.2): an LSTM policy that learns by PPO.

The network and its initialization are those of NASNet (Zoph et al. 2018, arXiv:1707.07012, appendix A.2), to which the
paper refers. What the two leave open, and what small budgets need, are settings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from nas.controllers.base import History, fresh
from nas.controllers.policy import Layout, Params, init_params, layout_of, rollout, to_genomes, to_tokens
from nas.controllers.ppo import Batch, Ppo, init_optimizer, update
from nas.problem import Problem
from nas.records import Fidelity, Proposal, Trial
from nas.space import Genome

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True)
class State:
    """All that is learned; `old` holds the log-probabilities (T,) of each observed trial when it was proposed."""

    history: History
    layout: Layout
    params: Params
    optimizer: optax.OptState
    baseline: float | None = None
    old: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Mnasnet:
    """Settings of MnasNet's controller: `passes` steps of Adam after every `batch` observed trials.

    The advantage of a trial is its reward less a moving average of rewards.

    Args:
        hidden: units of the LSTM.
        embedding: size of the vector that a choice feeds to the next decision.
        init_scale: weights start from U(-init_scale, init_scale).
        learning_rate: of Adam.
        batch: observed trials between updates.
        window: last trials that an update learns from.
        passes: gradient steps of an update.
        clip: range of the probability ratio, 1 - clip to 1 + clip.
        entropy: weight of the entropy bonus.
        baseline: decay of the moving average of rewards.
        normalize: divide advantages by the standard deviation of the window's rewards.
        failed: reward of failed and infeasible trials: a number, or "worst" so far.
        imitation: weight of a term that makes the best genomes likelier (Abolafia et al. 2018, arXiv:1801.03526).
        elite: number of best genomes for that term.
    """

    fidelities: ClassVar[tuple[Fidelity, ...]] = ()
    hidden: int = 64
    embedding: int = 32
    init_scale: float = 0.1
    learning_rate: float = 0.003
    batch: int = 5
    window: int = 20
    passes: int = 10
    clip: float = 0.2
    entropy: float = 0.05
    baseline: float = 0.95
    normalize: bool = True
    failed: float | Literal["worst"] = "worst"
    imitation: float = 0.3
    elite: int = 5

    def __post_init__(self) -> None:
        for key, low in (
            ("hidden", 1),
            ("embedding", 1),
            ("batch", 1),
            ("passes", 1),
            ("elite", 1),
            ("window", self.batch),
        ):
            if not low <= getattr(self, key) <= 10_000:
                raise ValueError(f"{key}: expected {low} to 10000, got {getattr(self, key)}")
        for key in ("init_scale", "learning_rate", "clip"):
            if not 0 < getattr(self, key) < math.inf:
                raise ValueError(f"{key}: expected a positive number, got {getattr(self, key):g}")
        for key in ("entropy", "imitation"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{key}: expected 0 or more, got {getattr(self, key):g}")
        if not 0 <= self.baseline < 1:
            raise ValueError(f"baseline: expected a decay from 0 to below 1, got {self.baseline:g}")
        if self.failed != "worst" and not math.isfinite(self.failed):
            raise ValueError(f"failed: expected a finite number or worst, got {self.failed:g}")

    @property
    def _ppo(self) -> Ppo:
        return Ppo(self.clip, self.passes, self.learning_rate, self.entropy, self.imitation)

    def init(self, problem: Problem, seed: int) -> State:
        layout = layout_of(problem.space)
        params = init_params(layout, self.hidden, self.embedding, self.init_scale, np.random.default_rng(seed))
        return State(History(problem), layout, params, init_optimizer(self._ppo, params))

    def ask(self, state: State, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        drawn: dict[Genome, np.ndarray] = {}

        def draw(n: int) -> list[Genome]:
            walks = rollout(state.params, state.layout, n, rng)
            genomes = to_genomes(state.layout, walks.tokens)
            drawn.update(zip(genomes, walks.log_probs, strict=True))
            return genomes

        genome = fresh(state.history, pending, draw, rng)
        log_probs = (drawn[genome] if genome in drawn else self._log_probs(state, genome))[: len(genome)]
        return Proposal(genome, note={"log_probs": [round(float(p), 4) for p in log_probs]})

    def tell(self, state: State, trial: Trial, rng: np.random.Generator) -> State:
        history = state.history.add(trial)
        old = (*state.old, self._noted(state, trial))[-self.window :]
        state = dataclasses.replace(state, history=history, old=old)
        return state if len(history) % self.batch or not len(history.ok) else self._learn(state)

    def _log_probs(self, state: State, genome: Genome) -> np.ndarray:
        return rollout(state.params, state.layout, 1, given=to_tokens(state.layout, [genome])).log_probs[0]

    def _noted(self, state: State, trial: Trial) -> np.ndarray:
        """The log-probabilities that came along; today's for a trial that was not proposed by this controller."""
        noted = trial.note.get("log_probs")
        if not isinstance(noted, Sequence) or len(noted) != len(state.layout.order):
            return self._log_probs(state, state.history.problem.space.canonical(trial.genome))
        return np.array([*noted, *[0.0] * (len(state.layout.options) - len(noted))], np.float32)

    def _learn(self, state: State) -> State:
        rewards = self._rewards(state.history)
        baseline, latest = state.baseline, rewards[-self.batch :]
        before = float(np.mean(latest)) if baseline is None else baseline
        baseline = before
        for reward in latest.tolist():
            baseline = self.baseline * baseline + (1 - self.baseline) * reward
        batch = self._batch(state, rewards, before)
        params, optimizer = update(self._ppo, state.layout, state.params, state.optimizer, batch)
        return dataclasses.replace(state, params=params, optimizer=optimizer, baseline=baseline)

    def _rewards(self, history: History) -> np.ndarray:
        """(trials,) rewards, with `failed` in place of those there are none of."""
        rewards = history.rewards
        return np.where(np.isnan(rewards), np.nanmin(rewards) if self.failed == "worst" else self.failed, rewards)

    def _best(self, history: History) -> list[int]:
        """Positions of the elite, the best first, the earlier of equals first."""
        order = np.argsort(-history.rewards[history.ok], kind="stable")
        return history.ok[order[: self.elite]].tolist()

    def _batch(self, state: State, rewards: np.ndarray, baseline: float) -> Batch:
        """The window and behind it the elite, filled up to a fixed size so that one compiled program serves all updates."""
        history, n = state.history, len(state.old)
        advantages = rewards[-n:] - baseline
        if self.normalize:
            advantages = advantages / (np.std(rewards[-n:]) + 1e-8)
        best = self._best(history) if self.imitation else []
        genomes = history.genomes
        tokens = to_tokens(state.layout, [*genomes[-n:], *(genomes[i] for i in best)])
        walked = rollout(state.params, state.layout, len(tokens), given=tokens)
        size = self.window + (self.elite if self.imitation else 0)
        old = np.concatenate([np.stack(state.old), walked.log_probs[n:]])
        ours, theirs = np.arange(size) < n, (np.arange(size) >= n) & (np.arange(size) < len(tokens))
        return Batch(
            tokens=_filled(tokens.astype(np.int32), size),
            active=_filled(walked.active.astype(np.float32), size),
            old=_filled(old, size),
            advantages=_filled(advantages.astype(np.float32), size),
            weights=ours.astype(np.float32),
            learned=theirs.astype(np.float32),
        )


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([rows, np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)])
