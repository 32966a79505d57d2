"""The loop against an executor that ends jobs in any order, loses them, or stops the driver in the middle."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.controllers import CONTROLLERS, make_controller
from nas.cost import Costs
from nas.journal import Journal, diff
from nas.objectives import Objectives
from nas.runtime.base import JobEvent
from nas.space import Space
from nas.workflows.search.feasibility import check_feasible
from nas.workflows.search.loop import Search, SearchSettings
from search_fakes import AXES, ONLY, TINY, Killed, Shuffled, Silent, problem


def run(
    path: Path,
    executor: Any,
    trials: int = 24,
    space: Space = TINY,
    controller: str = "evolution",
    objectives: Objectives = AXES,
    **settings: Any,
) -> str:
    with Journal.open(path) if path.exists() else Journal.create(path) as journal:
        made = make_controller({"name": controller})
        return Search(problem(space, objectives), made, journal, executor, SearchSettings(**settings), 5, Silent()).run(
            trials
        )


@pytest.mark.parametrize("controller", ["random", "evolution", "mnasnet"])
def test_one_seed_one_sequence_whatever_the_workers_and_however_often_killed(tmp_path: Path, controller: str) -> None:
    run(tmp_path / "calm", Shuffled(0, 1), controller=controller)
    rng, kill = np.random.default_rng(1), 0
    for kill in range(100):
        try:
            run(
                tmp_path / "rough",
                Shuffled(kill, 1 + kill % 4, lose=0.1, polls=int(rng.integers(1, 9))),
                controller=controller,
                retries=99,
            )
        except Killed:
            continue
        break
    with Journal.open(tmp_path / "calm") as calm, Journal.open(tmp_path / "rough") as rough:
        assert diff(calm, rough) == []
        assert kill > 3
        assert len(calm.trials()) >= 24
        assert any(trial.outcome == "nan" for trial in calm.trials())
        assert len(rough.evaluations()) == sum(trial.repeat_of is None for trial in rough.trials())


def test_another_number_in_flight_is_another_sequence(tmp_path: Path) -> None:
    run(tmp_path / "a", Shuffled(0, 2), in_flight=1, trials=60)
    run(tmp_path / "b", Shuffled(0, 2), in_flight=8, trials=60)
    with Journal.open(tmp_path / "a") as a, Journal.open(tmp_path / "b") as b:
        assert diff(a, b) != []


def test_more_trials_resume_as_if_asked_for_at_once(tmp_path: Path) -> None:
    run(tmp_path / "once", Shuffled(0, 2), trials=30)
    run(tmp_path / "twice", Shuffled(1, 3), trials=13)
    run(tmp_path / "twice", Shuffled(2, 1), trials=30)
    with Journal.open(tmp_path / "once") as once, Journal.open(tmp_path / "twice") as twice:
        assert diff(once, twice) == []


def test_a_trial_that_is_always_lost_is_given_up(tmp_path: Path) -> None:
    run(tmp_path / "j", Shuffled(0, 2, lose=1.0), trials=3, retries=2)
    with Journal.open(tmp_path / "j") as journal:
        assert [trial.outcome for trial in journal.trials()] == ["lost"] * 3
        assert all(trial.attempts == 3 and "made up" in trial.error for trial in journal.trials())
        assert len(journal.events("retry")) == 9


def test_infeasible_trials_do_not_count_and_are_observed(tmp_path: Path) -> None:
    limit = replace(AXES, constraints=(("params", 30_000.0),))

    class Blind:
        fidelities = ()

        def init(self, problem: Any, seed: int) -> Any:
            return problem.space

        def ask(self, state: Any, pending: Any, rng: np.random.Generator) -> Any:
            from nas.records import Proposal

            return Proposal(state.sample(rng))

        def tell(self, state: Any, trial: Any, rng: Any) -> Any:
            return state

    with Journal.create(tmp_path / "j") as journal:
        Search(problem(TINY, limit), Blind(), journal, Shuffled(0, 2), SearchSettings(), 0, Silent()).run(10)
        trials = journal.trials()
        infeasible = [trial for trial in trials if trial.outcome == "infeasible"]
        assert infeasible
        assert all("params" in trial.error and trial.metrics["params"] > 30_000 for trial in infeasible)
        assert sum(trial.outcome != "infeasible" and trial.repeat_of is None for trial in trials) == 10


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_space_of_one_ends_with_a_reason(tmp_path: Path, controller: str) -> None:
    """Where trainings differ in length, the one architecture is promoted to the others before that."""
    space = Space.from_dict(ONLY, "one.yaml").fit(8, 1, 10)
    text = "were repeats" if controller == "asha" else "all 1 architectures"
    assert text in run(tmp_path / "j", Shuffled(0, 2), space=space, controller=controller, max_infeasible=20)


ROUNDED = {
    "name": "rounded", "resolution": 8, "divisor": 8, "stem": {"op": "conv", "width": 8}, "head": {"op": "classifier"},
    "stages": [{"op": "conv", "width": {"one_of": [6, 7, 8, 9, 10, 12, 14, 16]}, "kernel": {"one_of": [1, 3, 5]}}] * 2,
}  # fmt: skip


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_no_architecture_is_proposed_twice_while_others_are_left(tmp_path: Path, controller: str) -> None:
    """Of 576 genomes 36 architectures: widths are rounded."""
    space = Space.from_dict(ROUNDED, "rounded.yaml").fit(8, 1, 10)
    run(tmp_path / "j", Shuffled(0, 2), space=space, controller=controller, trials=20)
    with Journal.open(tmp_path / "j") as journal:
        tried = [(trial.arch_id, trial.fidelity) for trial in journal.trials()]
        assert len(tried) == len(set(tried)) == 20


def test_a_small_space_with_a_limit_ends_with_its_last_architecture_and_resumes_alike(tmp_path: Path) -> None:
    space, limit = Space.from_dict(ROUNDED, "rounded.yaml").fit(8, 1, 10), replace(AXES, constraints=(("params", 2000.0),))
    given: dict[str, Any] = {"space": space, "objectives": limit, "controller": "mnasnet", "trials": 24}
    reason = run(tmp_path / "calm", Shuffled(0, 2), **given)
    assert re.fullmatch(r"all (\d+) architectures within the constraints were tried", reason)
    for polls in range(3, 60, 4):
        with contextlib.suppress(Killed):
            run(tmp_path / "rough", Shuffled(polls, 1, polls=polls), **given)
    with Journal.open(tmp_path / "calm") as calm, Journal.open(tmp_path / "rough") as rough:
        trained = [trial for trial in calm.trials() if trial.outcome != "infeasible" and trial.repeat_of is None]
        assert len(trained) == len({trial.arch_id for trial in trained}) == int(reason.split()[1])
        assert sum(trial.repeat_of is not None for trial in calm.trials()) <= 1
        assert diff(calm, rough) == []


def test_reseed_trains_a_repeat_again(tmp_path: Path) -> None:
    space = Space.from_dict(ONLY, "one.yaml").fit(8, 1, 10)
    run(tmp_path / "j", Shuffled(0, 2), trials=3, space=space, controller="random", repeat="reseed")
    with Journal.open(tmp_path / "j") as journal:
        assert len({e.seed for e in journal.evaluations()}) == 3


def test_a_hung_trial_is_killed_and_recorded(tmp_path: Path) -> None:
    class Hung(Shuffled):
        killed: list[int] = []  # noqa: RUF012

        def poll(self, timeout_s: float) -> Sequence[JobEvent]:
            return [JobEvent(ticket, "started", number=job.number) for ticket, job in self._running.items()]

        def kill(self, ticket: int) -> None:
            self.killed.append(ticket)
            super().kill(ticket)

    now = iter(range(0, 10**9, 10))
    executor = Hung(0, 2)
    with Journal.create(tmp_path / "j") as journal:
        settings = SearchSettings(timeout_s=100)
        Search(
            problem(TINY),
            make_controller({"name": "random"}),
            journal,
            executor,
            settings,
            0,
            Silent(),
            clock=lambda: next(now),
        ).run(3)
        assert [trial.outcome for trial in journal.trials()] == ["timeout"] * 3
    assert len(executor.killed) == 3


def test_limits_that_nothing_meets_are_found_before_the_search() -> None:
    with pytest.raises(ValueError, match=r"objective.constraints: .*params .* > constraint 100"):
        check_feasible(problem(TINY, replace(AXES, constraints=(("params", 100.0),))), 0)
    smallest = min(int(Costs(TINY)(np.array([g]))["params"][0]) for g in [(0,) * len(TINY.genes)])
    check_feasible(problem(TINY, replace(AXES, constraints=(("params", smallest + 1.0),))), 0, samples=5)
