"""Features of a frozen backbone, computed once instead of in every epoch, where nothing before them is random.

They take the place of the images in the training's batches; its step begins behind them. Augmentation, mixup, CutMix and a teacher
need the images themselves, and so does a dataset that is streamed: then nothing is kept.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from nas.arch.graph import Graph, Node
from nas.arch.parts import has_parameters
from nas.core.memory import machine_memory
from nas.data.dataset import Dataset, Split
from nas.data.stream import Streamed
from nas.nn.network import RANDOM, run
from nas.nn.ops import Array
from nas.nn.weights import Variables
from nas.recipe import Recipe
from nas.tasks import BaseTask, Task, augments_images_alone
from nas.train.precision import with_dtype
from nas.train.resident import device_memory
from nas.train.score import prepare

FRACTION = 0.25  # of the memory, that features may take


@dataclass(frozen=True, eq=False)
class Features:
    """What a node gives of the training images, where it and all nodes before it are frozen.

    graph: the network. node: the node's number, as `nas.nn.network.apply` has it as `start`. variables: of the network. rows: of a
    batch. dtype: what layers compute in.
    """

    graph: Graph
    node: int
    variables: Variables
    dataset: Dataset
    rows: int
    dtype: str

    @cached_property
    def split(self) -> Split:
        """(n, h, w, c) features in place of the images, with their targets; computed when they are first asked for."""
        graph, kind, train = self.graph, jnp.dtype(self.dtype), self.dataset.train

        @jax.jit
        def features(variables: Variables, images: Array) -> Array:
            seen, nodes = prepare(images, graph, self.dataset).astype(kind), graph.nodes[1 : self.node + 1]
            return run(nodes, [seen], variables["params"], variables["stats"], train=False, random=_never)[0].astype(kind)

        found, variables = np.empty((len(train), *graph.nodes[self.node].shape), kind), jax.device_put(self.variables)
        for start in range(0, len(train), self.rows):
            images = np.asarray(train.images[start : start + self.rows])
            padded = np.pad(images, ((0, self.rows - len(images)), (0, 0), (0, 0), (0, 0)))  # so that one program serves all
            found[start : start + self.rows] = np.asarray(features(variables, padded))[: len(images)]
        return Split(found, train.targets)

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(features, targets) of the images with these numbers."""
        images = self.split.images
        assert isinstance(images, np.ndarray)
        return images[rows], self.split.targets[rows]

    def shape(self, rows: int) -> jax.ShapeDtypeStruct:
        """Of so many rows."""
        return jax.ShapeDtypeStruct((rows, *self.graph.nodes[self.node].shape), jnp.dtype(self.dtype))


def features_of(
    recipe: Recipe, graph: Graph, dataset: Dataset, task: Task, frozen: Collection[str], variables: Variables
) -> Features | None:
    """The features that a training can keep; None where there are none, they would be random, or take too much memory.

    Args:
        recipe: The settings.
        graph: The network.
        dataset: Whose training images they are of.
        task: What is trained.
        frozen: Names of nodes.
        variables: Of the network, before the training.
    """
    recipe = with_dtype(recipe)
    node, epochs = cut_of(graph, frozen), min(recipe.freeze_epochs or recipe.epochs, recipe.epochs)
    if not node or epochs == 1 or isinstance(dataset.train.images, Streamed) or not sees_images_as_they_are(recipe, dataset, task):
        return None
    size = len(dataset.train) * math.prod(graph.nodes[node].shape) * jnp.dtype(recipe.dtype).itemsize
    if size > FRACTION * (device_memory() or machine_memory()):
        return None
    return Features(graph, node, variables, dataset, min(recipe.batch, len(dataset.train)), recipe.dtype)


def cut_of(graph: Graph, frozen: Collection[str]) -> int:
    """The last node that is all that later ones read of it and those before, none of which moves; 0: there is none."""
    moving = next((i for i, node in enumerate(graph.nodes) if _moves(node, frozen)), len(graph.nodes))
    read = min(graph.outputs.values())
    for last in range(len(graph.nodes) - 2, 0, -1):
        read = min(read, *graph.nodes[last + 1].inputs)
        if last < moving and read >= last:
            return last
    return 0


def _moves(node: Node, frozen: Collection[str]) -> bool:
    """Whether its output for an image changes in the course of a training."""
    return (has_parameters(node) or node.op in RANDOM) and node.name not in frozen


def sees_images_as_they_are(recipe: Recipe, dataset: Dataset, task: Task) -> bool:
    """Whether an image is the same to the network in every epoch."""
    augment = recipe.augment
    changed = augment.pixels(dataset.resolution) or augment.flip or augment.cutout or augment.policy != "none"
    mixed = recipe.mixup or recipe.cutmix or not (task.mixes or type(task).mix is BaseTask.mix)
    return not changed and not mixed and augments_images_alone(task)


def _never(node: Node, x: Array, index: int) -> Array:
    raise AssertionError(f"{node.name}: nothing is random in evaluation")
