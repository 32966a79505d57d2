"""What compiling the next candidate during a training hides, and what it costs on a CPU.

    python benchmarks/compile_ahead.py [pairs=9] [candidates=8] [sleep_ms=250] [--quick]

A slow device is simulated: every step of a training sleeps, as a host does that waits for an accelerator. Candidates are trained one
after the other, and while one trains the next is compiled; printed is the part of the compilations but the first that nobody waited for.
Then the same candidates are trained on this machine's CPU by `executor=processes executor.workers=1`, with `ahead=true` and with
`ahead=false` in turns; printed are the ratios of their times. The compile cache on disk is off.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from options import options_of, run

from nas.arch.blocks import arch_id
from nas.data.record import KEY, record_of
from nas.evaluators import Context, evaluator_settings
from nas.records import Job, Outcome
from nas.runtime import make_executor_settings
from nas.runtime.dispatch import run_all
from nas.runtime.spec import WorkerSpec
from nas.space import load_space

EVALUATOR = {"name": "scratch", "keep_weights": False}


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, {"pairs": "9", "candidates": "8", "sleep_ms": "250", "quick": ""})
    quick = bool(options["quick"])
    count, pairs = (3, 1) if quick else (int(options["candidates"]), int(options["pairs"]))
    os.environ["NAS_CACHE"] = "off"
    outcomes = hidden(jobs_of(count), float(options["sleep_ms"]) / 1e3)
    compiled, behind = (sum(getattr(one, key) for one in outcomes[1:]) for key in ("compile_s", "hidden_s"))
    trained = sum(one.train_s for one in outcomes)
    print(f"a step that sleeps {options['sleep_ms']} ms: {behind:.1f} of {compiled:.1f} s of {count - 1} compilations are hidden, "
          f"{behind / compiled:.0%}; {trained:.0f} s of training", flush=True)  # fmt: skip
    ratios = []
    for pair in range(pairs):
        took = {ahead: seconds(jobs_of(count), ahead) for ahead in ((False, True) if pair % 2 else (True, False))}
        ratios.append(took[False] / took[True])
        print(f"on the CPU: {took[False]:.1f} s, {took[True]:.1f} s ahead, {ratios[-1]:.3f} x as fast", flush=True)
    if ratios:
        print(f"on the CPU, median of {pairs} pairs: {statistics.median(ratios):.3f} x as fast, {min(ratios):.3f} to {max(ratios):.3f}")
    return 0


def settings() -> dict[str, Any]:
    return {"dataset": {"name": "digits", "resolution": 16}, "recipe": {"epochs": 2, "batch": 64}, "evaluator": EVALUATOR}


def jobs_of(count: int) -> list[Job]:
    """Trainings of networks of `tiny` that differ."""
    space, rng = load_space("tiny").fit(16, 1, 10), np.random.default_rng(0)
    found = {arch_id(arch): arch for arch in (space.decode(space.sample(rng)) for _ in range(20 * count))}
    return [Job(i, "train", arch.to_dict(), name, 0, i) for i, (name, arch) in enumerate(list(found.items())[:count])]


def hidden(jobs: Sequence[Job], sleep_s: float) -> list[Outcome]:
    """Trains on a device that is slow, in this process; while a job runs, the next is compiled."""
    from nas.data import load_dataset
    from nas.evaluators.scratch import ScratchEvaluator
    from nas.train.trainer import Trainer

    compiled = Trainer._compile_step

    def slow(self: Trainer, *args: Any) -> Any:
        step, memory = compiled(self, *args)

        def waits(*args: Any) -> Any:
            time.sleep(sleep_s)
            return step(*args)

        return waits, memory

    with mock.patch.object(Trainer, "_compile_step", slow), tempfile.TemporaryDirectory() as folder:
        data = load_dataset(settings()["dataset"])
        context = Context({**settings(), KEY: record_of(data).plain()}, Path(folder), loaded=data)
        evaluator = evaluator_settings(EVALUATOR).make(context)
        assert isinstance(evaluator, ScratchEvaluator)
        outcomes = []
        for job, after in zip(jobs, [*jobs[1:], None], strict=True):
            if after:
                evaluator.ahead(after)
            outcomes += evaluator([job], lambda *_: None)
        return outcomes


def seconds(jobs: Sequence[Job], ahead: bool) -> float:
    """Of all trainings in one worker process, from the first job's end on: starting the process is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        executor = make_executor_settings({"name": "processes", "workers": 1, "ahead": ahead}).start(
            WorkerSpec(settings(), {}, storage=folder, threads=len(os.sched_getaffinity(0)))
        )
        ended = list[float]()
        try:
            for outcome in run_all(executor, jobs, done=lambda *_: ended.append(time.monotonic())):
                if outcome.outcome != "ok":
                    raise ValueError(f"job {outcome.number}: {outcome.error}")
        finally:
            executor.close()
        return ended[-1] - ended[0]


if __name__ == "__main__":
    run(main)
