"""A training step of one network against PyTorch's; a part of `accelerator.py`. Arms are processes that take turns."""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import importlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rivals import has_torch, naive_flax, random_dataset, torch_network
from turns import Arm, serve

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.arch.graph import Graph
from nas.nn.network import init
from nas.recipe import Augment, Recipe
from nas.space import load_space
from nas.tasks import CLASSIFICATION
from nas.train.optim import Layout, optimizer
from nas.train.trainer import Trainer

CLASSES = 10
RECIPE = Recipe(epochs=2, batch=128, lr=0.05, dtype="bfloat16", augment=Augment(crop_padding=4, flip=True, cutout=8))
BARE = Augment()
MACRO = "nas_bench_macro_11221122"
NETWORKS = {MACRO: (32, 128, 60), "mobilenet_v3_large": (224, 128, 20)}  # side, images a step, steps a turn
RIVALS = "torch, eager", "torch.compile", "torch.compile, CUDA graphs"
# XLA's tuning must stay on: without it cuDNN's first algorithm runs, 157 ms a step on an H100. And it must be alone on the
# device: beside others it chose kernels that took ten times as long.
TUNED = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0"}


def row(part: str, what: str, **values: Any) -> None:
    print(json.dumps({"part": part, "what": what, **values}), flush=True)


def architecture(name: str) -> Arch:
    if name == "tiny":
        space = load_space("tiny")
        arch = space.decode(space.sample(np.random.default_rng(0)))
    elif name.startswith("nas_bench_macro_"):
        arch = load_space("nas_bench_macro").decode([int(digit) for digit in name.rsplit("_", 1)[1]])
    else:
        arch = find_arch(name)
    return arch


def step(asked: argparse.Namespace) -> None:
    """Our arms are built one at a time, since tuning times kernels, then PyTorch's together; all arms of a network take turns."""
    networks = ["tiny"] if asked.dry else list(NETWORKS)
    made: dict[tuple[str, str], Arm] = {}
    for name in networks:
        made |= build([(name, "ours")], asked, 0.35 * asked.limit)
        if (name, "ours") in made:  # should the time run out
            row("step", f"{name}: ours, alone", ms=made[name, "ours"].turn(), build_s=made[name, "ours"].ready)
    if has_torch():
        made |= build([(name, arm) for name in networks for arm in RIVALS], asked, 0.35 * asked.limit)
    for name in networks:
        turns(name, {arm: process for (of, arm), process in made.items() if of == name}, asked.dry)
    for (name, arm), process in made.items():
        if asked.traces and arm == "ours":
            row("step", f"{name}: trace", **process.turn(str(asked.traces / name)))
        process.close()


def turns(name: str, made: dict[str, Arm], dry: bool) -> None:
    times: dict[str, list[float]] = {arm: [] for arm in made}
    for _ in range(1 if dry else 5):
        for arm, process in made.items():
            times[arm].append(process.turn())
    for arm, process in made.items():
        ratio = [a / b for a, b in zip(times[arm], times["ours"], strict=True)] if "ours" in made else [math.nan]
        row("step", f"{name}: {arm}", ms=statistics.median(times[arm]), least=min(times[arm]), times_ours=statistics.median(ratio),
            build_s=process.ready)  # fmt: skip


def build(pairs: Sequence[tuple[str, str]], asked: argparse.Namespace, patience: float) -> dict[tuple[str, str], Arm]:
    def start(name: str, arm: str) -> Arm:
        kept = TUNED | {"JAX_COMPILATION_CACHE_DIR": str(asked.cache)} if asked.cache else {}
        return Arm(__file__, (name, arm, int(asked.dry)), kept, wait=False)

    made, began = {pair: start(*pair) for pair in pairs}, time.perf_counter()

    def ready(pair: tuple[str, str]) -> str:
        try:
            made[pair].ready = made[pair].answer()
        except SystemExit:
            return "failed to build"
        return ""

    threads = ThreadPoolExecutor(len(pairs))
    waits = {pair: threads.submit(ready, pair) for pair in pairs}
    for pair, wait in waits.items():
        try:
            reason = wait.result(max(began + patience - time.perf_counter(), 0.1))
        except TimeoutError:
            reason = f"not built after {patience:.0f} s"
        if reason:
            row("step", f"{pair[0]}: {pair[1]}", note=reason)
            made.pop(pair).kill()
    return made


# an arm's process


def serve_steps(name: str, arm: str, dry: bool) -> None:
    side, rows, steps = (8, 4, 2) if dry else NETWORKS.get(name, NETWORKS[MACRO])
    graph, began = lower(architecture(name).with_io(side, 3, CLASSES)), time.perf_counter()
    if arm.startswith("torch"):
        run, program = torch_steps(graph, side, rows, arm), None
    elif arm == "naive":
        data = random_dataset(side, rows)
        run, program = naive_steps(graph, np.array(data.train.images), data.train.targets), None
    else:
        run, program = our_steps(graph, side, rows, steps)
    run(1)
    built = time.perf_counter() - began
    run(steps)

    def turn(traces: str | None) -> Any:
        if traces:
            return trace(run, program, steps, Path(traces))
        start = time.perf_counter()
        run(steps)
        return (time.perf_counter() - start) / steps * 1000

    serve(built, turn)


def trace(run: Callable[[int], None], program: Any, steps: int, folder: Path) -> dict[str, Any]:
    """Leaves the optimized program and a profile of one dispatch."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "program.txt.gz").write_bytes(gzip.compress(program.as_text().encode()))
    with jax.profiler.trace(str(folder / "profile")):
        run(steps)
    size = 0
    for file in sorted((folder / "profile").rglob("*.gz")) + sorted((folder / "profile").rglob("*.pb")):
        size = file.stat().st_size
        os.replace(file, folder / file.name)  # no deeper than it must be
    return {"files": len(list(folder.iterdir())), "last_bytes": size, "memory_mb": program.memory_analysis().temp_size_in_bytes / 1e6}


def our_steps(graph: Graph, side: int, rows: int, dispatch: int, augment: Augment = BARE) -> tuple[Callable[[int], None], Any]:
    """(runs so many steps, whole dispatches of one batch, and waits for the end; the compiled program)."""
    recipe = dataclasses.replace(RECIPE, batch=rows, augment=augment)
    variables, data = init(graph, 0), random_dataset(side, rows)
    layouts = Layout.of(variables["params"]), Layout.of(variables["stats"])
    trainer = Trainer(graph, data, recipe, 0, CLASSIFICATION, *layouts).dispatching(dispatch)
    update = optimizer(recipe, 1)
    state, (images, targets, _, _) = trainer.start(variables, update), next(trainer.feed.batches(1, 0))[1]
    shapes = images, targets, np.zeros((dispatch, rows), np.int32), np.array(dispatch, np.int32)
    compiled = jax.jit(trainer.feed.wrap(trainer.step(update)), donate_argnums=0).lower(state, *shapes).compile()
    batch = images, targets, jax.device_put(np.tile(np.arange(rows, dtype=np.int32), (dispatch, 1))), jax.device_put(shapes[3])

    def run(count: int) -> None:
        nonlocal state
        losses = None
        for _ in range(max(count // dispatch, 1)):
            state, losses = compiled(state, *batch)
        jax.block_until_ready(losses)

    return run, compiled


def naive_steps(graph: Graph, images: np.ndarray, targets: np.ndarray) -> Callable[[int], None]:
    """Plain Flax in one jit a network, as one would first write it."""
    one = naive_flax(graph, images, targets)

    def run(count: int) -> None:
        for _ in range(count):
            one()

    return run


def torch_steps(graph: Graph, side: int, rows: int, arm: str) -> Callable[[int], None]:
    """channels_last, bfloat16 by autocast, fused SGD; images uint8 on the device, normalized in the step as ours are."""
    torch = importlib.import_module("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = random_dataset(side, rows)
    model = torch_network(torch, graph).to(device, memory_format=torch.channels_last).train()
    sgd = torch.optim.SGD(model.parameters(), lr=RECIPE.lr, momentum=0.9, weight_decay=RECIPE.weight_decay, fused=True)
    images = torch.from_numpy(np.array(data.train.images)).to(device).permute(0, 3, 1, 2)
    targets = torch.from_numpy(data.train.targets.astype(np.int64)).to(device)

    def loss_of(images: Any, targets: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            outputs = model(((images.float() / 255 - 0.5) / 0.3).contiguous(memory_format=torch.channels_last))
            return torch.nn.functional.cross_entropy(outputs.float(), targets)

    modes = {"torch, eager": None, "torch.compile": "default", "torch.compile, CUDA graphs": "reduce-overhead"}
    torch.backends.cudnn.benchmark = True
    forward = torch.compile(loss_of, mode=modes[arm]) if modes[arm] else loss_of

    def run(count: int) -> None:
        for _ in range(count):
            sgd.zero_grad(set_to_none=True)
            forward(images, targets).backward()
            sgd.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


if __name__ == "__main__":
    _, _, network, variant, toy = sys.argv
    serve_steps(network, variant, bool(int(toy)))
