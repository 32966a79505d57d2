"""The laws of controllers: one function each in `CONTROLLER_LAWS`, and `check_controller` for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nas.controllers import make_controller
from nas.controllers.base import Controller
from nas.problem import LISTED
from nas.records import Trial
from nas.space import Genome
from nas.testing.require import require
from nas.testing.searching import ask, outcome_ok, problem_of, search, space_of, tell

Law = Callable[[Controller[Any]], None]
FAILURES: dict[str, dict[str, Any]] = {
    "nan": {"outcome": "nan", "error": "loss is nan", "metrics": {"accuracy": float("nan")}},
    "oom": {"outcome": "oom", "error": "out of memory", "metrics": {"params": 5.0}},
    "infeasible": {"outcome": "infeasible", "error": "params 9 > limit 3", "metrics": {"params": 9.0}},
    "lost": {"outcome": "lost", "metrics": {}},
    "ok without a result": {"outcome": "ok", "metrics": {}},
    "ok but nan": {"outcome": "ok", "metrics": {"accuracy": float("nan"), "params": 5.0}},
    "ok but infinite": {"outcome": "ok", "metrics": {"accuracy": float("inf"), "params": 5.0}},
}


def genomes(trials: Sequence[Trial]) -> list[Genome]:
    """Their genomes."""
    return [trial.genome for trial in trials]


def has_fidelities(controller: Controller[Any]) -> None:
    law = "fidelities is a tuple of Fidelity, and proposals name one of them"
    count = len(controller.fidelities)
    for trial in search(controller, problem_of("conditional"), 8):
        require(0 <= trial.fidelity < max(count, 1), law, f"{trial.fidelity} of {count}")


def same_seed_same_proposals(controller: Controller[Any]) -> None:
    problem = problem_of("conditional")
    one, other = (genomes(search(controller, problem, 45)) for _ in range(2))
    require(one == other, "the same seed gives the same proposals", lambda: _first_difference(one, other))


def other_seeds_other_proposals(controller: Controller[Any]) -> None:
    problem = problem_of("conditional")
    one, other = (genomes(search(controller, problem, 8, seed=seed)) for seed in (1, 2))
    require(one != other, "another seed gives other proposals", f"both give {one}")


def proposals_are_canonical_and_allowed(controller: Controller[Any]) -> None:
    for kind in ("conditional", "forbidding", "large"):
        space = space_of(kind)
        for trial in search(controller, problem_of(kind), 30):
            found, where = trial.genome, f"proposal {trial.number} in the space {kind}: {trial.genome}"
            require(all(type(option) is int for option in found), "genomes are tuples of Python's int", where)
            require(space.canonical(found) == found, "proposals are canonical (space.canonical)", where)
            require(space.allowed(found), "proposals are allowed (space.allowed)", where)
            space.decode(found)


def replay_equals_continue(controller: Controller[Any]) -> None:
    """A state rebuilt from the trials of another search gives the proposal that this one gave."""
    law = "a state rebuilt by telling the same trials gives the same proposal"
    problem = problem_of("conditional")
    trials = search(controller, problem, 46)
    for observed in (0, 3, 26, 41):
        state = controller.init(problem, 0)
        for trial in trials[:observed]:
            state = tell(controller, state, trial, 0)
        pending = [trial.proposal for trial in trials[observed : observed + 4]]
        again, last = ask(controller, state, pending, 0, observed + 4), trials[observed + 4]
        found, expected = ((x.genome, x.parent, x.note) for x in (again, last))
        require(found == expected, law, f"after {observed} trials expected {expected}, got {found}")


def tell_leaves_the_old_state(controller: Controller[Any]) -> None:
    problem = problem_of("conditional")
    state, kept = controller.init(problem, 0), []
    for trial in search(controller, problem, 50):
        if trial.number % 7 == 0:
            kept.append((state, ask(controller, state, [], 0, 99)))
        state = tell(controller, state, trial, 0)
    for state, proposal in kept:
        found = ask(controller, state, [], 0, 99)
        require(found == proposal, "tell leaves the old state as it was", f"expected {proposal}, got {found}")


def ask_leaves_the_state(controller: Controller[Any]) -> None:
    problem = problem_of("conditional")
    state = controller.init(problem, 0)
    for trial in search(controller, problem, 25):
        state = tell(controller, state, trial, 0)
    first = ask(controller, state, [], 0, 30)
    ask(controller, state, [first], 0, 31)
    again = ask(controller, state, [], 0, 30)
    require(again == first, "ask leaves the state as it was", f"expected {first}, got {again}")


def nothing_is_proposed_twice(controller: Controller[Any]) -> None:
    for kind in ("twelve", "forbidding"):
        size = min(space_of(kind).size, 40)
        for in_flight in (0, 1, 4):
            trials = search(controller, problem_of(kind), size, in_flight=in_flight)
            different = len({(trial.genome, trial.fidelity) for trial in trials})
            where = f"{different} of {size} proposals differ in the space {kind}, {in_flight} in flight"
            require(different == size, "nothing is proposed twice while there is more", where)


def pending_are_not_repeated(controller: Controller[Any]) -> None:
    problem = problem_of("twelve")
    state, pending = controller.init(problem, 0), []
    for number in range(12):
        pending.append(ask(controller, state, pending, 0, number))
    different = len({proposal.genome for proposal in pending})
    require(different == 12, "what is pending is not proposed again", f"{different} of 12 differ")


def failed_trials_survive(controller: Controller[Any]) -> None:
    """All trials fail, or every third, in all the ways that there are, in turn."""
    kinds, problem, space = [*FAILURES.values()], problem_of("conditional"), space_of("conditional")
    for every in (1, 3):

        def outcome(number: int, genome: Genome, every: int = every) -> Mapping[str, Any]:
            return kinds[number // every % len(kinds)] if number % every == 0 else outcome_ok(number, genome)

        for genome in genomes(search(controller, problem, 45, outcome=outcome)):
            require(space.allowed(genome), "proposals stay allowed where trials fail", f"one in {every}: {genome}")


def one_kind_of_failure_survives(controller: Controller[Any]) -> None:
    """Trials of a random search, observed without asking: the state that comes of them gives an allowed proposal."""
    problem, space = problem_of("conditional"), space_of("conditional")
    for kind, failure in FAILURES.items():
        random = search(make_controller({"name": "random"}), problem, 45, outcome=lambda n, g, failure=failure: failure)
        state = controller.init(problem, 0)
        for trial in random:
            state = tell(controller, state, trial, 0)
        found = ask(controller, state, [], 0, 45).genome
        require(space.allowed(found), "a state of failures alone still proposes", f"{kind}: {found}")


def repeats_and_foreign_trials_are_observed(controller: Controller[Any]) -> None:
    """The journal answers repeats; enqueued networks were never asked for, so they have no note."""
    problem = problem_of("conditional")
    state, genome = controller.init(problem, 0), space_of("conditional").sample(np.random.default_rng(5))
    for number in range(45):
        repeat_of = None if number == 0 else 0
        trial = Trial(number, genome, "a", note={"enqueued": True}, repeat_of=repeat_of, **outcome_ok(number, genome))
        state = tell(controller, state, trial, 0)
    proposal = ask(controller, state, [], 0, 45)
    different = proposal.genome != genome or proposal.fidelity
    require(different, "a network that was enqueued is not proposed again", f"{genome}")


def small_spaces_end(controller: Controller[Any]) -> None:
    for kind, size in (("one", 1), ("three", 3)):
        found, space = genomes(search(controller, problem_of(kind), 30)), space_of(kind)
        law, where = "a search longer than its space proposes all of it, once each at first", f"{size} genomes: {found}"
        require(set(found) == set(space.enumerate()) and len(set(found[:size])) == size, law, where)


def few_feasible_points_are_found(controller: Controller[Any]) -> None:
    """In the small space all of the few are proposed first; in the large one (1 % feasible) most proposals are."""
    for kind, limit in (("conditional", 1), ("large", 7)):
        problem = problem_of(kind, limit)
        listed = problem.space.size <= LISTED
        trials = search(controller, problem, 20 if listed else 12)
        feasible = problem.feasible([*dict.fromkeys(genomes(trials))]).sum()
        least = problem.feasible([*problem.space.enumerate()]).sum() if listed else 9
        found = f"{feasible} of {len(trials)} proposals in the space {kind}, expected {least}"
        require(feasible >= least, "genomes that satisfy the constraints are proposed first", found)


def no_feasible_point_ends(controller: Controller[Any]) -> None:
    """Nothing satisfies the constraint: proposals come all the same, and the search turns each away by name."""
    trials = search(controller, problem_of("large", limit=-1), 6, outcome=lambda number, genome: FAILURES["infeasible"])
    require(len(trials) == 6, "proposals come also where no genome satisfies the constraints")


def nine_in_ten_failing_survive(controller: Controller[Any], count: int = 100) -> None:
    kinds = [*FAILURES.values()]

    def outcome(number: int, genome: Genome) -> Mapping[str, Any]:
        return outcome_ok(number, genome) if number % 10 == 9 else kinds[number % len(kinds)]

    trials = search(controller, problem_of("large"), count, outcome=outcome)
    different = len({(trial.genome, trial.fidelity) for trial in trials})
    law = "nothing is proposed twice where nine in ten trials fail"
    require(different == count, law, f"{different} of {count} differ")


CONTROLLER_LAWS: tuple[Law, ...] = (
    has_fidelities,
    same_seed_same_proposals,
    other_seeds_other_proposals,
    proposals_are_canonical_and_allowed,
    replay_equals_continue,
    tell_leaves_the_old_state,
    ask_leaves_the_state,
    nothing_is_proposed_twice,
    pending_are_not_repeated,
    failed_trials_survive,
    one_kind_of_failure_survives,
    repeats_and_foreign_trials_are_observed,
    small_spaces_end,
    few_feasible_points_are_found,
    no_feasible_point_ends,
    nine_in_ten_failing_survive,
)


def check_controller(controller: Mapping[str, object] | Controller[Any]) -> None:
    """Checks the laws of controllers, about a thousand proposals in made-up spaces.

    Args:
        controller: Settings such as `{"name": "evolution"}`, after the plugin that has it was loaded, or the object.

    Raises:
        AssertionError: Naming the law that is broken and where.
        ValueError: For wrong settings.

    Example:
        >>> from nas.testing import check_controller
        >>> check_controller({"name": "random"})
    """
    made = make_controller(controller) if isinstance(controller, Mapping) else controller
    for law in CONTROLLER_LAWS:
        law(made)


def _first_difference(one: Sequence[Genome], other: Sequence[Genome]) -> str:
    return next(f"proposal {i}: {a}, then {b}" for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
