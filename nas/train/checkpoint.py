"""Checkpoints of a training: everything a step changes, after every so many epochs, so that a killed training goes on.

    fit(arch, dataset, recipe, seed, checkpoint=Checkpoints(folder))     # kill it, call it again: the same weights, to the bit

Order of images and augmentation are seeded by the epoch, dropout by the step, so the state at the end of an epoch is all
there is to keep. A file is written under a temporary name and renamed; a damaged one is left for the one before it.

More epochs go on from a shorter training's last checkpoint, step by step as if there had been no stop, provided that the
learning rate of an epoch does not depend on how many there are: constant, staircase, or a cosine over `schedule_epochs`.
A cosine over `epochs` itself is another training at every length, and is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nas.data.dataset import Dataset
from nas.recipe import Recipe
from nas.weights import load_arrays, save_arrays

NAME = re.compile(r"epoch-(\d{6})\.npz")
WITHOUT_EFFECT = ("epochs", "schedule_epochs", "validate_every", "patience")  # of a recipe, on the steps that are taken


@dataclass(frozen=True)
class Progress:
    """Where a training stands. curve: an entry an epoch, as `Fit` has it; train_s: seconds of training so far."""

    state: Any
    curve: tuple[dict[str, float], ...] = ()
    train_s: float = 0.0

    @property
    def epoch(self) -> int:
        return len(self.curve)


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often.

    keep: newest ones that stay. every: epochs between them. pause_s: and at least so many seconds, so that short trainings
    do not spend their time on files. last: the end of the training is kept too, whatever `every` and `pause_s` say, for
    a longer training to go on from.
    """

    folder: Path
    keep: int = 2
    every: int = 1
    pause_s: float = 0.0
    last: bool = True

    def __post_init__(self) -> None:
        for key in ("keep", "every"):
            if getattr(self, key) < 1:
                raise ValueError(f"checkpoint.{key}: wanted 1 or more, got {getattr(self, key)}")
        if not 0 <= self.pause_s < float("inf"):
            raise ValueError(f"checkpoint.pause_s: wanted 0 or more seconds, got {self.pause_s}")

    def due(self, epoch: int, epochs: int, saved_at: float) -> bool:
        """Whether to write after this epoch; `saved_at` is `time.monotonic` of the last one, or of the start."""
        if epoch == epochs:
            return self.last
        return epoch % self.every == 0 and time.monotonic() - saved_at >= self.pause_s

    def save(self, progress: Progress, identity: Mapping[str, Any]) -> None:
        """Writes a checkpoint and removes those that are over `keep`. Raises ValueError for a folder one cannot write in."""
        about = {"identity": dict(identity), "curve": progress.curve, "train_s": progress.train_s}
        arrays = {f"{i}": np.asarray(leaf) for i, leaf in enumerate(_leaves(progress.state))}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        save_arrays(self.folder / f"epoch-{progress.epoch:06d}.npz", arrays)
        for left in self.folder.glob(".epoch-*.tmp"):
            left.unlink(missing_ok=True)
        older = [path for path, epoch in self._files() if epoch <= progress.epoch]
        for path in older[self.keep :]:
            path.unlink(missing_ok=True)

    def restore(self, start: Any, identity: Mapping[str, Any], epochs: int) -> Progress:
        """The newest whole checkpoint of at most `epochs` epochs, or the start; one line in the log for each damaged one.

        `start` is the state before the first step, whose form the restored one has. Raises ValueError naming the key in
        which the training that left the checkpoints differs from this one.
        """
        for path in [path for path, epoch in self._files() if epoch <= epochs]:
            try:
                arrays = load_arrays(path)
                about = json.loads(arrays.pop("about").tobytes())
                curve, train_s, theirs = tuple(about["curve"]), float(about["train_s"]), about["identity"]
            except (ValueError, KeyError, TypeError) as error:
                logging.getLogger("nas").warning("%s; trying the one before it", " ".join(str(error).split()))
                continue
            _check_same(self.folder, theirs, json.loads(json.dumps(dict(identity))))
            return Progress(_restored(start, [arrays[key] for key in sorted(arrays, key=int)]), curve, train_s)
        return Progress(start)

    def clear(self) -> None:
        """Removes the checkpoints, and the folder where nothing else is in it."""
        for path in [*(path for path, _ in self._files()), *self.folder.glob(".epoch-*.tmp")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _files(self) -> list[tuple[Path, int]]:
        """(file, its epoch), newest first."""
        found = ((path, NAME.fullmatch(path.name)) for path in self.folder.glob("epoch-*.npz"))
        return sorted(((path, int(m[1])) for path, m in found if m), key=lambda pair: -pair[1])


def identity_of(graph_id: str, dataset: Dataset, recipe: Recipe, seed: int, start: Any) -> dict[str, Any]:
    """What must be equal for a training to go on from another's checkpoint: all that its steps depend on."""
    settings = {f"recipe.{k}": v for k, v in dataclasses.asdict(recipe).items() if k not in WITHOUT_EFFECT}
    if recipe.schedule == "cosine":
        settings["recipe.schedule_epochs"] = recipe.horizon
    digest = hashlib.sha256()
    for leaf in _leaves(start):
        digest.update(np.asarray(leaf).tobytes())
    images = [len(dataset.train), len(dataset.valid), *dataset.mean, *dataset.std]
    return {
        "arch": graph_id,
        "dataset": dataset.name,
        "images": images,
        "seed": seed,
        **settings,
        "start": digest.hexdigest()[:16],
    }


def _check_same(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for key in [*ours, *(k for k in theirs if k not in ours)]:
        then, now = theirs.get(key), ours.get(key)
        if then != now:
            what = "initial weights" if key == "start" else key
            raise ValueError(
                f"{folder}: checkpoints of another training, {what} was {json.dumps(then)[:60]} and is {json.dumps(now)[:60]} now; "
                "take another folder"
            )


def _leaves(state: Any) -> list[Any]:
    """Arrays of a state in a fixed order; random keys as their words."""
    return [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state)]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _restored(start: Any, arrays: list[np.ndarray]) -> Any:
    leaves, form = jax.tree.flatten(start)
    assert [a.shape for a in arrays] == [leaf.shape for leaf in _leaves(start)], "the identity says what the shapes are"
    back = [_as(array, leaf) for array, leaf in zip(arrays, leaves, strict=True)]
    return jax.tree.unflatten(form, back)


def _as(array: np.ndarray, leaf: Any) -> Any:
    """An array of the kind of another, on the devices that it is on."""
    if _is_key(leaf):
        made = jax.random.wrap_key_data(jnp.array(array), impl=jax.random.key_impl(leaf))
    else:
        made = jnp.array(array, leaf.dtype)
    return jax.device_put(made, leaf.sharding) if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1 else made
