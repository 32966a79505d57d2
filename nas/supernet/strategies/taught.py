"""A sandwich around a trained network, which stays as it was and teaches all candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nas.space import Genome
from nas.supernet.strategies.base import Changes, StepContext
from nas.supernet.strategies.sandwich import Sandwich


@dataclass(frozen=True)
class Taught(Sandwich):
    """`strategy=taught`: the candidates of `sandwich`, which all learn from the labels and from the network that the training starts from.

    That network is the largest one with the weights of `start`, which stay as they are; in `sandwich` it changes with its
    students. For few images, where labels alone spoil what pretrained weights know. With `recipe.match_features` the candidates follow
    its last feature map too.

    Args:
        random: How many random candidates a step has.

    Source:
        The sandwich: BigNAS, Yu et al. 2020 (arXiv:2003.11142); a teacher that is trained before: once-for-all, Cai et al. 2020
        (arXiv:1908.09791).
    """

    ahead: ClassVar[bool] = False
    distills: ClassVar[bool] = False
    keeps_teacher: ClassVar[bool] = True
    needs_start: ClassVar[bool] = True

    def changes(self, context: StepContext) -> Changes:
        return Changes(teacher=context.step == 0)

    def teacher(self, context: StepContext) -> Genome:
        return context.among.largest
