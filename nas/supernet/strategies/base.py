"""What a strategy is: which candidates a step of a supernet's training runs, and what it learns from the step.

A strategy is a function of the seed, the step's number, and the state of the training alone, so that a training which was stopped
resumes to the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np

from nas.cost import Costs
from nas.space import Genome, Space

DRAWS = 4  # of a seed: which stream of random numbers is the strategy's
CLIMB_FROM = 64
WIDTHS = ("width", "expand", "hidden")  # keys of blocks that say how many filters there are
Kept: TypeAlias = Mapping[str, np.ndarray]  # what a strategy keeps from step to step, float32 or int32


def _unknown(*_: object) -> float:
    raise NotImplementedError("only a training can tell")


@dataclass(frozen=True, eq=False)
class StepContext:
    """A step of a training as its strategy sees it.

    Args:
        among: The candidates.
        seed: Of the training.
        step: Number of the step, from 0.
        steps: Of the whole training, as the learning rate is laid out.
        batch: Images of a step.
        kept: What the strategy keeps; a part of the training's state.
        loss: A candidate's loss on the step's batch, in training mode, without an update.
        quality: A candidate's primary metric, larger is better, on so many images of the validation split, which are drawn by
            seed and step; norms use these images.
        cost: What a candidate costs: multiply-adds, or what the caller gives.
    """

    among: Candidates
    seed: int
    step: int
    steps: int = 1
    batch: int = 1
    kept: Kept = field(default_factory=dict)
    loss: Callable[[Genome], float] = _unknown
    quality: Callable[[Genome, int], float] = _unknown
    cost: Callable[[Genome], float] = _unknown

    def rng(self, *more: int) -> np.random.Generator:
        """Random numbers of this step, the same whenever they are asked for."""
        return np.random.default_rng([self.seed, DRAWS, self.step, *more])


class Changes(NamedTuple):
    """What a strategy wants done to the weights before a step.

    teacher: whether the largest network as it is now becomes the teacher. inner: a candidate whose hidden channels stay the first ones
    while those of the largest network are sorted by importance; None: they are not sorted.
    """

    teacher: bool = False
    inner: Genome | None = None


class Strategy:
    """Settings, and the candidates of each step.

    Attributes:
        distills: Whether the first candidate of a step teaches the others.
        zero_gamma: Whether norms at the end of residual blocks start from 0, so that all options of a block begin as the same
            function. BigNAS has it (arXiv:2003.11142); without it single paths learn little for hundreds of steps.
        averages: Whether the gradients of a step's candidates are averaged, not summed.
        scheduled: Whether it depends on how many steps there are.
        ahead: Whether the candidates of a step follow from the seed and the step's number alone, and are equally many in every step.
        roles: Kinds of candidates in a step whose training losses are recorded apart; nothing: they are not.
        keeps_teacher: Whether the weights of the largest network at some step are kept, to teach candidates beside the labels.
        needs_start: Whether the training must start from a trained network.
        weighs: Whether it asks what candidates cost beside their multiply-adds.
    """

    distills: ClassVar[bool] = False
    zero_gamma: ClassVar[bool] = True
    averages: ClassVar[bool] = False
    scheduled: ClassVar[bool] = False
    ahead: ClassVar[bool] = False
    roles: ClassVar[tuple[str, ...]] = ()
    keeps_teacher: ClassVar[bool] = False
    needs_start: ClassVar[bool] = False
    weighs: ClassVar[bool] = False

    @property
    def teaches(self) -> bool:
        """Whether candidates learn from another network's answers."""
        return self.distills or self.keeps_teacher

    @property
    def learns_matrices(self) -> bool:
        """Whether smaller depthwise kernels are made of larger ones by matrices that are trained too."""
        return False

    def changes(self, context: StepContext) -> Changes:
        """What is done to the weights before a step."""
        return Changes()

    def teacher(self, context: StepContext) -> Genome | None:
        """The candidate that teaches those of a step with the weights that were kept; None: labels alone teach."""
        return None

    def full(self, among: Candidates) -> Genome:
        """The largest network."""
        return among.largest

    def genomes(self, context: StepContext) -> Sequence[Genome]:
        """The candidates of a step."""
        raise NotImplementedError

    def role(self, number: int, candidates: int) -> int:
        """The kind, among `roles`, of a candidate of a step."""
        return 0

    def start(self, among: Candidates) -> Kept:
        """What it keeps before the first step."""
        return {}

    def learned(self, context: StepContext) -> Kept:
        """What it keeps after the weights' update of a step; `context` scores with the updated weights."""
        return context.kept

    def chosen(self, among: Candidates, kept: Kept) -> Genome | None:
        """The architecture that a training ends with; None: a strategy chooses none."""
        return None


@dataclass(frozen=True, eq=False)
class Candidates:
    """A space to draw from, and the candidates at its ends."""

    space: Space

    @cached_property
    def smallest(self) -> Genome:
        """The genome of fewest multiply-adds, from the best of some random ones by one gene at a time."""
        return self._climbed(-1)

    @cached_property
    def largest(self) -> Genome:
        """The genome of most multiply-adds, found in the same way."""
        return self._climbed(1)

    @cached_property
    def _costs(self) -> Costs:
        return Costs(self.space)

    def macs(self, genomes: Sequence[Genome] | np.ndarray) -> np.ndarray:
        """Multiply-adds of each."""
        return self._costs(np.asarray(genomes, np.int64))["macs"]

    def _climbed(self, sign: int) -> Genome:
        space, rng = self.space, np.random.default_rng(0)

        def of(genomes: Sequence[Genome]) -> np.ndarray:
            found = self._costs(np.array(genomes, np.int64))
            return sign * np.stack([found["macs"], found["params"]], 1)

        best = [space.sample(rng) for _ in range(CLIMB_FROM)]
        here = max(zip(map(tuple, of(best).tolist()), best, strict=True))
        while near := list(space.neighbors(here[1])):
            there = max(zip(map(tuple, of(near).tolist()), near, strict=True))
            if there[0] <= here[0]:
                break
            here = there
        return here[1]
