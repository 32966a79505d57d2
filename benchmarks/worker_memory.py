"""What a worker holds after each of many trainings: does it grow with their number?

    python benchmarks/worker_memory.py [space=mobilenet_v3] [trials=10] [resolution=64] [images=256] [batch=64] [keep=no]

Random networks are trained for an epoch on random images in one worker in this process. Printed are, after each, the resident
memory in MiB, its peak so far, and the arrays and compiled programs that are alive. `keep=yes` leaves free memory with the process,
as it was before.
"""

from __future__ import annotations

import gc
import resource
import tempfile
from collections.abc import Sequence

import numpy as np
from options import options_of, run

from nas.arch.blocks import arch_id
from nas.data import Dataset, Split
from nas.records import Job
from nas.runtime import worker
from nas.runtime.memory import resident_bytes
from nas.runtime.spec import WorkerSpec
from nas.space import load_space


def images_of(count: int, side: int) -> Dataset:
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        return Split(rng.integers(0, 256, (n, side, side, 3), np.uint8), np.arange(n, dtype=np.int32) % 10)

    parts = split(count), split(max(count // 4, 10)), split(10)
    return Dataset("noise", tuple(map(str, range(10))), *parts, side, 3, (0.5,) * 3, (0.3,) * 3)


def main(arguments: Sequence[str]) -> int:
    defaults = {"space": "mobilenet_v3", "trials": "10", "resolution": "64", "images": "256", "batch": "64", "keep": "no"}
    options = options_of(arguments, defaults)
    side = int(options["resolution"])
    if options["keep"] == "yes":
        worker.give_back_memory = lambda: False
    import jax

    space, rng = load_space(options["space"]).fit(side, 3, 10), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        recipe = {"epochs": 1, "batch": int(options["batch"])}
        spec = WorkerSpec({"dataset": None, "recipe": recipe, "evaluator": {"name": "scratch"}}, space.to_plain(), storage=folder)
        made = worker.Worker(spec, images_of(int(options["images"]), side))
        print("| trainings | resident, MiB | peak, MiB | arrays | programs |\n|---|---|---|---|---|")
        for number in range(int(options["trials"])):
            arch = space.decode(space.sample(rng))
            [outcome] = made.run([Job(number, "train", arch.to_dict(), arch_id(arch), 0, number)], lambda *args: None)
            if outcome.outcome != "ok":
                raise ValueError(f"training {number}: {outcome.outcome}: {outcome.error}")
            held, peak = resident_bytes() >> 20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            gc.collect()
            alive = len(jax.live_arrays()), len(jax.devices()[0].client.live_executables())
            print(f"| {number + 1} | {held} | {peak} | {alive[0]} | {alive[1]} |", flush=True)
    return 0


if __name__ == "__main__":
    run(main)
