"""The parts of `accelerator.py`; each prints its rows as JSON, one a line."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rivals import CLASSES, has_torch, machine, naive_flax, random_dataset, torch_network
from turns import Arm, serve

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.find import find_arch
from nas.arch.graph import Graph, pads
from nas.data import Dataset
from nas.data.arrays import dataset_of_arrays
from nas.nn import ops
from nas.nn.network import init
from nas.recipe import Augment, Recipe
from nas.space import load_space
from nas.tasks import CLASSIFICATION
from nas.train import fit
from nas.train.compilation.switched import compile_space
from nas.train.optim import Layout, optimizer
from nas.train.trainer import Trainer

RECIPE = Recipe(epochs=2, batch=128, lr=0.05, dtype="bfloat16", augment=Augment(crop_padding=4, flip=True, cutout=8))
NETWORKS = {"nas_bench_macro_11221122": (32, 128, 60), "mobilenet_v3_large": (224, 128, 20)}  # side, images a step, steps a turn
# Without autotuning cuDNN's first algorithm runs: 157 ms a step on an H100, where the autotuned one took less than 5.
ARMS: dict[str, dict[str, str]] = {
    "ours": {}, "ours, a step a dispatch": {}, "ours, no autotuning": {"XLA_FLAGS": "--xla_gpu_autotune_level=0"},
    "flax, one jit": {}, "torch, eager": {}, "torch.compile": {},
}  # fmt: skip
FEW = ("ours", "torch, eager", "torch.compile")  # of the large network


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


# correctness


def correctness(asked: argparse.Namespace) -> None:
    row("correctness", "machine", **machine())
    device, cpu, rng = jax.devices()[0], jax.devices("cpu")[0], np.random.default_rng(0)
    for name, function, shapes in cases():
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        weights = rng.standard_normal(np.shape(jax.eval_shape(function, *arrays))).astype(np.float32)

        def with_gradients(*args: Any, function: Any = function, weights: Any = weights) -> Any:
            y, pull = jax.vjp(function, *args)
            return y, pull(weights.astype(y.dtype))

        rounded = [array.astype(jnp.bfloat16) for array in arrays]
        with jax.default_matmul_precision("highest"):
            expected, exact = (jax.jit(with_gradients)(*jax.device_put(arrays, one)) for one in (cpu, device))
            as_rounded = jax.jit(with_gradients)(*jax.device_put([array.astype(np.float32) for array in rounded], cpu))
        coarse = jax.jit(with_gradients)(*jax.device_put(rounded, device))
        errors = [worst(exact, expected), worst(coarse, as_rounded)]
        row("correctness", name, float32=errors[0], bfloat16=errors[1], passed=errors[0] < 1e-4 and errors[1] < 0.05)


def cases() -> list[tuple[str, Callable[..., Any], list[tuple[int, ...]]]]:
    """(name, function, shapes of what it takes)."""
    out: list[tuple[str, Callable[..., Any], list[tuple[int, ...]]]] = []
    for implementation in ("lax", "slices"):
        for size, stride in ((3, 1), (3, 2), (5, 2)):
            def depthwise(x: Any, k: Any, stride: int = stride, implementation: Any = implementation) -> Any:
                return ops.conv(x, k, stride=stride, groups=24, implementation=implementation)

            out.append((f"depthwise {size}x{size}, stride {stride}, {implementation}", depthwise, [(4, 14, 14, 24), (size, size, 1, 24)]))
    out.append(("convolution 3x3", lambda x, k: ops.conv(x, k, stride=2), [(4, 14, 14, 24), (3, 3, 24, 40)]))
    out.append(("convolution 1x1", ops.conv, [(4, 14, 14, 24), (1, 1, 24, 40)]))
    out.append(("batch norm", lambda x, s, b: ops.norm_train(x, s, b, 1e-3, "hswish")[0], [(8, 7, 7, 24), (24,), (24,)]))
    out.append(("dense", ops.dense, [(8, 1, 1, 24), (24, 40)]))
    out.append(("average pool", lambda x: ops.avg_pool(x, kernel=3, stride=2, padding="same"), [(4, 14, 14, 24)]))
    out.append(("max pool", lambda x: ops.max_pool(x, kernel=3, stride=2, padding="same"), [(4, 14, 14, 24)]))
    return out


def worst(got: Any, expected: Any) -> float:
    """The largest ||got - expected|| / ||expected|| of the arrays."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    wide = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-9)) for a, b in wide)


def one_training(asked: argparse.Namespace) -> None:
    """The same short training on the CPU in float32, and here in float32 and bfloat16; images by the host, so the batches are equal."""
    space = load_space("tiny").fit(16, 3, CLASSES)
    arch, data = space.decode(space.sample(np.random.default_rng(0))), random_dataset(16, 256, 128)
    recipe = dataclasses.replace(RECIPE, batch=32, epochs=1, lr=0.02, warmup_epochs=0.5, dtype="float32")
    losses = {}
    for name, platform, dtype in (("cpu", "cpu", "float32"), ("float32", None, "float32"), ("bfloat16", None, "bfloat16")):
        with jax.default_device(jax.devices(platform)[0]), jax.default_matmul_precision("highest"):
            losses[name] = fit(arch, data, dataclasses.replace(recipe, dtype=dtype), 0, dispatch=0).train_loss
    off = {name: abs(losses[name] / losses["cpu"] - 1) for name in ("float32", "bfloat16")}
    row("training", "8 steps on tiny, loss against the CPU's", **off, passed=off["float32"] < 1e-3 and off["bfloat16"] < 0.03)


# a step against PyTorch


def step(asked: argparse.Namespace) -> None:
    """Arms compile at the same time and take turns then; what is not built within two fifths of the limit is left out."""
    patience = 0.4 * asked.limit
    for name in NETWORKS if not asked.dry else ["tiny"]:
        arms = list(FEW if name == "mobilenet_v3_large" else ARMS) if not asked.dry else ["ours", "flax, one jit", "torch, eager"]
        made = build([arm for arm in arms if has_torch() or "torch" not in arm], name, asked.dry, patience)
        times: dict[str, list[float]] = {arm: [] for arm in made}
        for _ in range(1 if asked.dry else 5):
            for arm, process in made.items():
                times[arm].append(process.turn())
        for arm, process in made.items():
            ratio = [a / b for a, b in zip(times[arm], times["ours"], strict=True)] if "ours" in made else [math.nan]
            row("step", f"{name}: {arm}", ms=statistics.median(times[arm]), least=min(times[arm]), times_ours=statistics.median(ratio),
                build_s=process.ready)  # fmt: skip
            process.close()


def build(arms: Sequence[str], name: str, dry: bool, patience: float) -> dict[str, Arm]:
    made, began = {arm: Arm(__file__, (name, arm, int(dry)), ARMS[arm], wait=False) for arm in arms}, time.perf_counter()

    def ready(arm: str) -> str:
        try:
            made[arm].ready = made[arm].answer()
        except SystemExit:
            return "failed to build"
        return ""

    threads = ThreadPoolExecutor(len(arms))
    waits = {arm: threads.submit(ready, arm) for arm in arms}
    for arm, wait in waits.items():
        try:
            reason = wait.result(max(began + patience - time.perf_counter(), 0.1))
        except TimeoutError:
            reason = f"not built after {patience:.0f} s"
        if reason:
            row("step", f"{name}: {arm}", note=reason)
            made.pop(arm).kill()
    return made


def serve_steps(name: str, arm: str, dry: bool) -> None:
    side, rows, steps = (8, 4, 2) if dry else NETWORKS[name]
    graph, began = lower(architecture(name).with_io(side, 3, CLASSES)), time.perf_counter()
    if arm.startswith("torch"):
        run = torch_steps(graph, side, rows, arm)
    elif arm.startswith("flax"):
        run = naive_steps(graph, side, rows)
    else:
        run = our_steps(graph, side, rows, steps, arm)
    run(1)
    built = time.perf_counter() - began
    run(steps)

    def turn(_: Any) -> float:
        start = time.perf_counter()
        run(steps)
        return (time.perf_counter() - start) / steps * 1000

    serve(built, turn)


def our_steps(graph: Graph, side: int, rows: int, steps: int, arm: str) -> Callable[[int], None]:
    """Runs so many steps, or a whole dispatch, of one batch without augmentation, as PyTorch's arm does; waits for the end."""
    recipe = dataclasses.replace(RECIPE, batch=rows, augment=Augment())
    variables, data = init(graph, 0), random_dataset(side, rows)
    layouts = Layout.of(variables["params"]), Layout.of(variables["stats"])
    trainer = Trainer(graph, data, recipe, 0, CLASSIFICATION, *layouts)
    dispatch = 1 if "a step" in arm else steps
    trainer, update = trainer.dispatching(dispatch), optimizer(recipe, 1)
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

    return run


def naive_steps(graph: Graph, side: int, rows: int) -> Callable[[int], None]:
    data = random_dataset(side, rows)
    one = naive_flax(graph, np.array(data.train.images), data.train.targets)

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

    forward = torch.compile(loss_of) if arm == "torch.compile" else loss_of

    def run(count: int) -> None:
        for _ in range(count):
            sgd.zero_grad(set_to_none=True)
            forward(images, targets).backward()
            sgd.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


# whole trainings


def dataset(asked: argparse.Namespace) -> Dataset:
    """10,000 training images and 2,000 for validation."""
    train, valid, side = (64, 16, 8) if asked.dry else (10_000, 2_000, 32)
    if not asked.data:
        return random_dataset(side, train, valid)
    with np.load(asked.data) as file:
        x, y = file["x_train"], file["y_train"]
    parts = {"x_train": x[:train], "y_train": y[:train], "x_valid": x[train : train + valid], "y_valid": y[train : train + valid]}
    return dataset_of_arrays(parts | {"x_test": parts["x_valid"], "y_test": parts["y_valid"]}, "cifar10")


def whole_fit(asked: argparse.Namespace) -> None:
    """Images a second of `fit`, compilation and the final validation apart, against the bare step without any input."""
    data, name = dataset(asked), "tiny" if asked.dry else "nas_bench_macro_11221122"
    batch, epochs, steps, times = (16, 1, 2, 1) if asked.dry else (128, 12, 39, 6)
    arch = architecture(name).with_io(data.resolution, 3, len(data.classes))
    run = our_steps(lower(arch), data.resolution, batch, steps, "ours")
    run(steps)
    began = time.perf_counter()
    run(times * steps)
    bare = times * steps * batch / (time.perf_counter() - began)
    row("fit", "bare step", images_per_s=bare)
    recipe = dataclasses.replace(RECIPE, batch=batch, epochs=epochs)
    for what, dispatch in (("fit, images on the device", steps), ("fit, batches by the host", 0)):
        short = dataclasses.replace(recipe, epochs=min(epochs, 3)) if not dispatch else recipe
        fitted = fit(arch, data, short, 0, dispatch=dispatch)
        rate = fitted.steps * batch / fitted.train_s
        row("fit", what, images_per_s=rate, of_bare=rate / bare, compile_s=fitted.compile_s, train_s=fitted.train_s,
            accuracy=fitted.metrics["accuracy"])  # fmt: skip


def candidates(asked: argparse.Namespace) -> None:
    """Candidates an hour: 10,000 images, 2 epochs; naive is one jit a candidate that repeats one batch, from a few networks."""
    data, began = dataset(asked), time.perf_counter()
    space = load_space("tiny" if asked.dry else "nas_bench_macro").fit(data.resolution, data.channels, len(data.classes))
    rng, few, many = np.random.default_rng(0), *((1, 1) if asked.dry else (3, 16))
    archs = [space.decode(space.sample(rng)) for _ in range(many)]
    recipe = dataclasses.replace(RECIPE, batch=16, epochs=1) if asked.dry else RECIPE
    steps = recipe.epochs * (len(data.train) // recipe.batch)

    def timed(work: Callable[[Any, int], Any], networks: Sequence[Any]) -> list[float]:
        out = []
        for i, arch in enumerate(networks):
            start = time.perf_counter()
            work(arch, i)
            out.append(time.perf_counter() - start)
        return out

    program = compile_space(space, data, recipe, dispatch=2 if asked.dry else 39)
    row("candidates", "switched, the space's program", compile_s=program.compile_s)
    found: list[float] = []
    seconds = timed(lambda arch, i: found.append(program.fit(arch, i).metrics["accuracy"]), archs)
    per_hour = 3600 * many / (program.compile_s + sum(seconds))
    row("candidates", "switched", networks=many, s=statistics.median(seconds), an_hour=per_hour,
        an_hour_of_many=3600 / statistics.median(seconds), accuracy=statistics.median(found))  # fmt: skip
    kept = [fit(arch, data, recipe, i, dispatch=2 if asked.dry else 39) for i, arch in enumerate(archs[:few])]
    seconds = [one.compile_s + one.train_s for one in kept]
    row("candidates", "scratch", networks=few, compile_s=statistics.median(one.compile_s for one in kept), s=statistics.median(seconds),
        an_hour=3600 / statistics.mean(seconds), accuracy=statistics.median(one.metrics["accuracy"] for one in kept))  # fmt: skip

    def naive(arch: Any, seed: int) -> None:
        run = naive_flax(lower(arch), np.array(data.train.images[: recipe.batch]), data.train.targets[: recipe.batch])
        for _ in range(steps):
            run()

    for count in range(1, few + 1):  # a row after each, should the time run out
        seconds = timed(naive, archs[:1] if count == 1 else archs[count - 1 : count])
        row("candidates", f"naive, one jit a candidate, network {count}", s=seconds[0], an_hour=3600 / seconds[0],
            elapsed_s=time.perf_counter() - began)  # fmt: skip


# depthwise forms

SHAPES = {"112 px, 16, 3x3": (128, 112, 16, 3), "28 px, 120, 5x5": (128, 28, 120, 5), "14 px, 480, 3x3": (128, 14, 480, 3),
          "32 px, 192, 5x5": (128, 32, 192, 5)}  # fmt: skip


def taps(x: Any, size: int) -> list[Any]:
    pad = pads(x.shape[1], size, 1, "same")
    wide = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    n, h, w, c = x.shape
    return [lax.slice(wide, (0, i, j, 0), (n, i + h, j + w, c)) for i in range(size) for j in range(size)]


def by_taps(x: Any, kernel: Any) -> Any:
    size = kernel.shape[0]
    parts = zip(taps(x, size), kernel.reshape(size * size, 1, 1, 1, -1), strict=True)
    return jnp.asarray(sum(part.astype(jnp.float32) * one.astype(jnp.float32) for part, one in parts), x.dtype)


def kernel_gradient_by_taps(x: Any, g: Any, size: int) -> Any:
    wide = g.astype(jnp.float32)
    return jnp.stack([(part.astype(jnp.float32) * wide).sum((0, 1, 2)) for part in taps(x, size)])


def by_lax(x: Any, kernel: Any) -> Any:
    return ops.conv(x, kernel, groups=x.shape[3], implementation="lax")


def depthwise(asked: argparse.Namespace) -> None:
    """Microseconds of each form, bfloat16, stride 1: forward, gradient of the input (the same work), gradient of the kernel."""
    rng = np.random.default_rng(0)
    for name, (n, side, c, size) in SHAPES.items():
        n, side, c = (2, 8, 4) if asked.dry else (n, side, c)
        x, g = (jnp.asarray(rng.standard_normal((n, side, side, c)), jnp.bfloat16) for _ in range(2))
        kernel = jnp.asarray(rng.standard_normal((size, size, 1, c)), jnp.bfloat16)
        forms: Mapping[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
            "forward, lax": (by_lax, (x, kernel)),
            "forward, taps": (by_taps, (x, kernel)),
            "input gradient, lax": (lambda g, k, x=x: jax.vjp(lambda x: by_lax(x, k), x)[1](g)[0], (g, kernel)),
            "kernel gradient, lax": (lambda x, g, k=kernel: jax.vjp(lambda k: by_lax(x, k), k)[1](g)[0], (x, g)),
            "kernel gradient, taps": (lambda x, g, size=size: kernel_gradient_by_taps(x, g, size), (x, g)),
        }
        took = {form: microseconds(function, args, asked.dry) for form, (function, args) in forms.items()}
        row("depthwise", name, **took, bytes_bound_us=3 * x.size * 2 / 3.0e12 * 1e6)


def microseconds(function: Callable[..., Any], args: tuple[Any, ...], dry: bool) -> float:
    """The median of some calls, each of which runs the function often, so that a launch from the host does not count."""
    compiled, count = jax.jit(function).lower(*args).compile(), 2 if dry else 100
    compiled(*args)
    out = []
    for _ in range(3):
        start, result = time.perf_counter(), None
        for _ in range(count):
            result = compiled(*args)
        jax.block_until_ready(result)
        out.append((time.perf_counter() - start) / count * 1e6)
    return statistics.median(out)


PARTS = {
    "correctness": correctness,
    "training": one_training,
    "step": step,
    "fit": whole_fit,
    "candidates": candidates,
    "depthwise": depthwise,
}


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        name, arm, dry = sys.argv[2:]
        return serve_steps(name, arm, bool(int(dry)))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--limit", type=float, default=240)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    PARTS[asked.part](asked)
    return None


if __name__ == "__main__":
    main()
