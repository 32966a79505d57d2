"""What the driver costs: no-op trials a second, its memory over many trials, and how busy it keeps eight workers.

    python benchmarks/driver_overhead.py [--json FILE] [--trials 20000] [--tune PYTHON]

Everything is the real search loop over a durable journal (SQLite, synchronous=FULL, in the working directory); only the
evaluator does nothing, or sleeps for a second. `--tune` is the Python of an environment with `ray[tune]`, whose rate for the
same no-op (actors reused) is measured in the same minutes by tune_rate.py.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.controllers import make_controller
from nas.cost import Costs
from nas.journal import Journal
from nas.objectives import Objectives
from nas.problem import Problem
from nas.records import Trial
from nas.runtime import make_executor_settings
from nas.runtime.memory import resident_bytes
from nas.runtime.spec import WorkerSpec
from nas.space import load_space
from nas.workflows.search.loop import Search, SearchSettings

ROOT = Path(__file__).parents[1]
AXES = Objectives((("accuracy", "max"), ("params", "min")), reward="mnas_soft", cost="params", target=1e6)


class Watch:
    """Notes when trials end, and the driver's memory every `every` of them."""

    def __init__(self, every: int = 1000):
        self.every, self.ended, self.memory = every, 0, []
        self.first = self.last = 0.0

    def trial(self, trial: Trial) -> None:
        if not trial.done:
            return
        self.ended, self.last = self.ended + 1, time.perf_counter()
        if self.ended % self.every == 0:
            gc.collect()
            self.memory.append((self.ended, resident_bytes()))

    def started(self, number: int, worker: str) -> None:
        self.first = self.first or time.perf_counter()

    def progress(self, number: int, step: int, steps: int, metrics: Mapping[str, float]) -> None: ...
    def lost(self, number: int, error: str) -> None: ...


@contextmanager
def searching(executor: dict[str, Any], seconds: float, in_flight: int, folder: str) -> Iterator[Any]:
    """Gives `go(trials, watch)`: runs the search on to so many trials and returns seconds."""
    space = load_space("tiny").fit(8, 1, 10)
    table = Costs(space)
    problem = Problem(space, AXES, table, table.features)
    settings = {"dataset": {"name": "digits"}, "recipe": {}, "evaluator": {"name": "no_op", "seconds": seconds}, "device": {}}
    paths = (str(ROOT / "benchmarks"), str(ROOT))
    spec = WorkerSpec(settings, space.to_plain(), ("no_op",), paths, folder, 1, "cpu")
    workers = make_executor_settings(executor).start(spec)
    try:
        with Journal.create(Path(folder) / "journal.sqlite") as journal:
            loop = SearchSettings(in_flight=in_flight, timeout_s=None)

            def go(trials: int, watch: Watch) -> float:
                search = Search(problem, make_controller({"name": "random"}), journal, workers, loop, 0, watch)
                start = time.perf_counter()
                search.run(trials)
                return time.perf_counter() - start

            yield go
    finally:
        workers.close()


def rate(executor: dict[str, Any], trials: int, warm: int, watch: Watch) -> float:
    """No-op trials a second, after `warm` that start the workers."""
    with tempfile.TemporaryDirectory(dir=".") as folder, searching(executor, 0.0, 16, folder) as go:
        go(warm, Watch())
        return trials / go(warm + trials, watch)


def busy(workers: int, each: int) -> dict[str, float]:
    """Trials that sleep for a second on `workers` workers: ideal time over real time, from the first start to the last end."""
    executor = {"name": "ray", "workers": workers, "cpus": 0.01}
    with tempfile.TemporaryDirectory(dir=".") as folder, searching(executor, 1.0, 4 * workers, folder) as go:
        go(2 * workers, Watch())
        watch = Watch()
        go((2 + each) * workers, watch)
        seconds = watch.last - watch.first
    return {"workers": workers, "trials": each * workers, "seconds": seconds, "fraction_of_ideal": each / seconds}


def tune_rate(python: str | None) -> dict[str, Any] | None:
    if python is None:
        return None
    done = subprocess.run([python, str(ROOT / "benchmarks" / "tune_rate.py")], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tune_rate.py: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def growth(memory: list[tuple[int, int]]) -> float:
    """Bytes a trial, from the line through the second half of the measurements."""
    half = memory[len(memory) // 2 :]
    n, mean_x, mean_y = len(half), sum(x for x, _ in half) / len(half), sum(y for _, y in half) / len(half)
    squares = sum((x - mean_x) ** 2 for x, _ in half)
    return sum((x - mean_x) * (y - mean_y) for x, y in half) / squares if n > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=20_000, help="of the in-process run whose memory is watched")
    parser.add_argument("--ray-trials", type=int, default=2000)
    parser.add_argument("--each", type=int, default=30, help="sleeping trials a worker")
    parser.add_argument("--tune")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    watch = Watch()
    row: dict[str, Any] = {"in_process": rate({"name": "local"}, arguments.trials, 200, watch)}
    row["memory"], row["bytes_a_trial"] = watch.memory, growth(watch.memory)
    print(f"in this process: {row['in_process']:.0f} trials a second, {row['bytes_a_trial']:.0f} bytes a trial", flush=True)
    row["ray"] = rate({"name": "ray", "workers": 2, "cpus": 0.01}, arguments.ray_trials, 50, Watch())
    print(f"through Ray: {row['ray']:.0f} trials a second", flush=True)
    row["tune"] = tune_rate(arguments.tune)
    if row["tune"]:
        row["times_tune"] = row["ray"] / row["tune"]["rate"]
        print(f"Ray Tune: {row['tune']['rate']:.1f} trials a second; ours through Ray is {row['times_tune']:.1f} times that", flush=True)
    row["sleeping"] = busy(8, arguments.each)
    print(f"one-second trials on 8 workers: {100 * row['sleeping']['fraction_of_ideal']:.1f} % of ideal", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
