"""What a controller itself takes: ask + tell after so many trials, and on average on the way there.

    python benchmarks/controller_seconds.py [controllers=evolution,bayesian] [trials=10000] [guided_trials=1000] [space=accel_nasbench]

Results are made up (a sum of random effects of genes). Counted is processor time, which other programs do not disturb.
Each observes what it asked for. Printed is the median of the last 100 trials' ask + tell, their 95th percentile and the average.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from options import options_of, run
from threadpoolctl import threadpool_limits

from nas.controllers import CONTROLLERS, make_controller
from nas.core.paths import CONF
from nas.core.settings import did_you_mean
from nas.core.yamlio import read_yaml
from nas.cost import Costs
from nas.objectives import Objectives
from nas.problem import Problem
from nas.records import Trial
from nas.space import load_space

GOALS_MS = {"random": 5, "evolution": 5, "nsga2": 5, "local": 5, "mnasnet": 50, "reinforce": 50, "bayesian": 200}
IN_FLIGHT = 4


def seconds_of(name: str, problem: Problem, trials: int) -> np.ndarray:
    """(trials,) seconds of ask + tell."""
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(len(problem.space.genes), int(problem.space.option_counts.max())))
    controller = make_controller(read_yaml(CONF / "controller" / f"{name}.yaml"))
    state, done, seconds = controller.init(problem, 0), [], np.zeros(trials)
    for number in range(trials):
        began = time.process_time()
        if number > IN_FLIGHT:
            state = controller.tell(state, done[number - IN_FLIGHT - 1], np.random.default_rng([0, number, 1]))
        proposal = controller.ask(state, [t.proposal for t in done[-IN_FLIGHT:]], np.random.default_rng([0, number]))
        seconds[number] = time.process_time() - began
        row = np.array(proposal.genome)
        accuracy = 0.7 + 0.002 * float(effects[np.arange(len(row)), row].sum())
        macs = float(problem.costs(row[None])["macs"][0])
        done.append(Trial.of(number, proposal, "", outcome="ok", metrics={"accuracy": accuracy, "macs": macs}))
    return seconds


def main(arguments: Sequence[str]) -> int:
    defaults = {"controllers": ",".join(GOALS_MS), "trials": "10000", "guided_trials": "1000", "space": "accel_nasbench"}
    options = options_of(arguments, defaults)
    space = load_space(options["space"])
    costs = Costs(space)
    objectives = Objectives((("accuracy", "max"), ("macs", "min")), cost="macs", target=300e6)
    problem = Problem(space, objectives, costs, costs.features)
    for name in options["controllers"].split(","):
        if name not in CONTROLLERS:
            raise ValueError(f"controllers: unknown {name!r}{did_you_mean(name, CONTROLLERS)}")
        with threadpool_limits(1):
            found = 1000 * seconds_of(name, problem, int(options["guided_trials" if name == "bayesian" else "trials"]))
        goal = f", expected at most {GOALS_MS[name]}" if name in GOALS_MS else ""
        print(
            f"{name:10s} {len(found):6d} trials: last 100 {np.median(found[-100:]):7.2f} ms (95 %: {np.percentile(found[-100:], 95):.2f}), "
            f"average {found.mean():7.2f} ms{goal}", flush=True,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    run(main)
