"""Distillation (arXiv:1503.02531): a trained network answers for every image of a batch, and the loss follows its answers too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from nas.arch import Arch
from nas.arch.blocks import lower
from nas.arch.graph import Graph
from nas.data.dataset import Dataset, Split
from nas.nn.network import Outputs, apply
from nas.nn.ops import Array, Implementation
from nas.nn.weights import Variables
from nas.tasks import task_of
from nas.train.score import normalized, resized


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network to learn from.

    Args:
        arch: Its architecture.
        variables: Its weights and statistics.
        mean: Per channel, of its own images / 255.
        std: The same.
        classes: Their names; None: unknown.

    Source:
        Distillation: Hinton et al. 2015 (arXiv:1503.02531).
    """

    arch: Arch
    variables: Variables
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] | None = None

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError where its answers would not be about the dataset's classes, or its images have other channels."""
        task = task_of(self.arch)
        task.targets(dataset)
        if not task.distills:
            raise ValueError(f"teacher: the task {task.name} has no distillation")
        if self.arch.channels != dataset.channels:
            raise ValueError(
                f"teacher: {self.arch.name} takes {self.arch.channels} channels, {dataset.name} has {dataset.channels}"
            )
        theirs, ours = self.classes or (), dataset.classes
        if self.arch.classes != len(ours):
            raise ValueError(
                f"teacher: {self.arch.name} knows {self.arch.classes} classes, {dataset.name} has {len(ours)}"
            )
        for i, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            if one != other:
                raise ValueError(f"teacher: class {i} of {self.arch.name} is {one!r}, of {dataset.name} {other!r}")

    @property
    def digest(self) -> str:
        """Which network it is: what a checkpoint must agree in."""
        graph, digest = lower(self.arch), hashlib.sha256()
        digest.update(repr((graph.id, self.mean, self.std)).encode())
        for leaf in jax.tree.leaves(self.variables):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()[:16]

    def outputs(
        self, variables: Variables, images: Array, dataset: Dataset, dtype: str, implementation: Implementation, features: bool = False
    ) -> Outputs:
        """What the teacher says of a batch, without a gradient.

        Args:
            variables: Its own, handed in so that a compiled step takes them as an input.
            images: (n, h, w, c) float32, normalized as `dataset` says; they are resized to its size.
            dataset: Whose mean and std the images were normalized by.
            dtype: What layers compute in.
            implementation: Of convolutions, as `nas.nn.ops` has it.
            features: Whether its last feature map is among them, as `with_features` has it.

        Returns:
            The network's outputs, (n, classes) float32 of a classifier.
        """
        mean, std, own_mean, own_std = (
            jnp.array(v, jnp.float32).reshape(1, 1, 1, -1) for v in (dataset.mean, dataset.std, self.mean, self.std)
        )
        graph = with_features(lower(self.arch)) if features else lower(self.arch)
        same = (tuple(dataset.mean), tuple(dataset.std)) == (tuple(self.mean), tuple(self.std))
        seen = images if same else (images * std + mean - own_mean) / own_std
        params, stats = variables["params"], variables["stats"]
        out, _ = apply(
            graph,
            params,
            stats,
            resized(seen, graph),
            train=False,
            dtype=jnp.dtype(dtype),
            implementation=implementation,
        )
        return jax.lax.stop_gradient(out)


FEATURES = "features"


def with_features(graph: Graph, where: str = "recipe") -> Graph:
    """The network with one output more, its last feature map: what its last pooling over all pixels reads.

    Raises ValueError where nothing is pooled so, naming the recipe at `where`.
    """
    pools = [node for node in graph.nodes if node.op == "global_pool"]
    if not pools:
        raise ValueError(f"{where}.match_features: the network pools nothing over all pixels, so it has no last feature map; leave it out")
    return replace(graph, named=(*graph.outputs.items(), (FEATURES, pools[-1].inputs[0])))


def compared(outputs: Outputs, taught: Outputs) -> tuple[Outputs, Outputs, Array]:
    """(the network's own outputs, the teacher's, (n,) distances of their last feature maps) of what graphs `with_features` give."""
    (ours, features), (theirs, expected) = _parted(outputs), _parted(taught)
    return ours, theirs, feature_distance(features, expected)


def _parted(outputs: Outputs) -> tuple[Outputs, Array]:
    assert isinstance(outputs, Mapping)
    own = {name: value for name, value in outputs.items() if name != FEATURES}
    return own["output"] if set(own) == {"output"} else own, outputs[FEATURES]


def check_features(teacher: Teacher, arch: Arch) -> None:
    """Raises ValueError where the last feature maps of a network and its teacher are not alike in height, width or channels."""
    ours, theirs = feature_shape(lower(arch)), feature_shape(lower(teacher.arch))
    if ours != theirs:
        raise ValueError(
            f"recipe.match_features: the last feature map of {arch.name} is {_times(ours)}, its teacher's {_times(theirs)}; leave it out"
        )


def feature_shape(graph: Graph, where: str = "recipe") -> tuple[int, ...]:
    """(height, width, channels) of a network's last feature map; raises as `with_features` does."""
    found = with_features(graph, where)
    return found.nodes[found.outputs[FEATURES]].shape


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def feature_distance(features: Array, expected: Array) -> Array:
    """(n,) mean squared difference of two feature maps (n, h, w, c), relative to the variance of the expected ones in the batch.

    The variance is the mean over channels, so that channels count by how much they vary. 1: no better than their means.

    Source:
        The hints of FitNets, Romero et al. 2015 (arXiv:1412.6550), section 2.2, on the last layer, which needs no regressor.
    """
    variance = jnp.maximum(expected.var(tuple(range(expected.ndim - 1))).mean(), 1e-12)
    return ((features - expected) ** 2).reshape(len(features), -1).mean(1) / variance


def agreement(
    teacher: Teacher, graph: Graph, variables: Variables, split: Split, dataset: Dataset, batch: int = 256
) -> float:
    """How often a network and its teacher answer alike, as their task has it.

    Args:
        teacher: The teacher.
        graph: Of the network.
        variables: Of the network.
        split: The images.
        dataset: Gives the normalization.
        batch: Images at a time.

    Returns:
        A fraction of the images.
    """
    task = task_of(teacher.arch)

    @jax.jit
    def same(ours: Variables, theirs: Variables, images: Array) -> Array:
        seen = normalized(images, dataset)
        outputs, _ = apply(graph, ours["params"], ours["stats"], resized(seen, graph), train=False)
        return task.agree(outputs, teacher.outputs(theirs, seen, dataset, "float32", "auto"))

    rows, count = min(batch, len(split)), 0
    ours, theirs = jax.device_put(variables), jax.device_put(teacher.variables)
    for start in range(0, len(split), rows):
        images = split.images[start : start + rows]
        padded = np.pad(images, ((0, rows - len(images)), (0, 0), (0, 0), (0, 0)))
        count += int(same(ours, theirs, padded)[: len(images)].sum())
    return count / len(split)
