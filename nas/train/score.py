"""Scoring a network on a split, and the way from stored images to what a network takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Sharding

from nas.arch.graph import Graph
from nas.data.dataset import Dataset, Split
from nas.data.stream import prefetched
from nas.nn.network import apply
from nas.nn.ops import Array
from nas.nn.weights import AnyArray, Variables
from nas.tasks import Task
from nas.train.optim import Tree
from nas.train.precision import dtype_of
from nas.train.resident import resident

# (weights, images, targets, which of them are valid) -> `Task.reduce` of the outputs
Score: TypeAlias = Callable[..., Mapping[str, Array]]
Shaped: TypeAlias = jax.ShapeDtypeStruct
M = TypeVar("M", bound="Adds")
IN_FLIGHT = 2  # batches given to the device ahead of the one whose results are read


class Adds(Protocol):
    """What the batches of a split are added to: a `MetricState`."""

    def update(self, part: Mapping[str, np.ndarray], targets: np.ndarray) -> None: ...


def prepare(images: Array, graph: Graph, dataset: Dataset) -> Array:
    """(n, h, w, c) uint8 -> float32, normalized by the dataset's mean and std, resized (bilinear) to the network's input."""
    return resized(normalized(images, dataset), graph)


def normalized(images: Array, dataset: Dataset) -> Array:
    """(n, h, w, c) uint8 -> float32 of the same shape."""
    mean, std = (jnp.array(v, jnp.float32).reshape(1, 1, 1, -1) for v in (dataset.mean, dataset.std))
    return (images.astype(jnp.float32) / 255 - mean) / std


def resized(images: Array, graph: Graph) -> Array:
    """(n, h, w, c) float32 -> the height and width that the network takes."""
    height, width, channels = graph.input_shape
    if images.shape[1:3] == (height, width):
        return images
    return jax.image.resize(images, (len(images), height, width, channels), "bilinear")


def evaluate(graph: Graph, variables: Variables, split: Split, dataset: Dataset, batch: int = 256,
             dtype: str = "float32", *, task: Task) -> dict[str, float]:  # fmt: skip
    """Scores a network on a split. Compiles one program, of `batch` images.

    Args:
        graph: The network.
        variables: Its weights and statistics.
        split: The images, (n, h, w, c) uint8, and their targets.
        dataset: Gives the normalization.
        batch: Images at a time.
        dtype: What layers compute in; auto: as a recipe has it.
        task: What is scored.

    Returns:
        The task's metrics by name.

    Example:
        >>> from nas import load_arch
        >>> from nas.arch.blocks import lower
        >>> from nas.data import load_dataset
        >>> from nas.nn.network import init
        >>> from nas.tasks import task_of
        >>> arch = load_arch({"resolution": 8, "channels": 1, "classes": 10, "stem": {"op": "conv", "width": 4},
        ...                   "stages": [{"op": "conv", "width": 8, "stride": 2}], "head": {"op": "classifier"}})
        >>> graph, digits = lower(arch), load_dataset({"name": "digits", "train_size": 100})
        >>> sorted(evaluate(graph, init(graph, seed=0), digits.valid, digits, task=task_of(arch)))
        ['accuracy', 'balanced_accuracy', 'loss']
    """
    rows, dtype = min(batch, len(split)), dtype_of(dtype)
    score = compile_score(graph, variables, dataset, rows, dtype, task)
    return run_score(score, variables, split, rows, task.new_metrics()).compute()


def compile_score(graph: Graph, variables: Variables, dataset: Dataset, rows: int, dtype: str, task: Task) -> Score:
    """`score_function`, compiled for `rows` images."""
    score = score_function(graph, dataset, dtype, task)
    return jax.jit(score).lower(variables, *batch_shapes(task, dataset, rows), valid_shape(rows)).compile()


def score_function(graph: Graph, dataset: Dataset, dtype: str, task: Task) -> Score:
    """(variables, images, targets, which of them are valid) -> `task.reduce` of the outputs; pure."""

    def score(variables: Variables, images: Array, targets: Array, valid: Array) -> Mapping[str, Array]:
        inputs = prepare(images, graph, dataset)
        outputs, _ = apply(graph, variables["params"], variables["stats"], inputs, train=False, dtype=jnp.dtype(dtype))
        return task.reduce(outputs, targets, valid)

    return score


def batch_shapes(task: Task, dataset: Dataset, rows: int, sharding: Sharding | None = None) -> tuple[Shaped, Shaped]:
    """Shapes and types of the images and targets of a batch, for compilation."""
    spec, side = task.targets(dataset), dataset.resolution
    images = jax.ShapeDtypeStruct((rows, side, side, dataset.channels), jnp.uint8, sharding=sharding)
    return images, jax.ShapeDtypeStruct((rows, *spec.shape), jnp.dtype(spec.dtype), sharding=sharding)


def valid_shape(rows: int) -> Shaped:
    """Shape and type of the mask of a batch's valid rows."""
    return jax.ShapeDtypeStruct((rows,), jnp.bool)


def run_score(score: Score, weights: Tree, split: Split, rows: int, state: M) -> M:
    """Adds a split to a state of metrics. The last batch is filled up with images that are not valid, so that one program serves all."""
    on_device = jax.device_put(weights)
    pending: deque[tuple[Mapping[str, Array], np.ndarray]] = deque()

    def filled(start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images, targets = split.images[start : start + rows], split.targets[start : start + rows]
        missing = rows - len(targets)
        return _padded(images, missing), _padded(targets, missing), np.arange(rows) < len(targets)

    def settle(keep: int) -> None:
        while len(pending) > keep:
            part, targets = pending.popleft()
            state.update({name: np.asarray(value) for name, value in part.items()}, targets)

    for images, targets, valid in prefetched(split.images, rows, filled, range(0, len(split), rows)):
        pending.append((score(on_device, images, targets, valid), targets[: int(valid.sum())]))
        settle(IN_FLIGHT)
    settle(0)
    return state


def whole_score(score: Score) -> Score:
    """(weights, images, targets, rows (b, n), which are valid (b, n)) -> what `score` gives of each batch, (b, ...); pure."""

    def scores(weights: Tree, images: Array, targets: Array, rows: Array, valid: Array) -> Mapping[str, Array]:
        return lax.map(lambda one: score(weights, images[one[0]], targets[one[0]], one[1]), (rows, valid))

    return scores


def whole_split(split: Split, rows: int) -> tuple[AnyArray, ...]:
    """What `whole_score` takes after the weights: a split on the device, in batches of `rows`."""
    batches = -(-len(split) // rows)
    numbers = np.arange(batches * rows, dtype=np.int32).reshape(batches, rows)
    valid = numbers < len(split)
    return *resident(split), np.where(valid, numbers, 0), valid


def run_whole_score(score: Score, weights: Tree, split: Split, rows: int, state: M) -> M:
    """As `run_score`, by a compiled `whole_score`: one dispatch, and one read."""
    batch = whole_split(split, rows)
    parts = {name: np.asarray(value) for name, value in score(weights, *batch).items()}
    for i, start in enumerate(range(0, len(split), rows)):
        state.update({name: value[i] for name, value in parts.items()}, split.targets[start : start + rows])
    return state


def _padded(array: np.ndarray, missing: int) -> np.ndarray:
    return np.pad(array, ((0, missing), *[(0, 0)] * (array.ndim - 1))) if missing else array
