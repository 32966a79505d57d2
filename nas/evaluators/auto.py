"""`evaluator=auto`, the default: the evaluator that makes a search the fastest, by the measurements in docs/guides/training.md.

All choices train alike and differ in what they compile, so that the choice changes seconds and the last digits of results. It is made
once, before a run begins, and recorded as the run's evaluator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from nas.arch import Arch
from nas.cost import cost
from nas.evaluators.base import Capabilities, Context, Evaluator, EvaluatorSettings, Search
from nas.evaluators.scratch import KeepsWeights, ScratchSettings
from nas.evaluators.switched import SwitchedSettings
from nas.records import JSON
from nas.space import Space

SMALL_MACS = 100e6  # of an image: networks whose steps on an accelerator take less than their compilation, by far
KINDS: Mapping[str, type[KeepsWeights]] = {"scratch": ScratchSettings, "switched": SwitchedSettings}
FEW = 8  # trials, for which one program of a whole space is not worth its compilation


@dataclass(frozen=True)
class AutoSettings(EvaluatorSettings):
    """`evaluator=auto`: `scratch` or `switched`, whichever is faster for this search on this machine.

    Args:
        keep_weights: As of `scratch`.
    """

    capabilities: ClassVar[Capabilities] = replace(ScratchSettings.capabilities, inherits_weights=False, teachers=False)

    keep_weights: bool = True

    def decided(self, search: Search) -> tuple[Mapping[str, JSON], str]:
        """See `EvaluatorSettings.decided`."""
        name, why = chosen(search)
        return {"name": name, **dataclasses.asdict(KINDS[name](keep_weights=self.keep_weights))}, f"evaluator {name}: {why}"

    def make(self, context: Context) -> Evaluator:
        return ScratchSettings(keep_weights=self.keep_weights).make(context)


def chosen(search: Search) -> tuple[str, str]:
    """The name of an evaluator and why it is, in a few words.

    Example:
        >>> from nas import load_space
        >>> chosen(Search(load_space("tiny"), 24, backend="gpu"))
        ('switched', 'one program for all networks, which are small for a gpu')
    """
    if search.special:
        return "scratch", "what is asked of trainings it alone can do"
    if (platform := search.platform) == "cpu":
        return "scratch", "each network by itself is the fastest on a CPU"
    if search.trials < FEW:
        return "scratch", f"fewer than {FEW} trials"
    if cost(largest(search.space)).macs > SMALL_MACS:
        return "scratch", f"networks of more than {SMALL_MACS / 1e6:.0f} M multiply-adds"
    if refused := _refused(search.space):
        return "scratch", f"one program cannot hold the space ({refused})"
    return "switched", f"one program for all networks, which are small for a {platform}"


def largest(space: Space) -> Arch:
    """The architecture of the last options, which spaces have as their largest."""
    return space.decode(space.canonical([len(gene.options) - 1 for gene in space.genes]))


def _refused(space: Space) -> str:
    """Why `switched` refuses a space; nothing where it does not."""
    try:
        SwitchedSettings().check(space)
    except ValueError as error:
        return str(error)
    return ""
