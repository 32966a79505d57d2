"""Which evaluator makes a whole search the fastest on this machine: what `evaluator=auto` follows.

    python benchmarks/evaluators.py out=<folder> [spaces=tiny,nas_bench_macro,mobilenet_v3] [trials=24] [rounds=1] [evaluators=..] [--quick]

A run is one `nas search` in a process of its own, on digits, with a cache of compiled programs that is empty (cold) or has those of
the run before (warm). All evaluators take turns in a round; the same trials are proposed in each. Printed are seconds of whole commands by
the wall clock, and those of all processors together, which other work on the machine changes little. A finished run is only read again.
`evaluators=` names them; otherwise the three, and `batched` on an accelerator.
`--quick` takes `tiny` and 4 trials.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from options import options_of, run

from nas.core.accelerators import training_backend

EVALUATORS = "scratch", "layerwise", "switched"
SIDES = {"tiny": 16, "nas_bench_macro": 32, "mobilenet_v3": 64}


def main(arguments: Sequence[str]) -> int:
    defaults = {"out": "", "spaces": ",".join(SIDES), "trials": "24", "rounds": "1", "evaluators": "", "quick": ""}
    options = options_of(arguments, defaults)
    if not options["out"]:
        raise ValueError("out: name a folder for the runs")
    spaces, trials = options["spaces"].split(","), int(options["trials"])
    if options["quick"]:
        spaces, trials = ["tiny"], 4
    folder, evaluators = Path(options["out"]).absolute(), compared(options["evaluators"])
    print("| space | cache | " + " | ".join(evaluators) + " |\n|---|---|" + "---|" * len(evaluators), flush=True)
    for space in spaces:
        took: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(int(options["rounds"])):
            for evaluator in evaluators:
                for cache in ("cold", "warm"):
                    at = folder / f"{space}-{evaluator}-{number}"
                    took.setdefault((cache, evaluator), []).append(searched(at, space, evaluator, cache, trials))
        for cache in ("cold", "warm"):
            print(f"| {space} | {cache} | " + " | ".join(shown(took[cache, evaluator]) for evaluator in evaluators) + " |", flush=True)
    return 0


def compared(given: str) -> tuple[str, ...]:
    """The evaluators to compare; on a CPU `batched` is only correct, so it must be named."""
    if given:
        return tuple(given.split(","))
    return EVALUATORS if training_backend().name == "cpu" else (*EVALUATORS, "batched")


def shown(seconds: Sequence[tuple[float, float]]) -> str:
    if any(wall < 0 for wall, _ in seconds):
        return "refused"
    wall, cpu = (statistics.median(one) for one in zip(*seconds, strict=True))
    return f"{wall:.0f} ({cpu:.0f})"


def searched(at: Path, space: str, evaluator: str, cache: str, trials: int) -> tuple[float, float]:
    """Seconds of one command, by the clock and of all processors; -1 where the evaluator refuses the space."""
    kept = at / f"{cache}.json"
    if kept.is_file():
        wall, cpu = json.loads(kept.read_text())
        return wall, cpu
    at.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "nas", "search", f"space={space}", f"dataset.resolution={SIDES.get(space, 32)}", "controller=random",
        "objective=macs", "device=[]", f"evaluator={evaluator}", f"trials={trials}", f"run={at / cache}",
    ]  # fmt: skip
    began, before = time.monotonic(), children()
    done = subprocess.run(command, env={**os.environ, "NAS_CACHE": str(at / "cache")}, capture_output=True, text=True, check=False)
    took = time.monotonic() - began, children() - before
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if done.returncode != 2:
            raise ValueError(f"{' '.join(command[2:])}: {said}")
        took = -1.0, -1.0
    kept.write_text(json.dumps(took))
    return took


def children() -> float:
    """Processor seconds of all processes that this one waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    run(main)
