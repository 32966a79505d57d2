"""Searches that cannot go well end all the same, and say why, whatever the controller: the whole loop with its journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.controllers import CONTROLLERS, make_controller
from nas.journal import Journal
from nas.records import Job, Outcome, Trial
from nas.space import Space
from nas.testing.searching import LIGHT, MBCONV
from nas.workflows.search.loop import Search, SearchSettings
from search_fakes import AXES, ONLY, Shuffled, Silent, problem

VARIANTS: dict[str, Mapping[str, Any]] = {
    **{name: {"name": name, **LIGHT.get(name, {})} for name in CONTROLLERS},
    "optuna nsga2": {"name": "optuna", "sampler": "nsga2"},
    "local by reward": {"name": "local", "reward": True},
    "asha over bayesian": {"name": "asha", "base": "bayesian", "base_settings": LIGHT["bayesian"]},
}
GENES = {"kernel": {"one_of": [3, 5, 7]}, "expand": {"one_of": [1, 2, 3, 4]}}


def space_of(layer: Mapping[str, Any], *forbid: Mapping[str, Any]) -> Space:
    return Space.from_dict({**ONLY, "stages": [layer], "forbid": list(forbid)}, "space.yaml").fit(8, 1, 10)


ONE = space_of(MBCONV)
TWELVE = space_of({**MBCONV, **GENES})
FIVE = space_of({**MBCONV, **GENES}, {"stages[0].kernel": 7}, {"stages[0].kernel": 5, "stages[0].expand": [2, 3, 4]})


def fine(job: Job) -> Outcome:
    return Outcome(job.number, "ok", metrics={"accuracy": int(job.arch_id, 16) % 1000 / 1000, "loss": 1.0})


def mostly_failing(job: Job) -> Outcome:
    kind = ("nan", "oom", "error")[job.number % 3]
    return fine(job) if job.number % 10 == 9 else Outcome(job.number, kind, "made up")


def failing(job: Job) -> Outcome:
    """Fails in one of two ways; by itself, a number that is none looks like a success."""
    if job.number % 2:
        return Outcome(job.number, "error", "made up")
    return Outcome(job.number, "ok", metrics={"accuracy": float("nan"), "loss": 1.0})


def search(path: Path, name: str, space: Space, make: Callable[[Job], Outcome], limit: float | None) -> tuple[str, list[Trial]]:
    """The word that a search for 16 trials ends with, and its trials."""
    objectives = replace(AXES, constraints=(("params", limit),)) if limit is not None else AXES
    with Journal.create(path / "j") as journal:
        settings, executor = SearchSettings(max_infeasible=20), Shuffled(0, 2, make=make)
        loop = Search(problem(space, objectives), make_controller(VARIANTS[name]), journal, executor, settings, 0, Silent())
        return loop.run(16), journal.trials()


@pytest.mark.parametrize(
    "space, make, limit, trained, word",
    [
        (ONE, fine, None, 1, "all 1 architectures"),
        (FIVE, mostly_failing, None, 5, "all 5 architectures"),
        (TWELVE, fine, 1.0, 0, "all 0 architectures within the constraints"),
        (TWELVE, failing, None, 12, "all 12 architectures"),
    ],
    ids=["one", "forbidden and mostly failing", "infeasible", "all failing"],
)
@pytest.mark.parametrize("name", VARIANTS)
def test_it_ends_with_a_word(
    memory_path: Path, name: str, space: Space, make: Callable[[Job], Outcome], limit: float | None, trained: int, word: str
) -> None:
    """Every architecture was tried once; trainings of several lengths fill the 16 trials, or no new one is left."""
    reason, trials = search(memory_path, name, space, make, limit)
    assert (reason == "" or "were repeats" in reason) if name.startswith("asha") else word in reason
    found = Counter(trial.genome for trial in trials if trial.outcome != "infeasible" and trial.repeat_of is None)
    assert len(found) == trained
