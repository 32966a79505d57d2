"""Checkpoints of a training: everything a step changes, after every so many epochs, so that a killed training resumes.

    fit(arch, dataset, recipe, seed, checkpoint=Checkpoints(folder))     # kill it, call it again: the same weights, to the bit

Order of images and augmentation are seeded by epoch and batch, dropout by the step, so the state, and where an epoch is under
way the losses of its batches so far, are all there is to keep; where a training ends early, the best weights too. A file is
written under a temporary name and renamed; a damaged one is left for the one before it.

More epochs continue from a shorter training's last checkpoint, step by step as if there had been no stop, provided that the
learning rate of an epoch does not depend on how many there are: constant, staircase, or cosine and poly over `schedule_epochs`.
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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nas.core.jsonio import parse_json
from nas.data.dataset import Dataset
from nas.data.stream import Streamed
from nas.nn.ops import Array
from nas.nn.weights import AnyArray, HostVariables, flattened, load_arrays, nested, save_arrays
from nas.recipe import Recipe
from nas.records import JSON
from nas.train.optim import Tree
from nas.train.parallel import laid_out
from nas.train.state import State

NAME = re.compile(r"epoch-(\d{6})(?:-(\d{8}))?\.npz")
WITHOUT_EFFECT = ("epochs", "schedule_epochs", "validate_every", "patience")  # of a recipe, on the steps that are taken
OF_A_TEACHER = ("distill", "temperature", "match_features")


class Best(NamedTuple):
    """The weights with the best primary metric on the validation split so far, NumPy arrays, and the epoch after which they were."""

    epoch: int
    variables: HostVariables


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Args:
        state: Weights, statistics, optimizer and step.
        curve: An entry for each whole epoch, as `Fit` has it.
        train_s: Seconds of training so far.
        losses: Of the batches of an epoch that is under way.
        best: The best weights so far, where the recipe has patience and has validated.
    """

    state: State
    curve: tuple[dict[str, float], ...] = ()
    train_s: float = 0.0
    losses: tuple[float, ...] = ()
    best: Best | None = None

    @property
    def epoch(self) -> int:
        """Whole epochs so far."""
        return len(self.curve)


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints of a training are kept, and how often one is written.

    Args:
        folder: Of this training alone.
        keep: Newest ones that stay.
        every: Epochs between them.
        pause_s: Seconds between them at least, so that short trainings do not spend their time on files.
        last: Whether the end of the training is kept too, whatever `every` and `pause_s` are, for a longer training to
            continue from.
        within_s: Seconds after the last one until one is written within an epoch; None: never.

    Raises:
        ValueError: For a value out of range.

    Example:
        >>> hourly = Checkpoints(Path("checkpoints"), keep=2, every=5, within_s=3600)
        >>> hourly.due(epoch=5, epochs=10, saved_at=0.0), hourly.due(epoch=6, epochs=10, saved_at=0.0)
        (True, False)
    """

    folder: Path
    keep: int = 2
    every: int = 1
    pause_s: float = 0.0
    last: bool = True
    within_s: float | None = None

    def __post_init__(self) -> None:
        for key in ("keep", "every"):
            if getattr(self, key) < 1:
                raise ValueError(f"checkpoint.{key}: expected 1 or more, got {getattr(self, key)}")
        for key in ("pause_s", "within_s"):
            if (value := getattr(self, key)) is not None and not 0 <= value < float("inf"):
                raise ValueError(f"checkpoint.{key}: expected 0 or more seconds, got {value}")

    def due(self, epoch: int, epochs: int, saved_at: float) -> bool:
        """Whether to write after an epoch.

        Args:
            epoch: Whole epochs so far.
            epochs: Epochs of the training.
            saved_at: `time.monotonic` of the last checkpoint, or of the start.
        """
        if epoch == epochs:
            return self.last
        return epoch % self.every == 0 and time.monotonic() - saved_at >= self.pause_s

    def due_within(self, saved_at: float) -> bool:
        """Whether to write within an epoch."""
        return self.within_s is not None and time.monotonic() - saved_at >= self.within_s

    def save(self, progress: Progress, identity: Mapping[str, JSON]) -> None:
        """Writes a checkpoint and removes those that are over `keep`.

        Args:
            progress: Where the training stands.
            identity: What a training must have in common to continue from it.

        Raises:
            ValueError: For a folder that cannot be written in.
        """
        best, batch = progress.best, len(progress.losses)
        about = {"identity": dict(identity), "curve": progress.curve, "train_s": progress.train_s,
                 "losses": progress.losses, "best": best.epoch if best else None}  # fmt: skip
        arrays = {f"{i}": np.asarray(leaf) for i, leaf in enumerate(_leaves(progress.state))}
        arrays |= flattened(best.variables) if best else {}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        name = f"epoch-{progress.epoch:06d}" + (f"-{batch:08d}" if batch else "")
        save_arrays(self.folder / f"{name}.npz", arrays)
        for left in self.folder.glob(".epoch-*.tmp"):
            left.unlink(missing_ok=True)
        older = [path for path, place in self._files() if place <= (progress.epoch, batch)]
        for path in older[self.keep :]:
            path.unlink(missing_ok=True)

    def restore(self, start: State, identity: Mapping[str, JSON], epochs: int) -> Progress:
        """The newest whole checkpoint of at most `epochs` epochs, or the start; one line in the log for each damaged one.

        Args:
            start: The state before the first step, whose form the restored one has.
            identity: Of this training.
            epochs: Of this training.

        Raises:
            ValueError: Naming the key in which the training that left the checkpoints differs from this one.
        """
        for path in [path for path, place in self._files() if place <= (epochs, 0)]:
            try:
                arrays = load_arrays(path)
                about = _about(path, arrays.pop("about", None))
            except ValueError as error:
                logging.getLogger("nas").warning("%s; trying the one before it", " ".join(str(error).split()))
                continue
            _check_same(self.folder, about.identity, json.loads(json.dumps(dict(identity))))
            state = [arrays.pop(key) for key in sorted(filter(str.isdecimal, arrays), key=int)]
            best = Best(about.best, nested(arrays, path)) if about.best else None
            return Progress(_restored(start, state), about.curve, about.train_s, about.losses, best)
        return Progress(start)

    def clear(self) -> None:
        """Removes the checkpoints, and the folder where nothing else is in it."""
        for path in [*(path for path, _ in self._files()), *self.folder.glob(".epoch-*.tmp")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _files(self) -> list[tuple[Path, tuple[int, int]]]:
        """(file, (whole epochs, batches of the next)), newest first."""
        found = ((path, NAME.fullmatch(path.name)) for path in self.folder.glob("epoch-*.npz"))
        return sorted(((path, (int(m[1]), int(m[2] or 0))) for path, m in found if m), key=lambda pair: pair[1], reverse=True)


class About(NamedTuple):
    """What a checkpoint holds beside its arrays; `best` is the epoch of the best weights, 0 or None where there are none."""

    identity: Mapping[str, JSON]
    curve: tuple[dict[str, float], ...]
    train_s: float
    losses: tuple[float, ...]
    best: int | None


def _about(path: Path, kept: np.ndarray | None) -> About:
    """From the bytes of its JSON. Raises ValueError that names the file for what no checkpoint of nas holds."""
    try:
        if kept is None or kept.dtype != np.uint8:
            raise ValueError("expected bytes under 'about'")
        about = parse_json(kept.tobytes())
        found = About(**about) if isinstance(about, dict) else None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: no checkpoint: {error}") from None
    if found is None or not _whole(found):
        raise ValueError(f"{path}: no checkpoint: its record is not as nas writes it")
    return found._replace(curve=tuple(found.curve), losses=tuple(found.losses), train_s=float(found.train_s))


def _whole(about: About) -> bool:
    numbers = [about.train_s, *about.losses] if isinstance(about.losses, list) else [None]
    return (
        isinstance(about.identity, dict)
        and isinstance(about.curve, list)
        and all(isinstance(entry, dict) for entry in about.curve)
        and all(isinstance(number, int | float) for number in numbers)
        and (about.best is None or isinstance(about.best, int))
    )


def identity_of(graph_id: str, dataset: Dataset, recipe: Recipe, seed: int, start: Tree,
                teacher: str | None = None) -> dict[str, JSON]:  # fmt: skip
    """What must be equal for a training to continue from another's checkpoint: all that its steps and their best depend on."""
    idle = WITHOUT_EFFECT if teacher else (*WITHOUT_EFFECT, *OF_A_TEACHER)
    settings = {f"recipe.{k}": v for k, v in dataclasses.asdict(recipe).items() if k not in idle}
    settings["recipe.warmup_epochs"] = recipe.warmup
    settings["keeps_best"] = recipe.patience > 0
    if recipe.schedule in ("cosine", "poly"):
        settings["recipe.schedule_epochs"] = recipe.horizon
    digest = hashlib.sha256()
    for leaf in _leaves(start):
        digest.update(np.asarray(leaf).tobytes())
    images = [len(dataset.train), len(dataset.valid), *dataset.mean, *dataset.std, dataset.digest]
    streamed = dataset.train.images
    window = streamed.window if isinstance(streamed, Streamed) else 0
    return {
        "arch": graph_id,
        "dataset": dataset.name,
        "images": images,
        "shuffled over": f"{window} row groups" if window else "all",
        "seed": seed,
        "teacher": teacher,
        **settings,
        "start": digest.hexdigest()[:16],
    }


def _check_same(folder: Path, theirs: Mapping[str, JSON], ours: Mapping[str, JSON]) -> None:
    for key in [*ours, *(k for k in theirs if k not in ours)]:
        then, now = theirs.get(key), ours.get(key)
        if then != now:
            what = "initial weights" if key == "start" else key
            raise ValueError(
                f"{folder}: checkpoints of another training, {what} was {json.dumps(then)[:60]} and is {json.dumps(now)[:60]} now; "
                "take another folder"
            )


def _leaves(state: Tree) -> list[AnyArray]:
    """Arrays of a state in a fixed order; random keys as their words."""
    return [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state)]


def _is_key(leaf: AnyArray) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _restored(start: State, arrays: list[np.ndarray]) -> State:
    leaves, form = jax.tree.flatten(start)
    assert [a.shape for a in arrays] == [leaf.shape for leaf in _leaves(start)], "the identity says what the shapes are"
    back = [_as(array, leaf) for array, leaf in zip(arrays, leaves, strict=True)]
    return jax.tree.unflatten(form, back)


def _as(array: np.ndarray, leaf: AnyArray) -> Array:
    """An array of the kind of another, on the devices that it is on."""
    if _is_key(leaf):
        made = jax.random.wrap_key_data(jnp.array(array), impl=jax.random.key_impl(leaf))
    else:
        made = jnp.array(array, leaf.dtype)
    if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1:
        return laid_out(made, leaf.sharding)
    return made
