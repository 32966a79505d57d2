"""Scoring a candidate with shared weights: its batch-norm statistics are computed anew, then a split is validated.

Without that accuracies mean nothing: the statistics that one candidate leaves are not those of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.data.dataset import Dataset, Split
from nas.nn.ops import Array
from nas.nn.weights import HostArrays
from nas.recipe import Recipe
from nas.space import Genome
from nas.supernet.paths import Path, Paths, Placed
from nas.supernet.programs import Functions, Made, Programs, packed_shapes, sized
from nas.tasks import MetricState, Task
from nas.train.optim import Packed, Tree
from nas.train.score import normalized


@dataclass(frozen=True)
class Scoring:
    """How candidates are scored.

    Args:
        calibration_images: Training images, the first of a fixed random order, over whose batches the statistics of norms are
            averaged.
        validation_images: Of the validation split, the first of a fixed random order; None: all.
        batch: Images at a time.

    Raises:
        ValueError: For a value out of range, naming the key.
    """

    calibration_images: int = 500
    validation_images: int | None = None
    batch: int = 250

    def __post_init__(self) -> None:
        for key in ("calibration_images", "validation_images", "batch"):
            if (value := getattr(self, key)) is not None and value < 1:
                raise ValueError(f"{key}: expected 1 or more images, got {value}")


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores candidates by programs that they share."""

    paths: Paths
    programs: Programs
    dataset: Dataset
    recipe: Recipe
    task: Task
    scoring: Scoring

    def metrics(self, slots: Mapping[str, Tree], genome: Genome, split: Split | None = None) -> MetricState:
        """The metrics of a candidate on a split, the validation split where none is given."""
        path = self.paths.path(genome)
        return self.with_stats(slots, path, self.calibrated(slots, path), split)

    def calibrated(self, slots: Mapping[str, Tree], path: Path) -> list[Packed]:
        """The statistics of each unit: means over the calibration batches of what each batch has."""
        train, most = self.dataset.train, self.scoring.calibration_images
        rows = np.random.default_rng(0).permutation(len(train))[: min(most, len(train))]
        batch = min(self.scoring.batch, len(rows))
        seen: list[list[Packed]] = [[] for _ in path.placed]
        count = len(rows) // batch
        for start in range(0, count * batch, batch):
            x = self._seen(train.images[np.sort(rows[start : start + batch])], path.side)
            for placed, batches in zip(path.placed, seen, strict=True):
                x, stats = self._program(placed, "observe", x)(_own(slots, placed), placed.widths, x)
                batches.append(stats)
        return [_means(batches) for batches in seen]

    def stats_of(self, slots: Mapping[str, Tree], genome: Genome) -> HostArrays:
        """The calibrated statistics of a candidate by the names of its own network."""
        path, out = self.paths.path(genome), {}
        for placed, stats in zip(path.placed, self.calibrated(slots, path), strict=True):
            out |= placed.named(placed.unit.stats.unpack({part: np.asarray(array) for part, array in stats.items()}))
        return out

    def with_stats(
        self, slots: Mapping[str, Tree], path: Path, stats: list[Packed], split: Split | None = None
    ) -> MetricState:
        """The metrics of a candidate whose units have these statistics."""
        return self._validated(slots, path, stats, self._part(split or self.dataset.valid))

    def quality(self, slots: Mapping[str, Tree], rng: np.random.Generator, genome: Genome, images: int) -> float:
        """The primary metric, larger is better, on so many images of the validation split, drawn by `rng`; norms use these images."""
        path, split = self.paths.path(genome), self.dataset.valid
        rows = np.sort(rng.permutation(len(split))[:images])
        targets, (*before, end) = split.targets[rows], path.placed
        x = self._seen(split.images[rows], path.side)
        for placed in before:
            x, _ = self._program(placed, "observe", x)(_own(slots, placed), placed.widths, x)
        more = targets, np.ones(len(rows), bool)
        found = self._program(end, "answered", x, *more)(_own(slots, end), end.widths, more[0], x, more[1])
        state = self.task.new_metrics()
        state.update({name: np.asarray(value) for name, value in found.items()}, targets)
        value = state.compute()[self.task.primary]
        return value if self.task.metrics[self.task.primary] == "max" else -value

    def _part(self, split: Split) -> Split:
        most = self.scoring.validation_images
        if most is None or most >= len(split):
            return split
        return split.take(np.sort(np.random.default_rng(1).permutation(len(split))[:most]))

    def _validated(self, slots: Mapping[str, Tree], path: Path, stats: list[Packed], split: Split) -> MetricState:
        state, rows = self.task.new_metrics(), min(self.scoring.batch, len(split))
        parts = []
        for start in range(0, len(split), rows):
            images, targets = split.images[start : start + rows], split.targets[start : start + rows]
            missing = rows - len(targets)
            valid = np.arange(rows) < len(targets)
            x = self._seen(_padded(images, missing), path.side)
            for placed, own in zip(path.placed[:-1], stats, strict=False):
                x = self._program(placed, "score", x, own)(_own(slots, placed), placed.widths, own, x)
            end, more = path.placed[-1], (_padded(targets, missing), valid)
            parts.append(
                (
                    self._program(end, "metrics", x, stats[-1], *more)(
                        _own(slots, end), end.widths, stats[-1], x, *more
                    ),
                    targets,
                )
            )
        for part, targets in parts:
            state.update({name: np.asarray(value) for name, value in part.items()}, targets)
        return state

    def _seen(self, images: np.ndarray, side: int) -> Array:
        def made() -> Made:
            return lambda images: sized(normalized(images, self.dataset), side, self.recipe.dtype), (images,)

        return self.programs.get(("seen", side, images.shape), made)(images)

    def _program(self, placed: Placed, what: str, x: Array, *more: Tree) -> Any:
        unit = placed.unit

        def made() -> Made:
            slots = packed_shapes(unit)
            args = (slots, placed.widths, *more[:1], x, *more[1:])
            return getattr(Functions(unit, self.recipe, self.task), what), args

        return self.programs.get((unit, what, x.shape), made)


def _means(batches: Sequence[Packed]) -> Packed:
    """On the host: sums on the device would be compiled anew for every shape whenever a worker clears JAX's caches."""
    return {part: np.mean([np.asarray(one[part]) for one in batches], 0) for part in batches[0]}


def _own(slots: Mapping[str, Tree], placed: Placed) -> tuple[Tree, ...]:
    return tuple(slots[slot] for slot in placed.slots)


def _padded(array: np.ndarray, missing: int) -> np.ndarray:
    return np.pad(array, ((0, missing), *[(0, 0)] * (array.ndim - 1))) if missing else array
