"""Once-for-all: the largest network first, then kernels, depths and widths are made elastic one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from nas.space import Genome, Hole, Space
from nas.supernet.strategies.base import WIDTHS, Candidates, Changes, StepContext, Strategy

PHASES = ("largest", "kernel", "depth 1", "depth 2", "expand 1", "expand 2")
KERNEL, DEPTH, WIDTH = (
    1,
    2,
    4,
)  # phases from which choices of a kind are open; the first of two opens the two largest options
TRIES = 100


@dataclass(frozen=True)
class Shrinking(Strategy):
    """`strategy=shrinking`: progressive shrinking, which opens more and more options.

    The phases are: the largest network alone; then kernels, and all choices that are no sizes; the two largest depths; all depths; the
    two largest widths; all widths. Resolutions are open from the start. After the first phase every candidate learns from the labels and
    from the largest network as it was then. When widths open, hidden channels of the largest network are put in the order of their
    importance, after which the optimizer begins anew; when the rest of them opens, the widths trained so far keep their channels.

    One schedule of the learning rate goes over all phases.

    Args:
        shares: Of all steps, that each phase has, in any unit.
        candidates: Of a step, whose gradients are summed, in each phase.
        matrices: Whether a smaller depthwise kernel is the center of the next larger one times a matrix, which is trained too; else
            it is the center.

    Source:
        Once-for-all: Cai et al. 2020 (arXiv:1908.09791), shares and candidates of its published code.
    """

    scheduled: ClassVar[bool] = True
    keeps_teacher: ClassVar[bool] = True

    shares: tuple[float, ...] = (180, 120, 25, 120, 25, 120)
    candidates: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    matrices: bool = True

    def __post_init__(self) -> None:
        for key in ("shares", "candidates"):
            if len(getattr(self, key)) != len(PHASES):
                raise ValueError(
                    f"{key}: expected {len(PHASES)} numbers, for {', '.join(PHASES)}, got {len(getattr(self, key))}"
                )
        if not all(0 <= share < float("inf") for share in self.shares) or not sum(self.shares):
            raise ValueError(f"shares: expected 0 or more each, and not 0 alone, got {list(self.shares)}")
        if min(self.candidates) < 1:
            raise ValueError(f"candidates: expected 1 or more each, got {list(self.candidates)}")

    @property
    def learns_matrices(self) -> bool:
        return self.matrices

    def phase(self, step: int, steps: int) -> int:
        """Number of the phase that a step is in, from 0."""
        ends = [round(steps * end / sum(self.shares)) for end in accumulate(self.shares)]
        return min(sum(step >= end for end in ends), len(PHASES) - 1)

    def changes(self, context: StepContext) -> Changes:
        now, among = self.phase(context.step, context.steps), context.among
        before = self.phase(context.step - 1, context.steps) if context.step else 0
        inner = None
        if before < WIDTH <= now:
            inner = self.full(among)
        elif before < WIDTH + 1 <= now:
            inner = self.full(among, WIDTH)
        return Changes(teacher=before == 0 < now, inner=inner)

    def teacher(self, context: StepContext) -> Genome | None:
        """The largest network, at the resolution of the step."""
        return self._sized(context, self.full(context.among)) if self.phase(context.step, context.steps) else None

    def genomes(self, context: StepContext) -> Sequence[Genome]:
        space, now, rng = context.among.space, self.phase(context.step, context.steps), context.rng()
        options = opened(context.among, now)

        def drawn() -> Genome:
            for _ in range(TRIES):
                genome = self._sized(context, space.canonical([one[rng.integers(len(one))] for one in options]))
                if space.allowed(genome):
                    return genome
            return self.full(context.among)

        return [drawn() for _ in range(self.candidates[now])]

    def full(self, among: Candidates, narrow: int = 0) -> Genome:
        """The largest network; `narrow`: with the least widths that are open in this phase."""
        widths = [kind == WIDTH for kind in kinds(among.space)]
        options = opened(among, narrow)
        row = [one[-1] if wide else one[0] for one, wide in zip(options, widths, strict=True)]
        genome = among.space.canonical(row)
        return genome if among.space.allowed(genome) else among.largest

    def _sized(self, context: StepContext, genome: Genome) -> Genome:
        """The genome at the resolution of the step, which is that of all its candidates."""
        gene = context.among.space.resolution
        if not isinstance(gene, Hole):
            return genome
        option = int(context.rng(4).integers(len(context.among.space.genes[gene.gene].options)))
        sized = context.among.space.canonical([option if i == gene.gene else one for i, one in enumerate(genome)])
        return sized if context.among.space.allowed(sized) else genome


def kinds(space: Space) -> list[int]:
    """Of each gene, the phase in which it opens."""
    found = [KERNEL] * len(space.genes)
    for pairs in (space.stem, space.head, *(layer for stage in space.stages for layer in stage.layers)):
        for key, value in pairs:
            if isinstance(value, Hole) and key in WIDTHS:
                found[value.gene] = WIDTH
    for value in [stage.repeat for stage in space.stages]:
        if isinstance(value, Hole):
            found[value.gene] = DEPTH
    if isinstance(space.resolution, Hole):
        found[space.resolution.gene] = 0
    return found


def opened(among: Candidates, phase: int) -> list[list[int]]:
    """Of each gene, the options that are open in a phase, the largest first, or that of the largest candidate."""
    space, found = among.space, list[list[int]]()
    for gene, (kind, largest) in enumerate(zip(kinds(space), among.largest, strict=True)):
        options = space.genes[gene].options
        numbers = all(isinstance(one, int | float) for one in options)
        order = sorted(range(len(options)), key=lambda i: -options[i] if numbers else i != largest)
        most = len(order) if kind <= phase else 1
        found.append(order[:2] if kind in (DEPTH, WIDTH) and phase == kind else order[:most])
    return found
