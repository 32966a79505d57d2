"""TuNAS: a policy over the choices is trained by REINFORCE beside the shared weights, and its most likely architecture is the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nas.core.settings import check_ranges
from nas.objectives.rewards import absolute_reward
from nas.space import Genome, Hole, Space
from nas.supernet.strategies.base import WIDTHS, Candidates, Kept, StepContext, Strategy
from nas.supernet.strategies.fair import dealt

DECAY, EPSILON = 0.999, 1e-8  # of Adam, which has no momentum
TRIES = 100
Warm = Literal["filters", "operations"]


@dataclass(frozen=True)
class Rl(Strategy):
    """`strategy=rl`: candidates drawn by a policy, which learns from validation images after each update of the weights.

    The policy is a categorical for each choice, independent of the others, all options equally likely at first. Its reward is
    quality - slope * |cost / target - 1|, less a moving average of rewards; choices that the candidate does not have are left.

    In the first steps, with a probability that falls from 1 to 0, a step trains candidates of the largest widths (filter warm-up),
    and with the same probability as many candidates as there are operations, in which all of these come equally often, by the mean of
    their gradients (operation warm-up). The policy does not move in these steps.

    Args:
        target: What a candidate should cost, in the unit of the cost; None: `fraction`.
        fraction: The same as a part of what the largest candidate costs.
        slope: Of the penalty.
        learning_rate: Of the policy, at 256 images a step, as an Adam without momentum; it rises tenfold to the end.
        warmup: Part of all steps that both warm-ups have, and in which the policy does not move.
        baseline: Decay of the moving average of rewards.
        validation: Images of the validation split that a reward is of, as a multiple of the step's images.

    Source:
        TuNAS: Bender et al. 2020 (arXiv:2008.06120), with the settings of its published code.
    """

    averages: ClassVar[bool] = True
    scheduled: ClassVar[bool] = True
    weighs: ClassVar[bool] = True

    target: float | None = None
    fraction: float = 0.5
    slope: float = 0.1
    learning_rate: float = 3e-4
    warmup: float = 0.25
    baseline: float = 0.95
    validation: int = 4

    def __post_init__(self) -> None:
        if self.target is not None and not 0 < self.target < float("inf"):
            raise ValueError(f"target: expected a positive cost, got {self.target}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction: expected more than 0, at most 1, got {self.fraction}")
        check_ranges(self, slope=(0, 1e6), learning_rate=(0, 1e3), validation=(1, 10**6))
        for key in ("warmup", "baseline"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key}: expected 0 to less than 1, got {getattr(self, key)}")

    def warm(self, context: StepContext) -> float:
        """The probability of either warm-up in a step."""
        steps = self.warmup * context.steps
        return max(0.0, 1 - context.step / steps) if steps else 0.0

    def rate(self, context: StepContext) -> float:
        """The policy's learning rate in a step."""
        done = context.step / context.steps
        if done < self.warmup:
            return 0.0
        return self.learning_rate * context.batch / 256 * 10 ** min((done - self.warmup) / (1 - self.warmup), 1)

    def warming(self, context: StepContext) -> dict[Warm, bool]:
        """Which warm-ups a step has."""
        filters, operations = (context.rng(2).random(2) < self.warm(context)).tolist()
        return {"filters": filters, "operations": operations}

    def start(self, among: Candidates) -> Kept:
        shape = len(among.space.genes), int(among.space.option_counts.max(initial=1))
        zeros = {key: np.zeros(shape, np.float32) for key in ("logits", "squares")}
        return {**zeros, "average": np.zeros((), np.float32), "updates": np.zeros((), np.int32)}

    def genomes(self, context: StepContext) -> Sequence[Genome]:
        space, genome, warm = context.among.space, self.drawn(context), self.warming(context)
        filters = filters_of(space)
        held = {gene: widest if warm["filters"] else genome[gene] for gene, widest in filters.items()}
        if warm["operations"]:
            return dealt(space, context.rng(3), held)
        found = space.canonical([held.get(gene, option) for gene, option in enumerate(genome)])
        return [found if space.allowed(found) else genome]

    def drawn(self, context: StepContext) -> Genome:
        """The policy's candidate of a step."""
        return _drawn(context.among.space, context.kept, context.rng())

    def learned(self, context: StepContext) -> Kept:
        genome = self.drawn(context)
        target = self.target or self.fraction * context.cost(context.among.largest)
        quality = context.quality(genome, self.validation * context.batch)
        return self.updated(context, genome, float(absolute_reward(quality, context.cost(genome), target, -self.slope)))

    def updated(self, context: StepContext, genome: Genome, reward: float) -> Kept:
        """The policy after one reward: up the gradient of advantage * log-probability of the genome's active genes."""
        space, count = context.among.space, int(context.kept["updates"])
        average = float(context.kept["average"])
        before = average / (1 - self.baseline**count) if count else reward
        gradient = -(reward - before) * _probabilities(space, context.kept["logits"])
        gradient[np.arange(len(genome)), list(genome)] += reward - before
        gradient *= np.array(space.active(genome), bool)[:, None]
        squares = DECAY * context.kept["squares"].astype(np.float64) + (1 - DECAY) * gradient**2
        move = self.rate(context) * gradient / (np.sqrt(squares / (1 - DECAY ** (count + 1))) + EPSILON)
        return {
            "logits": (context.kept["logits"] + move).astype(np.float32),
            "squares": squares.astype(np.float32),
            "average": np.array(self.baseline * average + (1 - self.baseline) * reward, np.float32),
            "updates": np.array(count + 1, np.int32),
        }

    def chosen(self, among: Candidates, kept: Kept) -> Genome:
        """The most likely option of every choice; where that is forbidden, the most likely of what the policy draws."""
        space, probabilities = among.space, _probabilities(among.space, np.asarray(kept["logits"]))
        best = space.canonical(probabilities.argmax(1).tolist() if len(probabilities) else [])
        if space.allowed(best):
            return best
        rng, rows = np.random.default_rng(0), np.arange(len(space.genes))
        found = [_drawn(space, kept, rng) for _ in range(TRIES)]
        return max(found, key=lambda one: float(np.log(probabilities[rows, list(one)])[space.active(one)].sum()))


def filters_of(space: Space) -> dict[int, int]:
    """The genes of widths, and the widest option of each."""
    blocks = [space.stem, space.head, *(layer for stage in space.stages for layer in stage.layers)]
    holes = [value.gene for pairs in blocks for key, value in pairs if key in WIDTHS and isinstance(value, Hole)]
    found = {gene: space.genes[gene].options for gene in sorted(set(holes))}
    return {gene: int(np.argmax(np.array(options, float))) for gene, options in found.items()}


def _drawn(space: Space, kept: Kept, rng: np.random.Generator) -> Genome:
    logits = np.where(_there(space, kept["logits"]), kept["logits"].astype(np.float64), -np.inf)
    for _ in range(TRIES):
        row = (logits + rng.gumbel(size=logits.shape)).argmax(1).tolist() if logits.size else []
        if space.allowed(genome := space.canonical(row)):
            return genome
    return space.sample(rng)


def _there(space: Space, logits: np.ndarray) -> np.ndarray:
    """(genes, options) bool: which options a gene has."""
    return np.arange(logits.shape[1])[None, :] < space.option_counts[:, None]


def _probabilities(space: Space, logits: np.ndarray) -> np.ndarray:
    """(genes, options) float64; 0 where a gene has no such option."""
    weights = np.where(
        _there(space, logits), np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True, initial=0)), 0
    )
    return weights / weights.sum(1, keepdims=True)
