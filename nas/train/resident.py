"""Datasets that lie on the device for the whole training."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import jax
import numpy as np

from nas.data.augment_on_device import supports
from nas.data.dataset import Dataset, Split
from nas.data.stream import Streamed
from nas.nn.ops import Array
from nas.recipe import Recipe
from nas.tasks import Task, augments_images_alone

RESIDENT_FRACTION = 0.25  # of the device's memory, that images may take

_RESIDENT: WeakKeyDictionary[Split, tuple[Array, Array]] = WeakKeyDictionary()


def resident(split: Split) -> tuple[Array, Array]:
    """A split's images and targets on the device, put there once a process."""
    if split not in _RESIDENT:
        _RESIDENT[split] = jax.device_put(np.asarray(split.images)), jax.device_put(split.targets)
    return _RESIDENT[split]


def can_reside(dataset: Dataset, recipe: Recipe, task: Task, platform: str | None = None) -> bool:
    """Whether a training's images may stay on the device and be augmented there.

    False on a CPU, whose memory is the host's; for streamed datasets, and those over `RESIDENT_FRACTION` of the device's memory;
    for AutoAugment and RandAugment, and for tasks whose augmentation moves targets.
    """
    if (platform or jax.default_backend()) == "cpu" or not supports(recipe.augment) or not augments_images_alone(task):
        return False
    images = [split.images for split in (dataset.train, dataset.valid)]
    if any(isinstance(one, Streamed) for one in images):
        return False
    memory = device_memory()
    return not memory or sum(one.nbytes for one in images) <= RESIDENT_FRACTION * memory


def device_memory() -> int:
    """Bytes of the first device that arrays may take; 0 where the backend does not say."""
    return (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
