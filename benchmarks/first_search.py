"""What a first `nas search` leaves, seed by seed: is its front worth reading?

    python benchmarks/first_search.py out=<folder> [seeds=10] [trials=24] [set=device=host,...] [--quick]

A seed is one run of the command line, in a process of its own, in <folder>/seed=<n>; one that is finished there is only read
again. `--quick` takes 3 seeds and 8 trials. Printed are, for each seed: members of the front, members left off it because they
are no better than another one, the smallest ratio of the latencies of neighbors, that of the ends, the smallest difference of
two accuracies in validation images, the largest error of a predicted latency, and seconds.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from options import options_of, run

from nas.journal import Journal
from nas.objectives import PREDICTED, timed_devices
from nas.report import Summary, summarize


@dataclass(frozen=True)
class Figures:
    """Of one seed. Ratios of latencies are measured ones; `images` is in validation images, `error` |predicted / measured - 1|."""

    points: int
    alike: int
    neighbors: float
    ends: float
    images: float
    error: float
    seconds: float

    @property
    def good(self) -> bool:
        """Whether this is a front as the documentation promises it."""
        return self.points >= 5 and self.neighbors >= 1.08 and self.ends >= 2.5 and self.images > 1.5 and self.error <= 0.15


def figures_of(summary: Summary) -> Figures:
    """Of a finished run with one device."""
    [device] = timed_devices(summary.objectives)
    times = sorted(row.measured.get(device, math.nan) for row in summary.front)
    right = sorted(row.metrics[summary.task.primary] * summary.images["valid"] for row in summary.front)
    errors = [abs(row.metrics[f"{PREDICTED}/{device}"] / row.measured[device] - 1) for row in summary.front if device in row.measured]
    return Figures(
        len(summary.front), len(summary.alike), min((b / a for a, b in itertools.pairwise(times)), default=math.nan),
        times[-1] / times[0], min((b - a for a, b in itertools.pairwise(right)), default=math.nan), max(errors, default=math.nan),
        summary.wall_s,
    )  # fmt: skip


def searched(folder: Path, seed: int, trials: int, settings: Sequence[str]) -> Figures:
    """Runs the command where it is not finished yet, and reads what it left."""
    command = [sys.executable, "-m", "nas", "search", f"seed={seed}", f"trials={trials}", f"run={folder}", *settings]
    if not (folder / "front.csv").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with open(folder.parent / f"{folder.name}.txt", "wb") as log:
            if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
                raise ValueError(f"seed {seed}: the search failed; see {log.name}")
        (folder / "seconds.txt").write_text(f"{time.monotonic() - began:.1f}\n")
    with Journal.open(folder / "journal.sqlite", read_only=True) as journal:
        return figures_of(summarize(journal))


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, {"out": "", "seeds": "10", "trials": "24", "set": "", "quick": ""})
    if not options["out"]:
        raise ValueError("out: name a folder for the runs")
    seeds, trials = (3, 8) if options["quick"] else (int(options["seeds"]), int(options["trials"]))
    settings = [word for word in options["set"].split(",") if word]
    print("| seed | members | no better | neighbors | ends | images | error of predictions | s | |\n|---|---|---|---|---|---|---|---|---|")
    found = []
    for seed in range(seeds):
        f = searched(Path(options["out"]) / f"seed={seed}", seed, trials, settings)
        found.append(f)
        print(
            f"| {seed} | {f.points} | {f.alike} | {f.neighbors:.2f} x | {f.ends:.1f} x | {f.images:.1f} | {100 * f.error:.1f} % "
            f"| {f.seconds:.0f} | {'good' if f.good else ''} |", flush=True,
        )  # fmt: skip
    print(f"\n{sum(f.good for f in found)} of {len(found)} good")
    return 0


if __name__ == "__main__":
    run(main)
