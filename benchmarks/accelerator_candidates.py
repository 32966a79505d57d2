"""Candidates an hour of each evaluator and of plain Flax; a part of `accelerator.py`."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time

import accelerator_step
import numpy as np
from accelerator_step import RECIPE, row
from rivals import random_dataset
from turns import Arm

from nas.data import Dataset
from nas.data.arrays import dataset_of_arrays
from nas.recipe import Recipe
from nas.space import Genome, Space, load_space
from nas.supernet.batched import compile_batched
from nas.train import Fit, fit
from nas.train.compilation.switched import compile_space


def dataset(asked: argparse.Namespace) -> Dataset:
    """10,000 training images and 2,000 for validation."""
    train, valid, side = (64, 16, 8) if asked.dry else (10_000, 2_000, 32)
    if not asked.data:
        return random_dataset(side, train, valid)
    with np.load(asked.data) as file:
        x, y = file["x_train"], file["y_train"]
    parts = {"x_train": x[:train], "y_train": y[:train], "x_valid": x[train : train + valid], "y_valid": y[train : train + valid]}
    return dataset_of_arrays(parts | {"x_test": parts["x_valid"], "y_test": parts["y_valid"]}, "cifar10")


def candidates(asked: argparse.Namespace) -> None:
    """Candidates an hour: 10,000 images, 2 epochs; naive is one jit a candidate without any cache, from a few networks."""
    data, began = dataset(asked), time.perf_counter()
    small, space = (
        load_space(name).fit(data.resolution, data.channels, len(data.classes))
        for name in ("tiny", "tiny" if asked.dry else "nas_bench_macro")
    )
    rng, few, many = np.random.default_rng(0), *((1, 1) if asked.dry else (3, 16))
    genomes = [space.sample(rng) for _ in range(many)]
    archs = [space.decode(genome) for genome in genomes]
    recipe = dataclasses.replace(RECIPE, batch=16, epochs=1) if asked.dry else RECIPE
    steps, dispatch = recipe.epochs * (len(data.train) // recipe.batch), 2 if asked.dry else 39
    if not asked.dry:
        side_by_side(space, data, recipe, dispatch, 16)
    naive(genomes[0], 1, steps, asked)
    side_by_side(small, data, recipe, dispatch, 2 if asked.dry else 16)
    program = compile_space(space, data, recipe, dispatch=dispatch)
    row("candidates", "switched, the space's program", compile_s=program.compile_s)
    seconds, accuracies = [], []
    for i, arch in enumerate(archs):
        start = time.perf_counter()
        accuracies.append(program.fit(arch, i).metrics["accuracy"])
        seconds.append(time.perf_counter() - start)
    row("candidates", "switched", networks=many, s=statistics.median(seconds), an_hour=3600 * many / (program.compile_s + sum(seconds)),
        an_hour_of_many=3600 / statistics.median(seconds), accuracy=statistics.median(accuracies))  # fmt: skip
    for count in range(few):  # a row after each, should the time run out
        one = fit(archs[count], data, recipe, count, dispatch=dispatch)
        took = one.compile_s + one.train_s
        row("candidates", f"scratch, network {count + 1}", compile_s=one.compile_s, s=took, an_hour=3600 / took,
            accuracy=one.metrics["accuracy"])  # fmt: skip
        if count:
            naive(genomes[count], count + 1, steps, asked)
        row("candidates", "so far", elapsed_s=time.perf_counter() - began)


def side_by_side(space: Space, data: Dataset, recipe: Recipe, dispatch: int, size: int) -> None:
    """Four groups of networks that train side by side in one program."""
    program = compile_batched(space, data, recipe, size, dispatch=dispatch)
    name = f"batched, {space.name}"
    row("candidates", f"{name}, a program of {size}", compile_s=program.compile_s, mib=(program.peak_memory_bytes or 0) / 2**20,
        estimated_mib=size * program.plan.bytes_each(recipe, recipe.batch) / 2**20)  # fmt: skip
    rng, seconds, accuracies = np.random.default_rng(0), [], []
    for _ in range(4):
        start = time.perf_counter()
        fits = program.fit([(space.decode(space.sample(rng)), i) for i in range(size)])
        seconds.append((time.perf_counter() - start) / size)
        accuracies += [one.metrics["accuracy"] for one in fits if isinstance(one, Fit)]
    row("candidates", name, networks=4 * size, s=statistics.median(seconds), an_hour_of_many=3600 / statistics.median(seconds),
        an_hour=3600 * 4 * size / (program.compile_s + size * sum(seconds)), accuracy=statistics.median(accuracies))  # fmt: skip


def naive(genome: Genome, number: int, steps: int, asked: argparse.Namespace) -> None:
    """A process of its own, since tuned kernels are remembered in one."""
    name = "tiny" if asked.dry else "nas_bench_macro_" + "".join(map(str, genome))
    arm = Arm(accelerator_step.__file__, (name, "naive", int(asked.dry)), {"JAX_ENABLE_COMPILATION_CACHE": "false"})
    ms = arm.turn()
    arm.close()
    took = arm.ready + steps * ms / 1000
    row("candidates", f"naive, one jit a candidate, network {number}", compile_s=arm.ready, ms=ms, s=took, an_hour=3600 / took)
