"""Whether this checkout trains as fast as an earlier one: steps of networks, and whole candidates, in turns.

    NPROC=2 python benchmarks/against.py before=<another checkout, with its .venv> [networks=..] [rounds=15] [candidates=6] [arms=scratch]

Both checkouts run their own benchmarks/train_step.py and candidates_per_hour.py. A ratio above 1 says that this one is faster: the median
over rounds for steps, and all candidates together, compilation among it, by the wall clock and by processor seconds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from options import options_of, run
from turns import Arm

STEPS = "tiny,nas_bench_macro_11221122,mobilenet_v3_small_32,mobilenet_v3_small_96"
CANDIDATES = {"space": "tiny", "dataset": "digits", "few": 0, "images": 1000, "epochs": 2, "batch": 64, "threads": 2, "arms": []}
HERE = Path(__file__).resolve().parent.parent


def arms(before: Path, script: str, arguments: Sequence[object]) -> dict[str, Arm]:
    return {
        name: Arm(str(root / "benchmarks" / script), arguments, python=str(root / ".venv/bin/python"))
        for name, root in (("before", before), ("now", HERE))
    }


def steps(before: Path, network: str, rounds: int) -> None:
    made = arms(before, "train_step.py", (network, "ours", 64, 5, 2))
    turns = [{name: arm.turn() for name, arm in made.items()} for _ in range(rounds)]
    ratios = sorted(turn["before"] / turn["now"] for turn in turns)
    ms = {name: statistics.median(turn[name] for turn in turns) for name in made}
    print(f"{network}: {statistics.median(ratios):.3f} (quarters {ratios[rounds // 4]:.3f}, {ratios[-1 - rounds // 4]:.3f}), "
          f"{ms['before']:.2f} ms before, {ms['now']:.2f} now", flush=True)  # fmt: skip
    close(made)


def candidates(before: Path, arm: str, count: int) -> None:
    made = arms(before, "candidates_per_hour.py", (arm, json.dumps({**CANDIDATES, "networks": count})))
    turns = [{name: process.turn(i) for name, process in made.items()} for i in range(count)]

    def ratio(clock: str) -> float:
        return sum(turn["before"][clock] for turn in turns) / sum(turn["now"][clock] for turn in turns)

    each = {name: statistics.fmean(turn[name]["wall_s"] for turn in turns) for name in made}
    print(f"{count} candidates, {arm}: {ratio('wall_s'):.3f} by the clock, {ratio('cpu_s'):.3f} of processors, "
          f"{each['before']:.1f} s each before, {each['now']:.1f} now", flush=True)  # fmt: skip
    close(made)


def close(made: Mapping[str, Arm]) -> None:
    for process in made.values():
        process.close()


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, {"before": "", "networks": STEPS, "rounds": "15", "candidates": "6", "arms": "scratch"})
    before = Path(options["before"]).resolve()
    if not options["before"] or not (before / "benchmarks/train_step.py").is_file():
        raise ValueError("before: name another checkout of this project, with its .venv")
    for network in filter(None, options["networks"].split(",")):
        steps(before, network, int(options["rounds"]))
    for arm in filter(None, options["arms"].split(",")):
        candidates(before, arm, int(options["candidates"]))
    return 0


if __name__ == "__main__":
    run(main)
