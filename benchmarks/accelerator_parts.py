"""The parts of `accelerator.py`; each prints its rows as JSON, one a line."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from accelerator_candidates import candidates, dataset
from accelerator_step import CLASSES, MACRO, RECIPE, architecture, our_steps, row, step, trace
from jax import lax
from rivals import machine, random_dataset

from nas.arch.blocks import lower
from nas.arch.graph import pads
from nas.nn import maps, ops
from nas.recipe import Augment
from nas.space import load_space
from nas.supernet.scoring import Scoring
from nas.supernet.strategies import Uniform
from nas.supernet.training import Supernet
from nas.train import fit

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
    out.append(("average pool", lambda x: maps.avg_pool(x, kernel=3, stride=2, padding="same"), [(4, 14, 14, 24)]))
    out.append(("max pool", lambda x: maps.max_pool(x, kernel=3, stride=2, padding="same"), [(4, 14, 14, 24)]))
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


# whole trainings


def whole_fit(asked: argparse.Namespace) -> None:
    """Images a second of `fit` after its first epoch, in which programs load, against the bare step without any input."""
    data, name = dataset(asked), "tiny" if asked.dry else MACRO
    batch, epochs, steps = (16, 3, 2) if asked.dry else (128, 12, 39)
    arch, bare = architecture(name).with_io(data.resolution, 3, len(data.classes)), 0.0
    for what, augment in (("bare step", Augment()), ("step with augmentation", RECIPE.augment)):
        run, program = our_steps(lower(arch), data.resolution, batch, steps, augment)
        began = time.perf_counter()
        run(steps)
        first = time.perf_counter() - began
        times = []
        for _ in range(5):
            began = time.perf_counter()
            run(steps)
            times.append(time.perf_counter() - began)
        rate = steps * batch / statistics.median(times)
        bare = bare or rate
        row("fit", what, images_per_s=rate, of_bare=rate / bare, first_dispatch_s=first)
        if asked.traces and what != "bare step":
            row("fit", "trace", **trace(run, program, steps, asked.traces / "augmented"))
    recipe = dataclasses.replace(RECIPE, batch=batch, epochs=epochs)
    for what, dispatch in (("fit, images on the device", steps), ("fit, batches by the host", 0)):
        short = dataclasses.replace(recipe, epochs=min(epochs, 4)) if not dispatch else recipe
        ends: list[float] = []

        def report(step: int, steps: int, metrics: dict[str, float], ends: list[float] = ends) -> None:
            if "epoch" in metrics:
                ends.append(time.perf_counter())

        began = time.perf_counter()
        fitted = fit(arch, data, short, 0, dispatch=dispatch, report=report)
        ended = time.perf_counter()
        rate = (len(data.train) // batch) * batch / statistics.median(np.diff(ends).tolist())
        row("fit", what, images_per_s=rate, of_bare=rate / bare, compile_s=fitted.compile_s, start_s=ends[0] - began,
            end_s=ended - ends[-1], train_s=fitted.train_s, accuracy=fitted.metrics["accuracy"])  # fmt: skip


# weights that a space shares


def supernet(asked: argparse.Namespace) -> None:
    """A step of shared weights: one random candidate by switches, and an elastic space whose widths are masks."""
    for name, side, images, epochs in (("mobilenet_v3_large_elastic", 224, 1_280, 4), ("nas_bench_macro", 32, 10_000, 3)):
        if asked.dry:
            name, side, images, epochs = "tiny", 8, 64, 2
        data = dataset(asked) if side == 32 else random_dataset(side, images, 128)
        space = load_space(name).fit(side, data.channels, len(data.classes))
        recipe = dataclasses.replace(RECIPE, epochs=epochs, batch=16 if asked.dry else 128)
        net = Supernet(space, data, recipe, masked=name != "nas_bench_macro")
        ends = [time.perf_counter()]

        def report(step: int, steps: int, metrics: dict[str, float], ends: list[float] = ends) -> None:
            if "epoch" in metrics:
                ends.append(time.perf_counter())

        scoring = Scoring(calibration_images=128, validation_images=128, batch=64)
        net.fit(Uniform(), 0, report=report, checkpoint=None, scoring=scoring, whole=True, dispatch=2 if asked.dry else 10)
        steps = len(data.train) // net.recipe.batch
        ms = 1000 * statistics.median(np.diff(ends)[1:].tolist()) / steps
        row("supernet", f"{name}, {side} px", units=len(net.paths.all_units()), masked=net.paths.masked, ms=ms,
            first_epoch_s=ends[1] - ends[0], end_s=time.perf_counter() - ends[-1], compile_s=net.programs.compile_s)  # fmt: skip
        if asked.dry:
            return


# depthwise forms

SHAPES = {
    "112 px, 16, 3x3": (112, 16, 3, 1), "28 px, 120, 5x5": (28, 120, 5, 1), "32 px, 192, 5x5": (32, 192, 5, 1),
    "56 px, 72, 5x5, stride 2": (56, 72, 5, 2), "16 px, 384, 5x5, stride 2": (16, 384, 5, 2), "4 px, 1536, 5x5": (4, 1536, 5, 1),
}  # fmt: skip  pixels, channels, kernel, stride


def taps(x: Any, size: int) -> list[Any]:
    pad = pads(x.shape[1], size, 1, "same")
    wide = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    n, h, w, c = x.shape
    return [lax.slice(wide, (0, i, j, 0), (n, i + h, j + w, c)) for i in range(size) for j in range(size)]


def by_taps(x: Any, kernel: Any) -> Any:
    size = kernel.shape[0]
    parts = zip(taps(x, size), kernel.reshape(size * size, 1, 1, 1, -1), strict=True)
    return jnp.asarray(sum(part.astype(jnp.float32) * one.astype(jnp.float32) for part, one in parts), x.dtype)


def by_lax(x: Any, kernel: Any, stride: int = 1) -> Any:
    return ops.conv(x, kernel, stride=stride, groups=x.shape[3], implementation="lax")


def by_us(x: Any, kernel: Any, stride: int) -> Any:
    return ops.conv(x, kernel, stride=stride, groups=x.shape[3])


def depthwise(asked: argparse.Namespace) -> None:
    """Microseconds of each form, bfloat16, batch 128: forward, gradient of the input, gradient of the kernel."""
    rng = np.random.default_rng(0)
    for name, (side, c, size, stride) in SHAPES.items():
        n, side, c = (2, 8, 4) if asked.dry else (128, side, c)
        x = jnp.asarray(rng.standard_normal((n, side, side, c)), jnp.bfloat16)
        g = jnp.asarray(rng.standard_normal((n, side // stride, side // stride, c)), jnp.bfloat16)
        kernel = jnp.asarray(rng.standard_normal((size, size, 1, c)), jnp.bfloat16)

        def input_gradient(g: Any, k: Any, x: Any = x, stride: int = stride) -> Any:
            return jax.vjp(lambda x: by_lax(x, k, stride), x)[1](g)[0]

        def kernel_gradient(x: Any, g: Any, form: Any = by_lax, k: Any = kernel, stride: int = stride) -> Any:
            return jax.vjp(lambda k: form(x, k, stride), k)[1](g)[0]

        forms: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
            "forward, lax": (partial(by_lax, stride=stride), (x, kernel)),
            "input gradient, lax": (input_gradient, (g, kernel)),
            "kernel gradient, lax": (kernel_gradient, (x, g)),
            "kernel gradient, ours": (partial(kernel_gradient, form=by_us), (x, g)),
        }
        if stride == 2:
            forms["forward, lax, every second of stride 1"] = lambda x, k: by_lax(x, k)[:, ::2, ::2], (x, kernel)
        elif side == 4:
            forms["forward, taps"] = by_taps, (x, kernel)
        took = {form: microseconds(function, args, asked.dry) for form, (function, args) in forms.items()}
        row("depthwise", name, **took, bytes_bound_us=(2 * x.size + g.size) * 2 / 3.0e12 * 1e6)


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
    "supernet": supernet,
    "depthwise": depthwise,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--limit", type=float, default=240)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--traces", type=Path)
    parser.add_argument("--dry", action="store_true")
    asked = parser.parse_args()
    PARTS[asked.part](asked)
    return None


if __name__ == "__main__":
    main()
