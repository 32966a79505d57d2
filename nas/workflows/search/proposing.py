"""What a controller proposes, asked again while the architecture was tried: different genomes can mean the same network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nas.arch.blocks import lower
from nas.controllers import Controller
from nas.records import JSON, Proposal
from nas.space import Space

TRIES = 16  # questions for one proposal; the last answer may be a repeat, as where nothing new is left


@dataclass(frozen=True)
class Proposed:
    """A proposal with a canonical genome, and the network that it means."""

    proposal: Proposal
    arch_id: str
    arch: Mapping[str, JSON]


def decoded(space: Space, proposal: Proposal) -> Proposed:
    """The network of a proposal. Raises ValueError where the genome is none of the space."""
    genome = space.canonical(proposal.genome)
    arch = space.decode(genome)
    return Proposed(replace(proposal, genome=genome), lower(arch).id, arch.to_dict())


def ask(
    controller: Controller[Any], state: object, pending: Sequence[Proposal], space: Space, seed: Sequence[int],
    tried: Callable[[str, int], bool],
) -> Proposed:  # fmt: skip
    """The controller's first proposal that was not tried; where all answers were, the first of them.

    A function of its arguments, so that a run that resumes proposes the same: each answer that was tried stands among the
    pending ones of the next question, which a controller does not repeat.

    Args:
        controller: What is asked.
        state: Its state.
        pending: Proposals without a result.
        space: Of the genomes.
        seed: The run's and the trial's number: the source of all randomness.
        tried: Whether an architecture was proposed before at a fidelity.
    """
    first, known = None, list(pending)
    for question in range(TRIES):
        rng = np.random.default_rng([*seed, *([2, question] if question else [])])
        found = decoded(space, controller.ask(state, known, rng))
        if not tried(found.arch_id, found.proposal.fidelity):
            return found
        first = first or found
        known.append(found.proposal)
    assert first is not None
    return first
