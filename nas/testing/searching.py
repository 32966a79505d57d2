"""A search without a journal, over made-up spaces whose costs are known: what the laws of controllers run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from nas.controllers.base import Controller
from nas.objectives import Objectives
from nas.problem import Problem
from nas.records import Proposal, Trial
from nas.space import Genome, Space

# The same code with less work a proposal.
LIGHT = {"bayesian": {"population": 30, "generations": 6, "finalists": 30, "draws": 8}}

MBCONV = {"op": "mbconv", "expand": 3, "width": 8, "stride": 1, "act": "relu"}

EXPAND = {"one_of": [3, 6], "when": {"op": "mbconv"}}

STAGE = {
    "op": {"one_of": ["sepconv", "mbconv"]},
    "kernel": {"one_of": [3, 5, 7]},
    "expand": EXPAND,
    "repeat": {"one_of": [1, 2, 3]},
}

OBJECTIVES = Objectives((("accuracy", "max"), ("params", "min")), reward="first")


@cache
def space_of(kind: str) -> Space:
    """A made-up space: `one`, `three` or `twelve` genomes, `conditional` genes, `forbidding` combinations, or `large`."""
    stages: dict[str, list[dict[str, Any]]] = {
        "one": [MBCONV],
        "three": [{**MBCONV, "kernel": {"one_of": [3, 5, 7]}}],
        "twelve": [{**MBCONV, "kernel": {"one_of": [3, 5, 7]}, "expand": {"one_of": [1, 2, 3, 4]}}],
        "conditional": [{**MBCONV, **STAGE}, {**MBCONV, **STAGE}],
        "forbidding": [{**MBCONV, **STAGE}, {**MBCONV, **STAGE}],
        "large": [{**MBCONV, **STAGE, "se": {"one_of": [0, 0.25]}, "width": {"one_of": [8, 16]}}] * 4,
    }
    forbid = [{"stages[0].op": "mbconv", "stages[1].kernel": [3, 5]}, {"stages[0].kernel": 7}, {"stages[1].expand": 6}]
    return Space.from_dict(
        {
            "name": kind,
            "resolution": 16,
            "stem": {"op": "conv", "kernel": 3, "stride": 1, "width": 8, "act": "relu"},
            "stages": stages[kind],
            "head": {"op": "classifier", "width": 16, "act": "relu", "dropout": 0},
            "forbid": forbid if kind == "forbidding" else [],
        },
        kind,
    )


def problem_of(kind: str, limit: float | None = None) -> Problem:
    """A space whose params are made up: the sum of the options, so that `limit` leaves a known few."""
    limits = (("params", limit),) if limit is not None else ()
    objectives = Objectives(OBJECTIVES.metrics, limits, reward="first")
    return Problem(space_of(kind), objectives, lambda genomes: {"params": genomes.sum(axis=1)})


def outcome_ok(number: int, genome: Genome) -> dict[str, Any]:
    """The fields of a trial that ended well."""
    return {"outcome": "ok", "metrics": {"accuracy": 0.5 + 0.01 * sum(genome), "params": 1.0}}


def search(
    controller: Controller[Any],
    problem: Problem,
    trials: int,
    seed: int = 0,
    in_flight: int = 4,
    outcome: Callable[[int, Genome], Mapping[str, Any]] = outcome_ok,
) -> list[Trial]:
    """The loop without its journal: proposal n is asked after trials 0 ... n - in_flight - 1 were observed."""
    state, done = controller.init(problem, seed), []
    for number in range(trials):
        if number > in_flight:
            state = tell(controller, state, done[number - in_flight - 1], seed)
        pending = [trial.proposal for trial in done[max(number - in_flight, 0) :]]
        done.append(finished(number, ask(controller, state, pending, seed, number), outcome))
    return done


def ask(controller: Controller[Any], state: Any, pending: Sequence[Proposal], seed: int, number: int) -> Proposal:
    """Proposal `number`, with the generator that a search gives to it."""
    return controller.ask(state, pending, np.random.default_rng([seed, number]))


def tell(controller: Controller[Any], state: Any, trial: Trial, seed: int) -> Any:
    """The state after a trial, with the generator that a search gives to it."""
    return controller.tell(state, trial, np.random.default_rng([seed, trial.number, 1]))


def finished(number: int, proposal: Proposal, outcome: Callable[[int, Genome], Mapping[str, Any]]) -> Trial:
    """The trial as the journal would give it back: its note has been JSON."""
    note = json.loads(json.dumps(dict(proposal.note), allow_nan=False))
    trial = Trial.of(number, Proposal(proposal.genome, proposal.fidelity, proposal.parent, note), str(proposal.genome))
    return Trial(**{**vars(trial), **outcome(number, proposal.genome)})
