"""`nas train`: an architecture trained on a dataset; weights and figures stay in a folder."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.arch import Arch, dropped_strides
from nas.blocks import lower
from nas.cli.arch import find_arch
from nas.cli.folder import flat, run_folder
from nas.cli.hydra_door import Invocation
from nas.cost import cost
from nas.data import load_dataset
from nas.machine import keep_memory, use_compile_cache
from nas.plugins import load_plugins
from nas.recipe import Recipe
from nas.report.trajectory import curves_svg
from nas.settings import build, check_ranges
from nas.versions import versions
from nas.weights import Variables, save_weights
from nas.yamlio import dump_yaml, read_yaml, write_text

RESULT = "result.json"


@dataclass(frozen=True)
class TrainCommand:
    """The keys of conf/train.yaml."""

    arch: str
    dataset: Mapping[str, Any]
    recipe: Mapping[str, Any]
    resolution: int | None = None
    weights: str | None = None
    seed: int = 0
    threads: int | None = None
    run: str | None = None
    checkpoint_every: int = 1
    checkpoint_keep: int = 2
    devices: int = 1
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(
            self, seed=(0, 2**31 - 1), resolution=(1, 8192), threads=(1, 1024),
            checkpoint_every=(1, 10**6), checkpoint_keep=(1, 10**6), devices=(1, 4096),
        )  # fmt: skip


def train(call: Invocation) -> None:
    """Trains, tells accuracy on validation and, once at the end, on test; writes weights.npz, arch.yaml, result.json."""
    command = build(TrainCommand, call.config, "")
    keep_memory()
    use_compile_cache()
    load_plugins(command.plugins, [os.getcwd()])
    recipe = build(Recipe, command.recipe, "recipe")
    arch = find_arch(command.arch)
    dataset = load_dataset(command.dataset)
    fitted = arch.with_io(command.resolution or dataset.resolution, dataset.channels, len(dataset.classes))
    folder = run_folder(command.run, ("train", *call.overrides), call.job)
    settings = {"arch": fitted.to_dict(), "recipe": dataclasses.asdict(recipe), "dataset": dict(command.dataset),
                "seed": command.seed, "weights": command.weights}  # fmt: skip
    if _finished(folder, settings):
        return
    if command.threads:
        os.environ["NPROC"] = str(command.threads)
    counted = cost(fitted)
    print(
        f"nas train  {fitted.name} on {dataset.name}: {counted.params:,} params, {counted.macs / 1e6:.2f} M MACs, {fitted.resolution} px"
    )
    if dropped := dropped_strides(arch, fitted):
        print(f"stride 1 in {', '.join(dropped)}, so that small images keep their size")
    from nas.train import Checkpoints, evaluate, fit

    start = _start(command, fitted) if command.weights else None
    checkpoints = Checkpoints(folder / "checkpoints", command.checkpoint_keep, command.checkpoint_every)
    result = fit(
        fitted, dataset, recipe, command.seed, report=_progress(), variables=start, checkpoint=checkpoints, devices=command.devices
    )  # fmt: skip
    variables = {"params": result.params, "stats": result.stats}
    test = evaluate(lower(fitted), variables, dataset.test, dataset, recipe.batch, recipe.dtype)
    record = {
        "arch": fitted.name, "valid": dict(result.metrics), "test": dict(test), "params": counted.params, "macs": counted.macs,
        "compile_s": result.compile_s, "train_s": result.train_s, "seed": command.seed, "weights": command.weights,
        "recipe": dataclasses.asdict(recipe),
        "dataset": dict(command.dataset), "curve": list(result.curve), "versions": versions(),
    }  # fmt: skip
    save_weights(folder / "weights.npz", variables)
    write_text(folder / "arch.yaml", dump_yaml(fitted.to_dict()))
    write_text(folder / "curve.svg", _curves(result.curve))
    write_text(folder / RESULT, json.dumps(record, indent=1) + "\n")
    print(_summary(record))
    print(f"weights {folder / 'weights.npz'}")


def _summary(record: Mapping[str, Any]) -> str:
    valid, test = record["valid"]["accuracy"], record["test"]["accuracy"]
    return f"validation accuracy {valid:.4f}, test accuracy {test:.4f}, {record['train_s']:.0f} s of training"


def _curves(curve: Sequence[Mapping[str, float]]) -> str:
    """Training loss and, where it was validated on the way, validation loss over the epochs."""
    lines = [(word, [(entry["epoch"], entry[key]) for entry in curve if key in entry])
             for word, key in (("training loss", "train_loss"), ("validation loss", "loss"))]  # fmt: skip
    return curves_svg([(word, line) for word, line in lines if line], "epoch", "loss")


def _start(command: TrainCommand, arch: Arch) -> Variables:
    """The weights to start from; says what of the network they do not fill."""
    from nas.convert import starting_weights

    source = command.weights or ""
    try:
        imported = starting_weights(source, lower(arch), command.seed)
    except ValueError as error:
        raise ValueError(f"weights: {error}") from None
    print(f"weights of {source}")
    if imported.fresh:
        print(
            f"{', '.join(imported.fresh)}: not in these weights for {arch.classes} classes, starts from initial values"
        )
    return imported.variables


def _finished(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether this very training is done there, which is told. Raises ValueError where the folder holds something else."""
    if (folder / "journal.sqlite").exists():
        raise ValueError(f"run: {folder} holds a journal.sqlite already; choose another folder with run=")
    if not (folder / RESULT).exists():
        return False
    try:
        record = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        arch = read_yaml(folder / "arch.yaml")
        same = {"arch": arch, **{key: record[key] for key in ("recipe", "dataset", "seed", "weights")}}
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"run: {folder} holds a {RESULT} that cannot be read: {error}") from None
    theirs, ours = flat(same), flat(json.loads(json.dumps(settings)))
    differing = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    if differing == ["recipe.epochs"] and ours["recipe.epochs"] > theirs["recipe.epochs"]:
        return False
    if differing:
        raise ValueError(f"run: {folder} holds a training with another {differing[0]}; choose another folder with run=")
    print(f"{folder}: this training is finished: {_summary(record)}")
    return True


def _progress() -> Any:
    """Prints a line an epoch."""
    shown = 0

    def report(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        nonlocal shown
        if "epoch" in metrics and metrics["epoch"] != shown:
            shown = metrics["epoch"]
            text = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k not in ("epoch", "step"))
            print(f"epoch {shown:g}  {100 * step // max(steps, 1)}%  {text}", file=sys.stdout, flush=True)

    return report
