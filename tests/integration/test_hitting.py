"""One search ends at the latency that was asked for: with the absolute reward, or with a constraint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas.controllers import make_controller
from nas.cost import Costs
from nas.objectives import Objectives
from nas.problem import Problem
from nas.space import Genome
from nas.testing.searching import search, space_of

SPACE = space_of("large")
COSTS = Costs(SPACE)
ABSOLUTE = Objectives((("accuracy", "max"), ("macs", "min")), reward="absolute", cost="macs")


def metrics_of(genome: Genome) -> dict[str, float]:
    """Ten times the cost buys six points of accuracy, genes give up to a point of their own."""
    macs = float(COSTS(np.array([genome]))["macs"][0])
    return {"accuracy": 0.4 + 0.06 * np.log10(macs) + 0.0005 * sum(genome[::3]), "macs": macs}


def outcome(number: int, genome: Genome) -> Mapping[str, Any]:
    return {"outcome": "ok", "metrics": metrics_of(genome)}


@pytest.mark.parametrize("share", [0.25, 0.75])
@pytest.mark.parametrize("settings", [{"name": "evolution"}, {"name": "reinforce"}, {"name": "local", "reward": True}])
def test_the_absolute_reward_ends_at_the_target(settings: dict[str, Any], share: float) -> None:
    rng = np.random.default_rng(0)
    target = float(np.quantile(COSTS(np.array([SPACE.sample(rng) for _ in range(300)]))["macs"], share))
    objectives = replace(ABSOLUTE, target=target)
    trials = search(make_controller(settings), Problem(SPACE, objectives, COSTS, COSTS.features), 150, outcome=outcome)
    best = max(trials, key=lambda trial: objectives.reward_of(trial.metrics))
    assert 0.9 * target <= best.metrics["macs"] <= 1.02 * target


@pytest.mark.parametrize("name", ["evolution", "local"])
def test_a_hard_limit_is_kept_and_used(name: str) -> None:
    rng = np.random.default_rng(0)
    limit = float(np.median(COSTS(np.array([SPACE.sample(rng) for _ in range(300)]))["macs"]))
    objectives = Objectives(ABSOLUTE.metrics, (("macs", limit),), reward="first")
    trials = search(make_controller({"name": name}), Problem(SPACE, objectives, COSTS, COSTS.features), 150, outcome=outcome)
    best = max(trials, key=lambda trial: trial.metrics["accuracy"])
    assert 0.9 * limit <= best.metrics["macs"] <= limit
