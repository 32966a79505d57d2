"""The `Task` protocol: what the outputs of a network mean, the loss, the metrics. `BaseTask` has what most tasks share.

A task works on batches of arrays and keeps no state. Functions that a step traces take and return JAX arrays; the others work
on NumPy arrays in the host. Nothing here imports JAX when it is loaded, so that the driver of a search stays light.
"""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, Self, TypeAlias

import numpy as np

from nas.arch import Arch
from nas.data.augment import augment, batches
from nas.data.dataset import Dataset, Split
from nas.objectives import Direction
from nas.recipe import Augment, Recipe
from nas.records import JSON, TargetSpec
from nas.records.targets import NAMES, TargetKind
from nas.tasks.means import Means

if TYPE_CHECKING:
    import jax

    Array: TypeAlias = jax.Array
    Outputs: TypeAlias = Array | Mapping[str, Array]  # one array, or several by name where the head has several outputs

HostOutputs: TypeAlias = np.ndarray | Mapping[str, np.ndarray]


class Mixed(NamedTuple):
    """A batch after mixup, CutMix or mosaic.

    images: (n, h, w, c). The loss of image i counts `fraction` of that against `targets[i]` and 1 - `fraction` of that against
    `others[i]`; `others` is None where images keep their own targets.
    """

    images: Array
    targets: Array
    others: Array | None = None
    fraction: Array | None = None


class MetricState(Protocol):
    """Metrics of a split while its batches come in, on the host."""

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None:
        """Adds a batch: what `Task.reduce` returned for it, and the targets of its valid rows."""
        ...

    def merge(self, other: Self) -> None:
        """Adds what another process saw of the same split."""
        ...

    def compute(self) -> dict[str, float]:
        """The metrics by name, in the order of `Task.metrics`."""
        ...

    def to_json(self) -> JSON:
        """Plain data from which `Task.new_metrics` makes an equal state, to send it to another process."""
        ...


class Task(Protocol):
    """What a network is trained for. The head of an architecture decides which task it is: `nas.tasks.task_of`.

    Attributes:
        name: As in `TASKS`.
        metrics: Name -> direction that is better, "max" or "min". The first is `primary`.
        heads: The ops of heads (`nas.arch.blocks.HEADS`) whose networks are for this task; no other task has them.
        mixes: Whether mixup and CutMix have a meaning.
        distills: Whether a network can learn from a teacher's outputs.
        weighs: Whether its loss can weigh classes, `recipe.class_weights`.
        compares: Whether its loss compares the images of a batch, by `recipe.embedding`.
        settings: Parts of a recipe that are of some tasks alone, and that it follows: `dice`, `embedding`, `detection`.
        pictures: Whether `draw` shows what a network predicts, which people then look at.
    """

    @property
    def name(self) -> str: ...
    @property
    def metrics(self) -> Mapping[str, Direction]: ...
    @property
    def heads(self) -> tuple[str, ...]: ...
    @property
    def mixes(self) -> bool: ...
    @property
    def distills(self) -> bool: ...
    @property
    def weighs(self) -> bool: ...
    @property
    def compares(self) -> bool: ...
    @property
    def settings(self) -> tuple[str, ...]: ...
    @property
    def pictures(self) -> bool: ...

    @property
    def primary(self) -> str:
        """The metric by which networks are compared, kept and stopped early."""
        ...

    def better(self, one: float, other: float) -> bool:
        """Whether the first value of the primary metric is strictly better."""
        ...

    def of(self, arch: Arch) -> Self:
        """The task as the networks of an architecture have it, whose outputs may mean what its head says: default boxes."""
        ...

    def fit_head(self, arch: Arch, dataset: Dataset) -> Arch:
        """The architecture with the sizes of its outputs as the dataset needs them: classes, anchors, embedding."""
        ...

    def notes(self, arch: Arch, dataset: Dataset) -> Sequence[str]:
        """Lines for people on how the head of an architecture, fitted to it, suits a dataset."""
        ...

    def targets(self, dataset: Dataset) -> TargetSpec:
        """What the task trains on. Raises ValueError naming the dataset where its targets are of another kind."""
        ...

    def loss(self, outputs: Outputs, targets: Array, valid: Array | None, recipe: Recipe) -> Mapping[str, Array]:
        """The parts of the training loss by name, each (n,); their sum is minimized. Traced.

        Args:
            outputs: Of the network, float32.
            targets: (n, *spec.shape).
            valid: (n,) bool, which rows count; None: all.
            recipe: The training's settings.
        """
        ...

    def weighed(self, recipe: Recipe, dataset: Dataset) -> Self:
        """The task as a training on the dataset has it: with `recipe.class_weights`, by the images of each class."""
        ...

    def batches(self, split: Split, rows: int, recipe: Recipe, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """One epoch: (rows,) row numbers a batch, as many batches as the split fills."""
        ...

    def arrays(self, recipe: Recipe, arch: Arch, seed: int) -> Mapping[str, np.ndarray]:
        """Initial values of what the loss alone has and trains, by name, float32; the network has none of it. Mostly empty."""
        ...

    def with_arrays(self, arrays: Mapping[str, Array]) -> Self:
        """The task with the values that a step has for `arrays`. Traced."""
        ...

    def mix(self, recipe: Recipe, images: Array, targets: Array, key: Array) -> Mixed:
        """A batch mixed as the recipe wants it. images: (n, h, w, c) float32, normalized. Traced."""
        ...

    def distill(self, outputs: Outputs, teacher_outputs: Outputs, losses: Array, recipe: Recipe) -> Array:
        """(n,) losses that follow the teacher too; `losses` (n,) are those against the targets. Traced."""
        ...

    def agree(self, outputs: Outputs, teacher_outputs: Outputs) -> Array:
        """(n,) bool, whether two networks answer alike. Traced."""
        ...

    def reduce(self, outputs: Outputs, targets: Array, valid: Array) -> Mapping[str, Array]:
        """What leaves the device after a scored batch: sums over the valid rows, or all that the metrics need. Traced."""
        ...

    def new_metrics(self, kept: JSON = None) -> MetricState:
        """The state of metrics before the first batch, or that which `to_json` gave."""
        ...

    def details(self, state: MetricState, classes: Sequence[str]) -> Mapping[str, JSON]:
        """What a report says beyond the metrics, from their state: `table`, rows of texts and numbers under a row of names, `note`, and
        `curves`, lines of points (x, y) from 0 to 1 by name with `axes`, the names of x and y. Empty where there is nothing."""
        ...

    def advice(self, metrics: Mapping[str, float]) -> Sequence[str]:
        """Lines for people where metrics of a validation show that a training fails in a way that the task knows."""
        ...

    def augment(
        self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator, settings: Augment, *,
        fill: int | Sequence[int] = 0, first: int = 0, of: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """(images, targets) changed at random; geometry moves both. `fill`, `first`, `of`: as `nas.data.augment` has them."""
        ...

    def postprocess(self, outputs: HostOutputs) -> Mapping[str, np.ndarray]:
        """From a network's outputs to what a prediction gives, by name, each (n, ...)."""
        ...

    def draw(
        self, image: np.ndarray, prediction: Mapping[str, np.ndarray], target: np.ndarray | None = None,
        classes: Sequence[str] = (),
    ) -> np.ndarray:  # fmt: skip
        """(h, w, c) uint8: one image with its prediction, and its target where it is known, for people to look at."""
        ...


class BaseTask(ABC):
    """What a task with one output and one array of targets need not write: see `Task`.

    A subclass has `name`, `metrics`, `heads`, `kind`, `loss` and `reduce`. Metrics are means of the sums that `reduce` returns
    by the same names, unless it has its own `new_metrics`.
    """

    name: ClassVar[str]
    metrics: Mapping[str, Direction]
    heads: ClassVar[tuple[str, ...]]
    kind: ClassVar[TargetKind]
    mixes: bool = False
    distills: bool = False
    weighs: bool = False
    compares: bool = False
    settings: tuple[str, ...] = ()
    pictures: bool = False

    @property
    def primary(self) -> str:
        return next(iter(self.metrics))

    def better(self, one: float, other: float) -> bool:
        return one > other if self.metrics[self.primary] == "max" else one < other

    def targets(self, dataset: Dataset) -> TargetSpec:
        if dataset.target.kind != self.kind:
            has, expected = NAMES[dataset.target.kind], NAMES[self.kind]
            raise ValueError(f"{dataset.name}: has {has}; the task {self.name} expects {expected}")
        return dataset.target

    def of(self, arch: Arch) -> Self:
        return self

    @abstractmethod
    def fit_head(self, arch: Arch, dataset: Dataset) -> Arch: ...

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Array, valid: Array | None, recipe: Recipe) -> Mapping[str, Array]: ...

    @abstractmethod
    def reduce(self, outputs: Outputs, targets: Array, valid: Array) -> Mapping[str, Array]: ...

    def weighed(self, recipe: Recipe, dataset: Dataset) -> Self:
        return self

    def batches(self, split: Split, rows: int, recipe: Recipe, rng: np.random.Generator) -> Iterator[np.ndarray]:
        return batches(split, rows, rng)

    def arrays(self, recipe: Recipe, arch: Arch, seed: int) -> Mapping[str, np.ndarray]:
        return {}

    def with_arrays(self, arrays: Mapping[str, Array]) -> Self:
        return self

    def details(self, state: MetricState, classes: Sequence[str]) -> Mapping[str, JSON]:
        return {}

    def notes(self, arch: Arch, dataset: Dataset) -> Sequence[str]:
        return ()

    def advice(self, metrics: Mapping[str, float]) -> Sequence[str]:
        return ()

    def mix(self, recipe: Recipe, images: Array, targets: Array, key: Array) -> Mixed:
        return Mixed(images, targets)

    def distill(self, outputs: Outputs, teacher_outputs: Outputs, losses: Array, recipe: Recipe) -> Array:
        raise ValueError(f"teacher: the task {self.name} has no distillation")

    def agree(self, outputs: Outputs, teacher_outputs: Outputs) -> Array:
        raise ValueError(f"teacher: the task {self.name} has no distillation")

    def new_metrics(self, kept: JSON = None) -> MetricState:
        return Means(tuple(self.metrics), **(kept or {}))

    def augment(
        self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator, settings: Augment, *,
        fill: int | Sequence[int] = 0, first: int = 0, of: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        return augment(images, rng, settings, fill, first, of), targets

    def postprocess(self, outputs: HostOutputs) -> Mapping[str, np.ndarray]:
        return {"output": outputs} if isinstance(outputs, np.ndarray) else outputs

    def draw(
        self, image: np.ndarray, prediction: Mapping[str, np.ndarray], target: np.ndarray | None = None,
        classes: Sequence[str] = (),
    ) -> np.ndarray:  # fmt: skip
        return image


def training_loss(task: Task, recipe: Recipe, outputs: Outputs, batch: Mixed) -> Array:
    """(n,) losses: the sums of the task's parts, by the fractions of both targets where images were mixed. Traced."""

    def total(targets: Array) -> Array:
        return functools.reduce(operator.add, task.loss(outputs, targets, None, recipe).values())

    if batch.others is None or batch.fraction is None:
        return total(batch.targets)
    return batch.fraction * total(batch.targets) + (1 - batch.fraction) * total(batch.others)


def augments_images_alone(task: Task) -> bool:
    """Whether the task's augmentation is the common one, which changes no target, so that a compiled step can have it."""
    return isinstance(task, BaseTask) and type(task).augment is BaseTask.augment


def single(outputs: Outputs) -> Array:
    """The only output of a network, for tasks whose heads have one."""
    assert not isinstance(outputs, Mapping), "the heads of this task have one output"
    return outputs
