"""Data parallel training over the devices of one process: the batch is split among them, everything else is on each.

XLA sees one program over the whole batch and puts the sums over images together across devices, batch norm's statistics and
gradients alike: losses are those of one device, up to the order of sums.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def shared_batch(devices: int) -> NamedSharding | None:
    """How images and labels are laid out; None for one device."""
    return None if devices == 1 else NamedSharding(_mesh(devices), PartitionSpec("batch"))


def replicated(tree: Any, devices: int) -> Any:
    """Arrays on every device. Raises ValueError where there are fewer of them."""
    return tree if devices == 1 else jax.device_put(tree, NamedSharding(_mesh(devices), PartitionSpec()))


def _mesh(devices: int) -> Mesh:
    found = jax.local_devices()
    if len(found) < devices:
        raise ValueError(f"devices: wanted {devices}, this machine has {len(found)} ({found[0].platform})")
    return Mesh(np.array(found[:devices]), ("batch",))
